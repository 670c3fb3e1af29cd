"""Strides: rows between the frames of a window, in training and where it is tested."""

from pathlib import Path

import numpy as np
import pytest
from helpers import lerobot_writer as writer
from helpers.toy_data import module

from mssim.errors import UserError


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    writer.write_lerobot(root / "a")
    return root


def test_what_trained_at_one_stride_is_not_tested_at_another(toy: Path) -> None:
    evaluated = {
        ((3,), None): [3],
        ((3, 1, 2), None): [1],
        ((2, 3), None): [2],
        ((1, 2, 3), (2, 3)): [2, 3],
    }
    for (strides, asked), expected in evaluated.items():
        data = module(toy, strides=list(strides), eval_strides=None if asked is None else [*asked])
        assert set(data.datasets["train"].index.stride.tolist()) == set(strides)
        for split in ("val", "test"):
            assert np.unique(data.datasets[split].index.stride).tolist() == expected
        intervals = {i for b in data.test_dataloader() for i in b.interval.tolist()}
        assert sorted(intervals) == pytest.approx([0.1 * s for s in expected])
        told = data.datasets["test"].interval()
        assert told == (pytest.approx(0.1 * expected[0]) if len(expected) == 1 else None)
    for wrong in ([1], [], [3, 0]):
        with pytest.raises(UserError, match=r"data\.eval_strides: .* must be among data\.strides"):
            module(toy, strides=[3], eval_strides=wrong)


def test_a_window_that_is_too_long_to_test_is_told_with_its_own_stride(toy: Path) -> None:
    data = module(toy, strides=[1, 4], eval_strides=[4])
    with pytest.raises(UserError, match=r"40 frames, a window takes 45 .*stride 4"):
        data.test_dataloader()
