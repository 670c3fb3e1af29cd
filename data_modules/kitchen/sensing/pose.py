"""The body as the motion suit tells it: 63 segments in Xsens' order, from the kinematic tree.

Right-handed, Z up, centimetres; a segment's place is that of its joint nearer the pelvis. Segments
that the tree has no joints for (vertebrae, collar bones, metacarpals) ride on the body that
carries them. `...` is any number of leading axes.
"""

from functools import lru_cache
from typing import Any, Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from data_modules.kitchen.world.names import FINGERS, SIDES, Side

Array = NDArray[np.float64]

BODY_SEGMENTS = 23
HAND_SEGMENTS = 20
SEGMENTS = BODY_SEGMENTS + 2 * HAND_SEGMENTS
CM = 100.0

# Child segment j + 1 hangs on _PARENTS[j]: Xsens' 22 joints of the body, in its order.
_PARENTS = (0, 1, 2, 3, 4, 5, 4, 7, 8, 9, 4, 11, 12, 13, 0, 15, 16, 17, 0, 19, 20, 21)
# Where vertebrae lie between the torso's joint and the head's: L5, L3, T12, T8, Neck.
_SPINE = (0.0, 0.18, 0.37, 0.58, 0.84)
_COLLAR = 0.3
_METACARPAL = 0.25
_ARM = ("upperarm", "forearm", "hand")
_LEG = ("upperleg", "lowerleg", "foot", "toe")


class Physical(Protocol):
    """Anything with MuJoCo's `model` and `data`: a `KitchenWorld`."""

    model: Any
    data: Any


class Skeleton:
    """Where each segment sits on the bodies of one model.

    Args:
        model: A `KitchenWorld`'s.
    """

    def __init__(self, model: Any) -> None:
        rest = mujoco.MjData(model)
        mujoco.mj_kinematics(model, rest)
        places = _body_places(rest) + _hand_places(rest, "left") + _hand_places(rest, "right")
        self.bodies = np.array([rest.body(name).id for name, _ in places])
        away = np.array([point for _, point in places]) - rest.xpos[self.bodies]
        turns = rest.xmat[self.bodies].reshape(-1, 3, 3)
        self.offsets: Array = np.swapaxes(away[:, None] @ turns, 1, 2)
        self.pelvis = int(rest.body("pelvis").id)
        # A product of quaternions is linear in the first: row i is what its i-th unit becomes.
        back = _conjugate(rest.xquat[self.bodies])
        self._unturn: Array = _product(np.eye(4), back[:, None])

    def segments(self, data: Any) -> Array:
        """float64 (63, 3) cm."""
        turns = data.xmat[self.bodies].reshape(-1, 3, 3)
        places = data.xpos[self.bodies] + (turns @ self.offsets)[..., 0]
        return np.asarray(CM * places, np.float64)

    def orientations(self, data: Any) -> Array:
        """float64 (63, 4) re, i, j, k; all are 1, 0, 0, 0 in the model's zero pose."""
        return np.asarray((data.xquat[self.bodies][:, None] @ self._unturn)[:, 0], np.float64)

    def centre_of_mass(self, data: Any) -> Array:
        """float64 (3,) cm, of the whole person."""
        return np.asarray(CM * data.subtree_com[self.pelvis], np.float64)


@lru_cache(maxsize=2)
def _skeleton(model: Any) -> Skeleton:
    """Worlds are read many times each, one after the other."""
    return Skeleton(model)


def segments(world: Physical) -> Array:
    """Places of the segments: body 0-22, left hand 23-42, right hand 43-62; (63, 3) cm."""
    return _skeleton(world.model).segments(world.data)


def orientations(world: Physical) -> Array:
    """Turns of the segments from the zero pose: (63, 4) re, i, j, k."""
    return _skeleton(world.model).orientations(world.data)


def centre_of_mass(world: Physical) -> Array:
    """The person's centre of mass: (3,) cm."""
    return _skeleton(world.model).centre_of_mass(world.data)


def joint_angles(turns: Array) -> Array:
    """Angles of the joints between segments: 22 of the body, 19 of the left hand, 19 of the right.

    Args:
        turns: (..., 63, 4) segments' `orientations`.

    Returns:
        (..., 60, 3) degrees about X (forward: abduction), Y (up: rotation) and Z (right: flexion),
        of turns made in the order X, Z, Y; flexion lies within [-90, 90], as in any such order
        the middle angle does.
    """
    parents, children = _joints()
    w, x, y, z = np.moveaxis(
        _product(_conjugate(turns[..., parents, :]), turns[..., children, :]), -1, 0
    )
    # Elements of the turn's matrix Rx(a) Ry(b) Rz(c); Xsens' Z is our -Y, its Y our Z.
    about_x = np.arctan2(2 * (w * x - y * z), 1 - 2 * (x * x + y * y))
    about_y = np.arcsin(np.clip(2 * (x * z + w * y), -1.0, 1.0))
    about_z = np.arctan2(2 * (w * z - x * y), 1 - 2 * (y * y + z * z))
    return np.asarray(np.rad2deg(np.stack([about_x, about_z, -about_y], axis=-1)), np.float64)


def _joints() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(60,) parents and (60,) children among the segments."""
    parents = list(_PARENTS)
    children = list(range(1, BODY_SEGMENTS))
    for carpus in (BODY_SEGMENTS, BODY_SEGMENTS + HAND_SEGMENTS):
        for finger, first in enumerate((1, 4, 8, 12, 16)):
            count = 4 if finger else 3
            parents += [carpus, *range(carpus + first, carpus + first + count - 1)]
            children += range(carpus + first, carpus + first + count)
    return np.array(parents, np.int64), np.array(children, np.int64)


def _body_places(rest: Any) -> list[tuple[str, Array]]:
    """Body and place (m, zero pose) of segments 0-22."""
    pelvis, torso, head = (np.array(rest.body(n).xpos) for n in ("pelvis", "torso", "head"))
    spine = [torso + part * (head - torso) for part in _SPINE]
    places = [("pelvis", pelvis), *(("torso", p) for p in spine), ("head", head)]
    for side in SIDES:
        arm = [(f"{side}_{part}", rest.body(f"{side}_{part}").xpos) for part in _ARM]
        places.append(("torso", spine[-1] + _COLLAR * (arm[0][1] - spine[-1])))
        places += [(name, np.array(p)) for name, p in arm]
    for side in SIDES:
        leg = [f"{side}_{part}" for part in _LEG]
        places += [(name, np.array(rest.body(name).xpos)) for name in leg]
    return places


def _hand_places(rest: Any, side: Side) -> list[tuple[str, Array]]:
    """Body and place of a hand's 20 points: Carpus, thumb's 3, then 4 a finger."""
    hand = f"{side}_hand"
    wrist = np.array(rest.body(hand).xpos)
    places = [(hand, wrist)]
    for finger in FINGERS:
        joints = [f"{side}_{finger}_{k}" for k in (1, 2, 3)]
        if finger != "thumb":
            knuckle = rest.body(joints[0]).xpos
            places.append((hand, wrist + _METACARPAL * (knuckle - wrist)))
        places += [(joint, np.array(rest.body(joint).xpos)) for joint in joints]
    return places


def _conjugate(q: Array) -> Array:
    return np.asarray(q * np.array([1.0, -1.0, -1.0, -1.0]), np.float64)


def _product(p: Array, q: Array) -> Array:
    """Hamilton product of quaternions (..., 4)."""
    a, b, c, d = np.moveaxis(p, -1, 0)
    w, x, y, z = np.moveaxis(q, -1, 0)
    return np.stack(
        [
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ],
        axis=-1,
    )
