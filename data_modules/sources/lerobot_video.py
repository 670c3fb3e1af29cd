"""One episode's stretch of a LeRobot video: a whole mp4 in v2.1, a part of one in v3.0."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.images import square_area
from mssim.errors import UserError


@dataclass(frozen=True)
class Clip:
    """Where an episode's frames lie.

    Attributes:
        file: The mp4.
        fps: Frames a second.
        start: Seconds in the file at which the first frame stands; None where the file is it all.
        stop: Seconds at which the next episode's first frame stands.
    """

    file: Path
    fps: float
    start: float | None = None
    stop: float | None = None

    def count(self) -> int:
        """How many frames there are: packets are counted, nothing is decoded.

        Raises:
            UserError: The file is missing or is not a video.
        """
        import av

        with self._opened() as container:
            stream = self._seek(container)
            try:
                return sum(1 for packet in container.demux(stream) if self._holds(packet, stream))
            except av.FFmpegError as error:
                raise self._broken(error) from None

    def frames(self, picks: NDArray[np.int64], size: int) -> Iterator[NDArray[np.uint8]]:
        """Frames by their number in the episode, each uint8 (S, S, 3).

        Args:
            picks: int64 (N,), not decreasing.
            size: Pixels a side, S.

        Raises:
            UserError: The file is missing, is not a video, or does not decode.
        """
        import av

        repeats = np.bincount(picks)
        with self._opened() as container:
            stream = self._seek(container)
            stream.thread_type = "AUTO"
            decoded = container.decode(stream)
            index = 0
            while index < len(repeats):
                try:
                    frame = next(decoded, None)
                except av.FFmpegError as error:
                    raise self._broken(error, f"frame {index} does not decode: ") from None
                if frame is None:
                    raise UserError(
                        f"{self.file}: {index} of {len(repeats)} frames decode; download it again"
                    )
                if not self._holds(frame, stream):
                    continue
                if repeats[index]:
                    square = square_area(frame.to_ndarray(format="rgb24"), size)
                    yield from [square] * int(repeats[index])
                index += 1

    def _holds(self, timed: Any, stream: Any) -> bool:
        """Does a packet or frame belong to the episode? Half a frame early counts as on time."""
        if timed.pts is None:
            return False
        seconds = float(timed.pts * stream.time_base) + 0.5 / self.fps
        after = self.start is None or seconds >= self.start
        return after and (self.stop is None or seconds < self.stop)

    def _opened(self) -> Any:
        import av

        if not self.file.exists():
            raise UserError(f"{self.file} is not there; download the dataset again")
        try:
            container = av.open(str(self.file))
        except av.FFmpegError as error:
            raise self._broken(error) from None
        if not container.streams.video:
            raise UserError(f"{self.file}: holds no video stream; download it again")
        return container

    def _seek(self, container: Any) -> Any:
        """The video stream, at the last key frame at or before the start."""
        stream = container.streams.video[0]
        if self.start is not None:
            container.seek(int(self.start / stream.time_base), stream=stream)
        return stream

    def _broken(self, error: Exception, what: str = "not readable as video: ") -> UserError:
        text = " ".join(str(getattr(error, "strerror", None) or error).split())
        return UserError(f"{self.file}: {what}{text}; download it again")
