"""The head camera: rays cast by mujoco.mj_multiRay, shaded by numpy. No GL, no GPU."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_modules.kitchen.sensing import shading
from data_modules.kitchen.sensing.appearance import Surfaces
from data_modules.kitchen.sensing.shading import Hits
from data_modules.kitchen.sensing.shading_cast import ALL, BEHIND_GLASS, FAR, SHADOW, Caster
from data_modules.kitchen.sensing.shading_marks import Markings
from mssim.errors import UserError

Array = NDArray[Any]

FOV = 75.0
"""Degrees across the square picture."""
LAMP_RADIUS = 0.05
"""Metres: the lamp's samples lie on a square this far from its middle, which softens shadows."""
CONTRAST = 8
"""Grey levels by which a pixel's first samples may differ before the others are cast."""
GRAZE = 2e-3
"""Metres by which a shadow ray may fall short of its point before something else was in the way."""


class Seen(Protocol):
    """What the camera needs of a world."""

    model: Any
    data: Any
    effects: Any


class Camera:
    """First-person pictures of one model, from its site `eye`: along +X, up +Z."""

    def __init__(self, model: Any, size: int, supersample: int = 2, fov: float = FOV) -> None:
        """A camera for a model.

        Args:
            model: mujoco.MjModel with a site `eye` and a light, made of primitive geoms.
            size: pixels a side.
            supersample: rays a pixel's side.
            fov: degrees across.

        Raises:
            UserError: a size, supersample or fov that gives no picture.
        """
        if size < 1 or supersample < 1:
            raise UserError(
                f"camera: size {size}, supersample {supersample}: give 1 or more of both"
            )
        if not 1 <= fov <= 170:
            raise UserError(f"camera: fov {fov}: give degrees from 1 to 170")
        self.size, self.samples = size, supersample**2
        self._eye = model.site("eye").id
        self._surfaces = Surfaces.of(model)
        self._marks = Markings(model)
        self._caster = Caster(model, self._surfaces.colour[5] > 0)
        reach = float(np.tan(np.radians(fov) / 2))
        self._spread = 2 * reach / (size * supersample)
        # Samples of even diagonals first: they are cast in every pixel, the others where needed.
        steps = np.arange(supersample)
        cells = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
        odd = cells.sum(1) % 2
        places = (cells[np.argsort(odd, kind="stable")] + 0.5) / supersample
        self._first = int((odd == 0).sum())
        self._rays = _rays(size, places, reach)
        # One point of the lamp for each of a pixel's samples: their mean is a soft edge.
        self._lamp = np.zeros((3, self.samples))
        self._lamp[:2] = (places.T * 2 - 1) * LAMP_RADIUS
        self._sample = np.repeat(np.arange(self.samples), size**2)

    def render(self, world: Seen) -> Array:
        """What the person sees now: uint8 (size, size, 3), row 0 on top."""
        eye = world.data.site_xpos[self._eye]
        rays = world.data.site_xmat[self._eye].reshape(3, 3) @ self._rays
        self._caster.follow(world)
        pixels, first, every = self.size**2, self._first, self.samples
        grey, geom = self._trace(world, eye, rays, np.arange(first * pixels))
        grey = grey.reshape(3, first, pixels)
        total = grey.sum(1, dtype=np.uint16)
        count = np.full(pixels, first, np.uint16)
        busy = self._busy(geom.reshape(first, self.size, self.size), grey)
        if first < every and len(busy):
            rest = (np.arange(first, every)[:, None] * pixels + busy).ravel()
            more, _ = self._trace(world, eye, rays, rest)
            total[:, busy] += more.reshape(3, -1, len(busy)).sum(1, dtype=np.uint16)
            count[busy] = every
        mean = ((total + count // 2) // count).astype(np.uint8)
        return np.ascontiguousarray(mean.T).reshape(self.size, self.size, 3)

    def _busy(self, geom: Array, grey: Array) -> Array:
        """Pixels that need all of their samples: by the first ones' geoms and grey levels.

        Args:
            geom: (first, size, size).
            grey: uint8 (3, first, size * size).
        """
        top = geom[0]
        edge = (geom != top).any(0)
        across, along = top[:, 1:] != top[:, :-1], top[1:] != top[:-1]
        edge[:, 1:] |= across
        edge[:, :-1] |= across
        edge[1:] |= along
        edge[:-1] |= along
        contrast = (grey.max(1) - grey.min(1)).max(0)
        return np.flatnonzero(edge.ravel() | (contrast > CONTRAST))

    def _trace(self, world: Seen, eye: Array, rays: Array, which: Array) -> tuple[Array, Array]:
        """Grey levels uint8 (3, n) and geoms (n,), or -1, of the rays that `which` (n,) picks."""
        rays, sample = rays.take(which, 1), self._sample.take(which)
        met = [self._caster.cast(eye, rays, ALL)]
        clear = np.where(met[0].geom >= 0, self._surfaces.colour[5].take(met[0].geom), 0)
        glass = np.flatnonzero(clear)
        if len(glass):
            met.append(self._caster.cast(eye, rays.take(glass, 1), BEHIND_GLASS))
        both = np.concatenate([np.arange(len(which)), glass])
        geom, distance, normal = (np.concatenate(parts, -1) for parts in zip(*met, strict=True))
        missed = geom < 0
        hits = Hits.of(
            world.data,
            eye,
            np.where(missed, 0, geom).astype(np.intp),
            np.where(missed, FAR, distance).astype(np.float32),
            rays.astype(np.float32).take(both, 1),
            normal.astype(np.float32),
        )
        linear = self._shade(world, hits, sample.take(both))
        linear[:, missed] = shading.BEYOND[:, None]
        linear, behind = linear[:, : len(which)], linear[:, len(which) :]
        linear[:, glass] += (behind - linear[:, glass]) * clear[glass].astype(np.float32)
        return shading.develop(linear), met[0].geom

    def _shade(self, world: Seen, hits: Hits, sample: Array) -> Array:
        """Linear light (3, N) of hits by the sample (N,) of their pixel that each is."""
        colours = shading.albedo(self._surfaces, hits, self._spread)
        finish = self._surfaces.colour[3:5].take(hits.geom, 1)
        self._marks.stain(world.effects, hits, colours, finish)
        lamps = world.data.light_xpos[0][:, None] + self._lamp
        towards = lamps.astype(np.float32).take(sample, 1) - hits.point
        length = np.sqrt(shading.dot(towards, towards))
        towards /= length
        lit = self._lit(lamps, towards, length, hits, sample)
        open_sky = self._marks.open_sky(world, hits)
        return shading.light(hits, colours, finish, towards, length, lit, open_sky)

    def _lit(self, lamps: Array, towards: Array, length: Array, hits: Hits, sample: Array) -> Array:
        """float32 (N,): 1 where a ray from the lamp reaches the point, else 0."""
        lit = np.zeros_like(length)
        facing = np.flatnonzero(shading.dot(hits.normal, towards) > 0)
        turn = sample.take(facing)
        for k in np.unique(turn):
            part = facing[turn == k]
            met = self._caster.cast(lamps[:, k], -towards.take(part, 1), SHADOW).distance
            lit[part] = (met < 0) | (met > length[part] - GRAZE)
        return lit


def _rays(size: int, places: Array, reach: float) -> Array:
    """Unit rays in the eye's frame (X ahead, Y left): (3, samples * size^2), by sample.

    places: (samples, 2) right and down within a pixel, 0..1.
    """
    corner = np.arange(size)
    across, along = ((corner + part[:, None]) / size * 2 - 1 for part in places.T)
    shape = (len(places), size, size)
    right = np.broadcast_to(across[:, None, :], shape).ravel() * reach
    below = np.broadcast_to(along[:, :, None], shape).ravel() * reach
    rays = np.stack([np.ones_like(right), -right, -below])
    return np.asarray(rays / np.sqrt((rays**2).sum(0)))
