"""Signal processing of ActionSense's muscle and touch streams. Nothing here sees the future.

Letters: n samples, C channels.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, lfilter_zi

from data_modules.resample import Times

ADC_OUTLIER = 1024.0
# No sample for so long is a silence, seconds: nothing is taken to flow across it.
_SILENCE = 0.5


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


def taxel_baseline(readings: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each taxel reads untouched: its median over the recording.

    A constant of the glove, so taking it over the whole recording shows the model nothing of what
    comes; contacts are sparse, so the median is not moved by them.

    Args:
        readings: float32 (n, 32, 32) raw ADC, a sample of the recording; outliers are left out.

    Returns:
        float32 (32, 32) raw ADC; for a taxel that never read right, the glove's median
        (0 where no taxel did).
    """
    good = np.where(readings < ADC_OUTLIER, readings, np.nan)
    if not np.isfinite(good).any():
        return np.zeros(readings.shape[1:], np.float32)
    dead = ~np.isfinite(good).any(axis=0)
    median = np.nanmedian(np.where(dead, np.nanmedian(good), good), axis=0)
    return np.asarray(median, np.float32)
