"""What is felt decides what is seen: one start, one stream of poses, only the force differs."""

from dataclasses import dataclass

import numpy as np
import pytest

from data_modules.kitchen.command.performer import perform, success
from data_modules.kitchen.sensing.camera import Camera
from data_modules.kitchen.world.names import Array
from data_modules.kitchen.world.subject import SUBJECTS

CASES = [
    ("Clean a plate with a sponge", "press_scale", 0.0),
    ("Slice a cucumber", "press_scale", 0.2),
    ("Pour water from a pitcher into a glass", "grip_scale", 0.0),
]


@dataclass(frozen=True)
class Performed:
    """Commands (n, 66), the picture at the end, and whether it worked."""

    commands: Array
    picture: Array
    worked: bool


def act(label: str, **scales: float) -> Performed:
    commands = []
    for tick in perform(SUBJECTS["S00"], label, seed=1, **scales):
        commands.append(tick.command.numbers())
    picture = Camera(tick.world.model, 32).render(tick.world)
    return Performed(np.array(commands), picture, success(label, tick.world))


@pytest.mark.slow
@pytest.mark.parametrize(("label", "scale", "share"), CASES)
def test_force_alone_changes_what_is_seen(label: str, scale: str, share: float) -> None:
    firm, light = act(label), act(label, **{scale: share})
    poses = slice(0, -4)
    assert np.array_equal(firm.commands[:, poses], light.commands[:, poses])
    assert firm.worked and not light.worked
    changed = np.abs(firm.picture.astype(int) - light.picture).max(axis=-1) > 30  # grey levels
    assert changed.sum() >= 5  # of 1024 pixels
