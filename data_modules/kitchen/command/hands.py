"""Shapes of the hand: angles (20,) of one hand's finger joints, rad, in the command's order."""

from dataclasses import dataclass
from functools import lru_cache

import mujoco
import numpy as np
from scipy.optimize import least_squares

from data_modules.kitchen.command.body import person_model
from data_modules.kitchen.command.trajectory import holding
from data_modules.kitchen.world import person
from data_modules.kitchen.world.names import FINGER_JOINTS, FINGERS, Array
from data_modules.kitchen.world.subject import Subject


def shape(
    thumb: tuple[float, float, float, float],
    fingers: tuple[float, float, float],
    fan: float = 0.05,
    tighter: float = 0.0,
) -> Array:
    """A hand's shape.

    Args:
        thumb: spread (opposed to the palm), mcp, pip and dip flexion of the thumb.
        fingers: mcp, pip and dip flexion of the index finger.
        fan: how far the index and little fingers spread apart.
        tighter: how much more each next finger flexes at its mcp joint.

    Returns:
        (20,) angles, rad.
    """
    out = np.zeros((len(FINGERS), len(FINGER_JOINTS)))
    out[0] = thumb
    for n in range(1, len(FINGERS)):
        out[n] = (fan * (2.5 - n) / 1.5, fingers[0] + tighter * (n - 1), fingers[1], fingers[2])
    return out.ravel()


RELAXED = shape((0.4, 0.2, 0.2, 0.15), (0.35, 0.4, 0.25), tighter=0.05)
FLAT = shape((0.1, 0.0, 0.0, 0.0), (0.02, 0.05, 0.05), fan=0.1)

PAD = 0.009
"""Half the thickness of a fingertip, m."""
SQUEEZE = 0.008
"""How far beyond the surface the closed tips aim, m."""
OPENING = 0.028
"""How far fingers and thumb each stay away before they close, m."""


@dataclass(frozen=True)
class Grasp:
    """How a hand holds something between fingers and thumb.

    Attributes:
        before: (20,) angles of the hand about to close.
        closed: (20,) angles of the hand closed.
        depth: how far below the palm's skin what it holds is, m.
        ahead: how far in front of the palm's centre, m.
    """

    before: Array
    closed: Array
    depth: float
    ahead: float

    def held(self, point: Array, fingers: Array, back: Array) -> Array:
        """The palm (9,) that holds a point, the fingers and the hand's back pointing so."""
        return holding(point, fingers, back, self.depth, self.ahead)


@lru_cache(maxsize=256)
def around(subject: Subject, width: float, depth: float, ahead: float) -> Grasp:
    """How a subject's hand holds something between its fingers and its thumb.

    Args:
        subject: whose hand it is.
        width: between finger pads and thumb pad, along the fingers of a flat hand, m.
        depth: how far below the palm's skin the tips of a hand of average size are, m.
        ahead: how far in front of such a palm's centre the middle of the thing is, m.
    """
    size = person.hand_scale(subject)
    depth, ahead, reach = depth * size, ahead * size, width / 2 + PAD
    closed = _tips_at(subject, ahead, reach - SQUEEZE, depth)
    return Grasp(_tips_at(subject, ahead, reach + OPENING, depth * 0.9), closed, depth, ahead)


def _tips_at(subject: Subject, ahead: float, reach: float, depth: float) -> Array:
    """Angles (20,) that bring the finger tips before and the thumb's tip behind something."""
    model = person_model(subject)
    data = mujoco.MjData(model)
    names = [f"right_{f}_{j}" for f in FINGERS for j in FINGER_JOINTS]
    joints = [model.joint(name) for name in names]
    at = np.array([j.qposadr[0] for j in joints])
    limits = np.array([j.range for j in joints]).T
    tips = [model.site(f"right_{f}_tip").id for f in FINGERS]
    palm = model.site("right_palm").id
    ease = shape((1.4, 0.0, 0.35, 0.3), (0.6, 0.6, 0.35))
    front, rear = ahead + reach, ahead - reach

    def miss(angles: Array) -> Array:
        data.qpos[at] = angles
        mujoco.mj_kinematics(model, data)
        turn = data.site_xmat[palm].reshape(3, 3)
        places = (data.site_xpos[tips] - data.site_xpos[palm]) @ turn
        thumb = places[0, 0] - rear, 0.5 * (places[0, 1] - 0.012), places[0, 2] + depth
        fingers = [(p[0] - front, p[2] + depth) for p in places[1:]]
        return np.concatenate([thumb, np.ravel(fingers), 0.002 * (angles - ease)])

    # A dozen steps come within a tenth of a millimetre of where many would.
    start = np.clip(ease, *limits)
    return np.asarray(least_squares(miss, start, bounds=limits, max_nfev=12).x)
