"""Pouring water from a pitcher into a glass: a weak grip lets the pitcher slip."""

from typing import Any

import numpy as np

from data_modules.kitchen.command.activities.base import (
    UP,
    Activity,
    effort,
    hands,
    moved,
    put,
    rotated,
    take,
    turned,
)
from data_modules.kitchen.command.plan import Plan
from data_modules.kitchen.command.trajectory import Curve, minimum_jerk
from data_modules.kitchen.world.names import Array
from data_modules.kitchen.world.objects import VESSELS
from data_modules.kitchen.world.scene import Placed, Scene

GRIP = 34.0
ENOUGH = 0.2
"""How much fuller a glass is that water was poured into."""


def lay(plan: Plan) -> Scene:
    """A pitcher beside the leading hand, its handle outwards, and a glass before the person."""
    yaw = -plan.out * (np.pi / 2 - plan.vary(0.1, 0.15))
    pitcher = Placed("pitcher", plan.vary(0.50, 0.02), plan.out * plan.vary(0.14, 0.02), yaw)
    cup = Placed("cup", plan.vary(0.53, 0.02), -plan.out * plan.vary(0.10, 0.03))
    fill = {"pitcher": plan.vary(0.75, 0.15), "cup": plan.vary(0.05, 0.05)}
    return Scene((pitcher, cup), fill=fill)


def play(plan: Plan, world: Any) -> None:
    """Lift the pitcher, tilt it over the glass once or twice, and set it down."""
    me = plan.lead
    body = world.data.body("pitcher")
    at, out = body.xpos.copy(), body.xmat.reshape(3, 3)[:, 0].copy()
    cup = world.data.body("cup").xpos.copy()
    fingers = turned(out[0], out[1], plan.out * np.pi / 2)
    grasp = hands.around(plan.subject, 0.024, 0.05, 0.04)
    rest = grasp.held(at - 0.10 * out + (0, 0, 0.10), fingers, -out)
    grip = GRIP * effort(plan)
    take(plan, me, rest, grasp, grip)
    plan.go(0.7, palms={me: moved(rest, z=0.12)})
    vessel = VESSELS["pitcher"]
    lip = cup + plan.vary(0.15, 0.015) * UP
    over = moved(rest, *(lip - at - vessel.lip * out - (0, 0, vessel.height)))
    plan.go(0.7, palms={me: moved(over, *(-0.02 * out))}, gaze=cup + 0.1 * UP)
    axis = np.cross((0, 0, 1), out)
    for _ in range(1 + plan.chance(0.4)):
        tilt = plan.vary(1.12, 0.08)
        plan.go(1.3, follow={me: _tilting(over, lip, axis, 0.0, tilt)})
        plan.go(plan.vary(1.0, 0.4))
        plan.go(0.9, follow={me: _tilting(over, lip, axis, tilt, 0.0)})
        if plan.chance(0.5):
            plan.pause()
    put(plan, me, rest, grasp)
    plan.withdraw()


def _tilting(pose: Array, pivot: Array, axis: Array, first: float, last: float) -> Curve:
    """A curve of palm poses: `pose` (9,) turned about a pivot from one angle to another, rad."""

    def curve(u: Array) -> Array:
        return rotated(pose, pivot, axis, first + (last - first) * minimum_jerk(u))

    return curve


def success(world: Any) -> bool:
    """Whether the glass is fuller by `ENOUGH`."""
    return bool(world.effects.fill["cup"] - world.scene.fill["cup"] >= ENOUGH)


POUR = Activity("Pour water from a pitcher into a glass", lay, play, success)
