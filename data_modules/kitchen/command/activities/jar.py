"""Opening and closing a jar: one hand must hold it fast for the other to turn the lid."""

from typing import Any

import numpy as np

from data_modules.kitchen.command.activities.base import (
    UP,
    Activity,
    effort,
    forward,
    hands,
    moved,
    outwards,
    release,
    rotated,
    take,
)
from data_modules.kitchen.command.plan import Plan
from data_modules.kitchen.command.trajectory import minimum_jerk
from data_modules.kitchen.world.grasp import OPEN_ANGLE
from data_modules.kitchen.world.names import Array
from data_modules.kitchen.world.scene import Placed, Scene

LID_GRIP, JAR_GRIP = 26.0, 30.0


def lay(plan: Plan) -> Scene:
    """A jar before the person, a little towards the hand that will hold it."""
    x, y = plan.vary(0.46, 0.03), -plan.out * plan.vary(0.04, 0.04)
    return Scene((Placed("jar", x, y, plan.vary(0.0, 1.0)),))


def play(plan: Plan, world: Any) -> None:
    """Hold the jar, turn the lid in several strokes, lift it off, and perhaps put it back."""
    jar = world.data.body("jar").xpos.copy()
    tries = effort(plan)
    body = hands.around(plan.subject, 0.072, 0.055, 0.03)
    fingers = forward(plan, plan.off, 0.35)
    hold = body.held(jar + 0.045 * UP, fingers, outwards(plan.off, fingers))
    take(plan, plan.off, hold, body, JAR_GRIP * tries)
    over, lid = _over_lid(plan, jar)
    force, strokes = LID_GRIP * tries, int(plan.rng.integers(3, 5))
    for number in range(strokes):
        last = number == strokes - 1
        turned = _twist(plan, over, jar, lid, force, plan.vary(0.95, 0.12), last)
    # The last stroke left the hand around the lid, turned: it lifts it, looks, and puts it back.
    off = moved(turned, z=plan.vary(0.08, 0.02))
    plan.go(0.7, palms={plan.lead: off}, gaze=jar + 0.1 * UP)
    plan.pause(1.2)
    plan.go(0.7, palms={plan.lead: moved(turned, z=0.002)})
    release(plan, plan.lead, turned, lid)
    release(plan, plan.off, hold, body)
    plan.withdraw()


def _over_lid(plan: Plan, jar: Array) -> tuple[Array, hands.Grasp]:
    """The palm (9,) that has the lid of a jar at (3,) in its fingers, and how it holds it."""
    lid = hands.around(plan.subject, 0.076, 0.06, 0.03)
    return lid.held(jar + 0.118 * UP, forward(plan, plan.lead, 0.1), UP), lid


def _twist(
    plan: Plan, over: Array, jar: Array, lid: hands.Grasp, force: float, angle: float, last: bool
) -> Array:
    """One stroke that turns the lid to the left by an angle, rad; unless last, the hand lets go.

    Returns:
        (9,) where the palm then is.
    """
    me, middle = plan.lead, -0.2 * plan.out
    start, end = middle - angle / 2, middle + angle / 2

    def curve(u: Array) -> Array:
        return rotated(over, jar, UP, start + (end - start) * minimum_jerk(u))

    begin = curve(np.zeros(1))[0]
    plan.go(0.5, palms={me: moved(begin, z=0.06)}, shapes={me: lid.before}, gaze=jar + 0.11 * UP)
    plan.go(0.35, palms={me: begin})
    plan.go(0.25, shapes={me: lid.closed}, grip={me: min(force, 2.0)})
    plan.go(0.3, grip={me: force})
    plan.go(0.8, follow={me: curve})
    if not last:
        plan.go(0.25, shapes={me: lid.before}, grip={me: 0.0})
        plan.go(0.3, palms={me: moved(curve(np.ones(1))[0], z=0.05)})
    return np.asarray(curve(np.ones(1))[0])


def success(world: Any) -> bool:
    """Whether the lid was turned far enough to come off."""
    return bool(world.data.joint("jar_lid").qpos[0] > OPEN_ANGLE)


JAR = Activity("Open/close a jar of almond butter", lay, play, success)
