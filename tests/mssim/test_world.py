"""World: the learned simulator, stepped as any world is."""

import pytest
import torch
from helpers.worlds import BODY, make_batch, make_simulator

from mssim.errors import UserError
from mssim.video.diffusion import SamplerConfig
from mssim.video.rollout import Rollout, State
from mssim.world import SimulatedWorld, World

FUTURE = 3


@pytest.fixture(scope="module")
def rollout() -> Rollout:
    return Rollout(make_simulator(BODY).eval(), SamplerConfig(steps=2))


@pytest.fixture
def world(rollout: Rollout) -> World[State]:
    return SimulatedWorld(rollout, rollout.start(make_batch(BODY, size=2)))


def actions(seed: int = 3) -> dict[str, torch.Tensor]:
    batch = make_batch(BODY, size=2, context=1, future=FUTURE, px=2, seed=seed)
    return {name: values[:, 1:] for name, values in batch.senses.items()}


def test_steps_are_those_of_the_rollout(world: World[State], rollout: Rollout) -> None:
    state, todo = world.state(), actions()
    everything = torch.ones(2, FUTURE, len(todo), dtype=torch.bool)
    expected, after = rollout.step(state, todo, everything)
    assert torch.equal(world.step(todo), expected)
    assert torch.equal(world.state().frames, after.frames)


def test_reset_brings_a_world_back(world: World[State]) -> None:
    before = world.state()
    first = world.step(actions())
    world.step(actions(seed=5))
    world.reset(before)
    assert torch.equal(world.step(actions()), first)


def test_a_sense_left_out_is_absent(world: World[State]) -> None:
    todo = actions()
    kept = dict(list(todo.items())[:1])
    world.step(kept)
    presence = world.state().presence[:, -FUTURE:]
    assert presence[..., 0].all()
    assert not presence[..., 1:].any()


@pytest.mark.parametrize("wrong", [{"tail": torch.zeros(2, FUTURE, 1, 3)}, {}])
def test_actions_that_no_sense_knows_are_refused(
    world: World[State], wrong: dict[str, torch.Tensor]
) -> None:
    with pytest.raises(UserError, match="the simulator knows"):
        world.step(wrong)
