"""The paper's claims on our data: each fixed in `configs/claims.yaml` before the runs.

    seeds: 3                             below which nothing is decided
    claims:
    - name: senses-beat-text
      says: ...
      table: table-1
      tests:
      - {metric: psnr, a: Ours multisensory, b: [UniSim verb], above: 0.0}

A test says that a - b lies above (or below) a margin, for each row b. With `below_share: 0.5` in
its place, a - b is less than that share of what all senses bring in that table: of a less a under
no action, where a is the table's reference. A margin in dB says nothing where it is more than that;
a claim that therefore cannot fail is printed as such. `fall` is the PSNR of the first predicted
frame less that of the last, `last` that of the last.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_app.report.table import bracket
from lightning_app.tables.collect import RowResult, difference, shortfall
from lightning_app.tables.spec import Spec
from mssim.errors import UserError
from mssim.metrics.hierarchy import Spread
from mssim.metrics.summary import UNIT_MEANS
from mssim.metrics.verdict import Comparison, Outcome, verdicts

NONE = "no-action"
"""The row that knows nothing of any sense."""
METRICS = (*UNIT_MEANS, "last", "fall")
RULES = (
    "A comparison is decided when its 95 % interval (seeds and units resampled together, widened "
    "by Student's t for few seeds) excludes the margin and all seeds agree on the side. A claim "
    "holds when every comparison is decided in its favour, and does not hold when any is decided "
    "against it; p-values are those of Holm's procedure over all claims of this page, run or not. "
    "*Robust* is an equivalence claim: the whole interval of the loss, less the share of what all "
    "senses bring (the reference less itself under no action, resampled along), must lie below 0, "
    "so that a wide one is never robust. A claim whose margin is more than there is to lose cannot "
    "fail, and is printed as such."
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
        share: Of a less a under no action; a - b is claimed to be less. There is no margin then.
    """

    metric: str
    a: str
    b: str
    margin: float
    above: bool
    share: float | None = None

    def __str__(self) -> str:
        if self.share is not None:
            bring = f"{self.share:g} ({self.a} - {NONE})"
            return f"{self.metric}: ({self.a} - {self.b}) - {bring} < 0"
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
        empty: Why it cannot fail; None if it can.
    """

    claim: Claim
    outcome: Outcome
    p: float
    comparisons: tuple[Comparison, ...]
    missing: tuple[str, ...]
    units: int
    empty: str | None = None

    @property
    def verdict(self) -> str:
        """As printed."""
        return self.outcome if self.empty is None else "cannot fail"


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
            if test.share is not None and test.a != spec.reference:
                fault = f"below_share is of {spec.reference}, the table's reference, not {test.a}"
                raise UserError(f"{file}: {claim.name}: {fault}")
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
    units, empty = [], []
    for claim in claims.claims:
        rows = results.get(claim.table, {})
        lacking = [n for t in claim.tests for n in (t.a, t.b) if n not in rows]
        missing.append(tuple(dict.fromkeys(lacking)))
        names = [] if lacking else list(dict.fromkeys(n for t in claim.tests for n in (t.a, t.b)))
        found = {name: rows[name] for name in names}
        compared.append(_compare(claim, found, claims.seeds) if found else ())
        units.append(len(found[names[0]].measured().unit) if found else 0)
        empty.append(_empty(claim, found) if found else None)
    judged = verdicts(compared)
    parts = zip(claims.claims, judged, compared, missing, units, empty, strict=True)
    return [Judged(c, outcome, p, x, m, n, e) for c, (outcome, p), x, m, n, e in parts]


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
        cells = [f"{item.claim.name}: {item.claim.says}", f"**{item.verdict}**"]
        if item.comparisons:
            seeds = len(item.comparisons[0].spread.by_seed)
            numbers = steps[item.claim.table], seeds, item.units
            cells += [f"{item.p:.4f}", *map(str, numbers)]
        else:
            cells += [""] * 4
        lines.append("| " + " | ".join(cells) + " |")
    for item in judged:
        lines += ["", f"## {item.claim.name} ({item.claim.table}): {item.verdict}", ""]
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
    head = [] if item.empty is None else [item.empty, ""]
    lines = [*head, "| claimed | a - b [95 %] | by seed | p | alone |", "|---|---:|---:|---:|---|"]
    for test, comparison in zip(item.claim.tests, item.comparisons, strict=True):
        interval = comparison.spread.interval()
        digits = 2 if "psnr" in test.metric or test.metric in ("last", "fall") else 4
        seeds = ", ".join(f"{x:+.{digits}f}" for x in comparison.spread.by_seed)
        ends = bracket([interval.low, interval.high], digits, signed=True)
        cells = [str(test), f"{interval.value:+.{digits}f} {ends}", seeds]
        cells += [f"{comparison.p_for:.4f}", comparison.outcome]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _compare(claim: Claim, rows: Mapping[str, RowResult], least: int) -> tuple[Comparison, ...]:
    return tuple(Comparison(_spread(t, rows), t.margin, t.above, least) for t in claim.tests)


def _spread(test: Inequality, rows: Mapping[str, RowResult]) -> Spread:
    a, b = rows[test.a], rows[test.b]
    if test.share is None:
        return difference(a.measured(), b.measured(), test.metric)
    return shortfall(a.measured(), b.measured(), a.measured(NONE), test.metric, test.share)


def _empty(claim: Claim, rows: Mapping[str, RowResult]) -> str | None:
    """Why a claim that little is lost cannot fail: its margin is more than there is to lose."""
    for test in claim.tests:
        if test.above or not test.margin > 0 or NONE not in rows[test.a].scores[0]:
            return None
        a = rows[test.a]
        bring = difference(a.measured(), a.measured(NONE), test.metric).interval()
        if not bring.high < test.margin:
            return None
    ends = bracket([bring.low, bring.high], 2, signed=True)
    return (
        f"It cannot fail: {test.margin:g} is more than all that the senses bring, "
        f"{test.a} - {NONE} = {bring.value:+.2f} {ends}."
    )


def _claim(table: Mapping[str, Any]) -> Claim:
    tests = tuple(test for row in table["tests"] for test in _tests(row))
    return Claim(str(table["name"]), str(table["says"]), str(table["table"]), tests)


def _tests(table: Mapping[str, Any]) -> list[Inequality]:
    sides = table.keys() & {"above", "below", "below_share"}
    if len(sides) != 1 or not table.keys() <= {"metric", "a", "b", *sides}:
        raise ValueError(f"{dict(table)}: needs metric, a, b and one of above, below, below_share")
    side = sides.pop()
    rows = table["b"] if isinstance(table["b"], list) else [table["b"]]
    margin, share = float(table[side]), None
    if side == "below_share":
        margin, share = 0.0, margin
        if not 0 < share < 1:
            raise ValueError(
                f"below_share: {share:g} must lie between 0 and 1; all can be lost at 1"
            )
    metric, a = str(table["metric"]), table["a"]
    return [Inequality(metric, a, b, margin, side == "above", share) for b in rows]
