"""The store: recordings on disk as plain arrays, memory-mapped, so that training decodes nothing.

    STORE/store.json                 version and the clock it was made for
    STORE/recordings/ID/meta.json    spans, subject, interval, notes, fingerprint of the files
    STORE/recordings/ID/camera.NAME.npy     uint8 (N, S, S, 3)
    STORE/recordings/ID/sense.NAME.npy      float32 (N, K, *shape)
    STORE/recordings/ID/present.NAME.npy    bool (N,)

A recording is written under a temporary name and renamed when whole, so one that is there is whole;
two processes may prepare at once: the first rename wins and the other is thrown away.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.files import write_text
from data_modules.recording import Clock, Entry, Recording, Span
from mssim.errors import UserError

VERSION = 1
_FORMAT = "mssim-store"


class Draft:
    """One recording on its way into the store. Arrays are streamed, so a full disk is an OSError
    here (never a SIGBUS in a memory map) and memory stays small.

    Args:
        folder: Temporary folder to write to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._arrays: dict[str, tuple[int, ...]] = {}
        self._meta: dict[str, Any] | None = None

    def add_frames(self, camera: str, frames: Iterable[NDArray[np.uint8]], count: int) -> None:
        """Write `count` frames, uint8 (S, S, 3) each, as they come.

        Raises:
            UserError: The stream ends early, runs over, or changes shape.
        """
        with (self._folder / f"camera.{camera}.npy").open("wb") as file:
            shape: tuple[int, ...] = ()
            written = 0
            for frame in frames:
                if written == 0:
                    shape = frame.shape
                    _write_header(file, (count, *shape), np.dtype(np.uint8))
                if frame.shape != shape or frame.dtype != np.uint8 or written == count:
                    raise UserError(
                        f"camera {camera}: frame {written} is {frame.dtype} {frame.shape}, "
                        f"expected {count} frames of uint8 {shape}"
                    )
                file.write(np.ascontiguousarray(frame).tobytes())
                written += 1
        if written != count:
            raise UserError(f"camera {camera}: {written} frames came, {count} were expected")
        self._arrays[f"camera.{camera}"] = (count, *shape)

    def add_sense(self, name: str, values: NDArray[np.float32], present: NDArray[np.bool_]) -> None:
        """Write one sense: values float32 (N, K, *shape), present bool (N,).

        Raises:
            UserError: A present value is not finite.
        """
        values = np.asarray(values, np.float32)
        present = np.asarray(present, bool)
        finite: NDArray[np.bool_] = np.all(np.isfinite(values.reshape(len(values), -1)), axis=1)
        if not finite[present].all():
            row = int(np.flatnonzero(present & ~finite)[0])
            raise UserError(f"sense {name}: row {row} is not finite; mark it absent instead")
        values = np.where(present.reshape(-1, *[1] * (values.ndim - 1)), values, np.float32(0))
        for kind, array in (("sense", values), ("present", present)):
            with (self._folder / f"{kind}.{name}.npy").open("wb") as file:
                _write_header(file, array.shape, array.dtype)
                file.write(np.ascontiguousarray(array).tobytes())
        self._arrays[f"sense.{name}"] = values.shape

    def finish(self, interval: float, spans: Iterable[Span], notes: Iterable[str] = ()) -> None:
        """Say how the arrays lie in time, and what happens in them.

        Raises:
            UserError: Lengths disagree, or a span lies outside the frames.
        """
        lengths = {name: shape[0] for name, shape in self._arrays.items()}
        if len(set(lengths.values())) != 1:
            raise UserError(f"lengths disagree: {lengths}")
        frames = next(iter(lengths.values()))
        spans = list(spans)
        for span in spans:
            if not 0 <= span.start < span.stop <= frames:
                raise UserError(f"span {span} lies outside the {frames} frames")
        self._meta = {
            "interval": interval,
            "frames": frames,
            "spans": [asdict(s) for s in spans],
            "notes": list(notes),
            "cameras": [n.split(".", 1)[1] for n in self._arrays if n.startswith("camera.")],
            "senses": [n.split(".", 1)[1] for n in self._arrays if n.startswith("sense.")],
        }

    @property
    def meta(self) -> dict[str, Any]:
        if self._meta is None:
            raise RuntimeError("the source did not call Draft.finish")
        return self._meta


