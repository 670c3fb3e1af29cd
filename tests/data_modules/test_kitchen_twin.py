"""Physics and the learned simulator are worlds of one kind: the same driver runs in both."""

import pytest
import torch
from helpers.worlds import UNET, make_batch, make_simulator
from torch import Tensor

from data_modules.kitchen.twin import COMMAND, KitchenTwin
from data_modules.kitchen.world.names import Command, joint_index
from data_modules.kitchen.world.physics import KitchenWorld
from data_modules.kitchen.world.scene import Placed, Scene
from data_modules.kitchen.world.subject import SUBJECTS
from mssim.errors import UserError
from mssim.senses import Sense, SenseSet
from mssim.video.diffusion import SamplerConfig
from mssim.video.rollout import Rollout
from mssim.world import SimulatedWorld, StateT, World

PX, TICKS, FRAMES = 16, 6, 3


@pytest.fixture
def twin() -> KitchenTwin:
    scene = Scene((Placed("plate", 0.5, 0.0), Placed("apple", 0.5, -0.25)))
    return KitchenTwin(KitchenWorld(SUBJECTS["S00"], scene), PX)


@pytest.fixture
def dream() -> SimulatedWorld:
    senses = SenseSet([Sense(COMMAND, [Command.SIZE], "rad, m/s, N", TICKS, "command")])
    rollout = Rollout(make_simulator(senses, unet=UNET).eval(), SamplerConfig(steps=2))
    return SimulatedWorld(rollout, rollout.start(make_batch(senses, size=1, px=PX)))


def raising_an_arm(twin: KitchenTwin) -> dict[str, Tensor]:
    """Commands (1, FRAMES, TICKS, 66): the right arm comes up before the eyes, the head turns."""
    rows = torch.from_numpy(twin.world.rest_command().numbers())
    rows = rows.repeat(1, FRAMES, TICKS, 1)
    away = torch.linspace(0, 1, FRAMES * TICKS).view(FRAMES, TICKS)
    rows[0, :, :, 3 + joint_index("right_shoulder_pitch")] += 0.6 * away
    rows[0, :, :, 3 + joint_index("neck_yaw")] += 0.5 * away
    return {COMMAND: rows}


def there_and_back(world: World[StateT], actions: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Act, go back to where it began, act again: what was seen both times."""
    begin = world.state()
    first = world.step(actions)
    world.reset(begin)
    return first, world.step(actions)


def test_the_same_driver_runs_in_both(twin: KitchenTwin, dream: SimulatedWorld) -> None:
    actions = raising_an_arm(twin)
    for world in (twin, dream):
        first, again = there_and_back(world, actions)
        assert first.shape == (1, FRAMES, 3, PX, PX)
        assert first.dtype == torch.uint8
        assert torch.equal(first, again)


def test_physics_shows_what_was_commanded(twin: KitchenTwin) -> None:
    seen = twin.step(raising_an_arm(twin)).float()
    assert (seen[0, -1] - seen[0, 0]).abs().mean() > 5  # grey levels


@pytest.mark.parametrize(
    "actions",
    [
        {"right_hand_pose": torch.zeros(1, FRAMES, TICKS, Command.SIZE)},
        {COMMAND: torch.zeros(1, FRAMES, TICKS, 3)},
        {COMMAND: torch.zeros(2, FRAMES, TICKS, Command.SIZE)},
    ],
)
def test_physics_refuses_what_it_cannot_obey(twin: KitchenTwin, actions: dict[str, Tensor]) -> None:
    with pytest.raises(UserError, match="command"):
        twin.step(actions)


def test_frames_last_whole_commands(twin: KitchenTwin) -> None:
    with pytest.raises(UserError, match="fps: 7"):
        KitchenTwin(twin.world, PX, fps=7)
