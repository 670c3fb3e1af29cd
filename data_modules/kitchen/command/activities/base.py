"""What the activities share: what an activity is, and the moves that all of them are made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_modules.kitchen.command import hands
from data_modules.kitchen.command.hands import Grasp
from data_modules.kitchen.command.plan import Plan
from data_modules.kitchen.command.trajectory import Curve, holding, palm
from data_modules.kitchen.world.names import Array, Side
from data_modules.kitchen.world.scene import Scene

UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Activity:
    """One kind of activity.

    Attributes:
        label: as ActionSense calls it.
        lay: draws a scene for a plan's person (who stands where, which hand leads).
        play: writes the plan for a world at its start.
        success: whether a world in which it was performed ended as wanted.
    """

    label: str
    lay: Callable[[Plan], Scene]
    play: Callable[[Plan, Any], None]
    success: Callable[[Any], bool]


def turned(x: float, y: float, angle: float) -> Array:
    """The horizontal direction (3,) of (x, y) turned left by an angle."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c * x - s * y, s * x + c * y, 0.0])


def forward(plan: Plan, side: Side, inwards: float) -> Array:
    """The direction (3,) of fingers that point forward, turned towards the body's middle, rad."""
    return turned(1.0, 0.0, inwards if side == "right" else -inwards)


def outwards(side: Side, fingers: Array) -> Array:
    """Where the back (3,) of a hand points that holds something from its own side, upright."""
    sign = -1.0 if side == "right" else 1.0
    return sign * np.array([-fingers[1], fingers[0], 0.0])


def moved(pose: Array, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Array:
    """A palm pose (9,) moved by so many metres."""
    out = pose.copy()
    out[:3] += (x, y, z)
    return out


def rotated(pose: Array, pivot: Array, axis: Array, angle: Array) -> Array:
    """Palm poses (n,9): one pose (9,) rotated about an axis through a pivot by angles (n,)."""
    k = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    parts = []
    for vector in (pose[:3] - pivot, pose[3:6], pose[6:9]):
        parts.append(vector * c + np.cross(k, vector) * s + k * (k @ vector) * (1 - c))
    parts[0] = parts[0] + pivot
    return np.concatenate(parts, 1)


def take(
    plan: Plan, side: Side, pose: Array, grasp: Grasp, force: float, clear: float = 0.12
) -> None:
    """Reach to an object, close the hand around it, and hold it where it is.

    Args:
        plan: to write to.
        side: of the hand.
        pose: (9,) of the palm that holds the object.
        grasp: how the fingers open and close.
        force: N of the fingers.
        clear: how far before what is held from the side the fingers pass first, m.
    """
    come = (0.11 + 0.05 * max(pose[8], 0.0)) * pose[6:9]
    if abs(pose[8]) < 0.7:  # from the side: come round behind what stands there, fingers clear
        wide = moved(pose, *(1.2 * come - clear * pose[3:6]))
        plan.go(0.6, palms={side: wide}, shapes={side: grasp.before}, gaze=pose[:3])
    plan.go(0.7, palms={side: moved(pose, *come)}, shapes={side: grasp.before}, gaze=pose[:3])
    if plan.chance(0.12):  # a fumble: the hand misjudges, stops short, and tries again
        wrong = moved(pose, *(0.6 * come + plan.rng.normal(0, 0.02, 3)))
        plan.go(0.4, palms={side: wrong})
        plan.go(0.4, palms={side: moved(pose, *(0.9 * come))})
    plan.go(0.5, palms={side: pose})
    # Fingers touch before they squeeze, or what is light is knocked out of them.
    plan.go(0.35, shapes={side: grasp.closed}, grip={side: min(force, 2.0)})
    plan.go(0.4, grip={side: force})


def put(plan: Plan, side: Side, pose: Array, grasp: Grasp) -> None:
    """Bring what is held to a pose (9,), a little into what it shall stand on, and let go of it."""
    plan.go(0.6, palms={side: moved(pose, z=0.06)}, gaze=pose[:3], press={side: 0.0})
    plan.go(0.45, palms={side: moved(pose, z=-0.006)})
    release(plan, side, pose, grasp)


def release(plan: Plan, side: Side, pose: Array, grasp: Grasp) -> None:
    """Open a hand that is at a pose (9,) and draw it back until thumb and fingers are clear."""
    plan.go(0.35, shapes={side: grasp.before}, grip={side: 0.0})
    away = moved(pose, *(0.16 * pose[6:9]))
    plan.go(0.5, palms={side: away})
    if pose[8] > 0.7:  # from above: back over what stands there before coming down
        plan.go(0.35, palms={side: moved(away, *(-0.14 * pose[3:6]))})


def circles(middle: Array, radius: tuple[float, float], turns: float, start: float) -> Curve:
    """A curve of palm poses: circles about a pose (9,), the radius going from one to the other.

    Args:
        middle: (9,) about which.
        radius: first and last, m.
        turns: how many; negative turns go clockwise.
        start: angle where it begins, rad.
    """

    def curve(u: Array) -> Array:
        out = np.tile(middle, (len(u), 1))
        angle = start + 2 * np.pi * turns * u
        size = radius[0] + (radius[1] - radius[0]) * u
        out[:, 0] += size * np.cos(angle)
        out[:, 1] += size * np.sin(angle)
        return out

    return curve


def strokes(first: Array, last: Array, across: Array, times: float) -> Curve:
    """A curve of palm poses that goes to and fro while it drifts.

    Args:
        first: (9,) where the middle of the strokes begins.
        last: (9,) where it ends.
        across: (3,) half a stroke, m.
        times: how many strokes to and fro.
    """

    def curve(u: Array) -> Array:
        out = first + (last - first) * u[:, None]
        out[:, :3] += across * np.sin(2 * np.pi * times * u)[:, None]
        return np.asarray(out)

    return curve


def effort(plan: Plan, weak: float = 0.15) -> float:
    """How hard a person tries, about 1; with probability `weak` far too little."""
    if plan.chance(weak):
        return float(plan.rng.uniform(0.03, 0.16))
    return float(plan.rng.uniform(0.85, 1.25))


__all__ = [
    "UP",
    "Activity",
    "Grasp",
    "circles",
    "effort",
    "forward",
    "hands",
    "holding",
    "moved",
    "outwards",
    "palm",
    "put",
    "release",
    "rotated",
    "strokes",
    "take",
    "turned",
]
