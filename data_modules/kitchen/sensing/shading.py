"""Light on hit points: arrays of rays in, linear colours out.

N: rays; points, normals and colours are float32 rows (3, N). Colours are linear light; `develop`
makes them grey levels. Square roots but no other roots, powers or waves, so that machines agree.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.kitchen.sensing.appearance import LEVEL_START, LEVELS, TEXELS, Surfaces, atlas

Array = NDArray[Any]

LAMP = np.array([1.00, 0.93, 0.80], np.float32) * 1.35
"""Colour of the lamp at LAMP_REACH metres, head on."""
LAMP_REACH = 1.5
WINDOW = np.array([0.62, 0.72, 0.85], np.float32) * 0.30
WINDOW_FROM = np.array([-0.35, 0.80, 0.49], np.float32)
"""Unit direction towards a window on the person's left, behind: cool light without shadows."""
SKY = np.array([1.00, 0.97, 0.92], np.float32) * 0.42
GROUND = np.array([0.60, 0.46, 0.34], np.float32) * 0.26
STAIN = np.array([0.095, 0.040, 0.015], np.float32)
"""Colour of dirt."""
BEYOND = np.array([0.34, 0.32, 0.28], np.float32)
"""What rays see that meet nothing: a dim room."""
EXPOSURE = 1.55


@dataclass(frozen=True)
class Hits:
    """Where rays met geoms.

    Attributes:
        geom: intp (N,).
        distance: float32 (N,) metres from the eye.
        ray: float32 (3, N) unit directions from the eye.
        point: float32 (3, N) world.
        normal: float32 (3, N) world, facing the eye.
        local: float32 (3, N) the point in its geom's frame.
        local_normal: float32 (3, N).
    """

    geom: Array
    distance: Array
    ray: Array
    point: Array
    normal: Array
    local: Array
    local_normal: Array

    @classmethod
    def of(
        cls, data: Any, eye: Array, geom: Array, distance: Array, ray: Array, normal: Array
    ) -> "Hits":
        """Hits on the geoms of `data` (mujoco.MjData), seen from `eye` (3,)."""
        point = eye.astype(np.float32)[:, None] + distance * ray
        # Towards the eye whichever side was hit: an open cup is seen from within.
        normal = np.where(dot(normal, ray) > 0, -normal, normal)
        turn = data.geom_xmat.astype(np.float32).T.take(geom, 1)  # (9, N)
        arm = point - data.geom_xpos.astype(np.float32).T.take(geom, 1)
        local = np.stack([dot(turn[k::3], arm) for k in range(3)])
        local_normal = np.stack([dot(turn[k::3], normal) for k in range(3)])
        return cls(geom, distance, ray, point, normal, local, local_normal)


def dot(a: Array, b: Array) -> Array:
    """Row-wise inner products of (3, N) with (3, N): (N,)."""
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


def albedo(surfaces: Surfaces, hits: Hits, spread: float) -> Array:
    """Colours (3, N) of the surfaces, at the mip level of rays `spread` radians wide."""
    size = np.abs(hits.local_normal)
    axis = np.where(
        size[0] > size[1], np.where(size[0] > size[2], 0, 2), np.where(size[1] > size[2], 1, 2)
    )
    row = hits.geom * 3 + axis
    scale_u, scale_v, offset = surfaces.tile.take(row, 1)
    axis_u, axis_v, start = surfaces.axes.take(row, 1)
    column = np.arange(len(row))
    count = len(row)
    flat = hits.local.ravel()
    u = flat[axis_u * count + column] * scale_u + offset
    v = flat[axis_v * count + column] * scale_v + offset
    facing = np.maximum(-dot(hits.normal, hits.ray), 0.2)
    texels = hits.distance * (spread * TEXELS) * np.maximum(scale_u, scale_v) / facing
    level = np.clip(np.frexp(texels)[1], 0, LEVELS - 1)
    width = TEXELS >> level
    column_u = np.floor(u * width).astype(np.intp)
    column_v = np.floor(v * width).astype(np.intp)
    place = start + LEVEL_START[level] + (column_v & (width - 1)) * width + (column_u & (width - 1))
    colours: Array = atlas()[1].take(place, 1)
    colours *= surfaces.colour[:3].take(hits.geom, 1)
    return colours


