"""Contact forces as arrays: who touches whom, where, how hard."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from data_modules.kitchen.world.names import Array


@dataclass(frozen=True)
class Contacts:
    """The contacts of a state that carry force, n of them.

    Attributes:
        geoms: int (n, 2): the two geoms.
        normal: float64 (n, 3): unit vector from the first to the second geom.
        force: float64 (n,): N along the normal, pushing the two apart.
        pos: float64 (n, 3): where, in the world.
    """

    geoms: Array
    normal: Array
    force: Array
    pos: Array

    @classmethod
    def of(cls, data: Any) -> "Contacts":
        """The contacts of MuJoCo's data, which must be forwarded and of elliptic cones."""
        contact = data.contact
        rows = contact.efc_address
        live = rows >= 0
        return cls(
            contact.geom[live],
            contact.frame[live, :3],
            data.efc_force[rows[live]],
            contact.pos[live],
        )

    def between(self, first: Array, second: Array) -> "tuple[Array, Array]":
        """Contacts of a geom marked in `first` with one marked in `second`: bool (ngeom,) each.

        Returns:
            bool (n,): which they are; bool (n,): of which the marked first geom comes first.
        """
        a, b = self.geoms[:, 0], self.geoms[:, 1]
        straight = first[a] & second[b]
        return straight | (second[a] & first[b]), straight

    def total(self, first: Array, second: Array) -> float:
        """Normal force between the geoms marked in `first` and in `second`, N."""
        chosen, _ = self.between(first, second)
        return float(self.force[chosen].sum())


def mark(model: Any, geoms: list[int]) -> Array:
    """Bool (ngeom,): true at the given geoms."""
    marked = np.zeros(model.ngeom, bool)
    marked[geoms] = True
    return marked
