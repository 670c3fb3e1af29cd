"""Intervals over units: activity instances or episodes, never overlapping windows.

Letters: U units.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

RESAMPLES = 10_000
FEW = 20
"""Under this many units the bootstrap covers too little, and Student's t takes its place."""


@dataclass(frozen=True)
class Interval:
    """A value and the interval around it; `low` and `high` are NaN where the units are too few."""

    value: float
    low: float
    high: float


def mean_interval(values: Floats, level: float = 0.95, seed: int = 0) -> Interval:
    """The mean over units and its interval.

    BCa bootstrap (Efron 1987) from 20 units on, Student's t below. One unit gives no interval.
    Units that are all equal give an interval of no width, which is all that they can tell.

    Args:
        values: (U,), one number a unit.
        level: Coverage aimed at.
        seed: Of the resampling.

    Raises:
        ValueError: There are no units.
    """
    values = np.asarray(values, np.float64)
    if values.size == 0:
        raise ValueError("an interval needs at least one unit")
    mean = float(values.mean())
    if values.size == 1 or not np.isfinite(values).all():
        return Interval(mean, nan, nan)
    if np.ptp(values) <= 1e-12 * max(1.0, abs(mean)):
        return Interval(mean, mean, mean)
    if values.size < FEW:
        half = stats.t.ppf((1 + level) / 2, values.size - 1) * stats.sem(values)
        return Interval(mean, float(mean - half), float(mean + half))
    low, high = _bca((values,), np.mean, level, seed)
    return Interval(mean, low, high)


def paired_interval(a: Floats, b: Floats, level: float = 0.95, seed: int = 0) -> Interval:
    """The mean of a - b over the same units (U,), as `mean_interval` of the differences.

    Raises:
        ValueError: The units are not the same number.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"pairs need the same units, got {a.shape} and {b.shape}")
    return mean_interval(a - b, level, seed)


def ratio_interval(top: Floats, bottom: Floats, level: float = 0.95, seed: int = 0) -> Interval:
    """sum(top) / sum(bottom) with units resampled as pairs, BCa; NaN where under two have a bottom.

    Args:
        top: (U,), one sum a unit.
        bottom: (U,), not negative.
        level: Coverage aimed at.
        seed: Of the resampling.
    """
    top, bottom = np.asarray(top, np.float64), np.asarray(bottom, np.float64)
    total = float(bottom.sum())
    if total <= 0:
        return Interval(nan, nan, nan)
    ratio = float(top.sum()) / total
    if (bottom > 0).sum() < 2:
        return Interval(ratio, nan, nan)
    if np.ptp(top - ratio * bottom) <= 1e-12 * max(1.0, total):
        return Interval(ratio, ratio, ratio)

    def statistic(x: Floats, y: Floats, axis: int) -> Any:
        below = y.sum(axis=axis)
        # A resample of units that all stand still has no ratio: its interval has no upper end.
        return np.divide(x.sum(axis=axis), below, out=np.full_like(below, np.inf), where=below > 0)

    with np.errstate(invalid="ignore"):
        low, high = _bca((top, bottom), statistic, level, seed)
    return Interval(ratio, low, high)


def spread_interval(value: float, replicates: Floats, level: float = 0.95) -> Interval:
    """`value` with the spread of its bootstrap replicates, moved so that their mean lies on it.

    For distances between distributions, whose replicates are all too large: a resample repeats
    clips, so it is a smaller sample, and the bias of these distances grows as samples shrink.
    """
    quantiles = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(replicates - replicates.mean() + value, quantiles)
    return Interval(value, float(low), float(high))


def _bca(
    data: tuple[Floats, ...], statistic: Callable[..., Any], level: float, seed: int
) -> tuple[float, float]:
    result = stats.bootstrap(
        data,
        statistic,
        n_resamples=RESAMPLES,
        batch=max(1, 4_000_000 // data[0].size),
        vectorized=True,
        paired=len(data) > 1,
        confidence_level=level,
        method="BCa",
        random_state=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