def crevices(hits: Hits, centres: Array, radii: Array, own: Array) -> Array:
    """Share of the surroundings that each hit sees (N,), with bodies as spheres in the way.

    Args:
        hits: the points.
        centres: (B, 3) of the spheres.
        radii: (B,) of the spheres.
        own: (N,) sphere of the hit's own body, or -1: nothing darkens itself.
    """
    point, normal = hits.point, hits.normal
    # |c - p|^2 and (c - p) . n of every sphere and point, as (B, N) products.
    far = centres @ (-2 * point)
    far += (centres**2).sum(1)[:, None]
    far += dot(point, point)
    above = centres @ normal
    above -= dot(point, normal)
    square = (radii**2)[:, None]
    np.maximum(far, 0.25 * square, out=far)
    np.maximum(above, 0, out=above)
    # A sphere's solid angle over the half space's, r^2 / d^2, times the cosine.
    above *= square
    above /= np.sqrt(far) * np.maximum(far, square)
    mine = np.flatnonzero(own >= 0)
    above[own[mine], mine] = 0
    return np.asarray(1 - np.minimum(above.sum(0), 0.75))


def light(
    hits: Hits,
    colours: Array,
    finish: Array,
    towards: Array,
    length: Array,
    lit: Array,
    open_sky: Array,
) -> Array:
    """Linear light (3, N) towards the eye.

    Args:
        hits: the points.
        colours: (3, N) albedo.
        finish: (2, N) gloss and metal.
        towards: (3, N) unit, from each point to the lamp.
        length: (N,) metres to it.
        lit: (N,) 1 where the lamp is seen, 0 in shadow.
        open_sky: (N,) share of the surroundings that each point sees.
    """
    gloss, metal = finish
    normal, ray = hits.normal, hits.ray
    fall = lit * ((LAMP_REACH**2 * 1.5) / (length * length + LAMP_REACH**2 * 0.5))
    direct = np.maximum(dot(normal, towards), 0) * fall
    window = np.maximum(
        normal[0] * WINDOW_FROM[0] + normal[1] * WINDOW_FROM[1] + normal[2] * WINDOW_FROM[2], 0
    )
    window *= open_sky
    up = (0.5 + 0.5 * normal[2]) * open_sky
    down = open_sky - up
    half = towards - ray
    highlight = np.maximum(dot(normal, half), 0)
    highlight *= highlight / dot(half, half)  # cos^2
    for _ in range(4):
        highlight *= highlight  # cos^32
    shine = highlight * fall * gloss * 1.2
    # A polished surface mirrors a bright ceiling and a dark floor.
    cosine = dot(normal, ray)
    mirror_up = ray[2] - 2 * cosine * normal[2]
    rim = 1 + cosine
    rim *= rim
    room = np.clip(0.35 + 0.9 * mirror_up, 0.08, 1.0) * open_sky
    matt = 1 - 0.7 * metal
    mirrored = room * (metal * 1.1)
    glint = room * (rim * rim) * gloss * 0.5
    out = np.empty_like(colours)
    for k in range(3):
        diffuse = direct * LAMP[k] + window * WINDOW[k] + up * SKY[k] + down * GROUND[k]
        out[k] = colours[k] * (diffuse * matt + mirrored) + shine * LAMP[k] + glint * SKY[k]
    return out


def develop(linear: Array) -> Array:
    """Linear light to uint8: a soft shoulder above mid grey, gamma 2, rounded."""
    seen = linear * EXPOSURE
    seen *= (1 + seen * 0.16) / (1 + seen)  # Reinhard's curve, white at 2.5
    level: Array = np.sqrt(np.minimum(seen, 1))
    return (level * 255 + 0.5).astype(np.uint8)
