"""Senses and batches: sizes, selection, refusals, and the 8-bit pictures between model and file."""

import pytest
import torch
from helpers.worlds import BODY, HANDS, make_batch

from mssim.batch import to_uint8
from mssim.errors import UserError
from mssim.senses import Sense, SenseSet


def test_sizes_of_a_sense() -> None:
    sense = Sense("pose", [24, 3], "cm", samples_per_frame=2)
    assert (sense.size, sense.width) == (72, 144)


def test_select_keeps_the_order_of_the_set() -> None:
    assert BODY.select(["touch", "pose"]).names == ["pose", "touch"]
    assert len(BODY) == 3
    assert BODY["emg"].samples_per_frame == 3


@pytest.mark.parametrize("shape", [[], [0], [3, -1]])
def test_a_shape_must_be_positive(shape: list[int]) -> None:
    with pytest.raises(UserError, match="sense pose: shape"):
        Sense("pose", shape, "cm")


def test_samples_per_frame_must_be_positive() -> None:
    with pytest.raises(UserError, match="sense pose: samples_per_frame 0"):
        Sense("pose", [3], "cm", samples_per_frame=0)


@pytest.mark.parametrize(("key", "word"), [("role", "comand"), ("merge", "median")])
def test_a_word_that_is_not_known_is_told_with_those_that_are(key: str, word: str) -> None:
    with pytest.raises(UserError, match=f"sense pose: {key} '{word}' is not known; choose of "):
        Sense("pose", [3], "cm", **{key: word})  # type: ignore[arg-type]


def test_two_senses_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match=r"\['a'\] named twice"):
        SenseSet([Sense("a", [1], "m"), Sense("b", [1], "m"), Sense("a", [2], "m")])


def test_an_unknown_sense_is_named_with_those_that_exist() -> None:
    for ask in (lambda: HANDS["nose"], lambda: HANDS.select(["left", "nose"])):
        with pytest.raises(UserError, match="no sense named 'nose'; there are left, right"):
            ask()


def test_every_grey_level_survives_the_way_through_the_model() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(levels.float() / 127.5 - 1), levels)
    assert to_uint8(torch.tensor([-7.0, 7.0])).tolist() == [0, 255]


def test_a_batch_knows_its_sizes_and_its_video() -> None:
    batch = make_batch(BODY, size=3, context=2, future=5)
    assert (batch.size, batch.context, batch.length) == (3, 2, 7)
    video = batch.video()
    assert video.dtype == torch.float32
    assert torch.equal(video, batch.video("ego"))
    assert video.min() >= -1 and video.max() <= 1
    assert torch.equal(to_uint8(video), batch.frames["ego"])


def test_rows_pick_every_field_and_leave_the_batch_alone() -> None:
    batch = make_batch(BODY, size=4, text=["a", "b", "c", "d"], sources=3)
    picked = batch.rows(torch.tensor([2, 0]))
    assert picked.text == ["c", "a"]
    assert picked.window.tolist() == [2, 0]
    assert picked.source.tolist() == [2, 0]
    assert torch.equal(picked.senses["emg"], batch.senses["emg"][[2, 0]])
    assert torch.equal(picked.frames["ego"], batch.frames["ego"][[2, 0]])
    assert batch.size == 4


def test_other_actions_leave_the_rest_as_it_was() -> None:
    batch = make_batch(size=2)
    senses = {n: v + 1 for n, v in batch.senses.items()}
    other = batch.with_senses(senses, ~batch.presence)
    assert torch.equal(other.frames["ego"], batch.frames["ego"])
    assert torch.equal(other.senses["left"], batch.senses["left"] + 1)
    assert not other.presence.any() and batch.presence.all()


def test_moving_a_batch_keeps_its_content() -> None:
    batch = make_batch(size=2, text=["x", "y"])
    moved = batch.to("cpu")
    assert moved.text == ["x", "y"]
    assert torch.equal(moved.senses["right"], batch.senses["right"])
