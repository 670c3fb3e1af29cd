"""Episodes too short for a window are the cause that is told."""

from pathlib import Path

import pytest
from helpers import lerobot_writer as writer
from helpers.toy_data import module

from mssim.errors import UserError


def test_episodes_shorter_than_a_window_are_named_as_the_cause(tmp_path: Path) -> None:
    """They came out as an empty split, "name recordings", or "lower batch_size"."""
    writer.write_lerobot(tmp_path / "a", seed=0)
    toy = tmp_path
    frames = r"episodes has 40 frames, a window takes"
    data = module(toy, predict=40)
    for split, loader in (("val", data.val_dataloader), ("test", data.test_dataloader)):
        place = rf"name longer ones in data\.sources\.NAME\.split\.{split}$"
        told = (
            rf"^no {split} windows: the longest of its \d {frames} 44 \(context 4, predict 40\); "
        )
        with pytest.raises(UserError, match=rf"{told}lower data\.predict, or {place}"):
            loader()
    with pytest.raises(UserError, match=rf"^no train windows of a: .* {frames} 44 \(context 4, p"):
        data.train_dataloader()
    with pytest.raises(UserError, match=rf"{frames} 45 \(context 4, predict 8, stride 4\)"):
        module(toy, strides=[4, 5]).statistics()
    with pytest.raises(UserError, match=rf"{frames} 42 \(context 4, predict 8, eval_skip 30\)"):
        module(toy, eval_skip=30).test_dataloader()
    with pytest.raises(UserError, match=rf"{frames} 45 \(context 4, predict 8, stride 4\)"):
        module(toy, strides=[1, 4], eval_strides=[4]).test_dataloader()
