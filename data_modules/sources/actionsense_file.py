"""The recorder's HDF5 file, opened, and its structure checked before any of it is indexed.

/<device>/<stream>/{data, time_s, time_str}
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.resample import Times
from mssim.errors import UserError

FRAME_STAMPS = "eye-tracking-video-world/frame_timestamp"
GAZE_STAMPS = "eye-tracking-gaze/timestamp"
ACTIVITIES = "experiment-activities/activities"
SAMPLES: dict[str, tuple[tuple[int, ...], ...]] = {
    "myo-left/emg": ((8,),),
    "myo-right/emg": ((8,),),
    "tactile-glove-left/tactile_data": ((32, 32),),
    "tactile-glove-right/tactile_data": ((32, 32),),
    "xsens-segments/position_cm": ((23, 3), (63, 3)),
    "xsens-segments/orientation_quaternion": ((23, 4), (63, 4)),
    "xsens-CoM/position_cm": ((3,),),
    "eye-tracking-gaze/position": ((2,),),
    GAZE_STAMPS: ((1,), ()),
    FRAME_STAMPS: ((1,), ()),
}
"""Streams of numbers that are read, and what shapes one sample may have."""
_NUMBER, _TEXT = "fiu", "SO"
# US-Eastern in summer, seconds: where and when all of ActionSense was recorded.
_ZONE = 4 * 3600.0


class UnusableError(Exception):
    """A stream that is there and cannot be used; its text names the stream and says why."""


@contextmanager
def reading(path: Path, field: str) -> Iterator[None]:
    """Turn HDF5's own errors into one line that says what to do."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        text = " ".join(str(error).split())
        raise UserError(
            f"{path}: {field} cannot be read as HDF5 ({text}); {_remedy(error, text)}"
        ) from None


def open_file(path: Path) -> Any:
    """The HDF5 file, read-only, to be closed by the caller.

    Raises:
        UserError: It is missing, in use, truncated or not HDF5.
    """
    import h5py

    if not path.exists():
        raise UserError(f"{path}: is not there; download it again")
    if path.is_dir():
        raise UserError(f"{path}: is a folder, an HDF5 file should be there; download it again")
    with reading(path, "file"):
        return h5py.File(path, "r")


def numbers(file: Any, path: Path, name: str) -> Any | None:
    """The data of a stream in `SAMPLES`: (rows, *sample) of numbers; None where it is missing.

    Raises:
        UnusableError: It holds something else.
        UserError: The file cannot be read.
    """
    node = _dataset(file, path, name, "data")
    if node is None:
        return None
    if _kind(node) not in _NUMBER:
        raise UnusableError(f"{name}/data holds {node.dtype}, expected numbers")
    if tuple(node.shape[1:]) not in SAMPLES[name]:
        expected = " or ".join(str(list(s)) for s in SAMPLES[name])
        found = list(node.shape[1:])
        raise UnusableError(f"{name}/data has samples of {found}, expected {expected}")
    return node


def texts(file: Any, path: Path, name: str, columns: int) -> list[list[str]] | None:
    """A table of texts, its rows with at least so many columns; None where it is missing.

    Raises:
        UnusableError: It holds something else.
        UserError: The file cannot be read.
    """
    node = _dataset(file, path, name, "data")
    if node is None:
        return None
    if _kind(node) not in _TEXT or node.ndim != 2 or node.shape[1] < columns:
        raise UnusableError(
            f"{name}/data holds {node.dtype} {list(node.shape)}, expected rows of at least "
            f"{columns} texts"
        )
    with reading(path, name):
        return [[_text(cell) for cell in row] for row in node[()]]


def times(file: Any, path: Path, name: str, notes: list[str]) -> Times:
    """When the rows of a stream reached the computer: float64 (n,), epoch seconds.

    They stand in `time_s`; where that is missing, in `time_str`, in local time.

    Raises:
        UnusableError: Neither is there, or they hold something else.
        UserError: The file cannot be read.
    """
    node = _dataset(file, path, name, "time_s")
    stamps = np.zeros(0) if node is None else _seconds(node, path, name)
    if node is not None and not is_fine(node):
        notes.append(f"{name}: time_s holds {node.dtype}, too coarse for epoch seconds; not used")
        node = None
    lacking = ~np.isfinite(stamps) | (stamps == 0)
    if node is not None and not lacking.any():
        return stamps
    try:
        written = _local(file, path, name)
    except UnusableError:
        if node is None:
            raise
        return stamps
    if node is None:
        if written is None:
            raise UnusableError(f"{name} has neither a fit time_s nor time_str, so no times")
        stamps, lacking = np.zeros(len(written)), np.ones(len(written), bool)
    elif written is None:
        return stamps
    rows = np.flatnonzero(lacking[: len(written)])
    rows = rows[np.isfinite(written[rows])]
    if len(rows):
        of = "" if len(rows) == len(stamps) else f" in {len(rows)} rows"
        notes.append(f"{name}: time_s is missing{of}; times read from time_str")
        stamps[rows] = written[rows] + _zone(file, path)
    return stamps


