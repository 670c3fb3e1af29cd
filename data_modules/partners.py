"""Whose actions a window gets in the row `shuffled-actions`: a seeded derangement over units."""

import numpy as np
from numpy.typing import NDArray

from mssim.errors import UserError


def partners(unit: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """For each window, another unit's window of the same rank in it: int64 (n,).

    Args:
        unit: Unit of each window, (n,).
        seed: Of the derangement.

    Raises:
        UserError: There is only one unit.
    """
    names = np.unique(unit)
    if len(names) < 2:
        raise UserError(
            "shuffled-actions needs windows of two units at least; "
            "name more recordings in the split or raise data.limit"
        )
    order = np.random.default_rng(seed).permutation(names)
    # One cycle through a random order: nobody keeps his own.
    other = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
    windows = {u: np.flatnonzero(unit == u) for u in names.tolist()}
    out = np.empty(len(unit), np.int64)
    for mine, yours in other.items():
        theirs = windows[yours]
        out[windows[mine]] = theirs[np.arange(len(windows[mine])) % len(theirs)]
    return out
