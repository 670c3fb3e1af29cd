"""Bringing streams to one clock without seeing the future: hold the latest sample.

Interpolation choice: none. At every time the value is that of the last sample at or before it, so a
row never holds what was sensed after it; linear interpolation would.

Letters: N frames at times tau_0..tau_{N-1}, K samples a frame interval.
"""

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
Index = NDArray[np.int64]


def clock_times(first: float, last: float, rate: float) -> Times:
    """The clock tau_i = first + i / rate, up to `last`.

    Args:
        first: tau_0, seconds.
        last: End in seconds, itself included; at least `first`.
        rate: Frames a second, above 0.

    Returns:
        float64 (N,) seconds, N at least 1.
    """
    # Epoch seconds in float64 are 0.24 microseconds apart: a tick that is past `last` by no more
    # than rounding is still on it.
    count = int(np.floor((last - first) * rate + 1e-5)) + 1
    return np.asarray(first + np.arange(count) / rate, np.float64)


def sub_times(times: Times, interval: float, samples: int) -> Times:
    """K evenly spaced times in each interval (tau_{t-1}, tau_t], the last of them tau_t itself.

    Args:
        times: float64 (N,), seconds, `interval` apart.
        interval: Seconds between frames; also the length of the interval before tau_0.
        samples: K, at least 1.

    Returns:
        float64 (N, K) seconds: tau_t - (K - k) / K * interval, k = 1..K.
    """
    back = interval * (samples - np.arange(1, samples + 1)) / samples
    return np.asarray(times[:, None] - back[None, :], np.float64)


def last_at_or_before(stamps: Times, times: Times) -> Index:
    """Which sample holds at each time.

    Args:
        stamps: float64 (n,) seconds, ascending; of equal stamps the last one counts.
        times: float64 of any shape, seconds.

    Returns:
        int64, shape of `times`: index into `stamps`, or -1 where no sample has come yet.
    """
    return np.asarray(np.searchsorted(stamps, times, side="right") - 1, np.int64)


def is_fresh(stamps: Times, index: Index, times: Times, limit: float) -> NDArray[np.bool_]:
    """Is the held sample at most `limit` seconds old?

    Args:
        stamps: float64 (n,) seconds, n at least 1.
        index: int64 of any shape, from `last_at_or_before`.
        times: float64, same shape, seconds.
        limit: Seconds.

    Returns:
        bool, same shape; False where there is no sample.
    """
    age = times - stamps[np.maximum(index, 0)]
    return np.asarray((index >= 0) & (age <= limit), bool)


def frozen_frames(
    stamps: Times, held: Index, times: Times, limit: float, interval: float
) -> NDArray[np.bool_]:
    """Where a clock shows a frame again because no other came for longer than `limit`.

    Args:
        stamps: float64 (n,) seconds, ascending, of the frames.
        held: int64 (N,), from `last_at_or_before`, none negative.
        times: float64 (N,), seconds.
        limit: Seconds.
        interval: Of the clock, seconds.

    Returns:
        bool (N,); the first time that such a frame is shown is not among them.
    """
    lasts = np.append(np.diff(stamps), np.inf)[held]
    return np.asarray((lasts > limit) & (times - stamps[held] > interval), bool)
