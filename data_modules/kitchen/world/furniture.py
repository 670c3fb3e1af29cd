"""The room as MJCF: floor, walls, counter, stove, shelves, fridge, window, lamp and decor.

Heights and edges that scripts need are constants here; nothing of it moves.
"""

import numpy as np

from data_modules.kitchen.world import names
from data_modules.kitchen.world.mjcf import Element, add, fixed, shape
from data_modules.kitchen.world.subject import Subject

COUNTER_Z = 0.92
COUNTER_EDGE_X = 0.32
COUNTER_Y = (-0.52, 1.08)
WALL_X = 0.95
STOVE_Z = 0.926
STOVE_CENTRE = (0.60, 0.72)
FRIDGE_EDGE_X = 0.34
FRIDGE_Y = (-1.18, -0.56)
FRIDGE_SHELF_Z = (0.62, 0.98, 1.30)
"""Upper faces of the fridge's shelves."""
SHELF_X = 0.84
SHELF_Z = (1.32, 1.64)
"""Upper faces of the shelves on the wall."""

SURFACES = {
    "counter": COUNTER_Z,
    "stove": STOVE_Z,
    "fridge": FRIDGE_SHELF_Z[1],
    "fridge_top": FRIDGE_SHELF_Z[2],
    "shelf": SHELF_Z[0],
}
"""Height of what an object can be placed on."""

MATERIALS: dict[str, tuple[float, float, float, float]] = {
    "wood": (0.66, 0.45, 0.27, 1),
    "counter": (0.46, 0.51, 0.54, 1),
    "cabinet": (0.87, 0.86, 0.82, 1),
    "steel": (0.72, 0.73, 0.75, 1),
    "iron": (0.24, 0.25, 0.27, 1),
    "copper": (0.74, 0.43, 0.26, 1),
    "ceramic": (0.95, 0.95, 0.93, 1),
    "tile": (0.72, 0.84, 0.86, 1),
    "wall": (0.93, 0.89, 0.79, 1),
    "floor": (0.56, 0.41, 0.29, 1),
    "window": (0.80, 0.91, 1.0, 1),
    "fridge": (0.55, 0.72, 0.72, 1),
    "sponge": (0.96, 0.82, 0.22, 1),
    "scour": (0.18, 0.48, 0.27, 1),
    "bread": (0.88, 0.71, 0.46, 1),
    "crust": (0.60, 0.36, 0.16, 1),
    "cucumber": (0.20, 0.45, 0.17, 1),
    "cucumber_flesh": (0.78, 0.89, 0.60, 1),
    "glass": (0.70, 0.85, 0.88, 1),
    "cup": (0.87, 0.93, 0.95, 1),
    "water": (0.15, 0.42, 0.80, 1),
    "jar": (0.60, 0.40, 0.22, 1),
    "label": (0.95, 0.92, 0.82, 1),
    "lid": (0.80, 0.13, 0.12, 1),
    "apple": (0.80, 0.14, 0.12, 1),
    "leaf": (0.25, 0.50, 0.18, 1),
    "handle": (0.14, 0.13, 0.15, 1),
    "red": (0.78, 0.20, 0.18, 1),
    "blue": (0.18, 0.36, 0.66, 1),
    "green": (0.30, 0.56, 0.33, 1),
    "orange": (0.93, 0.55, 0.16, 1),
    "purple": (0.46, 0.28, 0.55, 1),
    "shoe": (0.16, 0.14, 0.14, 1),
}


def add_materials(asset: Element, subject: Subject) -> None:
    """Add every material, named by substance; skin and clothes are the subject's."""
    own = {
        "skin": subject.skin,
        "sleeve": subject.sleeve,
        "shirt": subject.shirt,
        "trousers": subject.trousers,
        **dict(subject.recoloured),
    }
    for name, rgba in {**MATERIALS, **{n: (*rgb, 1) for n, rgb in own.items()}}.items():
        add(asset, "material", name=name, rgba=rgba)


def add_furniture(world: Element) -> None:
    """Add the room to a worldbody."""
    add(world, "light", name="lamp", pos=(0.05, 0.45, 2.45), dir=(0.2, -0.15, -1))
    fixed(world, "plane", (4, 4, 0.1), "floor", name="floor")
    _panel(world, "wall", (WALL_X, -2.5, 0), (WALL_X + 0.05, 2.5, 2.7), "wall")
    _panel(world, "tiles", (WALL_X - 0.008, -0.55, 0.9), (WALL_X, 1.6, SHELF_Z[0] - 0.03), "tile")
    _panel(world, "side", (-2.5, 2.5, 0), (1, 2.55, 2.7), "wall")
    _panel(world, "other", (-2.5, -2.55, 0), (1, -2.5, 2.7), "wall")
    _panel(world, "window", (WALL_X - 0.01, 1.15, 1.25), (WALL_X, 1.95, 2.2), "window")
    _panel(world, "frame", (WALL_X - 0.02, 1.53, 1.25), (WALL_X, 1.57, 2.2), "cabinet")
    _add_counter(world)
    _add_stove(world)
    _add_fridge(world)
    _add_shelves(world)


Corner = tuple[float, float, float]


def _panel(world: Element, name: str, low: Corner, high: Corner, material: str) -> None:
    """A box between two corners, seen only."""
    size, pos = _between(low, high)
    shape(world, "box", size, material, names.FURNITURE, name=name, pos=pos)


def _block(world: Element, name: str, low: Corner, high: Corner, material: str) -> None:
    """A box between two corners that hands and objects meet."""
    size, pos = _between(low, high)
    fixed(world, "box", size, material, name=name, pos=pos, friction=(0.4, 0.005, 0.0005))


