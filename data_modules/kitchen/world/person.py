"""The person as MJCF: a trunk on a planar base, two 7-joint arms, two five-finger hands.

At angle zero the arms hang, thumbs forward, palms towards the body. Positive means: torso and
neck pitch forward (down), yaw to the left, roll to the right; shoulder pitch forward, roll
outwards, yaw inwards; elbow flexed; forearm roll pronated (palm down once the elbow is bent);
wrist pitch extended (back of the hand up), yaw towards the thumb; fingers flexed, spread
towards the thumb; thumb spread opposed (below the palm).
"""

from dataclasses import dataclass

import numpy as np

from data_modules.kitchen.world import mjcf, names
from data_modules.kitchen.world.mjcf import Element, add, shape
from data_modules.kitchen.world.names import Side
from data_modules.kitchen.world.subject import Subject


@dataclass(frozen=True)
class Drive:
    """How a joint is driven: spring N m/rad, damper N m s/rad, limit N m, range rad."""

    spring: float
    damper: float
    limit: float
    range: tuple[float, float]
    axis: tuple[float, float, float]
    armature: float


def _drive(
    axis: tuple[float, float, float],
    low: float,
    high: float,
    spring: float,
    damper: float,
    limit: float,
    armature: float = 0.0,
) -> Drive:
    return Drive(spring, damper, limit, (low, high), axis, armature)


TRUNK = {
    "torso_pitch": _drive((0, 1, 0), -0.3, 1.0, 2500, 260, 250, 0.2),
    "torso_roll": _drive((1, 0, 0), -0.4, 0.4, 2500, 260, 200, 0.2),
    "torso_yaw": _drive((0, 0, 1), -0.9, 0.9, 1500, 130, 150, 0.2),
    "neck_pitch": _drive((0, 1, 0), -0.6, 0.9, 60, 4, 20, 0.02),
    "neck_yaw": _drive((0, 0, 1), -1.2, 1.2, 60, 4, 20, 0.02),
}

# Axes of the right arm; the left one's mirror image turns the other way about X and Z.
ARM = {
    "shoulder_pitch": _drive((0, -1, 0), -0.9, 2.8, 400, 26, 70, 0.05),
    "shoulder_roll": _drive((-1, 0, 0), -0.5, 1.8, 400, 26, 70, 0.05),
    "shoulder_yaw": _drive((0, 0, 1), -1.4, 1.4, 250, 12, 45, 0.03),
    "elbow": _drive((0, -1, 0), 0.0, 2.5, 250, 12, 55, 0.03),
    "forearm_roll": _drive((0, 0, 1), -1.2, 2.2, 60, 2.2, 14, 0.01),
    "wrist_pitch": _drive((0, -1, 0), -1.2, 1.2, 60, 2.2, 14, 0.01),
    "wrist_yaw": _drive((0, 0, 1), -0.6, 0.6, 60, 2.2, 14, 0.01),
}

FINGER = {
    "spread": _drive((0, 0, 1), -0.35, 0.35, 0.4, 0.015, 0.25, 2e-4),
    "mcp": _drive((0, 1, 0), -0.4, 1.6, 0.25, 0.012, 0.08, 2e-4),
    "pip": _drive((0, 1, 0), -0.1, 1.8, 0.18, 0.008, 0.06, 2e-4),
    "dip": _drive((0, 1, 0), -0.1, 1.4, 0.12, 0.005, 0.04, 2e-4),
}
THUMB = {
    "spread": _drive((-1, 0, 0), -0.5, 1.7, 0.8, 0.03, 0.6, 2e-4),
    "mcp": _drive((0, 0, -1), -0.8, 1.0, 0.4, 0.018, 0.16, 2e-4),
    "pip": _drive((0, 0, -1), -0.4, 1.2, 0.3, 0.012, 0.12, 2e-4),
    "dip": _drive((0, 0, -1), -0.3, 1.4, 0.2, 0.008, 0.08, 2e-4),
}

# Of a hand 0.19 m long: root of each finger (x, y towards the thumb, z), phalanx lengths, radius.
_FINGERS = {
    "thumb": ((0.022, 0.025, -0.013), (0.045, 0.037, 0.029), 0.0105),
    "index": ((0.092, 0.027, -0.002), (0.044, 0.026, 0.021), 0.0088),
    "middle": ((0.095, 0.008, 0.0), (0.048, 0.030, 0.022), 0.0090),
    "ring": ((0.091, -0.011, -0.001), (0.044, 0.028, 0.022), 0.0086),
    "little": ((0.084, -0.028, -0.004), (0.034, 0.021, 0.019), 0.0076),
}
# Of the resting thumb: from the fingers' direction, and below the palm's plane, rad.
_THUMB_ANGLE, _THUMB_DROP = 1.25, 0.35
PALM_SKIN = (0.055, 0.0, -0.014)
"""Where the palm's skin is in a hand 0.19 m long: centre of the palm site."""


