"""The world video of ActionSense: which frame shows which time, and decoding by streaming."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.images import Crop, square_area
from mssim.errors import UserError


class VideoEndedError(Exception):
    """The video gave out before the last frame that was asked for.

    Args:
        decoded: How many frames came.
        cause: What the decoder said; empty where the stream simply ended.
    """

    def __init__(self, decoded: int, cause: str = "") -> None:
        super().__init__(cause)
        self.decoded = decoded
        self.cause = cause


@dataclass(frozen=True)
class VideoInfo:
    """What the container says: pixels, and its number of frames (0 where it is silent)."""

    width: int
    height: int
    frames: int


def probe(path: Path) -> VideoInfo:
    """Read a video's header.

    Raises:
        UserError: The file is missing, or is not a video.
    """
    import av

    if not path.exists():
        raise UserError(
            f"{path}: the world video is missing; download it beside the HDF5 file, "
            f"or set missing_video to skip"
        )
    try:
        with av.open(str(path)) as container:
            stream = _video_stream(container, path)
            context = stream.codec_context
            return VideoInfo(context.width, context.height, stream.frames)
    except (av.error.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from None


def picked_frames(
    path: Path, index: NDArray[np.int64], size: int, crop: Crop = "center"
) -> Iterator[NDArray[np.uint8]]:
    """Decode once from the start and give the frames asked for, one at a time.

    Args:
        path: The video.
        index: int64 (N,), frame numbers, ascending; repeats give the same frame again.
        size: Side S of the result in pixels.
        crop: How frames become square.

    Yields:
        N times uint8 (S, S, 3) RGB: made square, area-resized.

    Raises:
        VideoEndedError: The stream ends or breaks before frame `index[-1]`.
        UserError: The file is not a video.
    """
    import av

    repeats = dict(zip(*(a.tolist() for a in np.unique(index, return_counts=True)), strict=True))
    last = int(index[-1])
    number = 0
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from None
    with container:
        stream = _video_stream(container, path)
        stream.thread_type = "AUTO"
        frames = container.decode(stream)
        while number <= last:
            # Only the decoder's own errors are caught: the consumer's (a full disk) pass through.
            try:
                frame = next(frames, None)
            except (av.error.FFmpegError, OSError) as error:
                raise VideoEndedError(number, _one_line(error)) from None
            if frame is None:
                raise VideoEndedError(number)
            if number in repeats:
                picture = square_area(frame.to_ndarray(format="rgb24"), size, crop)
                for _ in range(repeats[number]):
                    yield picture
            number += 1


def _video_stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise UserError(f"{path}: holds no video stream; download it again")
    return container.streams.video[0]


def _unreadable(path: Path, error: Exception) -> UserError:
    remedy = "the file is damaged, download it again"
    if isinstance(error, PermissionError):
        remedy = "it may not be read, change its permissions"
    elif isinstance(error, IsADirectoryError):
        remedy = "it is a folder, put the video in its place"
    return UserError(f"{path}: cannot be decoded ({_one_line(error)}); {remedy}")


def _one_line(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split())