def _between(low: Corner, high: Corner) -> tuple[names.Array, names.Array]:
    """Half sizes and centre of a box between two corners."""
    a, b = np.array(low, float), np.array(high, float)
    return (b - a) / 2, (a + b) / 2


def _add_counter(world: Element) -> None:
    left, right = COUNTER_Y[1], COUNTER_Y[0]
    top = COUNTER_Z
    _block(world, "counter", (COUNTER_EDGE_X, right, top - 0.04), (WALL_X, left, top), "counter")
    _panel(world, "cupboard", (0.37, right, 0.08), (WALL_X, left, top - 0.04), "cabinet")
    for number in range(3):
        y = right + (left - right) * (number + 1) / 3
        _panel(world, f"seam_{number}", (0.366, y - 0.006, 0.1), (0.37, y, top - 0.06), "handle")
        grip = (0.35, y - 0.16, top - 0.12), (0.366, y - 0.04, top - 0.105)
        _panel(world, f"knob_{number}", *grip, "steel")


def _add_stove(world: Element) -> None:
    x, y = STOVE_CENTRE
    low, high = (x - 0.25, y - 0.27, COUNTER_Z), (x + 0.28, y + 0.27, STOVE_Z)
    _block(world, "stove", low, high, "iron")
    for number, (dx, dy) in enumerate(((-0.1, -0.12), (-0.1, 0.13), (0.13, -0.12), (0.13, 0.13))):
        where = (x + dx, y + dy, STOVE_Z)
        shape(
            world,
            "cylinder",
            (0.085, 0.0006),
            "handle",
            names.FURNITURE,
            name=f"burner_{number}",
            pos=where,
        )


def _add_fridge(world: Element) -> None:
    x, far = FRIDGE_EDGE_X, WALL_X
    right, left = FRIDGE_Y
    _block(world, "fridge_left", (x, left - 0.03, 0.05), (far, left, 1.85), "fridge")
    _block(world, "fridge_right", (x, right, 0.05), (far, right + 0.03, 1.85), "fridge")
    _panel(world, "fridge_back", (far - 0.04, right, 0.05), (far, left, 1.85), "fridge")
    _panel(world, "fridge_roof", (x, right, 1.82), (far, left, 1.86), "fridge")
    for number, z in enumerate(FRIDGE_SHELF_Z):
        low, high = (x + 0.03, right + 0.03, z - 0.016), (far - 0.04, left - 0.03, z)
        _block(world, f"fridge_shelf_{number}", low, high, "glass")
    # The door stands open, out of reach.
    _panel(world, "fridge_door", (x - 0.58, right - 0.04, 0.05), (x, right, 1.85), "fridge")
    _decor(world, "cylinder", (0.045, 0.12), "orange", (0.78, -0.68, FRIDGE_SHELF_Z[1] + 0.12))
    _decor(world, "box", (0.05, 0.05, 0.1), "blue", (0.80, -1.04, FRIDGE_SHELF_Z[1] + 0.1))
    _decor(world, "box", (0.06, 0.1, 0.05), "green", (0.78, -0.9, FRIDGE_SHELF_Z[2] + 0.05))
    _decor(world, "cylinder", (0.06, 0.07), "red", (0.75, -0.85, FRIDGE_SHELF_Z[0] + 0.07))


def _decor(
    world: Element, kind: str, size: tuple[float, ...], material: str, pos: tuple[float, ...]
) -> None:
    shape(world, kind, size, material, names.FURNITURE, pos=pos)


def _add_shelves(world: Element) -> None:
    for number, z in enumerate(SHELF_Z):
        low, high = (SHELF_X - 0.11, -0.45, z - 0.022), (WALL_X, 1.05, z)
        _block(world, f"shelf_{number}", low, high, "wood")
    x, z = SHELF_X + 0.02, SHELF_Z[0]
    for y, radius, half, material in (
        (-0.32, 0.05, 0.075, "red"),
        (-0.18, 0.045, 0.06, "green"),
        (0.42, 0.05, 0.09, "orange"),
        (0.56, 0.05, 0.07, "purple"),
        (0.86, 0.055, 0.08, "blue"),
    ):
        _decor(world, "cylinder", (radius, half), material, (x, y, z + half))
        _decor(world, "cylinder", (radius + 0.003, 0.01), "wood", (x, y, z + 2 * half + 0.01))
    for number in range(3):  # a pile of plates and one of cups
        _decor(world, "cylinder", (0.10, 0.006), "ceramic", (x, 0.12, z + 0.008 + 0.016 * number))
    for y, material in ((-0.25, "blue"), (-0.1, "ceramic"), (0.2, "orange"), (0.35, "red")):
        _decor(world, "cylinder", (0.04, 0.045), material, (x, y, SHELF_Z[1] + 0.045))
    # Against the tiles, where every activity sees it.
    z = COUNTER_Z
    _decor(world, "cylinder", (0.055, 0.085), "blue", (0.87, -0.36, z + 0.085))
    _decor(world, "cylinder", (0.045, 0.065), "orange", (0.88, -0.22, z + 0.065))
    _decor(world, "box", (0.012, 0.14, 0.11), "wood", (0.925, 0.25, z + 0.11))
    _decor(world, "cylinder", (0.035, 0.11), "green", (0.89, 0.02, z + 0.11))
    _decor(world, "capsule", (0.014, 0.03), "green", (0.89, 0.02, z + 0.24))
