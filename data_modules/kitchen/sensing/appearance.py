"""What surfaces of the kitchen look like: baked procedural patterns, and one row of numbers a geom.

Patterns are square tiles of colour factors (linear light, mean about one), baked once with their
mip levels, so that shading is one gather whatever the material.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

TEXELS = 128
"""Side of a baked tile; a power of two."""
LEVELS = TEXELS.bit_length()
# Where each mip level starts in a tile's flat row of texels.
LEVEL_START = np.cumsum([0, *((TEXELS >> k) ** 2 for k in range(LEVELS))])


def _grid() -> tuple[Array, Array]:
    """Texel centres (TEXELS, TEXELS) along u (columns) and v (rows), in [0, 1)."""
    centre = (np.arange(TEXELS) + 0.5) / TEXELS
    u, v = np.meshgrid(centre, centre)
    return u, v


def _noise(rng: np.random.Generator, along_u: int, along_v: int) -> Array:
    """Smooth noise in [-1, 1] that tiles, with so many cells along u and v: (TEXELS, TEXELS)."""
    knots = rng.uniform(-1, 1, (along_v, along_u))
    for axis, cells in ((0, along_v), (1, along_u)):
        place = np.arange(TEXELS) * cells / TEXELS
        low = place.astype(int)
        part = place - low
        part = part * part * (3 - 2 * part)
        part = part[:, None] if axis == 0 else part[None, :]
        knots = (
            np.take(knots, low, axis) * (1 - part) + np.take(knots, (low + 1) % cells, axis) * part
        )
    return knots


def _tint(tone: Array, colour: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Array:
    """(TEXELS, TEXELS) tones times a colour: (TEXELS, TEXELS, 3)."""
    return np.asarray(tone[..., None] * np.asarray(colour))


def _mix(low: Array, high: Array, part: Array) -> Array:
    return np.asarray(low + (high - low) * np.clip(part, 0, 1)[..., None])


def _plain(rng: np.random.Generator) -> Array:
    return _tint(1 + 0.03 * _noise(rng, 8, 8))


def _planks(rng: np.random.Generator, boards: int, spread: float, joints: bool) -> Array:
    """Boards along u: a tone and grain each, dark seams between and, with joints, across."""
    u, v = _grid()
    board = (v * boards).astype(int)
    tone = 1 + spread * np.linspace(-1, 1, boards)[rng.permutation(boards)][board]
    grain = 0.10 * _noise(rng, 3, 40) + 0.08 * _noise(rng, 6, 16)
    across = np.abs(v * boards % 1 - 0.5) > 0.5 - 0.02 * boards / 4
    if joints:
        at = rng.uniform(0, 1, boards)[board]
        across |= np.abs((u - at + 0.5) % 1 - 0.5) < 0.008
    return _mix(
        _tint(tone + grain, (1.0, 0.98, 0.95)), _tint(tone, (0.5, 0.42, 0.36)), across * 0.8
    )


def _wood(rng: np.random.Generator) -> Array:
    return _planks(rng, 4, 0.16, joints=False)


def _floor(rng: np.random.Generator) -> Array:
    return _planks(rng, 8, 0.22, joints=True)


def _stone(rng: np.random.Generator) -> Array:
    """Worktop: pale with darker flecks."""
    flecks = np.clip(_noise(rng, 20, 20) + 0.7 * _noise(rng, 40, 40) - 0.45, 0, 1)
    return _tint(1 + 0.06 * _noise(rng, 5, 5) - 0.6 * flecks, (1.0, 0.99, 0.97))


def _tiles(rng: np.random.Generator) -> Array:
    """Two by two tiles, each of its own tone, between light grout lines."""
    u, v = _grid()
    cell = (u * 2).astype(int) + 2 * (v * 2).astype(int)
    tone = np.array([1.0, 0.86, 0.90, 1.06])[cell] + 0.03 * _noise(rng, 6, 6)
    edge = np.maximum(np.abs(u * 2 % 1 - 0.5), np.abs(v * 2 % 1 - 0.5))
    return _mix(_tint(tone), _tint(np.ones_like(u), (0.42, 0.42, 0.42)), (edge - 0.455) / 0.01)


def _wall(rng: np.random.Generator) -> Array:
    return _tint(1 + 0.05 * _noise(rng, 4, 4) + 0.03 * _noise(rng, 16, 16))


def _steel(rng: np.random.Generator) -> Array:
    return _tint(1 + 0.16 * _noise(rng, 2, 64) + 0.08 * _noise(rng, 4, 16))


def _sponge(rng: np.random.Generator) -> Array:
    holes = _noise(rng, 14, 14) + 0.6 * _noise(rng, 28, 28)
    return _mix(
        _tint(np.ones_like(holes), (1.05, 1.05, 1.05)),
        _tint(np.ones_like(holes), (0.5, 0.42, 0.3)),
        (holes - 0.45) * 4,
    )


def _crumb(rng: np.random.Generator) -> Array:
    """Bread within: pale, with holes of two sizes."""
    holes = np.clip(_noise(rng, 10, 10) + 0.6 * _noise(rng, 24, 24) - 0.5, 0, 1)
    return _tint(1.1 - 0.5 * holes, (1.0, 1.0, 0.98))


def _crust(rng: np.random.Generator) -> Array:
    return _tint(1 + 0.2 * _noise(rng, 8, 8) + 0.12 * _noise(rng, 24, 24))


def _seeds(rng: np.random.Generator) -> Array:
    """A cucumber's cut face: a green rim, pale flesh, a wet core with seeds."""
    u, v = _grid()
    x, y = 2 * u - 1, 2 * v - 1
    radius, turn = np.hypot(x, y), np.arctan2(y, x)
    ones = np.ones_like(u)
    core = _mix(
        _tint(ones + 0.04 * _noise(rng, 8, 8)),
        _tint(ones, (0.72, 0.78, 0.5)),
        (0.62 - radius) / 0.08,
    )
    seed = np.cos(9 * turn) * np.exp(-(((radius - 0.40) / 0.12) ** 2))
    core = _mix(core, _tint(ones, (1.3, 1.15, 1.3)), (seed - 0.35) * 3)
    return _mix(core, _tint(ones, (0.15, 0.32, 0.12)), (radius - 0.86) / 0.05)


