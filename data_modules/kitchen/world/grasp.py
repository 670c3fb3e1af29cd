"""Grasps: an object stays in a hand while fingers and thumb or palm squeeze it hard enough.

A weld takes the pose that object and hand have when opposing contacts first exceed the
object's threshold, and lets go some ticks after they no longer do.
"""

from typing import Any

import mujoco
import numpy as np

from data_modules.kitchen.world import names
from data_modules.kitchen.world.contacts import Contacts
from data_modules.kitchen.world.mjcf import Element, add
from data_modules.kitchen.world.names import Array
from data_modules.kitchen.world.objects import graspable, jars
from data_modules.kitchen.world.scene import Placed

SLACK_TICKS = 8
KEEP = 0.5
"""Share of the threshold that keeps a grasp once made."""
OPEN_ANGLE = 1.2
"""Radians after which a lid can be lifted off its jar."""
_PARTS = ("palm", "thumb", "fingers")


def add_grasps(equality: Element, objects: tuple[Placed, ...]) -> None:
    """Add the welds, idle, of either hand with everything that can be held."""
    for side in names.SIDES:
        for body in graspable(objects):
            pair = {"body1": f"{side}_hand", "body2": body}
            name = f"grasp_{side}_{body}"
            add(equality, "weld", name=name, active=False, solref=(0.012, 1), **pair)


