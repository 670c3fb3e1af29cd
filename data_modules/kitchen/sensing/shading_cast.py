"""Rays against a model's geoms, by mujoco.mj_multiRay on a copy of them that is laid out for rays.

In a world's own model each ray asks every body's bounding sphere first: with fifty small bodies
that costs more than the geoms. The copy hangs all geoms on one body, at the world's poses.
"""

from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from data_modules.kitchen.world.names import COLLISION, HEAD

Array = NDArray[Any]

FAR = 20.0
"""Metres: rays end here."""
# Groups of the copy.
_CASTING, _SHADOWLESS, _CLEAR, _UNSEEN = 0, 1, 2, 5
ALL, BEHIND_GLASS, SHADOW = (_CASTING, _SHADOWLESS, _CLEAR), (_CASTING, _SHADOWLESS), (_CASTING,)
"""What a ray can meet, for `Caster.cast`."""
_SHADOWLESS_RADIUS = 0.85
"""Metres: larger fixed geoms (walls, floor, counter) throw no shadow: none would be in view."""


class Met(NamedTuple):
    """What rays met.

    Attributes:
        geom: int32 (n,), or -1.
        distance: float64 (n,) metres, or -1.
        normal: float64 (3, n) of the surface there, outwards.
    """

    geom: Array
    distance: Array
    normal: Array


class Caster:
    """What rays of a moment meet."""

    def __init__(self, model: Any, clear: Array) -> None:
        """A caster for a mujoco.MjModel of primitive geoms; `clear` bool (geoms,): of glass."""
        spec = mujoco.MjSpec()
        body = spec.worldbody.add_body()
        for geom in range(model.ngeom):
            body.add_geom(type=int(model.geom_type[geom]), size=model.geom_size[geom])
        # The body's bounding sphere must hold whatever the geoms' poses will be.
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=[2 * FAR] * 3, group=_UNSEEN)
        self._copy: Any = spec.compile()
        self._data: Any = mujoco.MjData(self._copy)
        mujoco.mj_forward(self._copy, self._data)
        self._count = model.ngeom
        large = (model.geom_rbound > _SHADOWLESS_RADIUS) | (
            model.geom_rbound == 0
        )  # a plane's is 0
        fixed = model.body_weldid[model.geom_bodyid] == 0
        self._group = np.where(clear, _CLEAR, np.where(large & fixed, _SHADOWLESS, _CASTING))

    def follow(self, world: Any) -> None:
        """Takes on the poses, sizes and groups of a world's geoms."""
        model, data, copy, n = world.model, world.data, self._copy, self._count
        self._data.geom_xpos[:n] = data.geom_xpos
        self._data.geom_xmat[:n] = data.geom_xmat
        copy.geom_size[:n] = model.geom_size
        copy.geom_aabb[:n] = model.geom_aabb
        copy.geom_rbound[:n] = model.geom_rbound
        hidden = (model.geom_group == COLLISION) | (model.geom_group == HEAD)
        copy.geom_group[:n] = np.where(hidden, _UNSEEN, self._group)

    def cast(self, origin: Array, rays: Array, meets: tuple[int, ...]) -> Met:
        """Meets unit rays (3, n) from one origin (3,) with ALL, BEHIND_GLASS or SHADOW."""
        n = rays.shape[1]
        geom, distance, normal = np.empty((n, 1), np.int32), np.empty((n, 1)), np.zeros((3 * n, 1))
        seen = np.zeros((mujoco.mjNGROUP, 1), np.uint8)
        seen[list(meets)] = 1
        flat = np.ascontiguousarray(rays.T, np.float64).reshape(-1, 1)
        mujoco.mj_multiRay(
            self._copy, self._data, origin.reshape(3, 1), flat, seen, True, -1,
            geom, distance, normal, n, FAR,
        )  # fmt: skip
        return Met(geom[:, 0], distance[:, 0], normal.reshape(-1, 3).T)
