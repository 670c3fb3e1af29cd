"""Reading the recorder's HDF5: streams with their stamps put in order, read block by block.

A recording is 2-4 GB and no stream is ever asked for more than the rows it needs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.resample import Index, Times
from data_modules.sources.actionsense_clock import (
    TRAVEL,
    ClockError,
    capture_times,
    check_end,
    frame_order,
    silences,
    time_order,
)
from data_modules.sources.actionsense_file import (
    ACTIVITIES,
    FRAME_STAMPS,
    SAMPLES,
    UnusableError,
    is_fine,
    numbers,
    reading,
    texts,
    times,
)
from data_modules.sources.actionsense_labels import Event
from mssim.errors import UserError

_BLOCK_BYTES = 16 * 2**20
_XSENS_FRAME = 1 / 60
# Streams of one device may each lack a few rows that others have.
_ALIKE = 0.95


@dataclass(frozen=True)
class Stream:
    """One stream in time order.

    Attributes:
        name: `device/stream`.
        data: The HDF5 dataset, (rows, *sample).
        stamps: float64 (n,), epoch seconds, ascending.
        rows: int64 (n,), which row of `data` each stamp belongs to.
        file: For messages.
        blind: Stretches, epoch seconds, in which nothing that it holds is to be used.
    """

    name: str
    data: Any
    stamps: Times
    rows: Index
    file: Path
    blind: tuple[tuple[float, float], ...] = ()

    @property
    def sample(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.data.shape[1:])

    def blocks(self, step: int = 1) -> Iterator[tuple[int, NDArray[Any]]]:
        """All rows in file order as (first row, block of about 16 MB); every `step`th row only."""
        wide = max(1, _BLOCK_BYTES // max(1, self.data.dtype.itemsize * int(np.prod(self.sample))))
        wide = -(-wide // step) * step
        for start in range(0, len(self.data), wide):
            with reading(self.file, self.name):
                block = self.data[start : start + wide : step]
            yield start, block

    def take(self, index: Index, columns: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Samples by index, as float64; infinite numbers are NaN.

        Args:
            index: int64 (...), into `stamps`; negative ones read the first sample.
            columns: int64 (C,), which entries of the sample's first axis to keep.

        Returns:
            float64 (..., *sample).
        """
        flat = np.maximum(index, 0).ravel()
        rows, inverse = np.unique(self.rows[flat], return_inverse=True)
        shape = self.sample if columns is None else (len(columns), *self.sample[1:])
        out = np.empty((len(rows), *shape), np.float64)
        for start, block in self.blocks():
            low, high = np.searchsorted(rows, [start, start + len(block)])
            picked = block[rows[low:high] - start]
            out[low:high] = picked if columns is None else picked[:, columns]
        out[~np.isfinite(out)] = np.nan
        return out[inverse.ravel()].reshape(*index.shape, *shape)


def open_stream(
    file: Any, path: Path, name: str, notes: list[str], stamped_by: str | None = None
) -> Stream | None:
    """One stream with its rows in time order, or None where the device is missing or silent.

    Rows whose stamp is zero (left behind by a crash) or not finite are trimmed, rows a little out
    of order are sorted, strays are left out, and all of it is noted.

    Args:
        file: An open `h5py.File`.
        path: Its path, for messages.
        name: `device/stream`.
        notes: What was odd is added here.
        stamped_by: Another stream of the same device whose data are this one's stamps.

    Raises:
        UnusableError: It is there, and is not what it should be.
        UserError: The file cannot be read.
    """
    data = numbers(file, path, name)
    if data is None or not len(data):
        return None
    received = times(file, path, name, notes)
    count = min(len(data), len(received))
    if len(data) != len(received):
        notes.append(f"{name}: {len(data)} rows but {len(received)} stamps; used the first {count}")
    stamps = received[:count]
    good = np.isfinite(stamps) & (stamps != 0)
    if stamped_by is not None:
        stamps, good = _restamp(file, path, stamped_by, stamps, good, notes)
    if not good.all():
        notes.append(f"{name}: {int((~good).sum())} rows without a stamp trimmed")
    rows = np.flatnonzero(good)
    if len(rows) == 0:
        return None
    order, order_notes = time_order(stamps[rows])
    rows = rows[order]
    stamps = stamps[rows]
    notes += [f"{name}: {note}" for note in [*order_notes, *silences(stamps)]]
    return Stream(name, data, stamps, rows.astype(np.int64), path)