class Store:
    """A folder of prepared recordings of one source, on one clock.

    Args:
        path: The folder; made by `create`.

    Raises:
        UserError: It is not a store, or one of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        meta = _read_json(path / "store.json", remedy="run `mssim prepare` to make the store")
        if meta.get("format") != _FORMAT:
            raise UserError(f"{path / 'store.json'}: not a store of mssim; choose another folder")
        if meta.get("version") != VERSION:
            raise UserError(
                f"{path / 'store.json'}: version {meta.get('version')}, this mssim reads "
                f"{VERSION}; remove the folder and run `mssim prepare` again"
            )
        self.source: str = meta["source"]
        self.signature: dict[str, Any] = meta["signature"]

    @classmethod
    def create(cls, path: Path, source: str, signature: dict[str, Any]) -> "Store":
        """Open the store at `path`, making it first where there is none."""
        if not (path / "store.json").exists():
            (path / "recordings").mkdir(parents=True, exist_ok=True)
            meta = {
                "format": _FORMAT,
                "version": VERSION,
                "source": source,
                "signature": signature,
            }
            write_text(path / "store.json", json.dumps(meta, indent=1))
        return cls(path)

    def has(self, entry: Entry) -> bool:
        """Is the recording there, whole, and made from the files as they are now?"""
        meta = self.path / "recordings" / entry.id / "meta.json"
        if not meta.exists():
            return False
        return bool(json.loads(meta.read_text())["fingerprint"] == fingerprint(entry))

    def add(self, entry: Entry, convert: Any, clock: Clock) -> None:
        """Convert one recording into the store; all of it or nothing."""
        final = self.path / "recordings" / entry.id
        temporary = self.path / "recordings" / f".{entry.id}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        temporary.mkdir(parents=True)
        try:
            draft = Draft(temporary)
            convert(entry, clock, draft)
            meta = {"id": entry.id, "subject": entry.subject, **draft.meta}
            meta["fingerprint"] = fingerprint(entry)
            write_text(temporary / "meta.json", json.dumps(meta, indent=1))
            if final.exists() and not self.has(entry):
                shutil.rmtree(final)
            try:
                temporary.rename(final)
            except OSError:
                if not self.has(entry):
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what dead processes left behind."""
        for folder in (self.path / "recordings").glob(".*"):
            pid = folder.name.rsplit(".", 2)[-2]
            if pid.isdigit() and not alive(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)

    def discard_if_empty(self) -> None:
        """Remove the store where nothing came of it, and nobody else is at work in it."""
        if next((self.path / "recordings").iterdir(), None) is None:
            shutil.rmtree(self.path, ignore_errors=True)
            with suppress(OSError):
                self.path.parent.rmdir()  # the folder of the stores, if this was the only one

    def ids(self) -> list[str]:
        """Recordings that are there, sorted."""
        return sorted(p.parent.name for p in (self.path / "recordings").glob("[!.]*/meta.json"))

    def open(self, id: str) -> Recording:
        """One recording, memory-mapped read-only.

        Raises:
            UserError: It is not there, or a file in it is cut short.
        """
        folder = self.path / "recordings" / id
        meta = _read_json(folder / "meta.json", remedy="run `mssim prepare` again")
        return Recording(
            id=id,
            source=self.source,
            subject=meta["subject"],
            interval=meta["interval"],
            cameras={c: _open_array(folder / f"camera.{c}.npy") for c in meta["cameras"]},
            senses={s: _open_array(folder / f"sense.{s}.npy") for s in meta["senses"]},
            present={s: _open_array(folder / f"present.{s}.npy") for s in meta["senses"]},
            spans=tuple(Span(**s) for s in meta["spans"]),
            notes=tuple(meta["notes"]),
        )


def fingerprint(entry: Entry) -> list[list[Any]]:
    """Name, size and time of each file that a recording is made from, and its facts."""
    there = (p for p in entry.files if p.exists())
    files = [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in there]
    return [*files, [entry.facts]] if entry.facts else files


def _write_header(file: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(file, header)


def _open_array(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: {error}; remove {path.parent} and run `mssim prepare` again"
        ) from None


def _read_json(path: Path, remedy: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} is not there; {remedy}") from None
    except ValueError:
        raise UserError(f"{path} is not readable as JSON; remove its folder and {remedy}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} holds no table; remove its folder and {remedy}")
    return data


def alive(pid: int) -> bool:
    """Does a process of that number run?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