class Grasps:
    """Makes and ends grasps from contact forces.

    Attributes:
        names: (g,) of each grasp: side and body.
        squeeze: float64 (g,): opposing force of each in the latest tick, N.
        slack: int64 (g,): ticks since each active grasp had force enough.
    """

    def __init__(self, model: Any, objects: tuple[Placed, ...]) -> None:
        held = graspable(objects)
        self.names = [(side, body) for side in names.SIDES for body in held]
        self.need = np.array([held[body][1] for _, body in self.names], float)
        self._welds = [model.equality(f"grasp_{s}_{b}").id for s, b in self.names]
        self._bodies = [(model.body(f"{s}_hand").id, model.body(b).id) for s, b in self.names]
        self.slack = np.zeros(len(self.names), int)
        self.squeeze = np.zeros(len(self.names))
        self._touch = np.zeros(len(self.names))
        self._index(model, held)
        self._locks = [
            (
                model.joint(f"{jar}_lid").qposadr[0],
                model.joint(f"{jar}_lift").qposadr[0],
                model.equality(f"{jar}_lock").id,
            )
            for jar in jars(objects)
        ]

    def _index(self, model: Any, held: dict[str, tuple[str, float]]) -> None:
        """Which hand, part of it, object and group of objects each geom belongs to; -1: none."""
        self._hand = np.full(model.ngeom, -1)
        self._part = np.zeros(model.ngeom, int)
        self._object = np.full(model.ngeom, -1)
        self._bodies_held = list(held)
        groups = sorted({group for group, _ in held.values()})
        self._group = np.array([groups.index(held[body][0]) for body in held], int)
        self._groups = len(groups)
        for geom in range(model.ngeom):
            body = model.body(model.geom_bodyid[geom]).name
            side, _, rest = body.partition("_")
            if side in names.SIDES and (rest == "hand" or rest.split("_")[0] in names.FINGERS):
                self._hand[geom] = names.SIDES.index(side)
                part = "palm" if rest == "hand" else "fingers"
                self._part[geom] = _PARTS.index("thumb" if "thumb" in rest else part)
            elif body in held:
                self._object[geom] = self._bodies_held.index(body)

    def active(self, data: Any) -> list[tuple[str, str]]:
        """The (side, body) of the grasps that hold now."""
        return [
            name for name, weld in zip(self.names, self._welds, strict=True) if data.eq_active[weld]
        ]

    def update(self, model: Any, data: Any, contacts: Contacts) -> bool:
        """Make and end grasps by the contacts of a forwarded state; whether any changed."""
        self._measure(contacts)
        changed = self._update_locks(data)
        for number, weld in enumerate(self._welds):
            squeeze, need = self.squeeze[number], self.need[number]
            if data.eq_active[weld]:
                self.slack[number] = 0 if squeeze >= KEEP * need else self.slack[number] + 1
                if self.slack[number] > SLACK_TICKS:
                    data.eq_active[weld], changed = 0, True
            elif squeeze >= need and self._dominant(number, data):
                self._hold(model, data, number)
                changed = True
        return changed

    def _measure(self, contacts: Contacts) -> None:
        """Opposing force of each hand on each group of bodies."""
        first, second = contacts.geoms[:, 0], contacts.geoms[:, 1]
        chosen, forward = contacts.between(self._hand >= 0, self._object >= 0)
        if not chosen.any():
            self.squeeze[:] = 0
            return
        hand = np.where(forward, first, second)[chosen]
        thing = self._object[np.where(forward, second, first)[chosen]]
        sign = np.where(forward, 1.0, -1.0)[chosen]
        vectors = contacts.normal[chosen] * (sign * contacts.force[chosen])[:, None]
        side = self._hand[hand]
        # Force on the object: side, part of the hand, group of bodies, XYZ.
        pushes = np.zeros((2, len(_PARTS), self._groups, 3))
        np.add.at(pushes, (side, self._part[hand], self._group[thing]), vectors)
        self._touch[:] = 0
        np.add.at(self._touch, side * len(self._group) + thing, contacts.force[chosen])
        palm, thumb, fingers = pushes[:, 0], pushes[:, 1], pushes[:, 2]
        backing = np.stack([palm, thumb, palm + thumb])
        opposing = _opposing(backing, fingers).max(0)
        self.squeeze[:] = opposing[:, self._group].reshape(-1)

    def _dominant(self, number: int, data: Any) -> bool:
        """Whether this body is the one of its group that its hand touches hardest.

        Of a row of slices one is held; a body is held by one weld a hand.
        """
        count = len(self._bodies_held)
        side, body = divmod(number, count)
        group = self._group == self._group[body]
        rivals = np.flatnonzero(group) + side * count
        if any(data.eq_active[self._welds[rival]] for rival in rivals):
            return False
        return bool(self._touch[number] >= self._touch[rivals].max())

    def _hold(self, model: Any, data: Any, number: int) -> None:
        hand, body = self._bodies[number]
        weld = self._welds[number]
        back, where, turn = np.empty(4), np.empty(3), np.empty(4)
        mujoco.mju_negQuat(back, data.xquat[hand])
        mujoco.mju_rotVecQuat(where, data.xpos[body] - data.xpos[hand], back)
        mujoco.mju_mulQuat(turn, back, data.xquat[body])
        model.eq_data[weld] = np.concatenate([np.zeros(3), where, turn, np.ones(2)])
        data.eq_active[weld] = 1
        self.slack[number] = 0

    def _update_locks(self, data: Any) -> bool:
        """A lid comes off once it is turned far enough, and stays on when it is screwed back."""
        changed = False
        for turn, lift, lock in self._locks:
            is_open = data.qpos[turn] > OPEN_ANGLE or data.qpos[lift] > 0.004
            if data.eq_active[lock] == is_open:
                data.eq_active[lock], changed = not is_open, True
        return changed

    def save(self, model: Any) -> tuple[Array, Array]:
        """What each weld holds, float64 (g, 12), and the slack, int64 (g,)."""
        return model.eq_data[self._welds].copy(), self.slack.copy()

    def load(self, model: Any, welds: Array, slack: Array) -> None:
        """Set what `save` returned."""
        model.eq_data[self._welds] = welds
        self.slack[:] = slack

    def reset(self, model: Any) -> None:
        """No grasp has been made yet."""
        model.eq_data[self._welds] = 0.0
        self.slack[:] = 0


def _opposing(first: Array, second: Array) -> Array:
    """The part of two forces (..., 3) that cancels, N: 0 unless they point against each other."""
    size = np.sqrt(np.maximum((first**2).sum(-1), (second**2).sum(-1)))
    return np.asarray(np.maximum(-(first * second).sum(-1), 0.0) / np.maximum(size, 1e-9))
