"""Mean and standard deviation of each sense over a source's training recordings.

Streamed over the memory maps, counted in float64, over the rows inside spans where the sense is
present; cached beside the recordings under a name that follows from what they hold.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from data_modules.files import whole
from data_modules.recording import Recording
from data_modules.store import Store
from mssim.senses import Sense, SenseSet

FLOOR = 0.05
"""No number's deviation counts as less than this share of its own range.

A number's range is its largest value less its smallest over the training recordings, in its own
unit: numbers of one sense may be cm and rad, so none is measured by another. With a twentieth, what
moves seldom and far stays within the `Normalizer`'s ten deviations of the middle of its range, and
what moves often, as a normal or a uniform number does, keeps its own deviation.
"""

CONSTANT = 1e-6
"""A range below this share of the largest magnitude is rounding of float32: the number is constant,
and its deviation counts as 1 in its own unit."""

CHUNK = 4096
"""Rows read at once."""

Moments = tuple[NDArray[np.float32], NDArray[np.float32]]

Part = tuple[Store, Sequence[str]]
"""A store, and the ids of the recordings in it that train."""


def by_source(parts: Sequence[Part | None], senses: SenseSet) -> dict[str, Moments]:
    """Mean and std by sense, each float32 (sources, *shape).

    Args:
        parts: What trains of each source; one of which nothing does takes the statistics of all
            others together. At least one is there.
        senses: Which senses.
    """
    every = [part for part in parts if part is not None]
    found = [statistics(every if part is None else [part], senses) for part in parts]
    return {
        n: (np.stack([f[n][0] for f in found]), np.stack([f[n][1] for f in found]))
        for n in senses.names
    }


def statistics(parts: Sequence[Part], senses: SenseSet) -> dict[str, Moments]:
    """Mean and std by sense, each float32 (*shape); 0 and 1 where no recording has the sense.

    Args:
        parts: Training recordings, of one store or of several; cached in the first.
        senses: Which senses.
    """
    file = _cache(parts, senses)
    if file.exists():
        with np.load(file, allow_pickle=False) as saved:
            return {n: (saved[f"mean.{n}"], saved[f"std.{n}"]) for n in senses.names}
    recordings = [store.open(i) for store, ids in parts for i in ids]
    out = {s.name: _moments(recordings, s) for s in senses}
    arrays = {f"mean.{n}": m for n, (m, _) in out.items()}
    arrays |= {f"std.{n}": s for n, (_, s) in out.items()}
    with whole(file) as temporary, temporary.open("wb") as handle:
        np.savez(handle, allow_pickle=False, **arrays)
    return out


def _moments(recordings: Sequence[Recording], sense: Sense) -> Moments:
    count, total, square = 0, np.zeros(sense.size), np.zeros(sense.size)
    low, high = np.full(sense.size, np.inf), np.full(sense.size, -np.inf)
    shift: NDArray[np.float64] | None = None
    for rows in _rows(recordings, sense):
        # Around the first value, so that a large mean does not eat the variance's digits.
        shift = rows[0].astype(np.float64) if shift is None else shift
        centred = rows.astype(np.float64) - shift
        count += len(rows)
        total += centred.sum(axis=0)
        square += (centred**2).sum(axis=0)
        low, high = np.minimum(low, rows.min(axis=0)), np.maximum(high, rows.max(axis=0))
    if shift is None:
        return np.zeros(sense.shape, np.float32), np.ones(sense.shape, np.float32)
    mean = total / count
    std = np.sqrt(np.maximum(square / count - mean**2, 0.0))
    constant = high - low <= CONSTANT * np.maximum(np.abs(low), np.abs(high))
    std = np.where(constant, 1.0, np.maximum(std, FLOOR * (high - low)))
    shaped = (mean + shift).reshape(sense.shape), std.reshape(sense.shape)
    return shaped[0].astype(np.float32), shaped[1].astype(np.float32)


def _rows(recordings: Sequence[Recording], sense: Sense) -> Iterator[NDArray[np.float32]]:
    """Samples (n, size) inside spans where the sense is present, some at a time."""
    for recording in recordings:
        if sense.name not in recording.senses:
            continue
        values, present = recording.senses[sense.name], recording.present[sense.name]
        for span in recording.spans:
            for first in range(span.start, span.stop, CHUNK):
                part = slice(first, min(first + CHUNK, span.stop))
                rows = rearrange(values[part][present[part]], "n k ... -> (n k) (...)")
                if len(rows):
                    yield rows


def _cache(parts: Sequence[Part], senses: SenseSet) -> Path:
    rule = f"{FLOOR} of its own range"  # numbers of another rule are not these
    key = hashlib.sha256("\n".join([rule, *senses.names]).encode())
    for store, ids in parts:
        for i in ids:
            key.update(f"\n{i}\n".encode())
            key.update((store.path / "recordings" / i / "meta.json").read_bytes())
    return parts[0][0].path / f"statistics-{key.hexdigest()[:16]}.npz"
