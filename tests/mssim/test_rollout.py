"""Rollout: worlds of plain tensors, stepped; the same alone, together, copied, saved and loaded."""

import copy
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.worlds import BODY, make_batch, make_simulator
from torch import Tensor

from mssim.batch import Batch, to_uint8
from mssim.noise import seed_of
from mssim.video.diffusion import SamplerConfig
from mssim.video.rollout import Rollout, State
from mssim.video.simulator import VideoSimulator

Actions = tuple[dict[str, Tensor], Tensor]


@pytest.fixture(scope="module")
def simulator() -> VideoSimulator:
    return make_simulator(BODY).eval()


@pytest.fixture
def rollout(simulator: VideoSimulator) -> Rollout:
    return Rollout(simulator, SamplerConfig(steps=2))


@pytest.fixture
def batch() -> Batch:
    return make_batch(BODY, size=3, presence=0.8, text=["a", "b", "c"])


def future(batch: Batch) -> Actions:
    h = batch.context
    return {n: v[:, h:] for n, v in batch.senses.items()}, batch.presence[:, h:]


def actions(length: int, seed: int = 7) -> Actions:
    batch = make_batch(BODY, size=3, context=1, future=length, px=2, seed=seed)
    return future(batch)


def rows(state: State, index: list[int]) -> State:
    """The worlds at `index`: every field is a tensor, or holds some, with B in front."""
    out: dict[str, Any] = {}
    for f in fields(state):
        value = getattr(state, f.name)
        if isinstance(value, Tensor):
            out[f.name] = value[index]
        elif isinstance(value, dict):
            out[f.name] = {k: v[index] for k, v in value.items()}
        else:
            out[f.name] = [value[i] for i in index]
    return State(**out)


def assert_same(one: State, two: State) -> None:
    for f in fields(one):
        a, b = getattr(one, f.name), getattr(two, f.name)
        if f.name == "text":
            assert a == b
        else:
            torch.testing.assert_close(a, b, atol=0, rtol=0)


def test_worlds_start_at_the_context(rollout: Rollout, batch: Batch) -> None:
    state = rollout.start(batch, seed=4)
    assert torch.equal(state.frames, batch.frames["ego"][:, :4])
    assert torch.equal(state.presence, batch.presence[:, :4])
    assert torch.equal(state.senses["emg"], batch.senses["emg"][:, :4])
    assert state.text == ["a", "b", "c"]
    assert state.noise.tolist() == [[seed_of(4, w), 0] for w in range(3)]
    assert state.memory == {}


def test_step_is_deterministic(rollout: Rollout, batch: Batch) -> None:
    state = rollout.start(batch)
    one, after_one = rollout.step(state, *future(batch))
    torch.manual_seed(99)  # the global generator plays no part
    two, after_two = rollout.step(state, *future(batch))
    assert torch.equal(one, two)
    assert_same(after_one, after_two)


def test_a_step_leaves_the_state_it_was_given(rollout: Rollout, batch: Batch) -> None:
    state = rollout.start(batch)
    before = copy.deepcopy(state)
    rollout.step(state, *future(batch))
    assert_same(state, before)


def test_the_first_step_is_a_sample_of_the_window(rollout: Rollout, batch: Batch) -> None:
    shown, _ = rollout.step(rollout.start(batch, seed=4), *future(batch))
    sources = [torch.Generator().manual_seed(seed_of(seed_of(4, w), 0)) for w in range(3)]
    drawn = rollout.simulator.sample(batch, rollout.sampler, sources)
    assert torch.equal(shown, to_uint8(drawn))


def test_each_step_has_noise_of_its_own(rollout: Rollout, batch: Batch) -> None:
    state = rollout.start(batch)
    _, after = rollout.step(state, *future(batch))
    assert after.noise.tolist() == [[seed, 1] for seed, _ in state.noise.tolist()]
    same_place = replace(state, noise=after.noise)
    one, _ = rollout.step(state, *future(batch))
    two, _ = rollout.step(same_place, *future(batch))
    assert not torch.equal(one, two)
    other, _ = rollout.step(rollout.start(batch, seed=1), *future(batch))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("length", [1, 3, 8])
def test_frames_are_fed_back_as_the_pictures_that_were_shown(
    rollout: Rollout, batch: Batch, length: int
) -> None:
    state = rollout.start(batch)
    senses, presence = actions(length)
    shown, after = rollout.step(state, senses, presence)
    assert shown.dtype == after.frames.dtype == torch.uint8
    assert shown.shape == (3, length, 3, 8, 8)
    assert torch.equal(after.frames, torch.cat([state.frames, shown], dim=1)[:, -4:])
    assert torch.equal(after.presence, torch.cat([state.presence, presence], dim=1)[:, -4:])
    for name, value in senses.items():
        felt = torch.cat([state.senses[name], value], dim=1)[:, -4:]
        assert torch.equal(after.senses[name], felt)


