"""Signal processing of ActionSense's muscle and touch streams. Nothing here sees the future.

Letters: n samples, C channels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, lfilter_zi

from data_modules.resample import Times

ADC_OUTLIER = 1024.0
# No sample for so long is a silence, seconds: nothing is taken to flow across it.
_SILENCE = 0.5
_LONG_CONTACT = 0.5
# Untouched taxels of one glove lie within some 40 ADC of each other (554 to 606 on real gloves).
_NEVER_FREE = 60.0
_LEAST_NOISE = 0.5


def sample_rate(stamps: Times) -> float:
    """Samples a second while samples come: their number over the time that they take.

    Radio packets make stamps bunch, so 1 / median(dt) would be far too high; silences and a stray
    stamp are no time that samples take, so (n - 1) / (t[-1] - t[0]) would be far too low.

    Args:
        stamps: float64 (n,) seconds, ascending, at least two of them different.
    """
    steps = np.diff(stamps)
    flowing = steps <= max(_SILENCE, float(np.median(steps)))
    return float(flowing.sum() / max(steps[flowing].sum(), 1e-9))


def emg_envelope(
    values: NDArray[np.float64], stamps: Times, cutoff: float
) -> tuple[NDArray[np.float64], Times]:
    """Rectify and low-pass: how hard each muscle works.

    Samples with the same stamp are averaged after rectifying (before, they would cancel). The
    filter is a second-order Butterworth run forward only, started at rest on the first sample and
    on the first one after a silence; it lags by about 0.23 / cutoff seconds, which is the price of
    not seeing the future. It overshoots a step by about 4 %, so the envelope of a silenced muscle
    may dip a little below zero. Where the radio is too weak for the cut-off, there is no envelope.

    Args:
        values: float64 (n, C), raw, mean near 0, finite.
        stamps: float64 (n,) seconds, ascending, not all the same.
        cutoff: Cut-off in Hz, below half the sample rate.

    Returns:
        float64 (m, C) envelope in raw units, NaN where samples are too few, and float64 (m,)
        distinct stamps.
    """
    distinct, first, count = np.unique(stamps, return_index=True, return_counts=True)
    level = np.add.reduceat(np.abs(values), first, axis=0) / count[:, None]
    rate = sample_rate(distinct)
    b, a = butter(2, cutoff, fs=rate)
    rest = lfilter_zi(b, a)[:, None]
    strong = _recent_rate(distinct) >= max(2 * cutoff, rate / 4)
    anew = np.diff(distinct) > _SILENCE
    edges = np.flatnonzero(np.diff(strong) | anew) + 1
    envelope = np.full_like(level, np.nan)
    for run in np.split(np.arange(len(distinct)), edges):
        if strong[run[0]]:
            envelope[run], _ = lfilter(b, a, level[run], axis=0, zi=rest * level[run[:1]])
    return envelope, np.asarray(distinct, np.float64)


def _recent_rate(stamps: Times) -> Times:
    """Samples a second of the last half second, (n,); infinite where too few came to tell."""
    here = np.arange(len(stamps))
    anew = np.concatenate([[True], np.diff(stamps) > _SILENCE])
    start = np.maximum.accumulate(np.where(anew, here, 0))
    start = np.maximum(start, np.searchsorted(stamps, stamps - _SILENCE))
    seconds = np.maximum(stamps - stamps[start], 1e-9)
    told = (here - start >= 5) | (seconds > 0.6 * _SILENCE)
    return np.asarray(np.where(told, (here - start) / seconds, np.inf), np.float64)


def hold_outliers(
    block: NDArray[np.float32], before: NDArray[np.float32]
) -> tuple[NDArray[np.float32], int]:
    """Replace taxel readings of 1024 and more, which are transmission errors, by the one before.

    Args:
        block: float32 (n, 32, 32) raw ADC, in time order.
        before: float32 (32, 32), the last good reading before the block.

    Returns:
        float32 (n, 32, 32), and how many readings were replaced.
    """
    bad = block >= ADC_OUTLIER
    if not bad.any():
        return block, 0
    padded = np.concatenate([before[None], block])
    good = np.concatenate([np.ones_like(bad[:1]), ~bad])
    here = np.arange(len(padded))[:, None, None]
    source = np.maximum.accumulate(np.where(good, here, 0), axis=0)
    return np.take_along_axis(padded, source, axis=0)[1:], int(bad.sum())


@dataclass(frozen=True)
class Tare:
    """What a glove reads untouched.

    Attributes:
        baseline: float32 (32, 32) raw ADC.
        contact: float64 (32, 32), the share of readings in which a taxel is pressed.
        borrowed: bool (32, 32), taxels that were never seen unloaded; theirs is the glove's median.
    """

    baseline: NDArray[np.float32]
    contact: NDArray[np.float64]
    borrowed: NDArray[np.bool_]

    def notes(self) -> list[str]:
        """What was used where contact is long; nothing where it is not."""
        long = (self.contact > _LONG_CONTACT) & ~self.borrowed
        notes = []
        if long.any():
            notes.append(
                f"long contact: {int(long.sum())} taxels are pressed in up to "
                f"{100 * self.contact[long].max():.0f} % of their readings; tared by the unloaded "
                f"rest"
            )
        if self.borrowed.any():
            notes.append(
                f"{int(self.borrowed.sum())} taxels read over {_NEVER_FREE:.0f} above the glove's "
                f"median throughout or never right, so never unloaded; tared by that median"
            )
        return notes


def taxel_tare(readings: NDArray[np.float32]) -> Tare:
    """What each taxel reads untouched: the median of its lowest readings that noise explains.

    Contact only ever raises a reading, so the unloaded ones are the lowest: those within 6 standard
    deviations of noise above a low quantile. A median of all would be that of contact where a taxel
    is pressed for more than half of the time. A constant of the glove, so taking it over the whole
    recording shows the model nothing of what comes.

    Args:
        readings: float32 (n, 32, 32) raw ADC, a sample of the recording; outliers are left out.
    """
    right = np.isfinite(readings) & (readings < ADC_OUTLIER)
    good = np.where(right, readings, np.nan).astype(np.float32)
    dead = np.asarray(~np.isfinite(good).any(axis=0), bool)
    if dead.all():
        zero = np.zeros(dead.shape)
        return Tare(zero.astype(np.float32), zero, dead)
    good = np.where(dead, np.nanmedian(good), good)
    noise = _noise(good)
    baseline = np.full(dead.shape, np.nan)
    # A few readings that dip are no baseline: then the quantile is too low.
    for low in (0.02, 0.05, 0.1):
        free = good <= np.nanquantile(good, low, axis=0) + 6 * noise
        enough = free.sum(axis=0) >= 0.05 * np.isfinite(good).sum(axis=0)
        lowest = np.nanmedian(np.where(free, good, np.nan), axis=0)
        baseline = np.where(np.isnan(baseline) & enough, lowest, baseline)
    glove = float(np.nanmedian(baseline))
    borrowed = np.asarray(dead | ~(baseline <= glove + _NEVER_FREE), bool)
    baseline = np.where(borrowed, glove, baseline)
    contact = (good > baseline + 6 * noise).sum(axis=0) / np.isfinite(good).sum(axis=0)
    return Tare(baseline.astype(np.float32), np.where(dead, 0.0, contact), borrowed)


def _noise(good: NDArray[np.float32]) -> NDArray[np.float64]:
    """Standard deviation of each taxel untouched, (32, 32), from changes between readings.

    Contact comes and goes in few taxels at once, so the glove's median taxel tells noise alone;
    single ones may be up to three times as noisy.
    """
    if len(good) < 2:
        return np.full(good.shape[1:], _LEAST_NOISE)
    change = np.abs(np.diff(good, axis=0))
    single = np.nanmedian(np.where(np.isfinite(change).any(axis=0), change, 0.0), axis=0)
    # Of normal noise: median absolute difference = 0.6745 sqrt(2) sigma.
    single = single / (0.6745 * np.sqrt(2))
    glove = max(float(np.median(single)), _LEAST_NOISE)
    return np.asarray(np.clip(single, glove, 3 * glove), np.float64)
