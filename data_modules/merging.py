"""Merging: what one step of a window with a stride holds of the rows between its two frames.

Each sense says how its numbers merge (`Sense.merge`). Samples are brought from s K to K, each from
s neighbours; at stride 1 every way leaves the rows as they are.

Letters: T steps of a window, s stride, K samples a frame interval, M senses.
"""

import numpy as np
from einops import rearrange, reduce, repeat
from numpy.typing import NDArray

from mssim.senses import Merge

Rows = NDArray[np.float32]
Mask = NDArray[np.bool_]


def steps_present(there: Mask, stride: int, summed: Mask) -> Mask:
    """Presence of each step (T, M): some of its rows are there; of a sum, all, or it is none.

    Args:
        there: Presence of the rows (T s, M).
        stride: s.
        summed: Which senses are sums (M,).
    """
    if stride == 1:
        return there
    steps = rearrange(there, "(t s) m -> t s m", s=stride)
    return np.where(summed, steps.all(axis=1), steps.any(axis=1))


def merge(rows: Rows | None, there: Mask | None, stride: int, how: Merge, out: Rows) -> None:
    """Bring rows (T s, K, *shape) to `out` (T, K, *shape); zeros where a step is absent.

    Args:
        rows: Zeros where absent, as the store keeps them; None where a recording lacks the sense.
        there: Presence of the rows (T s,); None where all are.
        stride: s.
        how: As `Sense.merge`.
        out: What to fill.
    """
    if rows is None:
        out[:] = 0
    elif stride == 1:
        out[:] = rows
    elif how == "last":
        _last(rows, there, stride, out)
    else:
        _sum(rows, stride, out)
        if how == "mean":
            _divide(there, stride, out)
        elif there is not None:
            out[~reduce(there, "(t s) -> t", "all", s=stride)] = 0


def _last(rows: Rows, there: Mask | None, stride: int, out: Rows) -> None:
    """The latest of s neighbours that is present, or of the whole step where none of them is."""
    steps, k = out.shape[:2]
    samples = rows.reshape(steps * k, stride, -1)
    flat = out.reshape(steps * k, -1)  # a view: out is contiguous
    if there is None:
        flat[:] = samples[:, -1]
        return
    here = repeat(there, "r -> (r k)", k=k)
    groups, whole = here.reshape(steps * k, stride), here.reshape(steps, stride * k)
    flat[:] = samples[np.arange(steps * k), _latest(groups)]
    spare = rows.reshape(steps, stride * k, -1)[np.arange(steps), _latest(whole)]
    found = reduce(groups, "g s -> g 1", "any")
    flat[:] = np.where(found, flat, repeat(spare, "t d -> (t k) d", k=k))


def _latest(there: Mask) -> NDArray[np.int64]:
    """Where the last True of each row of (n, m) stands; m - 1 where there is none."""
    return np.asarray(there.shape[1] - 1 - there[:, ::-1].argmax(axis=1), np.int64)


def _sum(rows: Rows, stride: int, out: Rows) -> None:
    """Sums of s neighbours each."""
    samples = rows.reshape(out.shape[0] * out.shape[1], stride, -1)
    flat = out.reshape(len(samples), -1)
    if flat.shape[1] > 1:
        np.add.reduce(samples, axis=1, out=flat)
    else:  # which `reduce` would sum in another order
        flat[:] = np.add.accumulate(samples, axis=1)[:, -1]


def _divide(there: Mask | None, stride: int, out: Rows) -> None:
    """Make sums of s neighbours their mean over what is present.

    Where no neighbour of a sample is present but others of its interval are, it is their mean.
    """
    k = out.shape[1]
    flat = out.reshape(len(out) * k, -1)
    if there is None:
        np.multiply(flat, np.float32(1 / stride), out=flat)
        return
    weight = repeat(there.astype(np.float32), "r -> (r k) 1", k=k)
    count = reduce(weight, "(g s) 1 -> g 1", "sum", s=stride)
    interval = reduce(flat, "(t k) d -> t 1 d", "sum", k=k)
    interval /= reduce(count, "(t k) 1 -> t 1 1", "sum", k=k).clip(1)
    mean = rearrange(np.where(count > 0, flat / count.clip(1), np.nan), "(t k) d -> t k d", k=k)
    flat[:] = rearrange(np.where(np.isnan(mean), interval, mean), "t k d -> (t k) d")
