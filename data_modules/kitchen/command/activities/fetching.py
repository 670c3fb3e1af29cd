"""Getting items from the refrigerator and putting them back: the whole body turns and steps."""

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
    palm,
    put,
    take,
)
from data_modules.kitchen.command.plan import Plan, at_ease
from data_modules.kitchen.world.furniture import COUNTER_Z, FRIDGE_EDGE_X, FRIDGE_SHELF_Z, FRIDGE_Y
from data_modules.kitchen.world.names import Array
from data_modules.kitchen.world.scene import Placed, Scene

GRIP = 30.0
ITEMS = {"carton": (0.064, 0.08), "jar": (0.072, 0.05), "cup": (0.076, 0.055)}
"""Width and the height at which it is held, m, of what stands in the kitchen."""
SHELVES = ("fridge", "fridge_top")
"""Of the refrigerator; one item stands on each."""
SPOT = (0.46, 0.09)
"""Where it stands there: x, and y from the middle away from the leading hand, m."""
INWARDS = 0.2
"""How far inwards the fingers point that hold something, rad."""
SHELF_CLEAR = 0.26
"""How far before an item fingers pass between the refrigerator's walls, m."""
NEAR = 0.16
"""How close to its place an item must end, m."""


def lay(plan: Plan) -> Scene:
    """One or two items in the refrigerator, or one on the counter that belongs there."""
    kinds = list(plan.rng.permutation(list(ITEMS)))
    count = 1 + plan.chance(0.45)
    where, yaw = _in_fridge(plan.out), -plan.out * INWARDS
    shelves = plan.rng.permutation(SHELVES)
    placed = [
        Placed(str(kind), plan.vary(where[0], 0.02), plan.vary(where[1], 0.02), yaw, str(shelf))
        for kind, shelf in zip(kinds[:count], shelves, strict=False)
    ]
    if count == 1 and plan.chance(0.4):
        x, y = plan.vary(0.46, 0.03), plan.out * plan.vary(0.08, 0.05)
        placed = [Placed(placed[0].kind, x, y, yaw)]
    return Scene(tuple(placed))


def _in_fridge(out: float) -> tuple[float, float]:
    """Where (x, y) things stand in it, for a person whose leading hand is on the side `out`."""
    return SPOT[0], sum(FRIDGE_Y) / 2 - out * SPOT[1]


def _targets(out: float, scene: Scene) -> dict[str, tuple[float, float, float]]:
    """Where each item should end: from the refrigerator to the counter or the other way."""
    where = {}
    for number, item in enumerate(scene.objects):
        if item.on in SHELVES:
            where[item.body] = (0.47, -out * (0.10 - 0.24 * number), COUNTER_Z)
        else:
            where[item.body] = (*_in_fridge(out), FRIDGE_SHELF_Z[1])
    return where


def play(plan: Plan, world: Any) -> None:
    """Walk to where each item is, take it, carry it over, and set it down."""
    y = 0.0
    for item, to in _targets(plan.out, world.scene).items():
        width, height = ITEMS[item]
        start = world.data.body(item).xpos.copy()
        grasp = hands.around(plan.subject, width, 0.055, 0.01)
        force = GRIP * effort(plan)
        from_pose, to_pose = (
            _beside(plan, grasp, np.array(place) + height * UP) for place in (start, to)
        )
        y = _walk(plan, y, start)
        on_shelf = start[0] > FRIDGE_EDGE_X and start[1] < FRIDGE_Y[1]
        clear = SHELF_CLEAR if on_shelf else 0.12
        take(plan, plan.lead, from_pose, grasp, force, clear)
        plan.go(0.4, palms={plan.lead: moved(from_pose, z=0.05)})
        plan.go(0.5, palms={plan.lead: moved(from_pose, x=-0.2, z=0.06)})
        carry = _carried(plan)
        plan.go(0.6, carry={plan.lead: carry})
        y = _walk(plan, y, np.array(to))
        put(plan, plan.lead, to_pose, grasp)
        plan.go(0.4, carry={plan.lead: at_ease(plan.lead)}, shapes={plan.lead: hands.RELAXED})
        if plan.chance(0.4):
            plan.pause()
    _walk(plan, y, np.array([0.5, 0.0, 0.9]))
    plan.withdraw()


def _beside(plan: Plan, grasp: hands.Grasp, point: Array) -> Array:
    """The palm (9,) that holds something upright at a point from the leading hand's side."""
    fingers = forward(plan, plan.lead, INWARDS)
    return grasp.held(point, fingers, outwards(plan.lead, fingers))


def _carried(plan: Plan) -> Array:
    """The palm (9,) in the pelvis' frame of a hand that carries something before the chest."""
    back = (0.0, plan.out, 0.1)
    return palm((0.34, plan.out * plan.vary(0.14, 0.03), plan.vary(1.12, 0.03)), (1, 0, 0), back)


def _walk(plan: Plan, now: float, to: Array) -> float:
    """Step from a y to where something at (3,) can be reached with the leading hand, turning to it.

    Returns:
        The y where the person then stands.
    """
    right = to[1] < -0.4
    y = float(to[1]) + plan.out * 0.02 if right else 0.0
    yaw = plan.vary(-0.12, 0.08) if right else plan.vary(0.0, 0.05)
    if abs(now - y) < 0.1:
        plan.go(0.3, gaze=to)
        return now
    # One faces where one walks: a turn, steps, and a turn back.
    heading = 0.7 * np.sign(y - now)
    x = -0.13 if right else 0.0
    middle = (-0.16, 0.5 * (now + y), float(heading))
    plan.go(0.8, pelvis=middle, gaze=to)
    plan.go(0.9, pelvis=(x, y, yaw), gaze=to)
    return y


def success(world: Any) -> bool:
    """Whether every item stands near where it belongs."""
    out = -1.0 if world.subject.handedness == "right" else 1.0
    for item, to in _targets(out, world.scene).items():
        body = world.data.body(item)
        upright = body.xmat.reshape(3, 3)[2, 2] > 0.9
        if not upright or np.linalg.norm(body.xpos - np.array(to)) > NEAR:
            return False
    return True


FETCH = Activity("Get/replace items from refrigerator/cabinets/drawers", lay, play, success)
