"""Pose arithmetic of the Xsens streams: pure functions of arrays, no files.

Axes: right-handed, Z up, the recording's own. Quaternions are (re, i, j, k). `...` is any number of
leading axes.
"""

import numpy as np
from einops import rearrange
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

BODY_SEGMENTS = 23
HAND_POINTS = 20
ALL_SEGMENTS = BODY_SEGMENTS + 2 * HAND_POINTS
PELVIS, HEAD = 0, 6
LEFT_HAND = np.arange(BODY_SEGMENTS, BODY_SEGMENTS + HAND_POINTS)
RIGHT_HAND = LEFT_HAND + HAND_POINTS

HAND_CHAINS = (
    (0, 1, 2, 3),  # Carpus, thumb
    (0, 4, 5, 6, 7),  # Carpus, index
    (0, 8, 9, 10, 11),  # Carpus, middle
    (0, 12, 13, 14, 15),  # Carpus, ring
    (0, 16, 17, 18, 19),  # Carpus, little
)
BODY_CHAINS = (
    (15, 16, 17, 18),  # right leg: UpperLeg, LowerLeg, Foot, Toe
    (19, 20, 21, 22),  # left leg
    (0, 1, 2, 3, 4, 5, 6),  # spine: Pelvis, L5, L3, T12, T8, Neck, Head
    (15, 0, 19),  # hip: right UpperLeg, Pelvis, left UpperLeg
    (8, 7, 11, 12),  # shoulders: right UpperArm, right Shoulder, left Shoulder, left UpperArm
    (8, 9, 10),  # right arm: UpperArm, Forearm, Hand
    (12, 13, 14),  # left arm
)
_NO_TURN = np.array([1.0, 0.0, 0.0, 0.0])
_HAND_ORDER = np.concatenate([np.array(c) for c in HAND_CHAINS])
_BODY_ORDER = np.concatenate([np.array(c) for c in BODY_CHAINS])


def hand_pose(points: Array) -> Array:
    """Five finger chains, each from the Carpus, relative to the Carpus.

    Args:
        points: (..., 20, 3) cm, in the recorder's order.

    Returns:
        (..., 24, 3) cm; rows 0, 4, 9, 14, 19 are the Carpus and so zero.
    """
    return (points - points[..., :1, :])[..., _HAND_ORDER, :]


def body_pose(segments: Array, centre: Array) -> Array:
    """The 23 body segments along the seven `BODY_CHAINS`, relative to the centre of mass.

    Args:
        segments: (..., 23, 3) cm.
        centre: (..., 3) cm, centre of mass.

    Returns:
        (..., 28, 3) cm.
    """
    return (segments - centre[..., None, :])[..., _BODY_ORDER, :]


def heading(quaternion: Array) -> Array:
    """Turn about the vertical axis.

    Args:
        quaternion: (..., 4) re, i, j, k; of any length above 0.

    Returns:
        (...) rad in (-pi, pi]; NaN where the quaternion is zero or not finite.
    """
    w, x, y, z = np.moveaxis(_unit(quaternion), -1, 0)
    return np.asarray(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))


def head_state(head: Array, centre: Array, head_turn: Array, pelvis_turn: Array) -> Array:
    """Where the head is and how it is turned.

    Orientation is told in the pelvis' heading frame (its yaw taken out), so that the rotation
    vector does not jump when the body walks around: a head turned by pi against the pelvis is none.

    Args:
        head: (..., 3) cm, head segment.
        centre: (..., 3) cm, centre of mass.
        head_turn: (..., 4) head quaternion.
        pelvis_turn: (..., 4) pelvis quaternion.

    Returns:
        (..., 6): head position relative to the centre of mass (cm, recording's axes), then the
        rotation vector (rad). NaN where a quaternion is zero or not finite.
    """
    turn = _unit(head_turn)
    yaw = heading(pelvis_turn)
    bad = ~(np.isfinite(turn).all(axis=-1) & np.isfinite(yaw))
    flat = rearrange(np.where(bad[..., None], _NO_TURN, turn), "... q -> (...) q")
    upright = Rotation.from_rotvec(np.outer(-np.where(bad, 0.0, yaw), [0.0, 0.0, 1.0]))
    vector = (upright * Rotation.from_quat(flat[:, [1, 2, 3, 0]])).as_rotvec()
    vector = np.where(bad[..., None], np.nan, np.asarray(vector).reshape(*bad.shape, 3))
    return np.concatenate([head - centre, vector], axis=-1)


def root_motion(pelvis: Array, turn: Array) -> Array:
    """Steps of the pelvis over the floor, seen from where it stood before each step.

    Args:
        pelvis: (L + 1, 3) cm, pelvis position at consecutive times.
        turn: (L + 1, 4) pelvis quaternion.

    Returns:
        (L, 3): forward and leftward step in the heading frame of the step's start (cm), and the
        turn (rad, in [-pi, pi)), counter-clockwise seen from above.
    """
    yaw = heading(turn)
    step = np.diff(pelvis[:, :2], axis=0)
    cos, sin = np.cos(yaw[:-1]), np.sin(yaw[:-1])
    forward = cos * step[:, 0] + sin * step[:, 1]
    left = -sin * step[:, 0] + cos * step[:, 1]
    turned = (np.diff(yaw) + np.pi) % (2 * np.pi) - np.pi
    return np.stack([forward, left, turned], axis=-1)


def _unit(quaternion: Array) -> Array:
    """The quaternion at length 1; NaN where it has no length."""
    length = np.linalg.norm(quaternion, axis=-1, keepdims=True)
    return quaternion / np.where(length > 0, length, np.nan)
