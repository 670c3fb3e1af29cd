"""Performances: an activity's script turned into what the world is told, tick by tick.

Scripts are open loop: commands depend on the subject, the label, the seed and the scene they
draw, never on what happens. Scaling grip or press therefore changes nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from data_modules.kitchen.command.activities import ACTIVITIES, Activity
from data_modules.kitchen.command.plan import Plan, Score
from data_modules.kitchen.command.reach import Reach
from data_modules.kitchen.world.names import Array, Command
from data_modules.kitchen.world.physics import KitchenWorld
from data_modules.kitchen.world.subject import Subject
from mssim.errors import UserError


@dataclass(frozen=True)
class Tick:
    """One control tick, before the world steps by its command.

    Attributes:
        world: the world, which the performer steps between two ticks.
        command: what the body is told.
        gaze: (3,) point looked at, m.
        labelled: whether the activity, rather than the rest around it, is under way.
    """

    world: KitchenWorld
    command: Command
    gaze: Array
    labelled: bool


def prepare(subject: Subject, label: str, seed: int) -> tuple[KitchenWorld, Score]:
    """The world of an activity instance at its start, and all that its person will command.

    Raises:
        UserError: For a label that there is not.
    """
    activity = _activity(label)
    who = crc32(subject.name.encode()), crc32(label.encode())
    plan = Plan(subject, np.random.default_rng([*who, seed]))
    world = KitchenWorld(subject, activity.lay(plan))
    activity.play(plan, world)
    score = plan.finish(Reach(subject))
    world.place(score.commands[0, 3:62], score.start)
    return world, score


def make_world(subject: Subject, label: str, seed: int) -> KitchenWorld:
    """The world of an activity instance at its start, as `perform` begins."""
    return prepare(subject, label, seed)[0]


def perform(
    subject: Subject, label: str, seed: int, grip_scale: float = 1.0, press_scale: float = 1.0
) -> Iterator[Tick]:
    """Perform an activity once.

    Args:
        subject: who.
        label: one of `ACTIVITIES`.
        seed: of the scene and of everything that varies.
        grip_scale: factor on the grip of both hands; changes no other number of the commands.
        press_scale: factor on the press of both hands; changes no other number.

    Yields:
        A tick at names.CONTROL_HZ, before the world steps by its command. After the last one the
        world has stepped by the last command.

    Raises:
        UserError: For a label that there is not.
    """
    world, score = prepare(subject, label, seed)
    numbers = score.commands.copy()
    numbers[:, 62:64] *= grip_scale
    numbers[:, 64:66] *= press_scale
    for row, gaze, labelled in zip(numbers, score.gaze, score.labelled, strict=True):
        command = Command.of(row)
        yield Tick(world, command, gaze, bool(labelled))
        world.step(command)


def success(label: str, world: KitchenWorld) -> bool:
    """Whether an activity that was performed in this world ended as wanted."""
    return _activity(label).success(world)


def _activity(label: str) -> Activity:
    if label not in ACTIVITIES:
        known = ", ".join(repr(name) for name in ACTIVITIES)
        raise UserError(f"kitchen: no activity {label!r}; there are: {known}")
    return ACTIVITIES[label]
