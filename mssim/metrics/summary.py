"""From scores of frames to the numbers of a table.

Letters: W windows, P predicted frames, U units.

Every mean is taken within a unit first and then over units, so that a long episode weighs as much
as a short one. The headline PSNR pools the squared error of a unit before the logarithm: the mean
of per-frame PSNR belongs to frames that stand still.
"""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from mssim.errors import UserError
from mssim.metrics.collect import Scores
from mssim.metrics.intervals import (
    Floats,
    Interval,
    mean_interval,
    paired_interval,
    ratio_interval,
)

CAP = 50.0
"""dB that a single frame can reach; a frame without any error has no finite PSNR."""
FLOOR = 1e-10
"""Least mean squared error of a unit: 100 dB, where nothing differs at all."""
UNIT_MEANS = ("mse", "mae", "psnr", "psnr_frame", "ssim", "lpips")
CORRELATION = "gradient_correlation"
RATIOS = ("motion", "gradient")


@dataclass(frozen=True)
class UnitTable:
    """One row a unit.

    Attributes:
        unit: int64 (U,), sorted.
        means: By metric, (U,): mean over the unit's frames; `psnr` of the unit's pooled error;
            `gradient_correlation` of its predicted with its true image gradients, pooled over
            frames: 0 where the predicted frames have none, NaN where the true ones have none.
        sums: (U,) sums over frames, of `motion_predicted`, `motion_true` and so on.
        capped: Share of all frames at `CAP`.
        n_windows: Windows with at least one frame scored.
    """

    unit: NDArray[np.int64]
    means: dict[str, Floats]
    sums: dict[str, Floats]
    capped: float
    n_windows: int


@dataclass(frozen=True)
class Summary:
    """The numbers of one row.

    Attributes:
        intervals: By metric, the mean over units, or the ratio for `motion` and `gradient`.
        capped: Share of frames whose PSNR was capped at 50 dB.
        n_windows: Windows scored.
        n_units: Units scored.
    """

    intervals: dict[str, Interval]
    capped: float
    n_windows: int
    n_units: int


@dataclass(frozen=True)
class Drift:
    """A metric by predicted frame: mean over units and its interval, each (P,)."""

    value: Floats
    low: Floats
    high: Floats


def to_psnr(mse: Floats, floor: float = FLOOR) -> Floats:
    """10 log10(1 / MSE) in dB for values in [0, 1]."""
    return -10.0 * np.log10(np.maximum(mse, floor))


def per_unit(scores: Scores) -> UnitTable:
    """Bring frames down to units.

    Raises:
        UserError: No frame is there to score.
    """
    mask: NDArray[np.bool_] = scores.mask.cpu().numpy()
    kept: NDArray[np.bool_] = np.any(mask, axis=1)
    values = {k: v.cpu().numpy().astype(np.float64) for k, v in scores.values.items()}
    unit = scores.unit.cpu().numpy()[kept]
    if not unit.size:
        raise UserError("no frame was scored: all are masked; choose another split")
    units, index = np.unique(unit, return_inverse=True)
    group = _Group(index, len(units), mask[kept], kept)
    frame_psnr = to_psnr(values["mse"], 10 ** (-CAP / 10))
    direct = [k for k in UNIT_MEANS if k in values]
    means = {k: group.mean(values[k]) for k in direct}
    means["psnr"] = to_psnr(means["mse"])
    means["psnr_frame"] = group.mean(frame_psnr)
    sums = {k: group.sum(v) for k, v in values.items() if k.startswith("gradient_")}
    sums |= {k: group.following_sum(v) for k, v in values.items() if k.startswith("motion_")}
    if "gradient_shared" in sums:  # scores of earlier versions lack it
        means[CORRELATION] = _correlation(sums)
    capped = float((frame_psnr[mask] >= CAP - 1e-6).mean())
    return UnitTable(units, means, sums, capped, len(unit))


