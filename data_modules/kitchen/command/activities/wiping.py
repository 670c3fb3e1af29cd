"""Cleaning a plate or a pan with a sponge: only pressure lifts dirt."""

from typing import Any

import numpy as np

from data_modules.kitchen.command.activities.base import (
    UP,
    Activity,
    circles,
    effort,
    forward,
    hands,
    holding,
    moved,
    put,
    strokes,
    take,
)
from data_modules.kitchen.command.plan import Plan, at_ease
from data_modules.kitchen.world.furniture import STOVE_CENTRE
from data_modules.kitchen.world.names import Array
from data_modules.kitchen.world.scene import Placed, Scene

PRESS, GRIP = 24.0, 20.0
FINGERTIP = 0.0785
"""From the palm's centre to the tips of straight fingers, as a share of the body's height."""
CLEAR = 0.008
"""How far above the surface a sponge aims that presses not at all, m."""
CLEAN = 0.45
"""Share of the first dirt that may stay on what counts as clean."""


def _sponge(plan: Plan, x: float, y: float) -> Placed:
    """A sponge whose short side lies along the fingers of the leading hand."""
    fingers = forward(plan, plan.lead, 0.25)
    return Placed("sponge", x, y, float(np.arctan2(fingers[1], fingers[0]) + np.pi / 2))


def lay_plate(plan: Plan) -> Scene:
    """A plate before the person, a sponge beside the leading hand."""
    plate = Placed("plate", plan.vary(0.53, 0.025), plan.out * plan.vary(0.0, 0.04))
    sponge = _sponge(plan, plan.vary(0.50, 0.04), plan.out * plan.vary(0.29, 0.04))
    dirt = {"plate": plan.vary(0.8, 0.2)}
    return Scene((plate, sponge), dirt=dirt, seed=int(plan.rng.integers(1 << 30)))


def lay_pan(plan: Plan) -> Scene:
    """A pan on the stove at the left, a sponge on the counter between it and the person."""
    x, y = STOVE_CENTRE
    yaw = plan.out * plan.vary(0.15, 0.12)
    pan = Placed("pan", plan.vary(x - 0.02, 0.02), plan.vary(y, 0.03), yaw, "stove")
    sponge = _sponge(plan, plan.vary(0.48, 0.03), plan.vary(0.30, 0.04))
    dirt = {"pan": plan.vary(0.8, 0.2)}
    return Scene((pan, sponge), dirt=dirt, seed=int(plan.rng.integers(1 << 30)))


def _grasp_sponge(plan: Plan, world: Any) -> tuple[Array, hands.Grasp]:
    point = world.data.body("sponge").xpos + 0.024 * UP
    grasp = hands.around(plan.subject, 0.065, 0.06, 0.035)
    return grasp.held(point, forward(plan, plan.lead, 0.25), UP), grasp


def _scrub(plan: Plan, touching: Array, radius: float, press: float) -> None:
    """One bout of scrubbing about a pose (9,) in which the sponge touches."""
    side, turns = plan.lead, int(plan.rng.integers(3, 6))
    if plan.chance(0.6):
        size = (radius * plan.vary(0.3, 0.1), radius * plan.vary(0.95, 0.1))
        size = size if plan.chance(0.5) else size[::-1]
        curve = circles(touching, size, turns * plan.rng.choice([-1, 1]), plan.vary(0, np.pi))
    else:
        angle = plan.vary(0.0, np.pi)
        along = radius * np.array([np.cos(angle), np.sin(angle), 0.0])
        across = radius * 0.9 * np.array([-np.sin(angle), np.cos(angle), 0.0])
        curve = strokes(moved(touching, *along), moved(touching, *-along), across, turns)
    start = curve(np.zeros(1))[0]
    plan.go(0.4, palms={side: moved(start, z=0.02)}, gaze=touching[:3] - (0, 0, 0.08))
    plan.go(0.25, palms={side: start}, press={side: press})
    plan.go(turns * 0.62, follow={side: curve})
    plan.go(0.2, press={side: 0.0})


