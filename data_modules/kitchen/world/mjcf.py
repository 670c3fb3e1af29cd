"""A few words of MJCF: elements from Python values, and the collision classes.

Hands meet objects and furniture, objects meet each other and furniture; a blade meets
furniture and the stops inside food, which vanish where the food is cut; a foot meets furniture.
"""

import xml.etree.ElementTree as ET
from typing import Any

import numpy as np

from data_modules.kitchen.world import names

HAND, OBJECT, FURNITURE, BLADE, FOOT = 1, 2, 4, 8, 16

# Stiffer than MuJoCo's default, whose contacts of things as light as a sponge would sink in by
# centimetres under the force of a hand.
STIFF = {"solref": (0.01, 1.0), "solimp": (0.95, 0.99, 0.001)}

Element = ET.Element


def text(value: Any) -> str:
    """An attribute's value as MJCF spells it: numbers by repr, sequences by spaces."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return repr(float(value))
    return " ".join(text(item) for item in value)


def add(parent: Element, tag: str, **attributes: Any) -> Element:
    """A new child element; a trailing underscore of a keyword (class_) is dropped."""
    return ET.SubElement(
        parent, tag, {key.rstrip("_"): text(value) for key, value in attributes.items()}
    )


def shape(
    parent: Element, kind: str, size: Any, material: str, group: int, **attributes: Any
) -> Element:
    """A geom that is seen but touches nothing."""
    return add(
        parent,
        "geom",
        type=kind,
        size=size,
        material=material,
        group=group,
        **{"contype": 0, "conaffinity": 0, **STIFF, **attributes},
    )


def hard(parent: Element, kind: str, size: Any, material: str, **attributes: Any) -> Element:
    """An object's geom that is seen and touches hands, objects and furniture."""
    solid = {"contype": OBJECT, "conaffinity": HAND | OBJECT}
    given = {"group": names.OBJECTS, **solid, **attributes}
    return shape(parent, kind, size, material, **given)


def fixed(parent: Element, kind: str, size: Any, material: str, **attributes: Any) -> Element:
    """A piece of furniture that is seen and touches hands, objects and blades."""
    solid = {"contype": FURNITURE, "conaffinity": HAND | OBJECT | BLADE | FOOT}
    given = {"group": names.FURNITURE, **solid, **attributes}
    return shape(parent, kind, size, material, **given)
