"""Looking at a dataset: a few recordings are read, one after the other, and none of them stays."""

import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_modules.images import Crop
from data_modules.overview import aligned
from data_modules.prepare import Catalogue, convert_one, own_rate, store_path
from data_modules.recording import Clock, Entry, Recording
from data_modules.sources.base import Source
from data_modules.sources.contents import Contents
from data_modules.splits import Split
from data_modules.store import Store
from mssim.errors import UserError

FEW = 10
"""So many recordings are read by default."""


class Looked:
    """Recordings one after the other: from their store where they are in it, else read to a
    folder that goes when the next one comes.

    Args:
        name: The source's.
        source: What reads them.
        clock: What they are brought to.
        root: Folder of the stores; nothing is written to it.
        entries: The recordings.
        recording: The one to draw; the first one with a span by default.

    Attributes:
        drawn: The one to draw, once it has come.
        problems: `recording: why` for those that cannot be read.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        clock: Clock,
        root: Path,
        entries: Sequence[Entry],
        recording: str | None = None,
    ) -> None:
        self._name, self._source, self._clock = name, source, clock
        self._entries, self._recording = entries, recording
        path = store_path(name, source, clock, root)
        self._ready = Store(path) if (path / "store.json").exists() else None
        self.problems: list[str] = []
        self.drawn: Recording | None = None

    def __iter__(self) -> Iterator[Recording]:
        for entry in self._entries:
            if self._ready is not None and self._ready.has(entry):
                yield self._noted(self._ready.open(entry.id))
                continue
            with tempfile.TemporaryDirectory(prefix="mssim-look-") as folder:
                store = Store.create(Path(folder) / "store", self._name, {})
                problem = convert_one(store, self._source, self._clock, entry)
                if problem:
                    self.problems.append(f"{entry.id}: cannot be read: {problem}")
                    continue
                # What is mapped can still be drawn once its folder is gone.
                yield self._noted(store.open(entry.id))

    def _noted(self, recording: Recording) -> Recording:
        before = self.drawn
        better = before is None or (recording.spans and not before.spans)
        if recording.id == self._recording or (self._recording is None and better):
            self.drawn = recording
        return recording


def chosen(entries: Sequence[Entry], limit: int, recording: str | None, path: Path) -> list[Entry]:
    """The first so many recordings, and the one that is asked for.

    Raises:
        UserError: It is not there.
    """
    ids = [e.id for e in entries]
    if recording is not None and recording not in ids:
        raise UserError(f"recording {recording!r} is not in {path}; it has {ids[0]} to {ids[-1]}")
    return [e for i, e in enumerate(entries) if i < limit or e.id == recording]


def described(listed: Catalogue, contents: Contents, clock: Clock, split: Split) -> str:
    """What a config names, for a terminal: cameras, columns, splits."""
    entries = listed.entries
    minutes = sum(e.frames / own_rate(e) for e in entries) / 60
    many = "s" * (len(entries) != 1)
    parts = [f"{len(entries)} recording{many}, about {minutes:.1f} minutes in all"]
    fps = "" if contents.fps is None else f"{contents.fps:g}"
    rows = [["camera", "pixels", "frames/s", "kept of each frame", "stored"]]
    for c in contents.cameras:
        size = f"{c.width} x {c.height}" if c.width else "unknown"
        kept = _kept(c.width, c.height, clock.crop)
        rows.append([c.name, size, fps, kept, f"{clock.size} x {clock.size}"])
    parts.append(aligned(rows))
    if clock.crop == "center" and any(c.width != c.height for c in contents.cameras):
        parts.append("frames are cropped to a square; `data.crop: none` (--crop none) keeps all")
    if contents.columns:
        rows = [["column", "type", "width"]]
        rows += [[c.name, c.dtype, "x".join(map(str, c.shape)) or "1"] for c in contents.columns]
        head, *lines = aligned(rows).splitlines()
        named = [head]
        for line, column in zip(lines, contents.columns, strict=True):
            named.append(line)
            names = " ".join(f"{i}:{n.replace(' ', '_')}" for i, n in enumerate(column.names))
            named += textwrap.wrap(names, 96, initial_indent="    ", subsequent_indent="    ")
        parts.append("\n".join(named))
    splits = {k: len(v) for k, v in (listed.splits or {}).items()}
    declared = ", ".join(f"{k} ({n})" for k, n in splits.items()) or "none"
    asked = "; ".join(
        f"{k} {', '.join(split.items(k)) or 'none'}" for k in ("train", "val", "test")
    )
    parts.append(f"splits declared: {declared}\nsplit below:     by {split.by}: {asked}")
    return "\n\n".join(parts)


def _kept(width: int, height: int, crop: Crop) -> str:
    if crop == "none":
        return "all" if width == height else "all, with black bars"
    if not width:
        return "the square in its centre"
    side = min(width, height)
    return f"the centre {side} x {side}" if width != height else "all"
