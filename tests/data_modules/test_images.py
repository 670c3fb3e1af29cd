"""Centre crop and area resize."""

import numpy as np
import pytest

from data_modules.images import square_area
from mssim.errors import UserError


def test_a_pixel_is_the_mean_of_those_it_covers() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
    small = square_area(frame, 4)
    crop = frame[:, 2:10].astype(float)
    mean = crop.reshape(4, 2, 4, 2, 3).mean(axis=(1, 3))
    assert small.dtype == np.uint8
    # The two passes round each for themselves.
    assert np.abs(small - mean).max() <= 1


@pytest.mark.parametrize("shape", [(6, 9, 3), (9, 6, 3), (6, 6, 3)])
def test_the_crop_is_centred_whichever_side_is_longer(shape: tuple[int, ...]) -> None:
    frame = np.zeros(shape, np.uint8)
    top, left = (shape[0] - 6) // 2, (shape[1] - 6) // 2
    frame[top : top + 6, left : left + 6] = 200
    assert (square_area(frame, 6) == 200).all()
    assert (square_area(frame, 3) == 200).all()


def test_the_result_is_a_copy() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    square_area(frame, 4)[:] = 9
    assert not frame.any()


@pytest.mark.parametrize(
    ("frame", "size"),
    [
        (np.zeros((4, 4), np.uint8), 4),
        (np.zeros((4, 4, 3), np.float32), 4),
        (np.zeros((4, 4, 3), np.uint8), 0),
    ],
)
def test_what_is_no_frame_is_refused(frame: np.ndarray, size: int) -> None:
    with pytest.raises(UserError, match=r"frame|size"):
        square_area(frame, size)


@pytest.mark.parametrize("shape", [(6, 10), (10, 6), (5, 10), (8, 8)])
def test_a_letterboxed_frame_is_all_there_between_black_bars(shape: tuple[int, int]) -> None:
    frame = np.full((*shape, 3), 200, np.uint8)
    side = max(shape)
    got = square_area(frame, side, "none")
    assert got.shape == (side, side, 3)
    rows, columns = (np.flatnonzero(got.any(axis=(a, 2))) for a in (1, 0))
    for lit, length in zip((rows, columns), shape, strict=True):
        assert len(lit) == length and lit[-1] - lit[0] == length - 1
        assert abs(lit[0] - (side - 1 - lit[-1])) <= 1
    assert (got[np.ix_(rows, columns)] == 200).all()
    assert (square_area(frame, 2, "none") <= 200).all()
    assert np.array_equal(square_area(frame, 4), square_area(frame, 4, "center"))