def _peel(rng: np.random.Generator) -> Array:
    """Streaks from red to yellow."""
    streak = 0.5 + 0.5 * _noise(rng, 4, 24)
    return _mix(
        _tint(np.ones_like(streak)),
        _tint(np.ones_like(streak), (1.15, 3.2, 1.4)),
        (streak - 0.55) * 1.6,
    )


def _print(rng: np.random.Generator) -> Array:
    """A label: a coloured field with dark lines as of print."""
    u, v = _grid()
    lines = (
        (v * 8 % 1 < 0.4)
        & (u > 0.15)
        & (u < 0.35 + 0.5 * np.abs(np.sin((v * 8).astype(int) * 2.4)))
    )
    field = _mix(_plain(rng), _tint(np.ones_like(u), (0.85, 0.35, 0.22)), (v > 0.62) * 1.0)
    return _mix(field, _tint(np.ones_like(u), (0.2, 0.16, 0.14)), lines * (v < 0.62) * 0.9)


def _rind(rng: np.random.Generator) -> Array:
    _, v = _grid()
    return _tint(1 + 0.35 * np.cos(2 * np.pi * 4 * v) + 0.15 * _noise(rng, 8, 24))


def _glaze(rng: np.random.Generator) -> Array:
    """A plate's face: white, a blue band near the rim."""
    u, v = _grid()
    radius = np.hypot(2 * u - 1, 2 * v - 1)
    band = 1 - np.abs(radius - 0.86) / 0.05
    return _mix(_plain(rng), _tint(np.ones_like(u), (0.16, 0.30, 0.62)), band * 2)


def _weave(rng: np.random.Generator) -> Array:
    """Cloth with broad soft stripes, so that a sleeve's turn shows."""
    u, v = _grid()
    threads = 0.08 * np.sign(np.sin(2 * np.pi * 32 * u) * np.sin(2 * np.pi * 32 * v))
    stripes = 0.22 * np.clip(3 * np.cos(2 * np.pi * 2 * u), -1, 1)
    return _tint(1 + threads + stripes + 0.05 * _noise(rng, 8, 8))


def _skin(rng: np.random.Generator) -> Array:
    return _tint(1 + 0.05 * _noise(rng, 6, 6), (1.0, 0.98, 0.97))


Baker = Callable[[np.random.Generator], Array]


@dataclass(frozen=True)
class Look:
    """How a material named so in the model is seen, beside its own rgba.

    Attributes:
        pattern: the tile on its surface.
        period: metres the tile spans.
        face: another tile, stretched over the end faces (a cylinder's caps, a box's widest faces).
        gloss: 0 matt to 1 polished: height of the highlight.
        metal: 0 to 1: how much of the colour mirrors the room.
        clear: 0 to 1: how much of what lies behind shows through.
    """

    pattern: Baker = _plain
    period: float = 0.3
    face: Baker | None = None
    gloss: float = 0.10
    metal: float = 0.0
    clear: float = 0.0


