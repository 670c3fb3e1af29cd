"""From the scores of a row's tests, one a seed, to its numbers.

Letters: S seeds, U units, P predicted frames.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_app.report.scores import read_scores
from lightning_app.report.table import MODEL, read_heading
from lightning_app.tables.identity import commits, short
from lightning_app.tables.runs import Cell
from mssim.errors import UserError
from mssim.metrics.collect import Scores
from mssim.metrics.hierarchy import Spread, ratio_spread, spread
from mssim.metrics.intervals import Floats, Interval
from mssim.metrics.summary import RATIOS, UNIT_MEANS, by_frame, per_unit

UNKNOWN = "unknown"
DISTANCES = ("fvd", "kvd")
"""Between all clips of a row and the true ones: no unit has its own."""


@dataclass(frozen=True)
class Measured:
    """One row's scores under all seeds, over the same units.

    Attributes:
        unit: int64 (U,).
        means: By metric, (S, U). Beside those of a table: `last`, PSNR of the last predicted frame,
            and `fall`, that of the first less that of the last.
        sums: By name, (S, U) sums over frames, of which ratios are made.
        curves: By metric, (S, U, P); units that lack a frame are left out.
        n_windows: Windows of each seed.
    """

    unit: NDArray[np.int64]
    means: dict[str, Floats]
    sums: dict[str, Floats]
    curves: dict[str, Floats]
    n_windows: int

    @property
    def seeds(self) -> int:
        """S."""
        return len(next(iter(self.means.values())))

    def intervals(self) -> dict[str, Interval]:
        """Of each metric of a table."""
        found = {k: _interval(v) for k, v in self.means.items() if k in UNIT_MEANS}
        for name in RATIOS:
            top, bottom = self.sums[f"{name}_predicted"], self.sums[f"{name}_true"]
            found[name] = ratio_spread(top, bottom)
        return found


@dataclass(frozen=True)
class RowResult:
    """What a finished row's tests left.

    Attributes:
        cells: One a seed.
    """

    cells: tuple[Cell, ...]

    @cached_property
    def scores(self) -> list[dict[str, Scores]]:
        """By way of predicting (`model`, `copy-last-frame`, ...), for each seed."""
        return [read_scores(cell.folder / "scores.npz") for cell in self.cells]

    def measured(self, way: str = MODEL) -> Measured:
        """The scores of one way of predicting.

        Raises:
            UserError: The seeds were not scored on the same units.
        """
        return measure([scores[way] for scores in self.scores])

    def distance(self, name: str, way: str = MODEL) -> float | str:
        """FVD or KVD, the mean over seeds, or why there is none."""
        found = [cell[name] for cell in self._table(way) if name in cell]
        missing = [x for x in found if not isinstance(x, float | int)]
        if missing or not found:
            return next((str(x) for x in missing if x is not None), "not measured")
        return float(np.mean(found))

    def missing(self, metric: str, way: str = MODEL) -> str:
        """Why there is no such number."""
        found = self._table(way)[0].get(metric)
        return found if isinstance(found, str) else "not measured"

    @property
    def hardware(self) -> str:
        """What it was tested on."""
        return self.told("hardware") or "unknown"

    @cached_property
    def made(self) -> dict[str, str]:
        """Commit, fingerprint of the code, global batch and digests of the data."""
        found: dict[str, list[str]] = {}
        for cell in self.cells:
            run = cell.run.what
            places = (cell.run.folder, cell.folder)
            found.setdefault("commit", []).extend(c for p in places for c in commits(p))
            for key, value in (
                ("fingerprint", short(run["code"] | cell.what["code"])),
                ("batch", run["batch"]),
                ("train_data", run["data"] or UNKNOWN),
                ("test_data", cell.what["data"] or UNKNOWN),
            ):
                found.setdefault(key, []).append(str(value))
        return {k: " and ".join(dict.fromkeys(v)) or UNKNOWN for k, v in found.items()}

    def told(self, key: str) -> str:
        """What its tests have above their numbers under that name; empty where none has it."""
        found = {heading[key] for heading in self._headings if key in heading}
        return " and ".join(sorted(found))

    @cached_property
    def _headings(self) -> list[dict[str, str]]:
        return [read_heading(cell.folder) for cell in self.cells]

    def _table(self, way: str) -> list[dict[str, Any]]:
        tables = [_read(cell.folder / "metrics.json") for cell in self.cells]
        return [next(row for row in table if row["row"] == way) for table in tables]


def finished(rows: Mapping[str, Sequence[Cell]]) -> dict[str, RowResult]:
    """The rows whose tests are all done, in order."""
    whole = {name: cells for name, cells in rows.items() if all(cell.done for cell in cells)}
    return {name: RowResult(tuple(cells)) for name, cells in whole.items()}


def agreeing(
    rows: Mapping[str, RowResult], reference: str | None
) -> tuple[dict[str, RowResult], list[str]]:
    """The rows that may stand in one table, and a line for each that may not.

    Seeds of a row are of the same data, code and batch. Rows that are compared with a reference are
    of its data; without one, each may be of its own.

    Args:
        rows: The finished ones.
        reference: Name of the row that all others are compared with, if any.
    """
    kept: dict[str, RowResult] = {}
    left = []
    seen = [_data(row) for row in rows.values()]
    wanted = max(seen, key=seen.count, default="")
    if reference is not None and reference in rows:
        wanted = _data(rows[reference])
    for name, row in rows.items():
        odd = [k for k, v in row.made.items() if " and " in v and k != "commit"]
        if odd:
            said = ", ".join(f"{k} {row.made[k]}" for k in odd)
            left.append(f"{name}: left out, its seeds differ in what must be equal ({said})")
        elif reference is not None and _data(row) != wanted:
            left.append(
                f"{name}: left out, it is of {_data(row)}; the table's rows are of {wanted}"
            )
        else:
            kept[name] = row
    return kept, left


def _data(row: RowResult) -> str:
    return f"training data {row.made['train_data']}, test data {row.made['test_data']}"


def measure(scores: Sequence[Scores]) -> Measured:
    """Bring the scores of one row under several seeds to units.

    Raises:
        UserError: The seeds were not scored on the same units.
    """
    tables = [per_unit(s) for s in scores]
    unit = tables[0].unit
    if any(not np.array_equal(t.unit, unit) for t in tables):
        raise UserError("seeds were scored on other units; remove their tests, and test again")
    # A seed that was tested before LPIPS had its weights lacks it; so does the row, then.
    shared = [k for k in tables[0].means if all(k in t.means for t in tables)]
    means = {k: np.stack([t.means[k] for t in tables]) for k in shared}
    sums = {k: np.stack([t.sums[k] for t in tables]) for k in tables[0].sums}
    names = ["psnr", "mse", *(k for k in ("lpips",) if k in shared)]
    curves = {k: np.stack([by_frame(s, k)[1] for s in scores]) for k in names}
    means["last"] = curves["psnr"][:, :, -1]
    means["fall"] = curves["psnr"][:, :, 0] - means["last"]
    return Measured(unit, means, sums, curves, tables[0].n_windows)


def difference(a: Measured, b: Measured, metric: str) -> Spread:
    """A - b, paired over seeds and units.

    Raises:
        UserError: A row lacks the metric, or the two were not scored on the same units and seeds.
    """
    if metric not in a.means or metric not in b.means:
        raise UserError(f"metric: {metric!r} was not measured; there are {', '.join(a.means)}")
    if not np.array_equal(a.unit, b.unit) or a.seeds != b.seeds:
        raise UserError("rows were scored on other units or seeds, so they cannot be paired")
    return spread(_whole(a.means[metric] - b.means[metric]))


def shortfall(a: Measured, b: Measured, none: Measured, metric: str, share: float) -> Spread:
    """(A - b) - share (a - none): what b lacks, less a share of what a has over nothing, paired.

    Raises:
        UserError: As `difference`.
    """
    difference(a, b, metric), difference(a, none, metric)
    top, low, nothing = (row.means[metric] for row in (a, b, none))
    return spread(_whole((top - low) - share * (top - nothing)))


def curve(values: Floats) -> list[Interval]:
    """A metric (S, U, P) by predicted frame."""
    return [_interval(frame) for frame in np.moveaxis(values, -1, 0)]


def _interval(values: Floats) -> Interval:
    kept = _whole(values)
    return spread(kept).interval() if kept.size else Interval(nan, nan, nan)


def _whole(values: Floats) -> Floats:
    """(S, U) without units that lack a number."""
    return values[:, np.isfinite(values).all(axis=0)]


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        table = json.loads(path.read_text())
        return list(table)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}; remove its folder, and test again") from None
