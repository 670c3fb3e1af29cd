"""State beyond mechanics: dirt that a sponge wipes off, water that pours, cuts."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from data_modules.kitchen.world import names
from data_modules.kitchen.world.contacts import Contacts, mark
from data_modules.kitchen.world.mjcf import Element, shape
from data_modules.kitchen.world.names import Array
from data_modules.kitchen.world.objects import FOODS, KINDS, VESSELS
from data_modules.kitchen.world.scene import Placed, Scene

GRID = 16
WIPE_FORCE = 4.0
"""Newtons of the sponge below which dirt stays."""
WIPE_RATE = 3.0
"""Per second, at twice that force and full speed: how fast dirt goes."""
WIPE_SPEED = 0.12
"""Metres a second of the sponge at which it wipes best."""
POUR_RATE = 0.9
"""Litres a second for each radian beyond the angle at which water reaches the lip."""
_STREAM_RADIUS = 0.006
_HIDDEN = (0.0, 0.0, -1.0)
_CENTRES = (np.arange(GRID) + 0.5) / GRID * 2 - 1
_CELLS = np.stack(np.meshgrid(_CENTRES, _CENTRES, indexing="ij"))[..., None]


@dataclass
class Effects:
    """What contact and gravity change beyond the motion of bodies.

    Attributes:
        dirt: float64 (16, 16) in 0..1 by plate or pan, over a square of its upper face: rows
            along the body's X, columns along its Y, both from - to +.
        fill: 0..1 by pitcher or cup.
        cut: bool (slices - 1,) by food: which joints are parted.
        stream: Litres a second that pour now.
        stream_ends: float64 (2, 3): where the stream leaves the lip and where it lands.
        spilled: Litres that landed in no vessel.
    """

    dirt: dict[str, Array]
    fill: dict[str, float]
    cut: dict[str, Array]
    stream: float
    stream_ends: Array
    spilled: float

    def copy(self) -> "Effects":
        """One that shares nothing with this."""
        return Effects(
            {name: grid.copy() for name, grid in self.dirt.items()},
            dict(self.fill),
            {name: parted.copy() for name, parted in self.cut.items()},
            self.stream,
            self.stream_ends.copy(),
            self.spilled,
        )


def add_stream(world: Element) -> None:
    """Add the stream of water, out of sight while nothing pours."""
    size = (_STREAM_RADIUS, 0.1)
    shape(world, "cylinder", size, "water", names.OBJECTS, name="stream", pos=_HIDDEN)


class Surfaces:
    """Changes effects by what touches and tilts, and shows them in the model."""

    def __init__(self, model: Any, objects: tuple[Placed, ...]) -> None:
        self._sponges = [(p.body, model.geom(p.body).id) for p in objects if p.kind == "sponge"]
        self._dirty = [
            (p.body, model.geom(p.body).id, KINDS[p.kind].dirt)
            for p in objects
            if p.kind in KINDS and KINDS[p.kind].dirt
        ]
        self._vessels = [
            (p.body, model.body(p.body).id, VESSELS[p.kind]) for p in objects if p.kind in VESSELS
        ]
        self._foods = [(p.body, FOODS[p.kind].count) for p in objects if p.kind in FOODS]
        self._water = [model.geom(f"{name}_water").id for name, _, _ in self._vessels]
        self._stream = model.geom("stream").id
        owner = model.geom_bodyid
        self._marks = {geom: owner == owner[geom] for _, geom in self._sponges}
        self._marks |= {geom: mark(model, [geom]) for _, geom, _ in self._dirty}

    def initial(self, scene: Scene) -> Effects:
        """The effects at the start of a scene."""
        rng = np.random.default_rng(scene.seed)
        return Effects(
            {name: _stain(rng, scene.dirt.get(name, 0.0)) for name, _, _ in self._dirty},
            {name: float(scene.fill.get(name, 0.0)) for name, _, _ in self._vessels},
            {name: np.zeros(count - 1, bool) for name, count in self._foods},
            0.0,
            np.zeros((2, 3)),
            0.0,
        )

    def update(self, model: Any, data: Any, contacts: Contacts, effects: Effects) -> None:
        """Wipe and pour for one tick of control."""
        if self._sponges and self._dirty:
            self._wipe(data, contacts, effects)
        if self._vessels:
            self._pour(data, effects)
            self.show(model, data, effects)

    def _wipe(self, data: Any, contacts: Contacts, effects: Effects) -> None:
        for sponge, pad in self._sponges:
            for name, geom, half in self._dirty:
                force = contacts.total(self._marks[pad], self._marks[geom])
                if force <= WIPE_FORCE:
                    continue
                slide = data.joint(f"{sponge}_free").qvel[:3] - data.joint(f"{name}_free").qvel[:3]
                pace = min(1.0, float(np.linalg.norm(slide)) / WIPE_SPEED)
                rate = WIPE_RATE * (force / WIPE_FORCE - 1) * pace
                under = _footprint(data, geom, half, pad)
                effects.dirt[name][under] *= np.exp(-rate / names.CONTROL_HZ)

    def _pour(self, data: Any, effects: Effects) -> None:
        effects.stream = 0.0
        for name, body, vessel in self._vessels:
            up = data.xmat[body].reshape(3, 3)[:, 2]
            lip_angle = np.arctan2(vessel.height * (1 - effects.fill[name]), vessel.radius)
            excess = np.arccos(np.clip(up[2], -1, 1)) - lip_angle
            if excess <= 0 or effects.fill[name] <= 0:
                continue
            litres = min(POUR_RATE * excess / names.CONTROL_HZ, effects.fill[name] * vessel.volume)
            downhill = np.array([up[0], up[1], 0.0]) / max(np.hypot(up[0], up[1]), 1e-9)
            level = np.cross(np.cross(up, downhill), up)
            lip = data.xpos[body] + up * vessel.height + level * vessel.lip
            effects.fill[name] -= litres / vessel.volume
            effects.stream += litres * names.CONTROL_HZ
            effects.stream_ends[:] = lip, self._catch(data, effects, name, lip, litres)

    def _catch(self, data: Any, effects: Effects, source: str, lip: Array, litres: float) -> Array:
        """Where water from a lip lands; a vessel below it fills, up to its brim."""
        for name, body, vessel in self._vessels:
            where = data.xpos[body]
            brim = where[2] + vessel.height
            off = np.hypot(*(lip - where)[:2])
            if name == source or off > vessel.radius or lip[2] < brim:
                continue
            room = (1 - effects.fill[name]) * vessel.volume
            effects.fill[name] += min(litres, room) / vessel.volume
            effects.spilled += max(litres - room, 0.0)
            return np.array([lip[0], lip[1], where[2] + 0.01 + vessel.height * effects.fill[name]])
        effects.spilled += litres
        return np.array([lip[0], lip[1], min(0.921, lip[2] - 0.01)])

    def show(self, model: Any, data: Any, effects: Effects) -> None:
        """Set the height of water and the stream in the model and the data."""
        for (name, _, vessel), geom in zip(self._vessels, self._water, strict=True):
            half = max(effects.fill[name] * (vessel.height - 0.012) / 2, 1e-4)
            low = 0.009 if effects.fill[name] > 0 else 0.003
            _resize(model, geom, half, np.array([0, 0, low + half]))
        where, half = np.array(_HIDDEN), 0.1
        if effects.stream > 0:
            lip, landing = effects.stream_ends
            where, half = (lip + landing) / 2, max((lip[2] - landing[2]) / 2, 1e-3)
        _resize(model, self._stream, half, where)
        data.geom_xpos[self._stream] = where


def _resize(model: Any, geom: int, half: float, pos: Array) -> None:
    """Set the height and place of a cylinder, and the bounds that rays are tested against."""
    model.geom_size[geom, 1] = half
    model.geom_pos[geom] = pos
    radius = model.geom_size[geom, 0]
    model.geom_rbound[geom] = np.hypot(radius, half)
    model.geom_aabb[geom] = 0, 0, 0, radius, radius, half


def _footprint(data: Any, geom: int, half: float, pad: int) -> Array:
    """Bool (GRID, GRID): the cells of a surface that lie under a sponge."""
    plate = data.geom_xmat[geom].reshape(3, 3)
    sponge = data.geom_xmat[pad].reshape(3, 3)
    # In the sponge's frame: where the grid's middle is, and its two axes.
    middle = (data.geom_xpos[geom] - data.geom_xpos[pad]) @ sponge
    across, along = half * (plate[:, :2].T @ sponge)
    local = middle + _CELLS[0] * across + _CELLS[1] * along
    return np.asarray((np.abs(local[..., 0]) <= 0.046) & (np.abs(local[..., 1]) <= 0.034))


def _stain(rng: np.random.Generator, level: float) -> Array:
    """Smears of dirt on a disc, float64 (GRID, GRID); the dirtiest cells are at `level`."""
    x, y = _CELLS[..., 0]
    stain = np.zeros((GRID, GRID))
    for _ in range(7):
        radius, angle = 0.7 * np.sqrt(rng.random()), 2 * np.pi * rng.random()
        dx, dy = x - radius * np.cos(angle), y - radius * np.sin(angle)
        turn, long, wide = np.pi * rng.random(), rng.uniform(0.25, 0.5), rng.uniform(0.15, 0.3)
        u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        stain += np.exp(-((u / long) ** 2) - (v / wide) ** 2)
    stain = np.minimum(stain * 1.6, 1.0) * (x**2 + y**2 <= 0.92)
    return np.asarray(level * stain / max(stain.max(), 1e-9))