def is_fine(node: Any) -> bool:
    """Can a dataset tell epoch seconds to the millisecond? Single precision tells 128 s."""
    return bool(_kind(node) == "f" and node.dtype.itemsize >= 8)


def _remedy(error: Exception, text: str) -> str:
    number = getattr(error, "errno", None)
    if "unable to lock file" in text or "already open" in text or "consistency flags" in text:
        return (
            "another program has it open, close that one (a disk that cannot lock files needs "
            "HDF5_USE_FILE_LOCKING=FALSE)"
        )
    if number in (errno.EACCES, errno.EPERM):
        return "it may not be read, change its permissions"
    if "plugin" in text or "required filter" in text or "not registered" in text:
        return (
            "it is stored with a filter that is not installed: pip install hdf5plugin, or rewrite "
            "it with h5repack -f GZIP=4"
        )
    return "the file is truncated or damaged, download it again"


def _dataset(file: Any, path: Path, name: str, key: str) -> Any | None:
    """`name/key` with at least one axis; None where there is no such stream or key."""
    import h5py

    with reading(path, name):
        group = file.get(name)
        if group is None:
            return None
        if not isinstance(group, h5py.Group):
            raise UnusableError(f"{name} is no group, expected data, time_s and time_str in it")
        node = group.get(key)
        if node is None:
            if key == "data" and len(group):
                raise UnusableError(f"{name} has no data, only {', '.join(group)}")
            return None
        if not isinstance(node, h5py.Dataset) or not node.shape:
            raise UnusableError(f"{name}/{key} is no table of rows")
        return node


def _kind(node: Any) -> str:
    try:
        return str(node.dtype.kind)
    except TypeError:  # a type of HDF5 that has no counterpart in numpy
        return "?"


def _seconds(node: Any, path: Path, name: str) -> Times:
    if _kind(node) not in _NUMBER or node.shape[1:] not in ((), (1,)):
        raise UnusableError(
            f"{name}/time_s holds {node.dtype} {list(node.shape)}, expected one number a row"
        )
    with reading(path, name):
        return np.ravel(node[()]).astype(np.float64)


def _local(file: Any, path: Path, name: str) -> Times | None:
    """`time_str` as if it were universal time: float64 (n,) seconds, NaN where a row is empty."""
    node = _dataset(file, path, name, "time_str")
    if node is None:
        return None
    if _kind(node) not in _TEXT or node.shape[1:] not in ((), (1,)):
        raise UnusableError(f"{name}/time_str holds {node.dtype}, expected one text a row")
    with reading(path, name):
        words = [_text(cell).replace(" ", "T") for cell in np.ravel(node[()])]
    try:
        when = np.array(words, "datetime64[us]")
    except ValueError:
        raise UnusableError(f"{name}/time_str holds {words[0]!r}, which is no time") from None
    seconds: NDArray[np.float64] = when.astype(np.int64) / 1e6
    return np.where(np.isnat(when), np.nan, seconds)


def _zone(file: Any, path: Path) -> float:
    """Seconds from local to universal time, from a stream of the file that tells both."""
    for name in [*SAMPLES, ACTIVITIES]:
        try:
            node, local = _dataset(file, path, name, "time_s"), _local(file, path, name)
            if node is None or local is None or not is_fine(node):
                continue
            stamps = _seconds(node, path, name)[: len(local)]
        except UnusableError:
            continue
        both = np.flatnonzero(
            (stamps != 0) & np.isfinite(stamps) & np.isfinite(local[: len(stamps)])
        )
        if len(both):
            off = np.median(stamps[both] - local[both])
            return float(np.round(off / 900) * 900)
    return _ZONE


def _text(cell: Any) -> str:
    return (cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)).strip()
