"""One episode's frames: a whole mp4 in v2.1, a part of one in v3.0, or pictures in the parquet."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.images import Crop, square_area
from data_modules.sources.parquet import read_columns
from mssim.errors import UserError

NEAR = 0.25
"""Frames by which a place told in seconds may miss the frame that it means."""


@dataclass(frozen=True)
class Packets:
    """What a video holds, by its packets; nothing is decoded.

    Attributes:
        stamps: int64 (n,), when each frame is shown, not falling, in the stream's own unit.
        keys: int64 (k, 2), of the packets that decode alone: when they are decoded, and shown.
        seconds: What the unit is in seconds.
        timed: Do the stamps rise? Some writers leave them all at 0: frames are then only counted.
    """

    stamps: NDArray[np.int64]
    keys: NDArray[np.int64]
    seconds: float
    timed: bool


@dataclass(frozen=True)
class Clip:
    """Where an episode's frames lie in a video.

    Attributes:
        file: The mp4.
        fps: Frames a second.
        length: Frames that the episode should have; None for all there are.
        start: Seconds in the file at which the first frame stands; None where the file is it all.
        stop: Seconds at which the next episode's first frame stands.
        first: Frames of the episodes before it in the file; None where they are not known.
        total: Frames of all the file's episodes.
    """

    file: Path
    fps: float
    length: int | None = None
    start: float | None = None
    stop: float | None = None
    first: int | None = None
    total: int | None = None

    @classmethod
    def of(cls, folder: Path, place: Mapping[str, Any], fps: float, length: int) -> "Clip":
        """The clip at a place that `lerobot_meta` tells.

        Args:
            folder: The dataset's.
            place: `file` below it and, in v3.0, `start`, `stop`, `first` and `total`.
            fps: Frames a second.
            length: Rows of the episode.
        """
        parts = {k: v for k, v in place.items() if k != "file"}
        return cls(folder / place["file"], fps, length if parts else None, **parts)

    def count(self) -> int:
        """How many frames there are.

        Raises:
            UserError: The file is missing or is no video, or nothing says where the episode lies.
        """
        return len(self._place())

    def notes(self) -> list[str]:
        """What is odd, for a person to read."""
        if not self._is_counted() or self.start is None or self.first is None:
            return []
        off = self.start * self.fps - self.first
        if abs(off) <= NEAR:
            return []
        return [f"from_timestamp is {off:+.1f} frames off in {self.file.name}; frames are counted"]

    def frames(
        self, picks: NDArray[np.int64], size: int, crop: Crop = "center"
    ) -> Iterator[NDArray[np.uint8]]:
        """Frames by their number in the episode, each uint8 (S, S, 3).

        Args:
            picks: int64 (N,), not decreasing.
            size: Pixels a side, S.
            crop: How frames become square.

        Raises:
            UserError: The file is missing, is no video, or does not decode.
        """
        place = self._place()[: int(picks[-1]) + 1]
        repeats = np.bincount(picks).tolist()
        wanted = place.start
        for number, frame in self._decoded(place.start):
            if number < wanted:
                continue
            if number > wanted or wanted == place.stop:
                break
            times = repeats[wanted - place.start]
            if times:
                yield from [square_area(frame.to_ndarray(format="rgb24"), size, crop)] * times
            wanted += 1
        if wanted < place.stop:
            raise UserError(
                f"{self.file}: {wanted - place.start} of {len(place)} frames decode; "
                "download it again"
            )

    def _place(self) -> range:
        """The episode's frames by their number in the file."""
        packets = self._packets()
        stamps = packets.stamps
        if self.start is None or self.stop is None or not len(stamps):
            return range(len(stamps))
        if self._is_counted() and self.first is not None:
            return range(len(stamps))[self.first :][: self.length]
        seconds = (stamps - stamps[0]) * packets.seconds
        off = float(np.abs(seconds - self.start).min()) * self.fps
        half = 0.5 / self.fps
        if not packets.timed or (off > NEAR and self.start < seconds[-1] + half):
            raise UserError(
                f"{self.file}: {len(stamps)} frames for {self.total} rows of its episodes, and "
                f"from_timestamp {self.start:g} is {off:.2f} frames from the nearest one: "
                "nothing says where the episode lies; download it again"
            )
        first, stop = np.searchsorted(seconds + half, [self.start, self.stop]).tolist()
        return range(first, stop)

    def _is_counted(self) -> bool:
        """Does the file hold the frames of its episodes and no others?"""
        return self.total is not None and len(self._packets().stamps) == self.total

    def _packets(self) -> Packets:
        if not self.file.exists():
            raise UserError(f"{self.file} is not there; download the dataset again")
        stat = self.file.stat()
        return _packets(self.file, stat.st_size, stat.st_mtime_ns)

    def _decoded(self, first: int) -> Iterator[tuple[int, Any]]:
        """Decoded frames with their number in the file, from `first` on where it decodes.

        Frames that lean on the group of pictures before them (HEVC's open ones) are lost where
        decoding begins at their own: then it begins earlier.
        """
        import av

        for start in self._starts(first):
            with _opened(self.file) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                try:
                    if start is not None:
                        container.seek(start, stream=stream)
                    frames = self._numbered(container.decode(stream))
                    found = next((f for f in frames if f[0] >= first), None)
                    if start is not None and (found is None or found[0] != first):
                        continue
                    if found is not None:
                        yield found
                        yield from frames
                    return
                except av.FFmpegError as error:
                    raise _broken(self.file, error, "does not decode: ") from None

    def _starts(self, first: int) -> list[int | None]:
        """Where to try to decode from, in the stream's unit; None is the beginning of the file."""
        packets = self._packets()
        if not packets.timed or first == 0:
            return [None]
        keys = packets.keys[packets.keys[:, 1] <= packets.stamps[first]][::-1, 0].tolist()
        return [*keys[0:1], *keys[1:2], *keys[3:4], None]

    def _numbered(self, frames: Iterator[Any]) -> Iterator[tuple[int, Any]]:
        packets = self._packets()
        if not packets.timed:
            yield from enumerate(frames)
            return
        for frame in frames:
            if frame.pts is not None:
                yield int(np.searchsorted(packets.stamps, frame.pts)), frame