def _clean(plan: Plan, at: Array, base: float, rest: Array, radius: float) -> None:
    """Take the sponge along to a plate or pan at (3,), scrub in bouts, bring it back.

    Args:
        plan: to write to.
        at: where the middle of the surface is, m.
        base: z of what the sponge lay on.
        rest: (9,) palm when the sponge lies at its place.
        radius: of the circle in which to scrub.
    """
    touching = rest.copy()
    touching[:2] = at[:2]
    touching[2] += at[2] - base + CLEAR
    press = PRESS * effort(plan)
    for bout in range(int(plan.rng.integers(3, 5))):
        _scrub(plan, touching, radius, press * plan.vary(1.0, 0.1))
        if plan.chance(0.35) and bout == 1:  # a look at how it goes
            plan.go(0.4, palms={plan.lead: moved(touching, y=plan.out * 0.1, z=0.08)})
            plan.pause()


def play_plate(plan: Plan, world: Any) -> None:
    """Take the sponge, hold the plate with the other hand, scrub, put the sponge back."""
    plate = world.data.body("plate").xpos.copy()
    rest, grasp = _grasp_sponge(plan, world)
    base = world.data.body("sponge").xpos[2]
    hold = plate + np.array([-0.03, -plan.out * 0.098, 0.027])
    over = holding(
        hold, forward(plan, plan.off, 0.7) - 0.45 * UP, UP, 0.0, FINGERTIP * plan.subject.height
    )
    take(plan, plan.lead, rest, grasp, GRIP)
    plan.go(0.5, palms={plan.lead: moved(rest, z=0.06), plan.off: moved(over, z=0.05)})
    plan.go(0.4, palms={plan.off: over}, shapes={plan.off: hands.FLAT}, press={plan.off: 6.0})
    _clean(plan, plate + 0.017 * UP, base, rest, 0.065)
    plan.go(0.3, palms={plan.off: moved(over, z=0.08)}, press={plan.off: 0.0})
    put(plan, plan.lead, rest, grasp)
    plan.withdraw()


def play_pan(plan: Plan, world: Any) -> None:
    """Take the sponge, step to the stove, hold the handle, scrub, and put the sponge back."""
    pan, turn = world.data.body("pan").xpos.copy(), world.data.body("pan").xmat.reshape(3, 3)
    rest, grasp = _grasp_sponge(plan, world)
    base = world.data.body("sponge").xpos[2]
    stand = (plan.vary(0.0, 0.015), plan.vary(0.6, 0.03), plan.vary(0.05, 0.05))
    plan.go(0.9, pelvis=(0.0, plan.vary(0.24, 0.03), 0.0), gaze=rest[:3])
    take(plan, plan.lead, rest, grasp, GRIP)
    plan.go(0.5, palms={plan.lead: moved(rest, z=0.10)}, gaze=pan)
    ready = moved(rest, y=0.26, z=0.12)
    plan.go(1.1, palms={plan.lead: ready}, pelvis=stand)
    handle = pan + turn @ (-0.20, 0.0, 0.042)
    across = turn @ (0.0, plan.out, 0.0) + np.array([0.5, 0.0, 0.0])
    grip = hands.around(plan.subject, 0.024, 0.05, 0.04)
    held = grip.held(handle, across, UP)
    take(plan, plan.off, held, grip, 26.0)
    _clean(plan, pan + 0.008 * UP, base, rest, 0.055)
    plan.go(0.3, shapes={plan.off: hands.RELAXED}, grip={plan.off: 0.0})
    plan.go(0.4, palms={plan.lead: ready, plan.off: moved(held, z=0.1)})
    plan.go(0.4, carry={plan.off: at_ease(plan.off)})
    plan.go(1.0, palms={plan.lead: moved(rest, z=0.10)}, pelvis=(0.0, 0.2, 0.0), gaze=rest[:3])
    put(plan, plan.lead, rest, grasp)
    plan.withdraw()


def _cleaned(name: str) -> Any:
    def success(world: Any) -> bool:
        left = world.effects.dirt[name].sum() / world.start.effects.dirt[name].sum()
        return bool(left < CLEAN)

    return success


PLATE = Activity("Clean a plate with a sponge", lay_plate, play_plate, _cleaned("plate"))
PAN = Activity("Clean a pan with a sponge", lay_pan, play_pan, _cleaned("pan"))
