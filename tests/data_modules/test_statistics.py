"""Mean and deviation of each number of a sense, each measured by its own range."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_modules.recording import Clock, Entry, Span
from data_modules.statistics import FLOOR, statistics
from data_modules.store import Draft, Store
from mssim.senses import Sense, SenseSet


def moments(
    folder: Path, values: NDArray[np.float64], absent: list[int] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and std of one sense with the rows `values` (N, size), of which some are absent."""
    senses = SenseSet([Sense("it", [values.shape[1]], "mixed")])
    store = Store.create(folder / "store", "toy", {})

    def convert(entry: Entry, clock: Clock, draft: Draft) -> None:
        n = len(values)
        draft.add_frames("eye", iter(np.zeros((n, 4, 4, 3), np.uint8)), n)
        present = np.ones(n, bool)
        present[absent or []] = False
        draft.add_sense("it", values[:, None].astype(np.float32), present)
        draft.finish(0.1, [Span(0, n, "x")])

    store.add(Entry("a", "S00", (), len(values)), convert, Clock(senses, 4))
    return statistics([(store, ["a"])], senses)["it"]


def test_a_turn_in_rad_is_not_floored_by_steps_in_cm(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    unit = np.array([0.5, 1.2, 0.016])  # the kitchen's root: cm, cm, rad
    values = rng.normal(size=(6000, 3)) * unit
    _, std = moments(tmp_path, values)
    np.testing.assert_allclose(std, values.std(axis=0), rtol=1e-4)


def test_a_number_keeps_its_deviation_whatever_stands_beside_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    taxels = rng.normal(size=(2000, 4)) * np.array([1e-3, 1.0, 1e3, 1e6])
    _, together = moments(tmp_path / "all", taxels)
    for i in range(4):
        _, alone = moments(tmp_path / str(i), taxels[:, [i]])
        assert alone[0] == together[i]


def test_what_moves_seldom_and_far_is_floored_by_its_own_range(tmp_path: Path) -> None:
    values = np.zeros((4000, 2))
    values[17, 0] = 800.0
    values[:, 1] = np.linspace(-1, 1, 4000)
    _, std = moments(tmp_path, values)
    np.testing.assert_allclose(std, [FLOOR * 800, values[:, 1].std()], rtol=1e-4)


def test_a_constant_number_has_deviation_one_in_its_own_unit(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    values = np.stack([np.full(500, 7.25), np.zeros(500), rng.normal(size=500)], axis=1)
    rounded = 1234.5 * (1 + 1e-7 * rng.integers(0, 2, 500))  # float32's last digit flickers
    mean, std = moments(tmp_path, np.column_stack([values, rounded]))
    np.testing.assert_array_equal(std[[0, 1, 3]], 1.0)
    np.testing.assert_allclose(mean, [7.25, 0, values[:, 2].mean(), 1234.5], rtol=1e-4, atol=1e-6)


def test_absent_rows_are_no_part_of_a_range(tmp_path: Path) -> None:
    values = np.full((300, 1), 5.0) + np.linspace(0, 1e-2, 300)[:, None]
    mean, std = moments(tmp_path, values, absent=[4, 200])
    kept = np.delete(values, [4, 200], axis=0)
    np.testing.assert_allclose([mean[0], std[0]], [kept.mean(), kept.std()], rtol=1e-3)
