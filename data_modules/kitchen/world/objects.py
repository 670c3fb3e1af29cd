"""Objects as MJCF: crockery, tools and food, each a body with a free joint.

A body's origin is the centre of its underside, where handle and blade of a knife meet, and in
each slice of food. `{name}_grasp_{side}` sites say where a hand's palm site goes to hold it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from data_modules.kitchen.world import names
from data_modules.kitchen.world.furniture import SURFACES
from data_modules.kitchen.world.mjcf import (
    BLADE,
    FOOT,
    HAND,
    OBJECT,
    STIFF,
    Element,
    add,
    hard,
    shape,
)
from data_modules.kitchen.world.scene import Placed
from mssim.errors import UserError

Vector = tuple[float, ...]
# xyaxes of palm sites: X along the fingers, Z out of the back of the hand.
_DOWN: dict[str, Vector] = {"right": (1, 0, 0, 0, 1, 0), "left": (1, 0, 0, 0, 1, 0)}
# Down onto a handle along the body's X, fingers across it: for a yaw of +90 / -90 degrees.
_ACROSS: dict[str, Vector] = {"right": (0, -1, 0, 1, 0, 0), "left": (0, 1, 0, -1, 0, 0)}
# Around something upright, from either side.
_BESIDE: dict[str, Vector] = {"right": (1, 0, 0, 0, 0, 1), "left": (1, 0, 0, 0, 0, -1)}
# Around an upright handle behind the body, for a yaw of +90 / -90 degrees.
_BEHIND: dict[str, Vector] = {"right": (0, -1, 0, 0, 0, 1), "left": (0, 1, 0, 0, 0, -1)}

_FOOT = 0.003
_RUBBER = 1.0  # friction under plates and pans, which a scrubbing hand must not push away
# Of a part that furniture does not meet, since its feet do.
_FOOTED = {"contype": 0}


@dataclass(frozen=True)
class Kind:
    """A kind of object.

    Attributes:
        build: Adds its parts to an element that stands for its body.
        top: Height of the surface on which others may stand, above the origin, metres.
        grip: Force that opposing fingers need to hold it, N, by the suffix of the body
            ("" for the object's own body); what is not named cannot be grasped.
        free: Whether it can move.
        dirt: Half the side of the square that can be dirty, metres; 0 where nothing sticks.
    """

    build: Callable[[Element, str], None]
    top: float
    grip: dict[str, float] = field(default_factory=dict)
    free: bool = True
    dirt: float = 0.0


def _ring(
    body: Element, radius: float, low: float, high: float, material: str, count: int, mass: float
) -> None:
    """A wall of thin boxes around the Z axis."""
    width = radius * np.tan(np.pi / count) + 0.002
    for number in range(count):
        angle = 2 * np.pi * number / count
        hard(
            body,
            "box",
            (0.002, width, (high - low) / 2),
            material,
            pos=(radius * np.cos(angle), radius * np.sin(angle), (low + high) / 2),
            euler=(0, 0, angle),
            mass=mass / count,
        )


def _grasp(body: Element, name: str, pos: Vector, axes: dict[str, Vector]) -> None:
    """A site for either hand; `pos` is the right one's, the left one's is its mirror image."""
    for side, frame in axes.items():
        where = pos if side == "right" else (pos[0], -pos[1], pos[2])
        add(body, "site", name=f"{name}_grasp_{side}", pos=where, xyaxes=frame)


def _feet(body: Element, radius: float, count: int, z: float = 0.0, friction: float = 0.5) -> None:
    """Round feet that alone meet what it stands on: far cheaper to collide than a disc's edge."""
    for number in range(count):
        angle = 2 * np.pi * (number + 0.5) / count
        pos = (radius * np.cos(angle), radius * np.sin(angle), z + _FOOT)
        touch = {"contype": FOOT, "conaffinity": 0, "group": names.COLLISION}
        slide = {"friction": (friction, 0.005, 0.0005)}
        hard(body, "sphere", (_FOOT,), "ceramic", pos=pos, mass=0.005, **touch, **slide)


def _studs(body: Element, half: Vector, radius: float, material: str, **touch: object) -> None:
    """Eight balls in the corners of a box that stands at Z = 0: they alone meet other things.

    Balls collide by a formula, stably under load; boxes and discs on discs do not.
    """
    x, y, z = (extent - radius for extent in half)
    for number in range(8):
        signs = [1 if number >> bit & 1 else -1 for bit in range(3)]
        pos = (signs[0] * x, signs[1] * y, half[2] + signs[2] * z)
        solid = {"contype": OBJECT, "conaffinity": 0, "group": names.COLLISION, **touch}
        hard(body, "sphere", (radius,), material, pos=pos, mass=0, **solid)


def _plate(body: Element, name: str) -> None:
    shape(body, "cylinder", (0.085, 0.005), "ceramic", names.OBJECTS, pos=(0, 0, 0.005), mass=0.3)
    where = {"name": name, "pos": (0, 0, 0.013), "mass": 0.3}
    hard(body, "cylinder", (0.12, 0.004), "ceramic", **where, **_FOOTED)
    _feet(body, 0.085, 6, friction=_RUBBER)
    _feet(body, 0.118, 6, 0.01, _RUBBER)
    for number in range(24):  # the rim, seen only
        a, b = 2 * np.pi * number / 24, 2 * np.pi * (number + 1) / 24
        ends = np.array([np.cos(a), np.sin(a), 0, np.cos(b), np.sin(b), 0]) * 0.121
        ends[[2, 5]] = 0.0165
        shape(body, "capsule", (0.0045,), "blue", names.OBJECTS, fromto=ends, mass=0)
    _grasp(body, name, (0, -0.12, 0.03), _DOWN)


def _pan(body: Element, name: str) -> None:
    where = {"name": name, "pos": (0, 0, 0.004), "mass": 0.6}
    hard(body, "cylinder", (0.125, 0.004), "steel", **where, **_FOOTED)
    _feet(body, 0.10, 6, friction=_RUBBER)
    _ring(body, 0.125, 0.004, 0.04, "copper", 16, 0.3)
    handle = (-0.128, 0, 0.034, -0.30, 0, 0.05)
    hard(body, "capsule", (0.012,), "handle", name=f"{name}_handle", fromto=handle, mass=0.15)
    _grasp(body, name, (-0.23, 0, 0.056), _ACROSS)


def _sponge(body: Element, name: str) -> None:
    half = (0.045, 0.0325, 0.02)
    soft = {"solref": (0.02, 1.0), "solimp": (0.9, 0.98, 0.004)}
    held = {"pos": (0, 0, 0.02), "mass": 0.04, "contype": 0, "conaffinity": HAND}
    hard(body, "box", half, "sponge", name=name, **held, **soft)
    # Wet: its friction counts, not the drier thing's that it slides on.
    _studs(body, half, 0.010, "sponge", friction=(0.35, 0.01, 0.001), priority=1)
    thin = (0.0455, 0.033, 0.0055)
    shape(body, "box", thin, "scour", names.OBJECTS, pos=(0, 0, 0.005), mass=0)
    _grasp(body, name, (0, 0, 0.042), _DOWN)


def _jar(body: Element, name: str) -> None:
    hard(body, "cylinder", (0.036, 0.049), "jar", name=name, pos=(0, 0, 0.051), mass=0.45)
    _feet(body, 0.03, 4)
    shape(body, "cylinder", (0.0365, 0.022), "label", names.OBJECTS, pos=(0, 0, 0.05), mass=0)
    _grasp(body, name, (0, -0.037, 0.055), _BESIDE)
    lid = add(body, "body", name=f"{name}_lid", pos=(0, 0, 0.101))
    add(
        lid,
        "joint",
        name=f"{name}_lid",
        type="hinge",
        axis=(0, 0, 1),
        range=(0, 3),
        damping=0.01,
        frictionloss=0.35,
        # Stiff, or fingers that merely touch it drag it open.
        armature=0.002,
        solimpfriction=(0.99, 0.999, 0.001),
    )
    add(lid, "joint", name=f"{name}_lift", type="slide", axis=(0, 0, 1), range=(0, 0.15), damping=1)
    hard(lid, "cylinder", (0.038, 0.009), "lid", name=f"{name}_lid", pos=(0, 0, 0.009), mass=0.03)
    stripe = (0.03, 0.005, 0.0005)
    shape(lid, "box", stripe, "label", names.OBJECTS, pos=(0, 0, 0.018), mass=0)
    _grasp(lid, f"{name}_lid", (0, 0, 0.02), _DOWN)


def _vessel(body: Element, name: str, vessel: "Vessel", material: str) -> None:
    """A floor, a wall and the water within, whose height the effects set."""
    radius, height = vessel.radius, vessel.height
    floor = {"name": name, "pos": (0, 0, 0.004), "mass": 0.06}
    hard(body, "cylinder", (radius, 0.004), material, **floor, **_FOOTED)
    _feet(body, radius * 0.8, 4)
    _ring(body, radius, 0.004, height, material, 10, 0.2 if height < 0.12 else 0.5)
    full = (radius - 0.003, (height - 0.012) / 2)
    where = {"name": f"{name}_water", "pos": (0, 0, height / 2), "mass": 0}
    shape(body, "cylinder", full, "water", names.OBJECTS, **where)


def _cup(body: Element, name: str) -> None:
    _vessel(body, name, VESSELS["cup"], "cup")
    _grasp(body, name, (0, -0.041, 0.055), _BESIDE)


def _pitcher(body: Element, name: str) -> None:
    _vessel(body, name, VESSELS["pitcher"], "glass")
    # The spout points to X, the handle to -X.
    for part, ends in (
        ("handle", (-0.10, 0, 0.05, -0.10, 0, 0.15)),
        ("upper", (-0.055, 0, 0.165, -0.10, 0, 0.15)),
        ("lower", (-0.055, 0, 0.035, -0.10, 0, 0.05)),
    ):
        hard(body, "capsule", (0.011,), "glass", name=f"{name}_{part}", fromto=ends, mass=0.04)
    spout = (0.05, 0, 0.178, 0.07, 0, 0.187)
    shape(body, "capsule", (0.009,), "glass", names.OBJECTS, fromto=spout, mass=0)
    add(body, "site", name=f"{name}_spout", pos=(0.078, 0, 0.187))
    _grasp(body, name, (-0.112, 0, 0.10), _BEHIND)


def _knife(body: Element, name: str) -> None:
    grip = {"pos": (-0.06, 0, 0.025), "mass": 0.1, "friction": (0.8, 0.01, 0.001)}
    hard(body, "box", (0.06, 0.010, 0.013), "handle", name=f"{name}_handle", **grip)
    # A rest keeps it edge down, ready for the hand; it stands on the counter only.
    foot = {"contype": FOOT, "conaffinity": 0, "group": names.COLLISION}
    hard(body, "box", (0.05, 0.02, 0.006), "wood", pos=(-0.06, 0, 0.006), mass=0.02, **foot)
    touch = {"contype": BLADE, "conaffinity": 0}
    place = {"pos": (0.085, 0, 0.02), "mass": 0.06}
    hard(body, "box", (0.085, 0.0012, 0.018), "steel", name=f"{name}_blade", **place, **touch)
    _grasp(body, name, (-0.06, 0, 0.04), _ACROSS)


def _apple(body: Element, name: str) -> None:
    hard(body, "sphere", (0.037,), "apple", name=name, pos=(0, 0, 0.037), mass=0.17)
    shape(body, "capsule", (0.003, 0.008), "leaf", names.OBJECTS, pos=(0, 0, 0.077), mass=0)
    _grasp(body, name, (0, 0, 0.076), _DOWN)


def _board(body: Element, name: str) -> None:
    touch = {"contype": 0, "conaffinity": HAND | OBJECT | BLADE | FOOT}
    where = {"name": name, "pos": (0, 0, 0.009)}
    hard(body, "box", (0.12, 0.19, 0.009), "wood", **where, **touch)


def _carton(body: Element, name: str) -> None:
    box = {"name": name, "pos": (0, 0, 0.08), "mass": 0.5, "friction": (0.6, 0.01, 0.001)}
    hard(body, "box", (0.032, 0.032, 0.08), "blue", **box)
    shape(body, "box", (0.0325, 0.0325, 0.03), "label", names.OBJECTS, pos=(0, 0, 0.09), mass=0)
    shape(body, "box", (0.032, 0.006, 0.012), "red", names.OBJECTS, pos=(0, 0, 0.17), mass=0)
    _grasp(body, name, (0, -0.033, 0.09), _BESIDE)


def _slice(body: Element, name: str, food: "Food", number: int) -> None:
    """One slice; its stop bears the blade around the joint to the next slice until it is cut."""
    half = food.thickness / 2
    y, z = food.half
    skin = {"pos": (0, 0, z), "mass": food.mass, "contype": 0, "conaffinity": HAND}
    face = {"pos": (0, 0, z), "mass": 0}
    if food.round:
        turned = {"euler": (0, np.pi / 2, 0)}
        hard(body, "cylinder", (y, half * 0.96), food.peel, name=name, **skin, **turned)
        inner = (y * 0.88, half * 0.97)
        shape(body, "cylinder", inner, food.flesh, names.OBJECTS, **face, **turned)
    else:
        hard(body, "box", (half * 0.96, y, z), food.peel, name=name, **skin)
        shape(body, "box", (half * 0.97, y * 0.92, z * 0.92), food.flesh, names.OBJECTS, **face)
    foot = y * 0.7 if food.round else y
    _studs(body, (half * 0.95, foot, z), 0.006, food.peel, friction=(0.7, 0.02, 0.002))
    if number < food.count - 1:
        stop = {"name": f"{name}_stop", "pos": (half, 0, z), "mass": 0}
        touch = {"contype": 0, "conaffinity": BLADE, "group": names.COLLISION}
        hard(body, "box", (half * 1.1, y, z), food.peel, **stop, **touch)
    _grasp(body, name, (0, 0, 2 * z + 0.002), _DOWN)


@dataclass(frozen=True)
class Food:
    """What can be cut.

    Attributes:
        count: Slices, in a row along X.
        thickness: Of a slice, metres.
        half: Half the width and half the height, metres.
        round: Whether slices are discs.
        flesh: Material within.
        peel: Material without.
        mass: Of a slice, kg.
        force: Of the blade that parts two slices, N.
    """

    count: int
    thickness: float
    half: tuple[float, float]
    round: bool
    flesh: str
    peel: str
    mass: float
    force: float


@dataclass(frozen=True)
class Vessel:
    """What holds water: inner radius, height and reach of the lip in metres, volume in litres."""

    radius: float
    height: float
    lip: float
    volume: float


KINDS: dict[str, Kind] = {
    "plate": Kind(_plate, 0.017, {"": 7.0}, dirt=0.115),
    "pan": Kind(_pan, 0.008, {"": 6.0}, dirt=0.115),
    "sponge": Kind(_sponge, 0.04, {"": 4.0}),
    "jar": Kind(_jar, 0.12, {"": 6.0, "_lid": 6.0}),
    "cup": Kind(_cup, 0.10, {"": 6.0}),
    "pitcher": Kind(_pitcher, 0.19, {"": 6.0}),
    "knife": Kind(_knife, 0.036, {"": 6.0}),
    "apple": Kind(_apple, 0.074, {"": 5.0}),
    "carton": Kind(_carton, 0.16, {"": 9.0}),
    "board": Kind(_board, 0.018, free=False),
}
VESSELS: dict[str, Vessel] = {
    "cup": Vessel(0.038, 0.10, 0.038, 0.35),
    "pitcher": Vessel(0.052, 0.19, 0.078, 1.3),
}
FOOD_GRIP = 4.0
FOODS: dict[str, Food] = {
    "cucumber": Food(6, 0.026, (0.022, 0.022), True, "cucumber_flesh", "cucumber", 0.035, 9.0),
    "bread": Food(5, 0.024, (0.05, 0.036), False, "bread", "crust", 0.05, 14.0),
}


def add_objects(world: Element, equality: Element, objects: tuple[Placed, ...]) -> None:
    """Add every object at its place, with the welds between slices and the lock of lids.

    Raises:
        UserError: For a kind that there is not.
    """
    tops = dict(SURFACES)
    for placed in objects:
        if placed.kind not in KINDS and placed.kind not in FOODS:
            known = ", ".join([*KINDS, *FOODS])
            raise UserError(f"scene: no object of kind {placed.kind!r}; there are: {known}")
        base = tops[placed.on]
        name = placed.body
        if placed.kind in FOODS:
            _add_food(world, equality, placed, base)
            tops[name] = base + 2 * FOODS[placed.kind].half[1]
            continue
        kind = KINDS[placed.kind]
        body = _add_body(world, name, (placed.x, placed.y, base), placed.yaw, kind.free)
        kind.build(body, name)
        tops[name] = base + kind.top
        if placed.kind == "jar":
            lock = {"name": f"{name}_lock", "joint1": f"{name}_lift", "polycoef": (0, 0, 0, 0, 0)}
            add(equality, "joint", **lock)


def _add_body(world: Element, name: str, pos: Vector, yaw: float, free: bool) -> Element:
    # A tenth of a millimetre up: at rest, contacts carry the weight without a jolt.
    where = (pos[0], pos[1], pos[2] + 0.0001)
    body = add(world, "body", name=name, pos=where, euler=(0, 0, yaw))
    if free:
        add(body, "joint", name=f"{name}_free", type="free", damping=0.0005)
    return body


def _add_food(world: Element, equality: Element, placed: Placed, base: float) -> None:
    food, name = FOODS[placed.kind], placed.body
    along = np.array([np.cos(placed.yaw), np.sin(placed.yaw)])
    for number in range(food.count):
        offset = (number - (food.count - 1) / 2) * food.thickness * along
        pos = (placed.x + offset[0], placed.y + offset[1], base)
        _slice(
            _add_body(world, f"{name}_{number}", pos, placed.yaw, True),
            f"{name}_{number}",
            food,
            number,
        )
        if number:
            pair = {"body1": f"{name}_{number - 1}", "body2": f"{name}_{number}"}
            add(equality, "weld", name=f"{name}_joint_{number - 1}", **pair, **STIFF)


def graspable(objects: tuple[Placed, ...]) -> dict[str, tuple[str, float]]:
    """Bodies that a hand can hold: the group of bodies that squeezing counts for, and N needed."""
    held: dict[str, tuple[str, float]] = {}
    for placed in objects:
        name = placed.body
        if placed.kind in FOODS:
            for number in range(FOODS[placed.kind].count):
                held[f"{name}_{number}"] = (name, FOOD_GRIP)
            continue
        for suffix, force in KINDS[placed.kind].grip.items():
            held[name + suffix] = (name + suffix, force)
    return held


def jars(objects: tuple[Placed, ...]) -> list[str]:
    """Bodies of the jars, which have lids."""
    return [placed.body for placed in objects if placed.kind == "jar"]
