"""Two people's rows in one ActionSense stream: told from one person's by what a body cannot do.

Letters: n rows in time order, d numbers a row.
"""

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from data_modules.resample import Times
from data_modules.sources.actionsense_hdf5 import Stream

Mask = NDArray[np.bool_]

_WINDOW = 15
# Of the rows in a window: every second one, if the two come in any order within a pair.
_SHARE = 0.4
# cm from one message to the next; 6 m/s at 120 messages a second.
_LEAP = 5.0
# An armband gives at most 200 rows a second, counted over seconds since radio comes in bursts.
_ARMBAND_ROWS, _ARMBAND_SECONDS = 250.0, 5.0


def mixed_rows(stream: Stream) -> Mask:
    """Which rows of a stream lie in a stretch that holds another person's, too: bool (n,).

    Positions of a suit leap to and fro between two places. Gloves differ in every taxel, which
    shows where rows share a stamp. Two armbands give more rows than one can.
    """
    if stream.name.startswith("myo"):
        return _too_many(stream.stamps)
    index = np.arange(len(stream.stamps))
    if len(index) < _WINDOW:
        return np.zeros(len(index), bool)
    if stream.name in ("xsens-segments/position_cm", "xsens-CoM/position_cm"):
        whole = len(stream.sample) > 1
        values = stream.take(index, np.array([0])) if whole else stream.take(index)
        return _alternating(rearrange(values, "n ... -> n (...)"), 5.0, _LEAP)
    twins = np.diff(stream.stamps) == 0
    if stream.name.startswith("tactile") and twins.mean() > _SHARE / 2:
        values = rearrange(stream.take(index), "n ... -> n (...)")
        return _alternating(values, 1.4, 0.0)
    return np.zeros(len(index), bool)


def stretches(stamps: Times, mask: Mask) -> list[tuple[float, float]]:
    """Where rows (n,) of a mask follow each other: first and last stamp of each such run."""
    rows = np.flatnonzero(mask)
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if len(rows) else []
    return [(float(stamps[run[0]]), float(stamps[run[-1]])) for run in runs]


def _alternating(values: NDArray[np.float64], ratio: float, least: float) -> Mask:
    """Stretches in which the next row (n, d) is further than the ones after it."""
    steps = [np.linalg.norm(values[k:] - values[:-k], axis=1) for k in (1, 2, 3)]
    count = len(steps[2])
    returned = np.minimum(steps[1][:count], steps[2])
    leaps = (steps[0][:count] > least) & (steps[0][:count] > ratio * returned)
    mask = np.zeros(len(values), bool)
    if leaps.any():
        share = np.convolve(leaps, np.ones(_WINDOW) / _WINDOW, mode="same")
        for row in np.flatnonzero(share >= _SHARE):
            mask[max(0, row - _WINDOW // 2) : row + _WINDOW // 2 + 3] = True
    return mask


def _too_many(stamps: Times) -> Mask:
    """Stretches of stamps (n,) in which more rows come than from one armband."""
    starts = np.searchsorted(stamps, stamps - _ARMBAND_SECONDS)
    seconds = np.maximum(stamps - stamps[starts], _ARMBAND_SECONDS / 2)
    mask = np.zeros(len(stamps), bool)
    for row in np.flatnonzero((np.arange(len(stamps)) - starts) / seconds > _ARMBAND_ROWS):
        mask[starts[row] : row + 1] = True
    return mask
