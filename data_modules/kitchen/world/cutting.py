"""Cutting: a blade that presses on food near the joint of two slices parts them."""

from typing import Any

import numpy as np

from data_modules.kitchen.world.contacts import Contacts, mark
from data_modules.kitchen.world.effects import Effects
from data_modules.kitchen.world.mjcf import BLADE
from data_modules.kitchen.world.names import Array
from data_modules.kitchen.world.objects import FOODS
from data_modules.kitchen.world.scene import Placed

TICKS = 4
"""Ticks of control for which the force must last."""
PUSH = 0.10
"""Speed at which the blade drives the two parts away from each other, m/s."""


class Cutting:
    """Parts slices by the forces of a blade.

    Attributes:
        force: float64 (c,): on each joint in the latest tick, N.
        pressed: int64 (c,): ticks for which each joint has borne a cutting force.
    """

    def __init__(self, model: Any, objects: tuple[Placed, ...]) -> None:
        self._counts = {p.body: FOODS[p.kind].count for p in objects if p.kind in FOODS}
        self._joints: list[tuple[str, int]] = []
        self._foods: list[tuple[slice, float]] = []
        for placed in (p for p in objects if p.kind in FOODS):
            start, joints = len(self._joints), self._counts[placed.body] - 1
            self._joints += [(placed.body, number) for number in range(joints)]
            self._foods.append((slice(start, start + joints), FOODS[placed.kind].force))
        self._welds = [model.equality(f"{b}_joint_{n}").id for b, n in self._joints]
        self._stops = [model.geom(f"{b}_{n}_stop").id for b, n in self._joints]
        blades = [model.geom(f"{p.body}_blade").id for p in objects if p.kind == "knife"]
        self._blade = mark(model, blades)
        self._index = np.full(model.ngeom, -1)
        self._index[self._stops] = np.arange(len(self._stops))
        self.force = np.zeros(len(self._joints))
        self.pressed = np.zeros(len(self._joints), int)

    def update(self, model: Any, data: Any, contacts: Contacts, effects: Effects) -> bool:
        """Cut by the contacts of a forwarded state; whether anything was cut."""
        if not self._joints:
            return False
        self._measure(contacts)
        bears = np.zeros(len(self._joints), bool)
        for joints, need in self._foods:
            # A blade between two joints rests on both: the nearer one bears it all.
            if self.force[joints].sum() >= need:
                bears[joints.start + int(np.argmax(self.force[joints]))] = True
        self.pressed[:] = np.where(bears, self.pressed + 1, 0)
        done = np.flatnonzero(self.pressed >= TICKS)
        for joint in done:
            body, number = self._joints[joint]
            effects.cut[body][number] = True
            data.eq_active[self._welds[joint]] = 0
            self._part(model, data, body, number, effects.cut[body])
        if not len(done):
            return False
        self.pressed[done] = 0
        self.show(model, effects)
        return True

    def _measure(self, contacts: Contacts) -> None:
        chosen, blade_first = contacts.between(self._blade, self._index >= 0)
        stops = np.where(blade_first, contacts.geoms[:, 1], contacts.geoms[:, 0])[chosen]
        self.force[:] = 0
        np.add.at(self.force, self._index[stops], contacts.force[chosen])

    def _part(self, model: Any, data: Any, body: str, number: int, cut: Array) -> None:
        """Drive the pieces on either side apart, as the thickness of a blade does."""
        for step, slice_ in ((-1, number), (1, number + 1)):
            while True:
                joint = model.body(f"{body}_{slice_}").jntadr[0]
                axis = data.xmat[model.body(f"{body}_{slice_}").id].reshape(3, 3)[:, 0]
                address = model.jnt_dofadr[joint]
                data.qvel[address : address + 3] += step * PUSH * axis
                following = slice_ + step
                edge = min(slice_, following)
                if not 0 <= following < self._counts[body] or cut[edge]:
                    break
                slice_ = following

    def show(self, model: Any, effects: Effects) -> None:
        """Let the blade through what is cut, and stop it at what is not."""
        for stop, (body, number) in zip(self._stops, self._joints, strict=True):
            model.geom_conaffinity[stop] = 0 if effects.cut[body][number] else BLADE