def joint_drive(name: str) -> Drive:
    """The drive of one of `names.POSE_JOINTS`; axes as of the right side."""
    if name in TRUNK:
        return TRUNK[name]
    part = name.split("_", 1)[1]
    if part in ARM:
        return ARM[part]
    finger, joint = part.split("_")
    return (THUMB if finger == "thumb" else FINGER)[joint]


def hand_scale(subject: Subject) -> float:
    """How much longer a subject's hand is than 0.19 m."""
    return subject.height * 0.108 / 0.19


def _mirror(axis: tuple[float, float, float], side: Side) -> tuple[float, float, float]:
    return axis if side == "right" else (-axis[0], axis[1], -axis[2])


def _joint(body: Element, name: str, drive: Drive, axis: tuple[float, float, float]) -> None:
    add(
        body,
        "joint",
        name=name,
        type="hinge",
        axis=axis,
        range=drive.range,
        armature=drive.armature,
        # Not the motor's, whose limit would take it away just when a joint is driven hardest.
        damping=drive.damper,
    )


def _limb(body: Element, length: float, radius: float, material: str, mass: float) -> None:
    """A capsule hanging from the body's origin."""
    _bone(body, (0, 0, 0), (0, 0, -length), radius, material, mass)


def _bone(
    body: Element,
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    radius: float,
    material: str,
    mass: float,
    group: int = names.BODY,
) -> Element:
    ends = (*start, *end)
    return shape(body, "capsule", (radius,), material, group, fromto=ends, mass=mass)


def add_person(world: Element, subject: Subject) -> None:
    """Add the subject to a worldbody, pelvis over the origin, facing +X."""
    h = subject.height
    pelvis = add(world, "body", name="pelvis", pos=(0, 0, 0.53 * h), gravcomp=1)
    for axis, joint in (((1, 0, 0), "pelvis_x"), ((0, 1, 0), "pelvis_y")):
        add(pelvis, "joint", name=joint, type="slide", axis=axis)
    add(pelvis, "joint", name="pelvis_yaw", type="hinge", axis=(0, 0, 1))
    w = 0.055 * h
    _bone(pelvis, (0, w, 0), (0, -w, 0), 0.075 * h, "trousers", 0.16 * 45 * h)
    for side in names.SIDES:
        _add_leg(pelvis, side, h)
    torso = add(pelvis, "body", name="torso", pos=(0, 0, 0.05 * h), gravcomp=1)
    for joint in ("torso_pitch", "torso_roll", "torso_yaw"):
        _joint(torso, joint, TRUNK[joint], TRUNK[joint].axis)
    _bone(torso, (0, w, 0.02 * h), (0, -w, 0.02 * h), 0.068 * h, "shirt", 0.12 * 45 * h)
    w = 0.075 * h
    _bone(torso, (0, w, 0.17 * h), (0, -w, 0.17 * h), 0.068 * h, "shirt", 0.2 * 45 * h)
    _add_head(torso, h)
    for side in names.SIDES:
        _add_arm(torso, subject, side)


def _add_leg(pelvis: Element, side: Side, h: float) -> None:
    y = 0.055 * h * (-1 if side == "right" else 1)
    upper = add(pelvis, "body", name=f"{side}_upperleg", pos=(0, y, -0.01 * h), gravcomp=1)
    _limb(upper, 0.235 * h, 0.048 * h, "trousers", 7.0)
    lower = add(upper, "body", name=f"{side}_lowerleg", pos=(0, 0, -0.245 * h), gravcomp=1)
    _limb(lower, 0.22 * h, 0.034 * h, "trousers", 3.0)
    foot = add(lower, "body", name=f"{side}_foot", pos=(0, 0, -0.236 * h), gravcomp=1)
    ends = (-0.02 * h, 0, -0.015 * h), (0.07 * h, 0, -0.015 * h)
    _bone(foot, *ends, 0.024 * h, "shoe", 1.0)
    toe = add(foot, "body", name=f"{side}_toe", pos=(0.085 * h, 0, -0.018 * h), gravcomp=1)
    _bone(toe, (0, 0, 0), (0.03 * h, 0, 0), 0.02 * h, "shoe", 0.2)


def _add_head(torso: Element, h: float) -> None:
    head = add(torso, "body", name="head", pos=(0.01 * h, 0, 0.265 * h), gravcomp=1)
    for joint in ("neck_pitch", "neck_yaw"):
        _joint(head, joint, TRUNK[joint], TRUNK[joint].axis)
    _bone(head, (0, 0, -0.02 * h), (0, 0, 0.03 * h), 0.035 * h, "skin", 1.0, names.HEAD)
    skull = (0.055 * h, 0.045 * h, 0.068 * h)
    place = {"pos": (0.01 * h, 0, 0.095 * h), "mass": 4.0}
    shape(head, "ellipsoid", skull, "skin", names.HEAD, **place)
    # Glasses look where hands work: 0.6 rad below the face's direction.
    down = 0.6
    axes = (np.cos(down), 0, -np.sin(down), 0, 1, 0)
    add(head, "site", name="eye", pos=(0.075 * h, 0, 0.09 * h), xyaxes=axes)