def test_a_world_without_context_gains_one(rollout: Rollout, batch: Batch) -> None:
    batch.context_mask[:] = False
    _, after = rollout.step(rollout.start(batch), *actions(3))
    assert after.mask.tolist() == [[False, True, True, True]] * 3


def test_true_frames_can_be_fed_in_place_of_drawn_ones(rollout: Rollout, batch: Batch) -> None:
    """The next window under its true context, as if it had started there."""
    _, after = rollout.step(rollout.start(batch), *future(batch))
    truth = replace(after, frames=batch.frames["ego"][:, -4:])
    later = replace(
        batch,
        frames={"ego": batch.frames["ego"][:, -4:]},
        senses={n: v[:, -4:] for n, v in batch.senses.items()},
        presence=batch.presence[:, -4:],
    )
    fresh = replace(rollout.start(later), noise=after.noise)
    one, two = (rollout.step(s, *actions(8))[0] for s in (truth, fresh))
    assert torch.equal(one, two)
    assert not torch.equal(one, rollout.step(after, *actions(8))[0])


def test_worlds_step_together_as_they_do_alone(rollout: Rollout, batch: Batch) -> None:
    """To one grey level: convolutions of other batch sizes may sum in another order."""
    state, (senses, presence) = rollout.start(batch), future(batch)
    together, after = rollout.step(state, senses, presence)
    for i in range(3):
        one = {n: v[[i]] for n, v in senses.items()}
        alone, left = rollout.step(rows(state, [i]), one, presence[[i]])
        assert (alone[0].int() - together[i].int()).abs().max() <= 1
        assert torch.equal(left.noise, rows(after, [i]).noise)
        assert left.text == [after.text[i]]


def test_worlds_can_be_reordered(rollout: Rollout, batch: Batch) -> None:
    state, (senses, presence) = rollout.start(batch), future(batch)
    order = [2, 0, 1]
    turned = {n: v[order] for n, v in senses.items()}
    one, _ = rollout.step(rows(state, order), turned, presence[order])
    two, _ = rollout.step(state, senses, presence)
    assert (one.int() - two[order].int()).abs().max() <= 1


def test_states_can_be_saved_and_loaded(rollout: Rollout, batch: Batch, tmp_path: Path) -> None:
    _, state = rollout.step(rollout.start(batch), *future(batch))
    torch.save(state.state_dict(), tmp_path / "world.pt")
    loaded = State(**torch.load(tmp_path / "world.pt", weights_only=True))
    assert_same(loaded, state)
    one, two = (rollout.step(s, *actions(4))[0] for s in (state, loaded))
    assert torch.equal(one, two)


def test_a_copy_lives_on_its_own(rollout: Rollout, batch: Batch) -> None:
    state = rollout.start(batch)
    twin = copy.deepcopy(state)
    state.frames.zero_()
    assert twin.frames.any()


def test_a_run_covers_its_horizon_with_a_shorter_last_step(rollout: Rollout, batch: Batch) -> None:
    senses, presence = actions(19)
    state, parts = rollout.start(batch), []
    for shown, after in rollout.run(state, senses, presence, frames=8):
        parts.append(shown)
        last = after
    assert [p.shape[1] for p in parts] == [8, 8, 3]
    assert last.noise[:, 1].tolist() == [3, 3, 3]
    by_hand = state
    for part, begin in zip(parts, (0, 8, 16), strict=True):
        piece = slice(begin, begin + 8)
        shown, by_hand = rollout.step(
            by_hand, {n: v[:, piece] for n, v in senses.items()}, presence[:, piece]
        )
        assert torch.equal(part, shown)
    assert_same(last, by_hand)


def test_a_run_of_a_whole_number_of_steps_has_no_empty_one(rollout: Rollout, batch: Batch) -> None:
    lengths = [s.shape[1] for s, _ in rollout.run(rollout.start(batch), *actions(8), frames=4)]
    assert lengths == [4, 4]


def test_the_simulators_mode_is_left(rollout: Rollout, batch: Batch) -> None:
    assert not rollout.simulator.training
    rollout.step(rollout.start(batch), *future(batch))
    assert not rollout.simulator.training


def test_without_a_past_each_step_begins_with_frames_alone(
    simulator: VideoSimulator, batch: Batch
) -> None:
    sampler = SamplerConfig(steps=2)
    blind, seeing = Rollout(simulator, sampler, past=False), Rollout(simulator, sampler)
    act = actions(8)
    first, state = blind.step(blind.start(batch), *act)
    same, known = seeing.step(seeing.start(batch), *act)
    assert torch.equal(first, same)
    assert not state.presence.any() and not any(v.any() for v in state.senses.values())
    assert known.presence.any() and torch.equal(state.frames, known.frames)
    assert not torch.equal(blind.step(state, *act)[0], seeing.step(known, *act)[0])
