"""The paper's claims on our data: each fixed in `configs/claims.yaml` before the runs.

    seeds: 3                             below which nothing is decided
    claims:
    - name: senses-beat-text
      says: ...
      table: table-1
      tests:
      - {metric: psnr, a: Ours multisensory, b: [UniSim verb], above: 0.0}

A test says that a - b lies above (or below) a margin, for each row b. `fall` is the PSNR of the
first predicted frame less that of the last, `last` that of the last.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_app.report.table import bracket
from lightning_app.tables.collect import Measured, RowResult, difference
from lightning_app.tables.spec import Spec
from mssim.errors import UserError
from mssim.metrics.summary import UNIT_MEANS
from mssim.metrics.verdict import Comparison, Outcome, verdicts

METRICS = (*UNIT_MEANS, "last", "fall")
RULES = (
    "A comparison is decided when its 95 % interval (seeds and units resampled together, widened "
    "by Student's t for few seeds) excludes the margin and all seeds agree on the side. A claim "
    "holds when every comparison is decided in its favour, and does not hold when any is decided "
    "against it; p-values are those of Holm's procedure over all claims of this page, run or not. "
    "*Robust* is an equivalence claim: the whole interval of the loss must lie below the margin, "
    "so that a wide one is never robust."
)


@dataclass(frozen=True)
class Inequality:
    """One inequality: a - b is above, or below, a margin.

    Args:
        metric: Of `METRICS`.
        a: Name of a row.
        b: Name of a row.
        margin: Of the difference, in the metric's unit.
        above: On which side of the margin.
    """

    metric: str
    a: str
    b: str
    margin: float
    above: bool

    def __str__(self) -> str:
        sign = ">" if self.above else "<"
        return f"{self.metric}: {self.a} - {self.b} {sign} {self.margin:g}"


@dataclass(frozen=True)
class Claim:
    """A conjunction of inequalities between rows of one table.

    Args:
        name: Short.
        says: In words.
        table: Name of the spec.
        tests: What must all hold.
    """

    name: str
    says: str
    table: str
    tests: tuple[Inequality, ...]


@dataclass(frozen=True)
class Claims:
    """What was fixed before the runs.

    Args:
        seeds: Below which nothing is decided.
        claims: In order.
    """

    seeds: int
    claims: tuple[Claim, ...]

    def rows(self, table: str) -> set[str]:
        """The rows of a table that claims are about."""
        tests = [t for claim in self.claims if claim.table == table for t in claim.tests]
        return {name for test in tests for name in (test.a, test.b)}


@dataclass(frozen=True)
class Judged:
    """How a claim came out.

    Attributes:
        claim: Which.
        outcome: After Holm.
        p: After Holm.
        comparisons: One a test; empty where a row is missing.
        missing: Rows that are not finished.
        units: n of the comparisons.
    """

    claim: Claim
    outcome: Outcome
    p: float
    comparisons: tuple[Comparison, ...]
    missing: tuple[str, ...]
    units: int


def read_claims(file: Path, spec_of: Callable[[str], Spec]) -> Claims:
    """Read the claims, and see that their rows are rows.

    Args:
        file: Such as `configs/claims.yaml`.
        spec_of: A table by its name.

    Raises:
        UserError: It is not there, or not what it should be.
    """
    try:
        table = yaml.safe_load(file.read_text())
        found = Claims(int(table["seeds"]), tuple(_claim(c) for c in table["claims"]))
    except FileNotFoundError:
        raise UserError(f"{file} is not there; commands start in the house's folder") from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file}: not a list of claims ({' '.join(str(error).split())})") from None
    for claim in found.claims:
        spec = spec_of(claim.table)
        for test in claim.tests:
            if test.metric not in METRICS:
                known = ", ".join(METRICS)
                raise UserError(f"{file}: {claim.name}: metric {test.metric!r} is not of {known}")
            for row in (test.a, test.b):
                try:
                    spec.row(row)
                except UserError as error:
                    raise UserError(f"{file}: {claim.name}: {error}") from None
    return found


def judge(claims: Claims, results: Mapping[str, Mapping[str, RowResult]]) -> list[Judged]:
    """Hold the claims against the finished rows.

    Args:
        claims: What was fixed.
        results: The finished rows of each table.
    """
    compared, missing = [], []
    units = []
    for claim in claims.claims:
        rows = results.get(claim.table, {})
        lacking = [n for t in claim.tests for n in (t.a, t.b) if n not in rows]
        missing.append(tuple(dict.fromkeys(lacking)))
        names = [] if lacking else list(dict.fromkeys(n for t in claim.tests for n in (t.a, t.b)))
        measured = {name: rows[name].measured() for name in names}
        compared.append(_compare(claim, measured, claims.seeds) if measured else ())
        units.append(len(measured[names[0]].unit) if measured else 0)
    judged = verdicts(compared)
    parts = zip(claims.claims, judged, compared, missing, units, strict=True)
    return [Judged(c, outcome, p, x, m, n) for c, (outcome, p), x, m, n in parts]


def report(judged: Sequence[Judged], steps: Mapping[str, int], facts: Mapping[str, object]) -> str:
    """The page, as Markdown.

    Args:
        judged: The claims.
        steps: Optimizer steps of each row, by table.
        facts: To stand above.
    """
    lines = ["# Which of the paper's claims hold on data with known physics", ""]
    lines += [*(f"- {k}: {v}" for k, v in facts.items()), "", RULES, ""]
    lines += ["| claim | verdict | p (Holm) | steps | seeds | n |"]
    lines.append("|---|---|---:|---:|---:|---:|")
    for item in judged:
        cells = [f"{item.claim.name}: {item.claim.says}", f"**{item.outcome}**"]
        if item.comparisons:
            seeds = len(item.comparisons[0].spread.by_seed)
            numbers = steps[item.claim.table], seeds, item.units
            cells += [f"{item.p:.4f}", *map(str, numbers)]
        else:
            cells += [""] * 4
        lines.append("| " + " | ".join(cells) + " |")
    for item in judged:
        lines += ["", f"## {item.claim.name} ({item.claim.table}): {item.outcome}", ""]
        lines += _details(item)
    return "\n".join(lines) + "\n"


def less(page: str, than: str) -> bool:
    """Does a page judge a claim by fewer steps or seeds than another did, or not at all?"""
    here, there = _judged_by(page), _judged_by(than)
    return any(
        any(new < old for new, old in zip(here.get(name, (0, 0)), by, strict=True))
        for name, by in there.items()
    )


def _judged_by(page: str) -> dict[str, tuple[int, int]]:
    """Steps and seeds of each claim that was run."""
    line = r"^\| ([\w-]+): .*\| \*\*.*\*\* \| [\d.]+ \| (\d+) \| (\d+) \| \d+ \|$"
    found = re.findall(line, page, re.MULTILINE)
    return {name: (int(steps), int(seeds)) for name, steps, seeds in found}


def _details(item: Judged) -> list[str]:
    if not item.comparisons:
        lines = [f"Not run: {', '.join(item.missing)}.", ""]
        return lines + [f"- {test}" for test in item.claim.tests]
    lines = ["| claimed | a - b [95 %] | by seed | p | alone |", "|---|---:|---:|---:|---|"]
    for test, comparison in zip(item.claim.tests, item.comparisons, strict=True):
        interval = comparison.spread.interval()
        digits = 2 if "psnr" in test.metric or test.metric in ("last", "fall") else 4
        seeds = ", ".join(f"{x:+.{digits}f}" for x in comparison.spread.by_seed)
        ends = bracket([interval.low, interval.high], digits, signed=True)
        cells = [str(test), f"{interval.value:+.{digits}f} {ends}", seeds]
        cells += [f"{comparison.p_for:.4f}", comparison.outcome]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _compare(claim: Claim, rows: Mapping[str, Measured], least: int) -> tuple[Comparison, ...]:
    return tuple(
        Comparison(difference(rows[t.a], rows[t.b], t.metric), t.margin, t.above, least)
        for t in claim.tests
    )


def _claim(table: Mapping[str, Any]) -> Claim:
    tests = tuple(test for row in table["tests"] for test in _tests(row))
    return Claim(str(table["name"]), str(table["says"]), str(table["table"]), tests)


def _tests(table: Mapping[str, Any]) -> list[Inequality]:
    sides = table.keys() & {"above", "below"}
    if len(sides) != 1 or not table.keys() <= {"metric", "a", "b", "above", "below"}:
        raise ValueError(f"{dict(table)}: needs metric, a, b and one of above, below")
    side = sides.pop()
    rows = table["b"] if isinstance(table["b"], list) else [table["b"]]
    margin = float(table[side])
    return [Inequality(str(table["metric"]), table["a"], b, margin, side == "above") for b in rows]
