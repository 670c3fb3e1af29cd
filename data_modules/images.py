"""Frame geometry: what every source does to a camera frame before it is stored."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mssim.errors import UserError

Crop = Literal["center", "none"]
"""How a picture becomes square: its centre is kept, or all of it, between black bars."""


def square_side(width: int, height: int, crop: Crop) -> int:
    """Pixels a side of the square that is made of a picture before it is resized."""
    return min(width, height) if crop == "center" else max(width, height)


def square_area(frame: NDArray[np.uint8], size: int, crop: Crop = "center") -> NDArray[np.uint8]:
    """Make a frame square and area-resize it.

    The crop is as wide as the shorter side (an odd pixel is lost on the right or at the bottom);
    with `none`, black bars make the shorter side as long as the other. The resize averages all the
    source pixels that a target pixel covers (PIL's BOX filter), as the paper's code does after its
    720 crop.

    Args:
        frame: (H, W, 3) uint8 RGB frame, H and W at least 1.
        size: Side S of the square result in pixels, at least 1.
        crop: How the frame becomes square.

    Returns:
        (S, S, 3) uint8 RGB frame; shares no memory with `frame`.

    Raises:
        UserError: `frame` is not (H, W, 3) uint8, or `size` is below 1.
    """
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or min(frame.shape) < 1:
        raise UserError(
            f"frame: {frame.dtype} {frame.shape} is not uint8 (H, W, 3); decode it to RGB first"
        )
    if size < 1:
        raise UserError(f"size: {size} pixels is no frame size; give 1 or more")
    height, width = frame.shape[:2]
    side = square_side(width, height, crop)
    top, left = (height - side) // 2, (width - side) // 2  # negative where there are bars
    if crop == "none":
        square = np.zeros((side, side, 3), np.uint8)
        square[-top : height - top, -left : width - left] = frame
    else:
        square = np.ascontiguousarray(frame[top : top + side, left : left + side])
    return np.array(
        Image.fromarray(square).resize((size, size), Image.Resampling.BOX), dtype=np.uint8
    )
