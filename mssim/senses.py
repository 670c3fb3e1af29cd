"""What a body feels and does: the senses, defined once for data, model and reports."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Literal, get_args

from mssim.errors import UserError

Role = Literal["sensation", "command"]
Merge = Literal["mean", "sum", "last"]


@dataclass(frozen=True)
class Sense:
    """One stream of sensation or command.

    Args:
        name: Its name in batches, files and reports.
        shape: Shape of one sample, e.g. `[24, 3]` for a hand pose.
        unit: Unit of the values, e.g. `cm`, `rad`, `adc`.
        samples_per_frame: K, how many samples a window holds for each frame interval.
        role: `sensation` (measured) or `command` (sent to the body).
        merge: What one step of a window with a stride holds of the steps between its frames: the
            `mean` of a signal (touch, muscle), the `sum` of movements (steps over the floor), or
            the `last` of what stands for a moment (poses, joint angles, absolute targets).

    Raises:
        UserError: The shape or `samples_per_frame` is not positive, or a word is not known.
    """

    name: str
    shape: list[int]
    unit: str
    samples_per_frame: int = 1
    role: Role = "sensation"
    merge: Merge = "mean"

    def __post_init__(self) -> None:
        if not self.shape or min(self.shape) < 1:
            raise UserError(f"sense {self.name}: shape {self.shape} must have positive sizes")
        if self.samples_per_frame < 1:
            raise UserError(
                f"sense {self.name}: samples_per_frame {self.samples_per_frame} must be at least 1"
            )
        # A file of senses may be read by who knows no types.
        for key, value, known in (("role", self.role, Role), ("merge", self.merge, Merge)):
            if value not in get_args(known):
                there = ", ".join(get_args(known))
                raise UserError(
                    f"sense {self.name}: {key} {value!r} is not known; choose of {there}"
                )

    @property
    def size(self) -> int:
        """Numbers in one sample."""
        return prod(self.shape)

    @property
    def width(self) -> int:
        """Numbers in one frame interval, K samples."""
        return self.size * self.samples_per_frame


@dataclass(frozen=True)
class SenseSet:
    """An ordered set of senses; files in `configs/senses/` hold one each.

    Raises:
        UserError: Two senses share a name, or one is asked for that is not there.
    """

    senses: list[Sense] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = self.names
        twice = {n for n in names if names.count(n) > 1}
        if twice:
            raise UserError(f"senses: {sorted(twice)} named twice; give each sense its own name")

    def __iter__(self) -> Iterator[Sense]:
        return iter(self.senses)

    def __len__(self) -> int:
        return len(self.senses)

    def __getitem__(self, name: str) -> Sense:
        for sense in self.senses:
            if sense.name == name:
                return sense
        raise UserError(f"no sense named {name!r}; there are {', '.join(self.names)}")

    @property
    def names(self) -> list[str]:
        return [s.name for s in self.senses]

    def used(self, names: list[str] | None) -> "SenseSet":
        """The named senses, or all of them."""
        return self if names is None else self.select(names)

    def select(self, names: list[str]) -> "SenseSet":
        """The named senses, in this set's order."""
        for name in names:
            self[name]
        return SenseSet([s for s in self.senses if s.name in names])
