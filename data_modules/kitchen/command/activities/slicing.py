"""Slicing a cucumber or bread: only pressure parts slices, and the next cut follows the last."""

from collections.abc import Callable
from typing import Any

import numpy as np

from data_modules.kitchen.command.activities.base import (
    UP,
    Activity,
    effort,
    forward,
    hands,
    holding,
    moved,
    put,
    strokes,
    take,
)
from data_modules.kitchen.command.plan import Plan
from data_modules.kitchen.world.names import Array
from data_modules.kitchen.world.objects import FOODS
from data_modules.kitchen.world.scene import Placed, Scene

PRESS, GRIP = {"cucumber": 26.0, "bread": 34.0}, 16.0
BLADE_MIDDLE = 0.085
"""From the knife's origin along the blade, m."""
TOUCH = 0.003
"""How far below the food's top a blade aims that presses not at all, m."""


def _knife_yaw(plan: Plan) -> float:
    """Where the blade points: forward and across the body, away from the leading hand."""
    return -plan.out * plan.vary(1.12, 0.06)


def _lay(food: str) -> Callable[[Plan], Scene]:
    def lay(plan: Plan) -> Scene:
        blade = _knife_yaw(plan)
        x, y = plan.vary(0.53, 0.02), -plan.out * plan.vary(0.02, 0.03)
        board = Placed("board", x + 0.01, y, 0.0)
        # The row of slices runs away from the person, across the blade.
        loaf = Placed(food, x, y, blade + plan.out * np.pi / 2, "board")
        knife = Placed("knife", plan.vary(0.47, 0.02), plan.out * plan.vary(0.27, 0.02), blade)
        return Scene((board, loaf, knife))

    return lay


def _play(food: str) -> Callable[[Plan, Any], None]:
    def play(plan: Plan, world: Any) -> None:
        me, kind = plan.lead, FOODS[food]
        knife = world.data.body("knife").xpos.copy()
        blade = world.data.body("knife").xmat.reshape(3, 3)[:, 0].copy()
        slices = [world.data.body(f"{food}_{n}").xpos.copy() for n in range(kind.count)]
        row = (slices[-1] - slices[0]) / np.linalg.norm(slices[-1] - slices[0])
        point = knife - 0.06 * blade + (0, 0, 0.025)
        grasp = hands.around(plan.subject, 0.02, 0.065, 0.035)
        rest = grasp.held(point, row, UP)
        take(plan, me, rest, grasp, GRIP)
        plan.go(0.4, palms={me: moved(rest, z=0.09)}, gaze=slices[-1])
        held = _hold_food(plan, slices[0] + (slices[1] - slices[0]) * 0.3, 2 * kind.half[1])
        cuts = int(plan.rng.integers(2, kind.count - 1))
        press = PRESS[food] * effort(plan)
        for number in range(kind.count - 2, kind.count - 2 - cuts, -1):
            joint = (slices[number] + slices[number + 1]) / 2
            over = moved(rest, *(joint - BLADE_MIDDLE * blade - knife))
            over[2] += 2 * kind.half[1]
            _cut(plan, over, blade, row, press * plan.vary(1.0, 0.1))
            if plan.chance(0.25):
                plan.pause()
        plan.go(0.4, palms={me: moved(over, z=0.1), plan.off: moved(held, z=0.08)})
        put(plan, me, rest, grasp)
        plan.withdraw()

    return play


def _hold_food(plan: Plan, point: Array, height: float) -> Array:
    """Lay the other hand on the near end of what is sliced, and where it then is (9,)."""
    fingers = forward(plan, plan.off, 0.6)
    held = holding(point + (height + 0.012) * UP, fingers, UP, 0.0, 0.02)
    plan.go(0.5, palms={plan.off: moved(held, x=-0.03, y=-plan.out * 0.05, z=0.07)})
    shape = hands.shape((0.8, 0.1, 0.2, 0.1), (0.35, 0.5, 0.3))
    plan.go(0.35, palms={plan.off: held}, shapes={plan.off: shape}, press={plan.off: 5.0})
    return held


def _cut(plan: Plan, over: Array, blade: Array, row: Array, press: float) -> None:
    """One cut at a palm pose (9,) whose knife stands on the food, and a push to the side."""
    me = plan.lead
    gaze = over[:3] + 0.14 * blade - (0, 0, 0.08)
    plan.go(0.45, palms={me: moved(over, z=0.035)}, gaze=gaze)
    down = moved(over, z=-TOUCH)
    plan.go(0.3, palms={me: down}, press={me: 0.25 * press})
    saw = 0.022 * blade
    plan.go(0.2, press={me: press})
    times = int(plan.rng.integers(2, 5))
    plan.go(0.4 * times, follow={me: strokes(down, down, saw, times)})
    plan.go(0.3, palms={me: moved(down, *(0.02 * row))})
    plan.go(0.25, palms={me: moved(over, *(0.005 * row + 0.04 * UP))}, press={me: 0.0})


def _sliced(food: str) -> Callable[[Any], bool]:
    def success(world: Any) -> bool:
        return bool(world.effects.cut[food].sum() >= 2)

    return success


CUCUMBER = Activity("Slice a cucumber", _lay("cucumber"), _play("cucumber"), _sliced("cucumber"))
BREAD = Activity("Slice bread", _lay("bread"), _play("bread"), _sliced("bread"))
