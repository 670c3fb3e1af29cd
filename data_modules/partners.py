"""Whose actions a window gets in the row `shuffled-actions`: a seeded derangement over units."""

import numpy as np
from numpy.typing import NDArray

from mssim.errors import UserError


def partners(unit: NDArray[np.int64], source: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """For each window, the window of the same rank in another unit of its source: int64 (n,).

    Args:
        unit: Unit of each window, (n,).
        source: Source of each window, (n,).
        seed: Of the derangement.

    Raises:
        UserError: A source has only one unit.
    """
    out = np.empty(len(unit), np.int64)
    for number in np.unique(source).tolist():
        names = np.unique(unit[source == number])
        if len(names) < 2:
            raise UserError(
                "shuffled-actions needs windows of two units of each source at least; "
                "name more recordings in data.sources.NAME.split, raise data.limit, or leave that "
                "row out: --model.controls '[copy-last-frame, held-action, no-action]'"
            )
        order = np.random.default_rng([seed, number]).permutation(names)
        # One cycle through a random order: nobody keeps his own.
        for mine, yours in zip(order, np.roll(order, 1), strict=True):
            windows, theirs = np.flatnonzero(unit == mine), np.flatnonzero(unit == yours)
            out[windows] = theirs[np.arange(len(windows)) % len(theirs)]
    return out