@dataclass(frozen=True)
class Pictures:
    """An episode's frames that lie as pictures in its parquet (`dtype: image`).

    Attributes:
        file: The parquet.
        folder: The dataset's, below which pictures lie that the parquet only names.
        column: The feature.
        episode: The episode's number.
        order: int64 (R,), the place of each row among the episode's rows in the file.
    """

    file: Path
    folder: Path
    column: str
    episode: int
    order: NDArray[np.int64]

    def count(self) -> int:
        """How many frames there are."""
        return len(self.order)

    def notes(self) -> list[str]:
        """Nothing is odd."""
        return []

    def frames(
        self, picks: NDArray[np.int64], size: int, crop: Crop = "center"
    ) -> Iterator[NDArray[np.uint8]]:
        """As `Clip.frames`.

        Raises:
            UserError: The column is missing, or a row holds no picture.
        """
        cells = read_columns(self.file, [self.column], episode=self.episode)[self.column]
        repeats = np.bincount(picks).tolist()
        for row, times in zip(self.order[: len(repeats)].tolist(), repeats, strict=True):
            if times:
                yield from [square_area(self._picture(cells[row].as_py(), row), size, crop)] * times

    def _picture(self, cell: object, row: int) -> NDArray[np.uint8]:
        """A cell's picture (H, W, 3): its bytes, or the path of a file."""
        from PIL import Image

        where = f"{self.file}: episode {self.episode}: {self.column} in row {row}"
        content = cell.get("bytes") or cell.get("path") if isinstance(cell, dict) else cell
        if not isinstance(content, bytes | str):
            raise UserError(f"{where} is {type(cell).__name__}, no picture; download it again")
        place = io.BytesIO(content) if isinstance(content, bytes) else self.folder / content
        try:
            with Image.open(place) as picture:
                return np.asarray(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            text = " ".join(str(error).split())
            raise UserError(
                f"{where} is not readable as a picture ({text}); download it again"
            ) from None


@lru_cache(maxsize=16)
def _packets(file: Path, size: int, mtime: int) -> Packets:
    """A video's packets; `size` and `mtime` tell one that was changed."""
    import av

    with _opened(file) as container:
        stream = container.streams.video[0]
        try:
            found = [
                (p.pts, p.dts if p.dts is not None else p.pts, p.is_keyframe)
                for p in container.demux(stream)
                if p.pts is not None and not p.is_discard
            ]
        except av.FFmpegError as error:
            raise _broken(file, error) from None
        unit = float(stream.time_base or 1)
    stamps = np.sort(np.array([pts for pts, _, _ in found], np.int64))
    keys = np.array([(dts, pts) for pts, dts, key in found if key], np.int64).reshape(-1, 2)
    return Packets(stamps, keys, unit, bool((np.diff(stamps) > 0).all()))


def _opened(file: Path) -> Any:
    import av

    try:
        container = av.open(str(file))
    except (av.FFmpegError, OSError) as error:
        raise _broken(file, error) from None
    if not container.streams.video:
        raise UserError(f"{file}: holds no video stream; download it again")
    return container


def _broken(file: Path, error: Exception, what: str = "not readable as video: ") -> UserError:
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    return UserError(f"{file}: {what}{text}; download it again")
