"""Parquet files, checked before anything in them is indexed.

Letters: R rows.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.sources.fields import AGAIN
from mssim.errors import UserError


def column_names(file: Path) -> list[str]:
    """Names of a file's columns.

    Raises:
        UserError: It is not there, is a folder, or is no parquet file.
    """
    import pyarrow.parquet as pq

    if not file.exists():
        raise UserError(f"{file} is not there; download the dataset again")
    if not file.is_file():
        raise UserError(f"{file}: is a folder, a file is needed; download the dataset again")
    try:
        return list(pq.read_schema(file).names)
    except Exception as error:  # pyarrow has no common base of its errors
        raise _unreadable(file, error) from None


def read_columns(
    file: Path,
    columns: Sequence[str],
    optional: Sequence[str] = (),
    episode: int | None = None,
) -> Any:
    """Columns of a file, as an arrow table.

    Args:
        file: The file.
        columns: Columns that must be there.
        optional: Columns that are read where they are there.
        episode: Only the rows of this `episode_index`, where there is such a column.

    Raises:
        UserError: As `column_names`, or a column is missing, or the rows do not decode.
    """
    import pyarrow.parquet as pq

    there = column_names(file)
    for name in columns:
        if name not in there:
            raise UserError(f"{file}: no column {name!r}, which meta/info.json promises; {AGAIN}")
    wanted = [*columns, *(name for name in optional if name in there)]
    filters = None
    if episode is not None and "episode_index" in there:
        filters = [("episode_index", "==", episode)]
    try:
        return pq.read_table(file, columns=wanted, filters=filters)
    except Exception as error:
        raise _unreadable(file, error) from None


def numbers(column: Any, name: str, width: int, where: str) -> NDArray[Any]:
    """An arrow column of numbers, or of lists of them, as (R, width).

    Args:
        column: The column.
        name: Its name, for messages.
        width: Numbers in each row.
        where: File and episode, for messages.

    Raises:
        UserError: A row is null, has another width, or holds what is no number.
    """
    import pyarrow as pa

    flat, rows, each = column.combine_chunks(), len(column), 1
    while True:
        if flat.null_count:
            row = int(np.flatnonzero(np.asarray(flat.is_null()))[0]) // each
            raise UserError(f"{where}: {name} is null in row {row}; {AGAIN}")
        if not hasattr(flat, "value_lengths"):
            break
        lengths = np.asarray(flat.value_lengths())
        wrong = np.flatnonzero(lengths != lengths[:1])
        if len(wrong):
            raise UserError(
                f"{where}: {name} in row {int(wrong[0]) // each} is not as wide as in row 0, "
                f"meta/info.json says {width} numbers; {AGAIN}"
            )
        each *= int(lengths[0]) if rows else 1
        flat = flat.flatten()
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    if not any(is_one(flat.type) for is_one in kinds):
        raise UserError(f"{where}: {name} holds {flat.type}, expected numbers; {AGAIN}")
    if rows and each != width:
        raise UserError(
            f"{where}: {name} has {each} numbers in a row, meta/info.json says {width}; {AGAIN}"
        )
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(rows, -1)


def _unreadable(file: Path, error: Exception) -> UserError:
    text = " ".join(str(error).split())
    return UserError(f"{file}: not readable as parquet ({text}); download it again")
