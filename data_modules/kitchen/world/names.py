"""Names and layouts that the whole kitchen shares.

Frames: X forward (towards the counter), Y left, Z up; metres, radians, newtons, seconds.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Side = Literal["right", "left"]

CONTROL_HZ = 60
"""Commands a second, each held until the next."""

SIDES: tuple[Side, ...] = ("right", "left")
FINGERS = ("thumb", "index", "middle", "ring", "little")
FINGER_JOINTS = ("spread", "mcp", "pip", "dip")
ARM_JOINTS = (
    "shoulder_pitch",
    "shoulder_roll",
    "shoulder_yaw",
    "elbow",
    "forearm_roll",
    "wrist_pitch",
    "wrist_yaw",
)
PELVIS_JOINTS = ("pelvis_x", "pelvis_y", "pelvis_yaw")
TRUNK_JOINTS = ("torso_pitch", "torso_roll", "torso_yaw", "neck_pitch", "neck_yaw")

POSE_JOINTS: tuple[str, ...] = (
    *TRUNK_JOINTS,
    *(f"{side}_{joint}" for side in SIDES for joint in ARM_JOINTS),
    *(f"{side}_{f}_{joint}" for side in SIDES for f in FINGERS for joint in FINGER_JOINTS),
)
"""The 59 joints that a command sets angles of, in the command's order."""

# Geom groups: what the camera sees is all but COLLISION and HEAD.
FURNITURE, OBJECTS, BODY, COLLISION, HEAD = range(5)


@dataclass(frozen=True)
class Command:
    """What a person wants of the body, for 1 / CONTROL_HZ seconds: 66 numbers.

    Attributes:
        velocity: (3,) of the pelvis: forward and left in its own frame, m/s; yaw rate, rad/s.
        pose: (59,) angles of POSE_JOINTS, rad.
        grip: (2,) right, left: how hard the fingers close beyond their angles, N.
        press: (2,) right, left: how hard the hand pushes down, N.
    """

    velocity: Array
    pose: Array
    grip: Array
    press: Array

    SIZE = 3 + len(POSE_JOINTS) + 2 + 2

    def numbers(self) -> Array:
        """float64 (66,): velocity, pose, grip, press."""
        return np.concatenate([self.velocity, self.pose, self.grip, self.press])

    @classmethod
    def of(cls, numbers: Array) -> "Command":
        """The command of (66,) numbers."""
        n = len(POSE_JOINTS)
        return cls(numbers[:3], numbers[3 : 3 + n], numbers[3 + n : 5 + n], numbers[5 + n : 7 + n])


def joint_index(name: str) -> int:
    """Where a joint stands in `Command.pose`."""
    return POSE_JOINTS.index(name)