def frame_stamps(file: Any, path: Path, notes: list[str]) -> tuple[Times, Index, int]:
    """When each frame of the world video was taken.

    Row i of `frame_timestamp` is frame i of the video, so rows are never sorted: those that are out
    of order are skipped instead.

    Returns:
        float64 (n,) epoch seconds, ascending; int64 (n,) their frame numbers; and how many frames
        the video should have.

    Raises:
        UserError: There are no stamps, or they jump.
    """
    name = FRAME_STAMPS
    missing = UserError(
        f"{path}: {name} is missing or empty, so the video has no times; leave the recording out"
    )
    try:
        if numbers(file, path, name) is None:
            raise missing
        received = times(file, path, name, notes)
    except UnusableError as error:
        raise UserError(f"{path}: {error}; leave the recording out") from None
    good = np.isfinite(received) & (received != 0)
    stamps, good = _restamp(file, path, name, received, good, notes)
    rows = np.flatnonzero(good)
    if len(rows) == 0:
        raise missing
    expected = int(rows[-1]) + 1
    if expected < len(received):
        notes.append(f"{name}: {len(received) - expected} rows without a stamp trimmed")
    stamps = stamps[rows]
    try:
        rising, order_notes = frame_order(stamps)
        check_end(stamps[rising], rows[rising], lambda: _end_of_others(file, path))
    except ClockError as error:
        raise UserError(f"{path}: {name}: {error}; leave the recording out") from None
    notes += [f"{name}: {note}" for note in order_notes]
    return stamps[rising], rows[rising].astype(np.int64), expected


def _end_of_others(file: Any, path: Path) -> float | None:
    """When the last device but the eye tracker stopped; None where there is no other."""
    ends = []
    for name in SAMPLES:
        if name.startswith("eye"):
            continue
        try:
            stamps = times(file, path, name, [])
        except (UnusableError, UserError):
            continue
        stamps = stamps[np.isfinite(stamps) & (stamps != 0)][-5:]
        ends += [float(np.median(stamps))] if len(stamps) else []
    return max(ends, default=None)


def one_frame(*streams: Stream) -> tuple[Stream, ...]:
    """Give Xsens streams common stamps, where they hold the same frames.

    One Xsens frame arrives as several messages a moment apart. With stamps within half a frame, row
    i of each is the same frame, known when the last of its messages is in; then holding the latest
    sample never mixes two frames. Otherwise the streams stay as they are.
    """
    shared = reduce(np.intersect1d, [s.rows for s in streams])
    if len(shared) < _ALIKE * max(len(s.stamps) for s in streams):
        return streams
    by_row = [s.stamps[np.argsort(s.rows)][np.isin(np.sort(s.rows), shared)] for s in streams]
    common = np.max(by_row, axis=0)
    if (common - np.min(by_row, axis=0)).max() > _XSENS_FRAME / 2:
        return streams
    order = np.argsort(common, kind="stable")
    return tuple(replace(s, stamps=common[order], rows=shared[order]) for s in streams)


def read_events(file: Any, path: Path, notes: list[str]) -> list[Event]:
    """Rows of `experiment-activities/activities`, in file order; none where it is missing."""
    try:
        table = texts(file, path, ACTIVITIES, 3)
        if table is None:
            notes.append("experiment-activities: missing; the recording has no labels")
            return []
        stamps = times(file, path, ACTIVITIES, notes)
    except UnusableError as error:
        notes.append(f"{error}; the recording has no labels")
        return []
    good = np.isfinite(stamps) & (stamps != 0)
    return [Event(float(t), *r[:3]) for t, r, g in zip(stamps, table, good, strict=False) if g]


def _restamp(
    file: Any,
    path: Path,
    name: str,
    received: Times,
    good: NDArray[np.bool_],
    notes: list[str],
) -> tuple[Times, NDArray[np.bool_]]:
    """Stamps of capture from stream `name`, checked against those of reception."""
    node = numbers(file, path, name)
    if node is None:
        notes.append(f"{name}: missing; used the times of reception")
        return received - TRAVEL, good
    if not is_fine(node):
        notes.append(f"{name}: data holds {node.dtype}, too coarse; used the times of reception")
        return received - TRAVEL, good
    with reading(path, name):
        taken = np.ravel(node[()]).astype(np.float64)
    count = min(len(taken), len(received))
    received, taken, good = received[:count], taken[:count], good[:count]
    good = good & np.isfinite(taken) & (taken != 0)
    if not good.any():
        return taken, good
    stamps, clock_notes = capture_times(received, taken, good)
    notes += [f"{name}: {note}" for note in clock_notes]
    return stamps, good
