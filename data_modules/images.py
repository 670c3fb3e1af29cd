"""Frame geometry: what every source does to a camera frame before it is stored."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mssim.errors import UserError


def square_area(frame: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Crop the centre square of a frame and area-resize it.

    The crop is as wide as the shorter side (an odd pixel is lost on the right or at the bottom).
    The resize averages all the source pixels that a target pixel covers (PIL's BOX filter), as the
    paper's code does after its 720 crop.

    Args:
        frame: (H, W, 3) uint8 RGB frame, H and W at least 1.
        size: Side S of the square result in pixels, at least 1.

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
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    crop = Image.fromarray(np.ascontiguousarray(frame[top : top + side, left : left + side]))
    return np.array(crop.resize((size, size), Image.Resampling.BOX), dtype=np.uint8)
