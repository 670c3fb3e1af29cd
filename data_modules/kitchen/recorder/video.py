"""The world video: H.264 without loss, so that a frame of 32 pixels survives as it was seen."""

import io
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

CODEC = "libx264rgb"
NOMINAL_FPS = 30
# qp 0 is lossless. One thread: with more, the bytes depend on the machine's number of cores.
_OPTIONS = {"qp": "0", "preset": "veryfast", "threads": "1"}


def encode_video(frames: Iterable[NDArray[np.uint8]], size: int) -> bytes:
    """An mp4 file's bytes; it decodes to the very frames that went in.

    Its own frame rate is nominal, as ActionSense's is: `frame_timestamp` says when each was taken.

    Args:
        frames: uint8 (size, size, 3) RGB each.
        size: Pixels a side.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream: Any = container.add_stream(CODEC, rate=NOMINAL_FPS)
        stream.width = stream.height = size
        stream.pix_fmt = "rgb24"
        stream.options = _OPTIONS
        stream.codec_context.time_base = Fraction(1, NOMINAL_FPS)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()
