"""What changes in the picture beyond poses: dirt on plates and pans, and what darkens corners."""

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from data_modules.kitchen.sensing.shading import STAIN, Hits, crevices
from data_modules.kitchen.world.names import BODY, OBJECTS
from data_modules.kitchen.world.objects import KINDS

Array = NDArray[Any]

DIRT_HALF = KINDS["plate"].dirt
"""Metres: half the side of the square that a grid of dirt covers, on plates and pans alike."""
BLOCKERS = (0.015, 0.11)
"""Metres: bodies that are spheres of a radius in here darken what is near them."""


class Markings:
    """The changing part of how a model looks."""

    def __init__(self, model: Any) -> None:
        """Measures the bodies of a mujoco.MjModel."""
        self._geom_body = model.geom_bodyid.astype(np.intp)
        self._geoms = {model.geom(k).name: k for k in range(model.ngeom)}
        moving, radii, middles = [], [], []
        for body in range(1, model.nbody):
            low, high = _extent(model, body)
            radius = float(np.prod(np.maximum(high - low, 0)) ** (1 / 3) / 2)
            if BLOCKERS[0] < radius < BLOCKERS[1]:
                moving.append(body)
                radii.append(radius)
                middles.append((low + high) / 2)
        self._moving = np.array(moving, np.intp)
        self._radii = np.array(radii, np.float32)
        self._middles = np.array(middles).reshape(-1, 3, 1)
        self._row = np.full(model.nbody, -1, np.intp)
        self._row[self._moving] = np.arange(len(moving))

    def open_sky(self, world: Any, hits: Hits) -> Array:
        """Share of the surroundings that each hit sees (N,), arms, hands and objects in the way."""
        turns = world.data.xmat[self._moving].reshape(-1, 3, 3)
        centres = world.data.xpos[self._moving] + (turns @ self._middles)[..., 0]
        own = self._row.take(self._geom_body.take(hits.geom))
        return crevices(hits, centres.astype(np.float32), self._radii, own)

    def stain(self, effects: Any, hits: Hits, colours: Array, finish: Array) -> None:
        """Browns colours (3, N) and dulls finish (2, N) where a plate or pan is dirty above.

        A grid lies over the geom that is called like the body: rows along its X, columns along Y.
        """
        for name, grid in effects.dirt.items():
            here = hits.geom == self._geoms[name]
            where = np.flatnonzero(here & (hits.local_normal[2] > 0.5))
            if not len(where):
                continue
            cells = grid.shape[0]
            place = (hits.local[:2].take(where, 1) / DIRT_HALF + 1) * (cells / 2) - 0.5
            place = np.clip(place, 0, cells - 1.001)
            low = place.astype(np.intp)
            x, y = place - low
            i, j = low
            dirt = (grid[i, j] * (1 - y) + grid[i, j + 1] * y) * (1 - x)
            dirt += (grid[i + 1, j] * (1 - y) + grid[i + 1, j + 1] * y) * x
            dirt = (dirt * (2 - dirt)).astype(np.float32)  # even a thin film shows
            colours[:, where] += (STAIN[:, None] - colours[:, where]) * dirt
            finish[:, where] *= 1 - dirt


def _extent(model: Any, body: int) -> tuple[Array, Array]:
    """Low and high corner (3,) of a body's visible geoms, in its frame; inverted without any."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    first = model.body_geomadr[body]
    for geom in range(first, first + model.body_geomnum[body]):
        if model.geom_group[geom] in (OBJECTS, BODY):
            turn = np.zeros(9)
            mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
            reach = np.abs(turn.reshape(3, 3)) @ model.geom_aabb[geom, 3:]
            low = np.minimum(low, model.geom_pos[geom] - reach)
            high = np.maximum(high, model.geom_pos[geom] + reach)
    return low, high
