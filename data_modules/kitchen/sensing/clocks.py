"""When the recorder's devices take a sample, and when it reaches the computer.

None of them keeps time well, and each in its own way. All times are seconds, float64, ascending, of
whatever epoch `start` has. Letters: n samples, T control ticks.
"""

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]

EMG_HZ = 162.0
TACTILE_HZ = 5.5
GAZE_HZ = 116.0
_TWIN = 17
_BURST = 0.05
_LATE = 0.003


def emg(rng: np.random.Generator, start: float, seconds: float) -> tuple[Times, Times]:
    """An armband's clock: nominally 200 Hz, really about 162 and jittery, by radio.

    Every 17th sample comes in one packet with the one before and gets its stamp.

    Args:
        rng: Of the jitter.
        start: First time.
        seconds: Length.

    Returns:
        (n,) stamps as stored, and (n,) when the samples were really taken.
    """
    taken = _jittered(rng, start, seconds, EMG_HZ, 0.3)
    stamps = taken.copy()
    twins = np.arange(1, len(stamps), _TWIN)
    stamps[twins] = stamps[twins - 1]
    return stamps, taken


def tactile(rng: np.random.Generator, start: float, seconds: float) -> Times:
    """A glove's clock, about 5.5 Hz: (n,) stamps."""
    return _jittered(rng, start, seconds, TACTILE_HZ, 0.1)


def xsens(rng: np.random.Generator, ticks: Times) -> Times:
    """The motion suit's clock, one sample a control tick, stamped up to 3 ms after it.

    Args:
        rng: Of the latency.
        ticks: (T,) control ticks, ascending.

    Returns:
        (T,) stamps, none before its tick, so that no sample comes before what it tells.
    """
    return np.maximum.accumulate(ticks + rng.uniform(0.0, _LATE, len(ticks)))


def gaze(rng: np.random.Generator, start: float, seconds: float) -> tuple[Times, Times]:
    """The eye tracker's clock, about 116 Hz; what was taken within 50 ms arrives together.

    Returns:
        (n,) when the samples were taken, and (n,) when they were received.
    """
    taken = _jittered(rng, start, seconds, GAZE_HZ, 0.1)
    return taken, (np.floor(taken / _BURST) + 1.0) * _BURST + 0.02


def video(rng: np.random.Generator, ticks: Times) -> tuple[Times, Times]:
    """The world camera's clock, one frame at each of some control ticks.

    Frames are stamped up to 3 ms after their ticks, the first one by all of that: a reader whose
    even clock starts at the first frame then never comes before a frame it should meet.

    Args:
        rng: Of the jitter.
        ticks: (n,) the ticks that are shown, ascending.

    Returns:
        (n,) when the frames were taken (`frame_timestamp`), and (n,) when they were received.
    """
    late = rng.uniform(0.0, _LATE, len(ticks))
    late[:1] = _LATE
    taken = ticks + late
    return taken, np.maximum.accumulate(taken + rng.uniform(0.03, 0.06, len(taken)))


def tick_of(ticks: Times, stamps: Times) -> NDArray[np.int64]:
    """Which control tick's state a sample tells of: the last one at or before it.

    Args:
        ticks: (T,) ascending, T at least 1.
        stamps: (n,).

    Returns:
        int64 (n,) in [0, T); 0 also before the first tick.
    """
    index = np.searchsorted(ticks, stamps, side="right") - 1
    return np.asarray(np.maximum(index, 0), np.int64)


def _jittered(
    rng: np.random.Generator, start: float, seconds: float, rate: float, jitter: float
) -> Times:
    """(n,) about 1 / rate apart, within [start, start + seconds); `jitter` in intervals."""
    count = int(seconds * rate)
    shift = np.clip(rng.normal(0.0, jitter, count), -3 * jitter, 3 * jitter)
    times = np.sort(start + (np.arange(count) + 0.5 + shift) / rate)
    return np.asarray(np.clip(times, start, start + seconds), np.float64)