def summarise(table: UnitTable, level: float = 0.95, seed: int = 0) -> Summary:
    """Means over units, and pooled ratios of predicted to true, with intervals over units."""
    intervals = {k: mean_interval(v, level, seed) for k, v in table.means.items()}
    for name in RATIOS:
        top, bottom = table.sums[f"{name}_predicted"], table.sums[f"{name}_true"]
        intervals[name] = ratio_interval(top, bottom, level, seed)
    return Summary(intervals, table.capped, table.n_windows, len(table.unit))


def compare(a: UnitTable, b: UnitTable, level: float = 0.95, seed: int = 0) -> dict[str, Interval]:
    """Paired difference a - b of every mean that both have.

    Raises:
        UserError: The two did not score the same units.
    """
    if not np.array_equal(a.unit, b.unit):
        raise UserError(
            f"rows scored other units ({len(a.unit)} and {len(b.unit)}); "
            "score all rows on the same windows"
        )
    shared = [k for k in a.means if k in b.means]
    return {k: paired_interval(a.means[k], b.means[k], level, seed) for k in shared}


def by_frame(scores: Scores, metric: str) -> tuple[NDArray[np.int64], Floats]:
    """A metric by unit and predicted frame, NaN where a unit lacks the frame.

    Args:
        scores: Of frames.
        metric: One of `scores.values`, or `psnr` of the error pooled over a unit's windows.

    Returns:
        The units (U,), sorted, and their values (U, P).
    """
    mask: NDArray[np.bool_] = scores.mask.cpu().numpy()
    key = "mse" if metric == "psnr" else metric
    values = np.where(mask, scores.values[key].cpu().numpy().astype(np.float64), 0.0)
    units, index = np.unique(scores.unit.cpu().numpy(), return_inverse=True)
    total, count = np.zeros((2, len(units), mask.shape[1]))
    np.add.at(total, index, values)
    np.add.at(count, index, mask)
    mean = np.divide(total, count, out=np.full_like(total, nan), where=count > 0)
    return units, to_psnr(mean, 10 ** (-CAP / 10)) if metric == "psnr" else mean


def drift(scores: Scores, level: float = 0.95, seed: int = 0) -> Drift:
    """PSNR by predicted frame: error pooled over a unit's windows, then the mean over units."""
    points = []
    for frame in by_frame(scores, "psnr")[1].T:
        seen = frame[np.isfinite(frame)]
        points.append(mean_interval(seen, level, seed) if seen.size else Interval(nan, nan, nan))
    value, low, high = (np.array([getattr(p, k) for p in points]) for k in ("value", "low", "high"))
    return Drift(value, low, high)


def _correlation(sums: dict[str, Floats]) -> Floats:
    """sum(a b) / sqrt(sum(a^2) sum(b^2)) over the gradients of a unit, (U,).

    About zero, not about the mean: a picture's gradients sum to what its edges differ by.
    """
    scale = np.sqrt(sums["gradient_predicted"] * sums["gradient_true"])
    shared = sums["gradient_shared"]
    blank = np.where(sums["gradient_true"] > 0, 0.0, nan)
    return np.divide(shared, scale, out=blank, where=scale > 0)


@dataclass(frozen=True)
class _Group:
    """Sums over the scored frames of each unit; `kept` (W,) picks the windows that have any."""

    index: NDArray[np.int64]
    size: int
    mask: NDArray[np.bool_]
    kept: NDArray[np.bool_]

    def sum(self, values: Floats, mask: NDArray[np.bool_] | None = None) -> Floats:
        """(W, P) to (U,)."""
        rows = np.where(self.mask if mask is None else mask, values[self.kept], 0.0).sum(axis=1)
        return np.asarray(np.bincount(self.index, rows, minlength=self.size), np.float64)

    def mean(self, values: Floats) -> Floats:
        """(W, P) to (U,)."""
        count = np.bincount(self.index, self.mask.sum(axis=1), minlength=self.size)
        return np.asarray(self.sum(values) / count)

    def following_sum(self, values: Floats) -> Floats:
        """Of frames that follow a scored frame: motion out of a masked frame is none."""
        mask = self.mask.copy()
        mask[:, 1:] &= self.mask[:, :-1]
        return self.sum(values, mask)
