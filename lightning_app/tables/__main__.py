"""`python -m lightning_app.tables table-1`: train what a table needs, test, and write it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from data_modules.files import write_text
from lightning_app.stop import Stopped, stoppable
from lightning_app.tables.claims import judge, less, read_claims, report
from lightning_app.tables.collect import agreeing, finished
from lightning_app.tables.elsewhere import told as told_of
from lightning_app.tables.runs import KITCHEN, Cell, Setting, cells, reached
from lightning_app.tables.spec import Spec, read_spec
from lightning_app.tables.work import bring
from lightning_app.tables.write import place, write_results
from mssim.errors import UserError
from mssim.resources import find_config

SPECS = Path("configs/tables")
CLAIMS = Path("configs/claims.yaml")
PUBLISHED_CLAIMS = Path("configs/published/claims.md")


def make_table(spec: Spec, setting: Setting, jobs: int, out: Path | None = None) -> None:
    """Bring a table to its budget, rewriting it with every row that is finished.

    Args:
        spec: The table.
        setting: What is asked.
        jobs: Processes at once.
        out: In the place of the published folder.

    Raises:
        UserError: Something is not as it should be; what is finished is written.
    """
    if jobs < 1:
        raise UserError(f"jobs: {jobs} must be at least 1")
    rows: dict[str, list[Cell]] = {}
    told: list[list[str]] = []

    def look() -> dict[str, list[Cell]]:
        rows.update(cells(spec, setting))
        # What all others are compared with comes first.
        return {n: rows[n] for n in sorted(rows, key=lambda name: name != spec.reference)}

    def write() -> None:
        results, left = agreeing(finished(rows), spec.reference)
        if results and [*results, *left] not in told:
            told.append([*results, *left])
            for line in left:
                print(line, flush=True)
            where = place(spec, setting, list(results), out)
            write_results(where.folder, spec, setting, results)
            why = "" if where.reason is None else f"; not published: {where.reason}"
            count = f"{len(results)} of {len(rows)} rows"
            print(f"{where.folder / spec.name}.md: {count}{why}", flush=True)

    if setting.data != KITCHEN:
        print("\n".join(told_of(spec, setting.data)), flush=True)
    found = look()
    for row in spec.rows:
        if row.name not in found:
            print(f"{row.name}: left out, {setting.data} lacks a person whom it needs", flush=True)
    write()
    bring(look, setting, jobs, write)


def make_claims(setting: Setting) -> None:
    """Write which claims hold, by the runs that are finished.

    Each is judged at the call's budget, or else at the largest that all rows which the claims name
    of its table have reached.
    """
    specs: dict[str, Spec] = {}

    def spec_of(name: str) -> Spec:
        return specs.setdefault(name, read_spec(find_config(str(SPECS / f"{name}.yaml"))))

    claims = read_claims(find_config(str(CLAIMS)), spec_of)
    results, steps = {}, {}
    for name, spec in specs.items():
        there = reached(spec, setting, claims.rows(name))
        whole_rows = finished(cells(spec, there))
        results[name], left = agreeing(whole_rows, spec.reference)
        steps[name] = there.steps(spec)
        for line in left:
            print(f"{name}: {line}")
    judged = judge(claims, results)
    facts = {"data": setting.data, "seeds": setting.seeds, "fixed in": CLAIMS}
    page = report(judged, steps, facts)
    whole = all(steps[name] >= spec.budget for name, spec in specs.items())
    ours = setting.data == KITCHEN and setting.size is None and setting.seeds >= claims.seeds
    lost = PUBLISHED_CLAIMS.exists() and less(page, PUBLISHED_CLAIMS.read_text())
    ours = ours and not any(setting.changed(spec.config) for spec in specs.values())
    published = whole and ours and not lost
    path = PUBLISHED_CLAIMS if published else setting.own / PUBLISHED_CLAIMS.name
    write_text(path, page)
    for item in judged:
        print(f"{item.verdict:14} {item.claim.name}")
    print(f"wrote {path}")


def main(args: Sequence[str] | None = None) -> None:
    """Parse and run.

    Raises:
        SystemExit: With 2 on bad input or a failed run, after one line on standard error.
    """
    parser = argparse.ArgumentParser(prog="tables", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help=f"of a file in {SPECS}, or such a file, or `claims`")
    parser.add_argument("--data", default=KITCHEN, help="`kitchen`, or a folder of ActionSense")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each row")
    parser.add_argument("--budget", type=int, help="optimizer steps; what the table says")
    parser.add_argument("--size", type=int, help="pixels a side; what the table says")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--runs", type=Path, default=Path("runs/tables"), help="of the runs")
    parser.add_argument("--out", type=Path, help="in the place of configs/published/tables")
    parser.add_argument("--set", action="append", default=[], metavar="FLAG=VALUE")
    given = parser.parse_args(args)
    try:
        # A call that is ended takes its processes with it.
        with stoppable():
            overrides = dict(_override(text) for text in given.set)
            where = (given.budget, given.runs, given.size)
            setting = Setting(given.data, given.seeds, *where, overrides)
            if given.name == "claims":
                make_claims(setting)
                return
            file = (
                Path(given.name) if given.name.endswith(".yaml") else SPECS / f"{given.name}.yaml"
            )
            spec = read_spec(find_config(str(file)))
            make_table(spec, setting, given.jobs, given.out)
    except Stopped as stop:
        print(f"tables: {stop}", file=sys.stderr)
        raise SystemExit(128 + stop.number) from None
    except (UserError, OSError) as error:
        print(f"tables: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None


def _override(text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    if not found or not name:
        raise UserError(f"--set {text}: must be FLAG=VALUE, such as data.size=64")
    return name, yaml.safe_load(value)


if __name__ == "__main__":
    main()