def _add_arm(torso: Element, subject: Subject, side: Side) -> None:
    h, out = subject.height, -1 if side == "right" else 1
    upper = add(
        torso, "body", name=f"{side}_upperarm", pos=(0, out * 0.118 * h, 0.215 * h), gravcomp=1
    )
    for joint in ("shoulder_pitch", "shoulder_roll", "shoulder_yaw"):
        _joint(upper, f"{side}_{joint}", ARM[joint], _mirror(ARM[joint].axis, side))
    _limb(upper, 0.18 * h, 0.028 * h, "shirt", 0.028 * 42 * h)
    fore = add(upper, "body", name=f"{side}_forearm", pos=(0, 0, -0.18 * h), gravcomp=1)
    for joint in ("elbow", "forearm_roll"):
        _joint(fore, f"{side}_{joint}", ARM[joint], _mirror(ARM[joint].axis, side))
    _limb(fore, 0.10 * h, 0.025 * h, "sleeve", 0.012 * 42 * h)
    ends = (0, 0, -0.09 * h), (0, 0, -0.14 * h)
    _bone(fore, *ends, 0.018 * h, "skin", 0.006 * 42 * h)
    _add_hand(fore, subject, side)


def _add_hand(fore: Element, subject: Subject, side: Side) -> None:
    scale, thumb = hand_scale(subject), 1 if side == "right" else -1
    hand = add(
        fore,
        "body",
        name=f"{side}_hand",
        pos=(0, 0, -0.148 * subject.height),
        # X along the fingers (down), Y forward on the right and back on the left.
        xyaxes=(0, 0, -1, thumb, 0, 0),
        gravcomp=1,
    )
    for joint in ("wrist_pitch", "wrist_yaw"):
        _joint(hand, f"{side}_{joint}", ARM[joint], _mirror(ARM[joint].axis, side))
    touch = {"contype": mjcf.HAND, "friction": (1.0, 0.01, 0.001)}
    for part, y in (("inner", 0.019), ("outer", -0.017)):
        shape(
            hand,
            "capsule",
            (0.0155 * scale,),
            "skin",
            names.BODY,
            name=f"{side}_palm_{part}",
            fromto=np.array([0.012, y * thumb, 0.0015, 0.08, y * thumb, 0.0015]) * scale,
            mass=0.18,
            **touch,
        )
    shape(
        hand,
        "box",
        np.array([0.04, 0.03, 0.012]) * scale,
        "skin",
        names.BODY,
        name=f"{side}_palm",
        pos=np.array([0.05, 0.0, 0.0]) * scale,
        mass=0.1,
        **touch,
    )
    add(hand, "site", name=f"{side}_palm", pos=np.array(PALM_SKIN) * scale)
    for finger in names.FINGERS:
        _add_finger(hand, finger, side, scale, touch)


def _add_finger(
    hand: Element, finger: str, side: Side, scale: float, touch: dict[str, object]
) -> None:
    thumb = 1 if side == "right" else -1
    root, lengths, radius = _FINGERS[finger]
    drives = THUMB if finger == "thumb" else FINGER
    angle, drop = (_THUMB_ANGLE * thumb, _THUMB_DROP * thumb) if finger == "thumb" else (0.0, 0.0)
    where = np.array([root[0], root[1] * thumb, root[2]]) * scale
    c, s = np.cos(angle), np.sin(angle)
    dip = np.array([np.cos(drop), -np.sin(drop)])
    body, turn = hand, np.array([c, *(s * dip), -s, *(c * dip)])
    for number, joints in enumerate((("spread", "mcp"), ("pip",), ("dip",)), start=1):
        name = f"{side}_{finger}_{number}"
        body = add(body, "body", name=name, pos=where, xyaxes=turn, gravcomp=1)
        for joint in joints:
            axis = np.array(_mirror(drives[joint].axis, side))
            if finger == "thumb" and joint == "spread":  # about the hand's X, whatever the angle
                axis = axis[0] * np.array([c, -s, 0])
            _joint(body, f"{side}_{finger}_{joint}", drives[joint], tuple(axis))
        length = lengths[number - 1] * scale
        r = radius * scale * (1.06 - 0.06 * number)
        bone = _bone(body, (0, 0, 0), (length, 0, 0), r, "skin", 0.02)
        bone.attrib.update({key: mjcf.text(value) for key, value in touch.items()})
        bone.set("name", name)
        where, turn = np.array([length, 0, 0]), np.array([1, 0, 0, 0, 1, 0])
    add(body, "site", name=f"{side}_{finger}_tip", pos=where)
