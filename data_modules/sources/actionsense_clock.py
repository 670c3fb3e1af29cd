"""ActionSense's stamps, as devices really write them: strays, jumps and clocks that are off.

A stray is a stamp far from those of its neighbours; it is left out. A jump is a clock that goes on
elsewhere and stays there. Letters: n rows, in the order of the file.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.stats import theilslopes

from data_modules.resample import Index, Times

_NEIGHBOURS = 11
_STRAY = 1.0
# Senses are said to fall silent, and clocks to be longer than what they time, from here on.
_HOLE = 5.0
_SHARE = 0.05
_FALLEN_OUT = 2.0
# Frames and gaze reach the computer some 30 ms after they were taken. A least delay that is none,
# or beyond a frame at 10 Hz, is the eye tracker's clock being off.
TRAVEL = 0.03
_DELAYS = (-1 / 30, 0.1)
# More jumps, and the clock is of no use; fewer rows, and no drift can be told.
_MOST_JUMPS, _DRIFT_ROWS = 5, 200
# Devices of one recording are switched on and off within minutes.
_HOUR, _APART = 3600.0, 120.0


class ClockError(Exception):
    """Stamps that cannot be trusted; its text says why, without naming the stream."""


def longest_rise(stamps: Times, strict: bool) -> NDArray[np.bool_]:
    """The most rows that rise, so that one stamp far ahead costs itself and not all that follow.

    Args:
        stamps: float64 (n,), finite.
        strict: Are equal stamps no rise?

    Returns:
        bool (n,), True for the rows of a longest rising run.
    """
    steps = np.diff(stamps)
    if (steps > 0).all() or (not strict and (steps >= 0).all()):
        return np.ones(len(stamps), bool)
    place = bisect_left if strict else bisect_right
    ends: list[float] = []
    at: list[int] = []
    before = np.full(len(stamps), -1, np.int64)
    for row, stamp in enumerate(stamps.tolist()):
        length = place(ends, stamp)
        before[row] = at[length - 1] if length else -1
        ends[length : length + 1] = [stamp]
        at[length : length + 1] = [row]
    kept = np.zeros(len(stamps), bool)
    row = at[-1]
    while row >= 0:
        kept[row] = True
        row = int(before[row])
    return kept


def time_order(stamps: Times) -> tuple[Index, list[str]]:
    """Rows of a sense by time: those a little out of order sorted, strays left out.

    Where the clock jumps back and stays there, the rows of the shorter side are left out.

    Args:
        stamps: float64 (n,), finite.

    Returns:
        int64 (m,), rows in time order, and notes.
    """
    notes: list[str] = []
    kept = longest_rise(stamps, strict=False)
    if kept.all():
        return np.arange(len(stamps)), notes
    expected = _between(stamps, kept)
    far = ~kept & (np.abs(stamps - expected) > _STRAY)
    stray = far & (np.abs(stamps - median_filter(stamps, _NEIGHBOURS, mode="nearest")) > _STRAY)
    jumped = far & ~stray
    if stray.any():
        notes.append(
            f"{_count(stray)} far from their neighbours left out ({_first(stamps, stray)})"
        )
    if jumped.any():
        row = int(np.flatnonzero(jumped)[0])
        notes.append(
            f"the clock jumps by {abs(stamps[row] - expected[row]):.1f} s near row {row} and stays "
            f"there; {_count(jumped)} left out"
        )
    rows = np.flatnonzero(~far)
    late = int((np.diff(stamps[rows]) < 0).sum())
    if late:
        notes.append(f"stamps run backwards {late} times; rows sorted by time")
        rows = rows[np.argsort(stamps[rows], kind="stable")]
    return rows.astype(np.int64), notes


def frame_order(stamps: Times) -> tuple[NDArray[np.bool_], list[str]]:
    """Which frames of a video have a stamp that can be used; frames are never sorted.

    Args:
        stamps: float64 (n,), finite, n at least 1.

    Returns:
        bool (n,), whose stamps rise, and notes.

    Raises:
        ClockError: The clock jumps and stays there, or does not count seconds.
    """
    notes: list[str] = []
    kept = longest_rise(stamps, strict=True)
    usual = float(np.median(np.diff(stamps[kept]))) if kept.sum() > 1 else 0.0
    if usual > _HOLE:
        raise ClockError(f"frames are {usual:.1f} s apart, so these stamps are no seconds")
    if _longer(stamps, kept):
        kept = _without_ends(stamps, kept)
    off = ~kept
    if off.sum() > max(3.0, _SHARE * len(stamps)):
        steps = np.diff(stamps)
        row = int(np.abs(steps).argmax())
        cause = f": the clock jumps by {steps[row]:.1f} s at row {row + 1}"
        cause = cause if abs(steps[row]) > _STRAY else " or repeated"
        raise ClockError(f"{_count(off)} of {len(stamps)} out of order{cause}")
    if _longer(stamps, kept):
        rows = np.flatnonzero(kept)
        step = np.diff(stamps[rows])
        row = int(rows[int(step.argmax()) + 1])
        raise ClockError(
            f"lasts {stamps[rows[-1]] - stamps[rows[0]]:.0f} s, {_hole(stamps[rows]):.0f} s longer "
            f"than {len(rows)} frames do: the clock jumps by {step.max():.1f} s at row {row}"
        )
    if off.any():
        notes.append(
            f"{_count(off)} not after the one before or far ahead of the next skipped "
            f"({_first(stamps, off)})"
        )
    return kept, notes


def check_end(stamps: Times, rows: Index, others: Callable[[], float | None]) -> None:
    """Refuse a video whose clock jumped, and which for that ends later than all other devices.

    A camera that falls out for a while ends with the others.

    Args:
        stamps: float64 (n,), ascending.
        rows: int64 (n,), for the message.
        others: Tells when the last of the other devices ended, if there are any.

    Raises:
        ClockError: By about as much as it jumped, it ends later.
    """
    steps = np.diff(stamps)
    jump = float(steps[steps > _FALLEN_OUT].sum())
    end = others() if jump else None
    if end is None:
        return
    over = float(stamps[-1] - end)
    if abs(over - jump) < _slack(jump):
        row = int(rows[int(steps.argmax()) + 1])
        raise ClockError(
            f"the clock jumps by {jump:.1f} s at row {row} and ends {over:.1f} s after all other "
            f"devices"
        )


def capture_times(
    received: Times, taken: Times, good: NDArray[np.bool_]
) -> tuple[Times, list[str]]:
    """Stamps of capture on the computer's clock.

    Both stand in the file. Their least difference is how long a frame travels; where that is no
    time a frame can take, or changes for good, or drifts, the eye tracker's clock was off and is
    set right.

    Args:
        received: float64 (n,), the computer's.
        taken: float64 (n,), the eye tracker's.
        good: bool (n,), which rows have both; at least one.

    Returns:
        float64 (n,), and notes.
    """
    rows = np.flatnonzero(good)
    delay = (received - taken)[rows]
    # A computer that hangs receives late what was taken in time; only a clock that is set makes
    # the times of capture themselves jump.
    smooth, steps = (
        np.diff(median_filter(t, _NEIGHBOURS, mode="nearest")) for t in (delay, taken[rows])
    )
    set_anew = (steps < 0) | (steps > _STRAY)
    breaks = np.flatnonzero((np.abs(smooth) > _STRAY) & set_anew) + 1
    stuck = (np.diff(taken[rows]) == 0).mean() > 0.5 if len(rows) > 1 else False
    if stuck or len(breaks) > _MOST_JUMPS:
        what = "stands still" if stuck else f"jumps {len(breaks)} times"
        return received - TRAVEL, [f"the eye tracker's clock {what}; used the times of reception"]
    out, notes = taken.copy(), []
    for piece in np.split(np.arange(len(rows)), breaks):
        here = rows[piece]
        least, drift = _least_delay(delay[piece], taken[here])
        where = f" from row {here[0]} on" if len(breaks) else ""
        if abs(drift) > _DELAYS[1]:
            line = np.interp(taken[here], [taken[here].min(), taken[here].max()], [0.0, drift])
            out[here] += least - TRAVEL + line
            notes.append(f"the eye tracker's clock drifts by {drift:.2f} s{where}; set right")
        elif not _DELAYS[0] <= least <= _DELAYS[1]:
            out[here] += least - TRAVEL
            notes.append(f"the eye tracker's clock was {least - TRAVEL:.2f} s off{where}; shifted")
    return out, notes


def _least_delay(delay: Times, taken: Times) -> tuple[float, float]:
    """The least that rows (n,) take to arrive, at first, and by how much that changes to the end.

    Of 20 blocks, so that a computer that hangs for a while counts for little; a row that is far
    from the others does not count.
    """
    near = np.abs(delay - median_filter(delay, _NEIGHBOURS, mode="nearest")) <= _STRAY
    order = np.flatnonzero(near)[np.argsort(taken[near], kind="stable")]
    blocks = [b for b in np.array_split(order, 20) if len(b)]
    least = np.array([np.quantile(delay[b], 0.01) for b in blocks])
    middle = np.array([np.median(taken[b]) for b in blocks])
    overall = float(np.quantile(delay[order], 0.01))
    if len(order) < _DRIFT_ROWS:
        return overall, 0.0
    slope, start, _, _ = theilslopes(least, middle - taken[order[0]])
    drift = float(slope * (taken[order[-1]] - taken[order[0]]))
    return (float(start), drift) if abs(drift) > _DELAYS[1] else (overall, drift)


def hours_off(stamps: Times, start: float, stop: float) -> float:
    """Whole hours, in seconds, that a device's clock is ahead of the video's; 0 where they agree.

    Args:
        stamps: float64 (n,), ascending, of the device.
        start: Of the video.
        stop: Of the video.

    Raises:
        ClockError: The device and the video were never there at the same time.
    """
    ahead = np.array([stamps[0] - start, stamps[-1] - stop])
    outside = bool(stamps[-1] < start or stamps[0] > stop)
    for hours in sorted(np.unique(np.round(ahead / _HOUR)), key=abs):
        fits = np.abs(ahead - hours * _HOUR) < _APART
        if hours and (fits.any() if outside else fits.all()):
            return float(hours * _HOUR)
    if outside:
        apart = stamps[0] - stop if stamps[0] > stop else stamps[-1] - start
        side = "begins after the video ends" if apart > 0 else "ends before the video begins"
        raise ClockError(f"{side}, by {abs(apart):.0f} s: its clock is off, by no whole hours")
    return 0.0


def jumped_at(stamps: Times, stop: float) -> int | None:
    """The row from which on a sense's clock is ahead: it was silent, and ends that much too late.

    Args:
        stamps: float64 (n,), ascending.
        stop: Of the video.
    """
    steps = np.diff(stamps)
    jump = float(steps[steps > _HOLE].sum())
    if not jump or abs(stamps[-1] - stop - jump) >= _slack(jump):
        return None
    return int(np.flatnonzero(steps > _HOLE)[0]) + 1


def silences(stamps: Times) -> list[str]:
    """A note where a sense falls silent for seconds. `stamps` are float64 (n,), ascending."""
    steps = np.diff(stamps)
    holes = steps > _HOLE
    if not holes.any():
        return []
    row = int(steps.argmax())
    return [
        f"silent {int(holes.sum())} times for {steps[holes].sum():.0f} s in all, longest for "
        f"{steps[row]:.1f} s after row {row}"
    ]


def _slack(jump: float) -> float:
    """Devices of one recording stop within seconds of each other, not all at once."""
    return 1 + 0.1 * jump


def _hole(stamps: Times) -> float:
    """Seconds in which frames should have come and did not."""
    steps = np.diff(stamps)
    usual = float(np.median(steps))
    return float((steps[steps > 1 + 3 * usual] - usual).sum())


def _longer(stamps: Times, kept: NDArray[np.bool_]) -> bool:
    """Is the clock longer than its frames by more than gaps explain?"""
    times = stamps[kept]
    return len(times) > 1 and _hole(times) > max(_HOLE, _SHARE * (times[-1] - times[0]))


def _without_ends(stamps: Times, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`kept` without the few rows at either end that lie far from all others."""
    rows = np.flatnonzero(kept)
    few = max(1, int(_SHARE * len(rows)))
    far = np.flatnonzero(np.diff(stamps[rows]) > _HOLE) + 1
    start = max((int(f) for f in far if f <= few), default=0)
    stop = min((int(f) for f in far if f >= len(rows) - few), default=len(rows))
    trimmed = np.zeros_like(kept)
    trimmed[rows[start:stop]] = True
    return trimmed if trimmed.any() else kept


def _between(stamps: Times, kept: NDArray[np.bool_]) -> Times:
    """What stamps the rows should have, by the kept ones around them."""
    rows = np.flatnonzero(kept)
    return np.asarray(np.interp(np.arange(len(stamps)), rows, stamps[rows]), np.float64)


def _count(mask: NDArray[np.bool_]) -> str:
    count = int(mask.sum())
    return f"{count} row" if count == 1 else f"{count} rows"


def _first(stamps: Times, mask: NDArray[np.bool_]) -> str:
    row = int(np.flatnonzero(mask)[0])
    return f"row {row}: {stamps[row] - _between(stamps, ~mask)[row]:+.1f} s"
