"""HDF5 in the recorder's layout: `/<device>/<stream>/{data,time_s,time_str}`.

Files are built in memory and written by their owner in one go: a full disk is then an `OSError`
with a name and a number, where HDF5 itself would fail on closing.
"""

import io
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from data_modules.kitchen.recorder.plan import EASTERN

Array = NDArray[Any]
_CHUNK_BYTES = 256 * 1024
_ZERO = timedelta(0)


class MemoryFile:
    """An HDF5 file in memory. Same content, same bytes: no times of creation are kept in it."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self.file: Any = h5py.File(self._buffer, "w", libver=("earliest", "v108"))

    def write(self, group: Any, name: str, data: Array, grows: bool = False) -> None:
        """One dataset, chunked, lightly compressed where it is large.

        Args:
            group: Where to put it.
            name: May hold slashes.
            data: (rows, ...).
            grows: Make it extensible, as the recorder's are.
        """
        if data.ndim == 0 or not data.size or (data.nbytes < 4096 and not grows):
            group.create_dataset(name, data=data)
            return
        row = max(1, data.nbytes // len(data))
        chunks = (min(len(data), max(1, _CHUNK_BYTES // row)), *data.shape[1:])
        group.create_dataset(
            name,
            data=data,
            chunks=chunks,
            maxshape=(None, *data.shape[1:]) if grows else None,
            # Byte planes of neighbouring samples are alike; level 1 costs about 1 ms a second.
            shuffle=True,
            compression="gzip",
            compression_opts=1,
        )

    def close(self) -> bytes:
        """The file's bytes."""
        self.file.close()
        return self._buffer.getvalue()


class StreamFile(MemoryFile):
    """The log of one recording."""

    def add(
        self,
        name: str,
        data: Array,
        times: Array,
        attributes: Mapping[str, str] | None = None,
        **more: Array,
    ) -> None:
        """One stream.

        Args:
            name: `device/stream`.
            data: (n, *sample).
            times: float64 (n,), epoch seconds.
            attributes: Of the stream.
            more: Further datasets of n rows.
        """
        group = self.file.create_group(name)
        self.write(group, "data", data, grows=True)
        self.write(group, "time_s", times[:, None], grows=True)
        self.write(group, "time_str", time_text(times)[:, None], grows=True)
        for key, rows in more.items():
            self.write(group, key, rows, grows=True)
        group.attrs.update(attributes or {})

    def add_events(
        self, name: str, headings: Sequence[str], rows: Sequence[tuple[float, Sequence[str]]]
    ) -> None:
        """A stream of event rows: epoch seconds and a text for each heading."""
        table = np.array([list(text) for _, text in rows], dtype="S500")
        times = np.array([when for when, _ in rows], np.float64)
        self.add(name, table, times, {"Data headings": str(list(headings))})


def time_text(times: Array) -> Array:
    """S26 (n,): epoch seconds (n,) as the recorder writes them, in its own time zone."""
    offset = (EASTERN.utcoffset(None) or _ZERO).total_seconds()
    micro = np.round((times + offset) * 1e6).astype(np.int64).astype("datetime64[us]")
    text = np.datetime_as_string(micro, unit="us")
    return np.char.replace(text, "T", " ").astype("S26")
