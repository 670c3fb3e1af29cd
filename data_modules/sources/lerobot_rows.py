"""The rows of a LeRobot episode, in order, with their time checked.

Row i goes with frame i of the episode, at i / fps: a row has no other tie to the video. What
`frame_index` and `timestamp` say is held against that.

Letters: R rows of an episode.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.sources.fields import AGAIN
from data_modules.sources.parquet import numbers, read_columns
from mssim.errors import UserError

UNITS = {1.0: "seconds", 1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}
SLACK = 0.2
"""Stamps may rise by this share more or less than a frame."""

JUMPS = 0.1
"""More of the steps than this share that are off by over a frame: this is no clock."""


@dataclass(frozen=True)
class Rows:
    """The rows of an episode.

    Attributes:
        values: By column, (R, width).
        order: int64 (R,), the place of each row among the episode's rows in the file.
        breaks: Rows before which time jumps: nothing goes on from the row before.
        late: Frames by which the first row says that it comes after the episode's first frame.
        notes: What is odd, for a person to read.
    """

    values: dict[str, NDArray[Any]]
    order: NDArray[np.int64]
    breaks: tuple[int, ...]
    late: float
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.order)


def read_rows(file: Path, episode: int, widths: Mapping[str, int], fps: float) -> Rows:
    """The rows of one episode, by `frame_index`, or by `timestamp` where that is missing.

    Args:
        file: The parquet.
        episode: The episode's number.
        widths: Numbers in a row, by column.
        fps: Rows a second.

    Raises:
        UserError: A column is missing or is not what it should be, or the rows have no order.
    """
    table = read_columns(file, sorted(widths), ("timestamp", "frame_index"), episode)
    where = f"{file}: episode {episode}"
    if not table.num_rows:
        raise UserError(f"{where}: no rows, which meta/ promises; download it again")
    values = {c: numbers(table[c], c, width, where) for c, width in widths.items()}
    stamps = _stamps(table, where)
    count = _frame_index(table)
    notes: list[str] = []
    order = np.arange(table.num_rows)
    late = 0.0
    if count is not None and _is_count(np.sort(count)):
        order, late = np.argsort(count, kind="stable"), float(count.min())
        if not np.array_equal(order, np.arange(len(order))):
            notes.append("rows do not lie in order; they are put in order by frame_index")
        breaks, first = _breaks(stamps[order], fps, where, notes)
        late = late or first
    else:
        order, late = _by_stamps(stamps, fps, where, count is not None, notes)
        breaks = ()
    in_order = {c: v[order] for c, v in values.items()}
    return Rows(in_order, order.astype(np.int64), breaks, late, tuple(notes))


def _stamps(table: Any, where: str) -> NDArray[np.float64]:
    """`timestamp` (R,), NaN where it is null, missing or endless."""
    if "timestamp" not in table.column_names:
        return np.full(table.num_rows, np.nan)
    import pyarrow as pa

    column = table["timestamp"].combine_chunks()
    if hasattr(column, "value_lengths"):
        stamps = numbers(table["timestamp"], "timestamp", 1, where)[:, 0].astype(np.float64)
        return np.where(np.isfinite(stamps), stamps, np.nan)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise UserError(f"{where}: timestamp holds {column.type}, expected seconds; {AGAIN}")
    stamps = np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    return np.where(np.isfinite(stamps), stamps, np.nan)


def _frame_index(table: Any) -> NDArray[np.int64] | None:
    """`frame_index` (R,), or None where it is missing or counts nothing."""
    if "frame_index" not in table.column_names:
        return None
    try:
        values = numbers(table["frame_index"], "frame_index", 1, "")[:, 0].astype(np.float64)
    except UserError:
        return None
    whole = np.isfinite(values).all() and (values == np.round(values)).all()
    return values.astype(np.int64) if whole else None


def _is_count(values: NDArray[np.int64]) -> bool:
    return bool((np.diff(values) == 1).all())


def _breaks(
    stamps: NDArray[np.float64], fps: float, where: str, notes: list[str]
) -> tuple[tuple[int, ...], float]:
    """Before which rows, that are in order, time jumps; and frames at which the first one is.

    Raises:
        UserError: The stamps rise by another step than a frame, or do not rise.
    """
    finite = np.isfinite(stamps)
    if not finite.all():
        odd = int(np.flatnonzero(~finite)[0])
        notes.append(
            f"timestamp is not finite in {int((~finite).sum())} of {len(stamps)} rows, first in "
            f"row {odd}; rows are taken by frame_index"
        )
    steps = np.diff(stamps)
    known = np.flatnonzero(np.isfinite(steps))
    if not len(known):
        return (), 0.0
    unit = _unit(float(np.median(steps[known])), fps, where)
    if unit != 1:
        notes.append(f"timestamp is in {UNITS[unit]}, not seconds; rows are taken by frame_index")
    jumps = known[np.abs(steps[known] * fps / unit - 1) > 1]
    if len(jumps) > max(2, JUMPS * len(known)):
        raise _jump(where, stamps, int(jumps[0]), f"and {len(jumps)} rows do so")
    for row in jumps.tolist():
        notes.append(
            f"timestamp goes from {stamps[row]:g} to {stamps[row + 1]:g} at row {row + 1}; rows "
            "are taken by frame_index, and no window crosses it"
        )
    first = float(stamps[0] * fps / unit) if finite[0] else 0.0
    return tuple(int(row) + 1 for row in jumps), first


def _by_stamps(
    stamps: NDArray[np.float64], fps: float, where: str, counted: bool, notes: list[str]
) -> tuple[NDArray[np.int64], float]:
    """Rows by time alone, which then must leave no doubt; and frames at which the first one is."""
    why = "frame_index does not count them" if counted else "there is no frame_index to go by"
    odd = np.flatnonzero(~np.isfinite(stamps))
    if len(odd):
        raise UserError(f"{where}: timestamp is not finite in row {odd[0]}, and {why}; {AGAIN}")
    order = np.argsort(stamps, kind="stable")
    steps = np.diff(stamps[order])
    unit = _unit(float(np.median(steps)), fps, where) if len(steps) else 1.0
    jumps = np.flatnonzero(np.abs(steps * fps / unit - 1) > 0.5)
    if len(jumps):
        straight = np.flatnonzero(np.abs(np.diff(stamps) * fps / unit - 1) > 0.5)
        raise _jump(where, stamps, int(straight[0]), f"and {why}")
    if not np.array_equal(order, np.arange(len(order))):
        notes.append("rows do not lie in order; they are put in order by timestamp")
    if counted:
        notes.append("frame_index does not count the rows; they are taken by timestamp")
    if unit != 1:
        notes.append(f"timestamp is in {UNITS[unit]}, not seconds")
    return order, float(stamps[order[0]] * fps / unit)


def _unit(step: float, fps: float, where: str) -> float:
    """What a second is in the unit of stamps that rise by `step` a row."""
    for unit in UNITS:
        if abs(step * fps / unit - 1) <= SLACK:
            return unit
    raise UserError(
        f"{where}: timestamp rises by {step:g} a row, at {fps:g} fps it is {1 / fps:g} seconds; "
        "correct timestamp, or fps in meta/info.json"
    )


def _jump(where: str, stamps: NDArray[np.float64], row: int, what: str) -> UserError:
    return UserError(
        f"{where}: timestamp goes from {stamps[row]:g} to {stamps[row + 1]:g} at row {row + 1}, "
        f"{what}; {AGAIN}"
    )
