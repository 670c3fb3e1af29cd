"""The common clock: closed forms."""

import numpy as np

from data_modules.resample import clock_times, is_fresh, last_at_or_before, sub_times

EPOCH = 1_655_000_000.0


def test_clock_ends_at_the_last_stamp_itself_and_never_after_it() -> None:
    times = clock_times(EPOCH, EPOCH + 2.0, 10.0)
    assert len(times) == 21
    np.testing.assert_allclose(times - EPOCH, np.arange(21) / 10, rtol=0, atol=1e-6)
    assert len(clock_times(EPOCH, EPOCH + 1.999, 10.0)) == 20
    assert len(clock_times(EPOCH, EPOCH, 10.0)) == 1


def test_sub_times_end_on_the_frame_and_lie_after_the_frame_before() -> None:
    times = clock_times(100.0, 101.0, 10.0)
    fine = sub_times(times, 0.1, 4)
    assert fine.shape == (11, 4)
    np.testing.assert_array_equal(fine[:, -1], times)
    np.testing.assert_allclose(np.diff(fine.ravel()), 0.025)
    np.testing.assert_allclose(fine[0], [99.925, 99.95, 99.975, 100.0])


def test_the_sample_held_is_the_last_at_or_before() -> None:
    stamps = np.array([1.0, 2.0, 2.0, 4.0])
    times = np.array([[0.5, 1.0], [1.9, 2.0], [3.9, 9.0]])
    held = last_at_or_before(stamps, times)
    np.testing.assert_array_equal(held, [[-1, 0], [0, 2], [2, 3]])
    fresh = is_fresh(stamps, held, times, 1.0)
    np.testing.assert_array_equal(fresh, [[False, True], [True, True], [False, False]])
