"""Intervals over seeds and units together: what a comparison of two trainings is worth.

Every seed is scored on the same units, so a resample draws seeds, and then units, which are the
same ones for all its seeds (two-way, or pigeonhole, bootstrap: Owen 2007). Were units drawn anew
for each seed, what makes a unit hard would be averaged away although it never changes.

Seeds are few. A bootstrap of n values has (n - 1) / n of their variance and knows no Student's t:
that of three seeds misses the truth one time in five. Deviations are therefore scaled, each way's
by sqrt(n / (n - 1)), and all by t / z at Satterthwaite's effective degrees of freedom.

Letters: S seeds, U units, R resamples.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import nan, sqrt

import numpy as np
from scipy import stats

from mssim.metrics.intervals import Floats, Interval

RESAMPLES = 10_000
LEVEL = 0.95
_SAME = 1e-12


@dataclass(frozen=True)
class Spread:
    """A mean over seeds and units, and how it might have come out.

    Attributes:
        value: The mean.
        deviations: (R,), sorted: resampled means minus `value`, before Student's t.
        freedom: Effective degrees of freedom; NaN where there is one number only.
        by_seed: (S,), the mean over units of each seed.
    """

    value: float
    deviations: Floats
    freedom: float
    by_seed: Floats

    def interval(self, level: float = LEVEL) -> Interval:
        """The interval; its ends are NaN where a single number was given."""
        low, high = self._ends(np.array([1 - level]))
        return Interval(self.value, float(low[0]), float(high[0]))

    def p_value(self, bound: float = 0.0, above: bool = True) -> float:
        """The least level at which the two-sided interval lies on one side of a bound.

        It can be no less than what R resamples can tell, 2 / R, nor than Student's t has it: far
        out, resamples of few seeds know only the same extreme seed, so that their quantiles stand
        still where t's tails go on. 1 where there is no interval.

        Args:
            bound: What is excluded.
            above: On which side of it the interval must lie.
        """
        # A level for every second resample, so that each end falls on one.
        levels = np.arange(1, len(self.deviations) // 2) * 2 / len(self.deviations)
        low, high = self._ends(levels)
        excluded = low > bound if above else high < bound
        resampled = float(levels[np.argmax(excluded)]) if excluded.any() else 1.0
        error = float(self.deviations.std())
        if not error:
            return resampled
        t = (self.value - bound) / error * (1 if above else -1)
        return max(resampled, min(1.0, 2 * float(stats.t.sf(t, self.freedom))))

    def _ends(self, alpha: Floats) -> tuple[Floats, Floats]:
        if np.isnan(self.freedom):
            return np.full_like(alpha, nan), np.full_like(alpha, nan)
        widening = stats.t.isf(alpha / 2, self.freedom) / stats.norm.isf(alpha / 2)
        low = np.quantile(self.deviations, alpha / 2)
        high = np.quantile(self.deviations, 1 - alpha / 2)
        return self.value + widening * low, self.value + widening * high


def spread(values: Floats, seed: int = 0, resamples: int = RESAMPLES) -> Spread:
    """The mean over seeds and units and its spread.

    Args:
        values: (S, U), for instance the difference between two rows by seed and unit.
        seed: Of the resampling.
        resamples: R.

    Raises:
        ValueError: There is nothing in it, or a value is not finite.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"values must be finite, seeds by units, got shape {values.shape}")
    mean, by_seed, by_unit = float(values.mean()), values.mean(axis=1), values.mean(axis=0)
    seeds, units = _weights(values.shape, seed, resamples)
    from_seeds, from_units = seeds @ by_seed - mean, units @ by_unit - mean
    both = ((seeds @ values) * units).sum(axis=1) - mean - from_seeds - from_units
    deviations = _factor(len(by_seed)) * from_seeds + _factor(len(by_unit)) * from_units + both
    if np.ptp(values) <= _SAME * max(1.0, abs(mean)):
        # All alike: rounding is no spread.
        deviations = np.zeros(resamples)
    return Spread(mean, np.sort(deviations), _freedom(by_seed, by_unit), by_seed)


def ratio_spread(top: Floats, bottom: Floats, seed: int = 0) -> Interval:
    """sum(top) / sum(bottom), each (S, U), with seeds and units resampled; NaN without a bottom.

    To first order, a ratio deviates as the mean of top - ratio * bottom does (delta method).
    """
    top, bottom = np.asarray(top, np.float64), np.asarray(bottom, np.float64)
    total = float(bottom.sum())
    if total <= 0:
        return Interval(nan, nan, nan)
    ratio, size = float(top.sum()) / total, bottom.size
    found = spread((top - ratio * bottom) * size / total, seed).interval()
    return Interval(ratio, ratio + found.low, ratio + found.high)


@lru_cache(maxsize=8)
def _weights(shape: tuple[int, ...], seed: int, resamples: int) -> tuple[Floats, Floats]:
    """How much of each seed (R, S) and of each unit (R, U) is in each resample."""
    rng = np.random.default_rng(seed)
    drawn = (rng.multinomial(n, np.full(n, 1 / n), size=resamples) / n for n in shape)
    seeds, units = drawn
    return seeds, units


def _factor(n: int) -> float:
    return sqrt(n / (n - 1)) if n > 1 else 1.0


def _freedom(by_seed: Floats, by_unit: Floats) -> float:
    """Satterthwaite (1946): of a sum of variances, each estimated from few values."""
    parts = [(float(x.var(ddof=1)) / len(x), len(x) - 1) for x in (by_seed, by_unit) if len(x) > 1]
    if not parts:
        return nan
    total = sum(v for v, _ in parts)
    if total <= 0:
        return float(max(n for _, n in parts))
    return total**2 / sum(v**2 / n for v, n in parts)
