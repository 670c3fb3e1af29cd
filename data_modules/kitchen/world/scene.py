"""What stands where at the start of an activity, how dirty and how full."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from data_modules.kitchen.world.furniture import SURFACES
from mssim.errors import UserError


@dataclass(frozen=True)
class Placed:
    """An object at its place.

    Attributes:
        kind: One of `objects.KINDS`.
        x: Metres forward.
        y: Metres to the left.
        yaw: About the vertical, rad.
        on: A surface of `furniture.SURFACES`, or the name of an object placed before.
        name: Of the body; the kind when empty.
    """

    kind: str
    x: float
    y: float
    yaw: float = 0.0
    on: str = "counter"
    name: str = ""

    @property
    def body(self) -> str:
        """The body's name, which prefixes the names of its joints, geoms and sites."""
        return self.name or self.kind


@dataclass(frozen=True)
class Scene:
    """What one activity needs.

    Attributes:
        objects: Everything that is not furniture.
        dirt: How dirty each plate or pan is, 0..1 by body name; others are clean.
        fill: How full each pitcher or cup is, 0..1 by body name; others are empty.
        seed: Of the pattern of the dirt.
    """

    objects: tuple[Placed, ...]
    dirt: Mapping[str, float] = field(default_factory=dict)
    fill: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        bodies = [placed.body for placed in self.objects]
        for body in bodies:
            if bodies.count(body) > 1:
                raise UserError(f"scene: two objects are called {body!r}; name one of them")
        for level in (self.dirt, self.fill):
            for body, value in level.items():
                if body not in bodies:
                    known = ", ".join(bodies) or "none"
                    raise UserError(f"scene: dirt or fill of {body!r}, not one of: {known}")
                if not 0 <= value <= 1:
                    raise UserError(f"scene: dirt or fill of {body!r} is {value}; give 0 to 1")
        for number, placed in enumerate(self.objects):
            if placed.on not in SURFACES and placed.on not in bodies[:number]:
                known = ", ".join([*SURFACES, *bodies[:number]])
                raise UserError(f"scene: {placed.body} on {placed.on!r}, not one of: {known}")