PLAIN = Look()
LOOKS: dict[str, Look] = {
    "wood": Look(_wood, 0.48, gloss=0.25),
    "counter": Look(_stone, 0.50, gloss=0.35),
    "cabinet": Look(_plain, 0.3, gloss=0.1),
    "floor": Look(_floor, 1.2, gloss=0.2),
    "tile": Look(_tiles, 0.24, gloss=0.5),
    "wall": Look(_wall, 1.0, gloss=0.02),
    "window": Look(_plain, 1.0, gloss=0.6, metal=0.3),
    "fridge": Look(_plain, 0.5, gloss=0.3),
    "steel": Look(_steel, 0.16, gloss=0.9, metal=0.6),
    "iron": Look(_steel, 0.20, gloss=0.5, metal=0.2),
    "ceramic": Look(_plain, 0.3, _glaze, gloss=0.6),
    "sponge": Look(_sponge, 0.06, gloss=0.0),
    "scour": Look(_sponge, 0.04, gloss=0.0),
    "bread": Look(_crumb, 0.07, gloss=0.02),
    "crust": Look(_crust, 0.12, gloss=0.05),
    "cucumber": Look(_rind, 0.08, gloss=0.35),
    "cucumber_flesh": Look(_plain, 0.08, _seeds, gloss=0.25),
    "apple": Look(_peel, 0.09, gloss=0.5),
    "glass": Look(_plain, 0.3, gloss=1.0, metal=0.25, clear=0.65),
    "cup": Look(_plain, 0.3, gloss=1.0, metal=0.25, clear=0.6),
    "water": Look(_plain, 0.3, gloss=0.9, metal=0.2),
    "jar": Look(_plain, 0.1, gloss=0.7),
    "label": Look(_print, 0.06, gloss=0.05),
    "lid": Look(_steel, 0.05, gloss=0.6, metal=0.15),
    "sleeve": Look(_weave, 0.12, gloss=0.0),
    "shirt": Look(_weave, 0.16, gloss=0.0),
    "trousers": Look(_weave, 0.05, gloss=0.0),
    "skin": Look(_skin, 0.08, gloss=0.12),
}
"""By material name; `name_anything` looks like `name` unless it has its own entry."""


def look_of(material: str) -> Look:
    """The look of a material's name, or of the longest of its `_`-separated beginnings."""
    while material not in LOOKS and "_" in material:
        material = material.rpartition("_")[0]
    return LOOKS.get(material, PLAIN)


@cache
def atlas() -> tuple[dict[Baker, int], Array]:
    """Every pattern baked: its layer, and float32 (3, layers * texels of all levels)."""
    bakers = list(
        dict.fromkeys(b for k in (PLAIN, *LOOKS.values()) for b in (k.pattern, k.face) if b)
    )
    rows = []
    for seed, baker in enumerate(bakers):
        tile = np.clip(baker(np.random.default_rng(seed)), 0, None)
        while True:
            rows.append(tile.reshape(-1, 3))
            if len(tile) == 1:
                break
            tile = (tile[::2, ::2] + tile[1::2, ::2] + tile[::2, 1::2] + tile[1::2, 1::2]) / 4
    colours = np.ascontiguousarray(np.concatenate(rows).T, np.float32)
    return {baker: layer for layer, baker in enumerate(bakers)}, colours


@dataclass(frozen=True)
class Surfaces:
    """What shading needs of geoms, a column each (three, by local axis, where a tile is laid).

    Attributes:
        colour: float32 (6, geoms): linear red, green, blue; gloss; metal; clear.
        tile: float32 (3, 3 * geoms): tiles a metre along u and v, offset of both.
        axes: intp (3, 3 * geoms): coordinates that are u and v; start of the tile's texels.
    """

    colour: Array
    tile: Array
    axes: Array

    @classmethod
    def of(cls, model: Any) -> "Surfaces":
        """The surfaces of a model (mujoco.MjModel)."""
        layers, _ = atlas()
        count = model.ngeom
        colour = np.zeros((6, count), np.float32)
        tile = np.zeros((3, count * 3), np.float32)
        axes = np.zeros((3, count * 3), np.intp)
        for geom in range(count):
            material = model.geom_matid[geom]
            name = model.material(material).name if material >= 0 else ""
            rgba = model.mat_rgba[material] if material >= 0 else model.geom_rgba[geom]
            look = look_of(name)
            colour[:3, geom] = rgba[:3] ** 2
            colour[3:, geom] = look.gloss, look.metal, look.clear
            half = np.maximum(model.geom_aabb[geom, 3:], 1e-4)
            infinite = model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_PLANE
            round_geom = model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CYLINDER
            end = 2 if round_geom or infinite else int(np.argmin(half))
            for axis in range(3):
                u, v = (k for k in np.argsort(-half, kind="stable") if k != axis)
                face = look.face if axis == end else None
                if face is not None:
                    laid = (0.5 / half[u], 0.5 / half[v], 0.5)
                else:
                    laid = (1 / look.period, 1 / look.period, 0.0)
                tile[:, 3 * geom + axis] = laid
                start = layers[face or look.pattern] * LEVEL_START[-1]
                axes[:, 3 * geom + axis] = u, v, start
        return cls(colour, tile, axes)
