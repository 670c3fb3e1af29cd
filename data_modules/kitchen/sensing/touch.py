"""What the tactile gloves feel: contact forces on the hands, spread over 32x32 taxels a hand.

The right glove's layout, seen on the palm, little finger to the right (the left one is its mirror):
fingertips in row 0, four fingers down to row 15, the palm below them, the thumb beside it.

    columns 0-6 thumb (rows 8-25), 7-12 index, 13-18 middle, 19-24 ring, 25-30 little
    rows 17-31  palm (columns 8-30)

Letters: n contacts, P patches (a palm, or one bone of a finger).
"""

from functools import lru_cache
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from data_modules.kitchen.sensing.pose import Physical
from data_modules.kitchen.world.contacts import Contacts
from data_modules.kitchen.world.names import CONTROL_HZ, FINGERS, SIDES, Side

Array = NDArray[np.float64]

TAXELS = 32
LOW, HIGH = 446.0, 1022.0
SATURATION = 1020.0
_NOISE = 2.7
# Force on one taxel that takes it 63 % of the way to saturation, N.
_SOFTNESS = 2.5
_SPREAD = 1.3
_GLOVE = 20220607
# The fabric gives way and comes back within this time, s.
_LAG = 0.05
_EVERY = 3
_PACE = 1.0 - np.exp(-_EVERY / (CONTROL_HZ * _LAG))

_FINGER_COLUMNS = {"index": 7, "middle": 13, "ring": 19, "little": 25}
_FINGER_WIDTH, _FINGER_ROWS = 5.0, 15.0
_THUMB_ROWS, _THUMB_COLUMNS = (25.0, 8.0), (0.0, 6.0)
_PALM_ROWS, _PALM_COLUMNS = (31.0, 17.0), (8.0, 30.0)
_MIDDLE = np.array([0.0, 0.5])
# How wide the palm and a finger's bone feel, over the distance of the outer knuckles.
_PALM_WIDTH, _BONE_WIDTH = 1.3, 0.25


class TaxelMap:
    """Where the taxels are on the hands' bodies of one model, found in its zero pose.

    A patch runs along its bone (`along`, per metre, 0 at its root to 1) and across it (`across`,
    0 on the index's side to 1), and fills a rectangle of taxels.

    Args:
        model: A `KitchenWorld`'s.
    """

    def __init__(self, model: Any) -> None:
        rest = mujoco.MjData(model)
        mujoco.mj_kinematics(model, rest)
        patches = [p for side in SIDES for p in _patches(rest, side)]
        self.bodies = np.array([p[0] for p in patches])
        frames = rest.xmat[self.bodies].reshape(-1, 3, 3)
        self._ways = np.array([p[1:3] for p in patches]) @ frames
        ends = np.array([p[3:5] for p in patches])
        self._first, self._extent = ends[..., 0], ends[..., 1] - ends[..., 0]
        self.a_hand = len(patches) // len(SIDES)
        of_body = np.full(model.nbody, -1)
        of_body[self.bodies] = np.arange(len(patches))
        self.of_geom: NDArray[np.int64] = of_body[model.geom_bodyid]
        self.welds = _hand_welds(model, of_body // self.a_hand)

    def taxels(self, data: Any, patch: NDArray[np.int64], points: Array) -> Array:
        """Row and column (n, 2), in fractions of taxels, of world points (n, 3) on patches (n,)."""
        bodies = self.bodies[patch]
        away = (points - data.xpos[bodies])[:, None, :]
        local = (away @ data.xmat[bodies].reshape(-1, 3, 3)).transpose(0, 2, 1)
        return self.place(patch, (self._ways[patch] @ local)[..., 0] + _MIDDLE)

    def place(self, patch: NDArray[np.int64], part: Array) -> Array:
        """Row and column (n, 2) of places on patches (n, 2): along and across, each 0 to 1."""
        inside = np.minimum(np.maximum(part, 0.0), 1.0)
        return np.asarray(self._first[patch] + inside * self._extent[patch], np.float64)


class Gloves:
    """Both tactile gloves, worn through a whole recording.

    `feel` each control tick, after the world's step; `read` whenever a glove's clock ticks.

    Args:
        rng: Of this recording's drift, noise and outliers.
        outliers: Chance of a transmission error (a taxel of 1024 or more) in a reading.
    """

    def __init__(self, rng: np.random.Generator, outliers: float = 0.0) -> None:
        self._rngs = rng.spawn(len(SIDES))
        self._outliers = outliers
        drift = rng.normal(0.0, 1.0, (len(SIDES), 1, 1))
        # The same gloves for everyone, so their untouched readings are no subject's.
        untouched = np.random.default_rng(_GLOVE).normal(563.0, 4.0, (2, TAXELS, TAXELS))
        self.baseline: Array = np.clip(untouched + drift, 555.0, 580.0)
        self.force: Array = np.zeros((len(SIDES), TAXELS, TAXELS))
        self._ticks = 0

    def feel(self, world: Physical) -> None:
        """Take in the contact forces of a control tick; the gloves look at every third."""
        if self._ticks % _EVERY == 0:
            self.force += _PACE * (taxel_forces(world) - self.force)
        self._ticks += 1

    def read(self, side: Side) -> NDArray[np.float32]:
        """What a glove says now: float32 (32, 32) raw ADC."""
        hand = SIDES.index(side)
        rng, baseline = self._rngs[hand], self.baseline[hand]
        pressed = (SATURATION - baseline) * -np.expm1(-self.force[hand] / _SOFTNESS)
        noise = rng.normal(0.0, _NOISE, baseline.shape)
        values: NDArray[np.float32] = np.clip(baseline + pressed + noise, LOW, HIGH).astype("f4")
        if rng.random() < self._outliers:
            values[tuple(rng.integers(TAXELS, size=2))] = rng.uniform(1024.0, 4095.0)
        return values


def taxel_forces(world: Physical) -> Array:
    """Force on every taxel of the right and left hand: (2, 32, 32) N.

    Contacts press where they are. What a grasp's weld bears in their stead is shared among them.
    """
    data, taxels = world.data, _taxel_map(world.model)
    contacts = Contacts.of(data)
    patch = taxels.of_geom[contacts.geoms]
    # A hand that touches a hand is felt by both.
    which, end = np.nonzero(patch >= 0)
    out = np.zeros((len(SIDES), TAXELS, TAXELS))
    if not len(which):
        return out
    patch, force = patch[which, end], contacts.force[which]
    hands = patch // taxels.a_hand
    bumps = _bumps(taxels.taxels(data, patch, contacts.pos[which]))
    for hand in np.unique(hands):
        mine = hands == hand
        rows, columns = bumps[mine, 0], bumps[mine, 1]
        out[hand] = (force[mine, None] * rows).T @ columns
    for weld, hand, sign in taxels.welds:
        if data.eq_active[weld]:
            total = float(force[hands == hand].sum())
            borne = _borne(data, weld, sign, _pushes(data, taxels, hand))
            out[hand] *= 1.0 + borne / max(total, 1.0)
    return out


@lru_cache(maxsize=2)
def _taxel_map(model: Any) -> TaxelMap:
    """Worlds are read many times each, one after the other."""
    return TaxelMap(model)


def _pushes(data: Any, taxels: TaxelMap, hand: int) -> Array:
    """The force (3,) of all that touches a hand on it, friction included, N, world axes."""
    contact = data.contact
    on = (taxels.of_geom[contact.geom] // taxels.a_hand == hand) & (
        contact.efc_address[:, None] >= 0
    )
    # Contacts push their second geom along the frame, and the first against it.
    way = on[:, 1].astype(float) - on[:, 0]
    rows = contact.efc_address[:, None] + np.arange(3)
    inside = data.efc_force[np.where(on.any(axis=1)[:, None], rows, 0)] * way[:, None]
    return np.asarray(np.einsum("na,nax->x", inside, contact.frame.reshape(-1, 3, 3)))


def _borne(data: Any, weld: int, sign: float, pushes: Array) -> float:
    """What a weld bears of the force that a held thing puts on the hand, N.

    Thing and hand are at rest by contacts and weld together, so a weld also undoes what contacts
    push amiss; felt is only what helps the contacts to bear the sum of both.
    """
    # Three forces along the world's axes, then three torques.
    rows = (data.efc_id == weld) & (data.efc_type == mujoco.mjtConstraint.mjCNSTR_EQUALITY)
    held = sign * data.efc_force[rows][:3]
    total = pushes + held
    size = float(np.linalg.norm(total))
    return min(max(float(held @ total) / max(size, 1e-6), 0.0), size)


def _hand_welds(model: Any, hand_of: NDArray[np.int64]) -> list[tuple[int, int, float]]:
    """Each weld of a hand and a thing: its number, the hand's, and the sign of its force on it.

    Args:
        model: The model.
        hand_of: (nbody,) which hand a body is part of, below 0 for none.
    """
    found = []
    for weld in np.flatnonzero(model.eq_type == mujoco.mjtEq.mjEQ_WELD):
        first, second = hand_of[model.eq_obj1id[weld]], hand_of[model.eq_obj2id[weld]]
        if (first >= 0) != (second >= 0):
            # A weld's force acts on its first body, and against it on the second.
            found.append((int(weld), int(max(first, second)), 1.0 if first >= 0 else -1.0))
    return found


def _bumps(centres: Array) -> Array:
    """Gaussians (..., 32) over taxels about centres (...), each of sum 1."""
    bumps = np.exp(((np.arange(TAXELS) - centres[..., None]) / _SPREAD) ** 2 / -2)
    return np.asarray(bumps / bumps.sum(axis=-1, keepdims=True))


Ends = tuple[float, float]
Patch = tuple[int, Array, Array, Ends, Ends]


def _patches(rest: Any, side: Side) -> list[Patch]:
    """Body, along and across (1/m, zero pose), rows and columns of a hand: palm, then fingers."""
    width = _place(rest, side, "little_1") - _place(rest, side, "index_1")
    reach = _place(rest, side, "middle_1") - _place(rest, side, "hand")
    palm, across = rest.body(f"{side}_hand").id, _across(width, reach, _PALM_WIDTH)
    patches: list[Patch] = [
        (palm, _per_metre(reach), across, _PALM_ROWS, _columns(_PALM_COLUMNS, side))
    ]
    for finger in FINGERS:
        bones = [f"{finger}_{k}" for k in (1, 2, 3)]
        tip = np.array(rest.site(f"{side}_{finger}_tip").xpos)
        joints = [*(_place(rest, side, bone) for bone in bones), tip]
        rows, columns = _finger_taxels(finger)
        edges = np.linspace(*rows, len(joints)).tolist()
        for number, bone in enumerate(bones):
            ahead = joints[number + 1] - joints[number]
            body, across = rest.body(f"{side}_{bone}").id, _across(width, ahead, _BONE_WIDTH)
            ends = (edges[number], edges[number + 1])
            patches.append((body, _per_metre(ahead), across, ends, _columns(columns, side)))
    return patches


def _place(rest: Any, side: Side, name: str) -> Array:
    return np.array(rest.body(f"{side}_{name}").xpos, np.float64)


def _columns(ends: Ends, side: Side) -> Ends:
    """The left glove mirrors the right one."""
    return ends if side == "right" else (TAXELS - 1 - ends[0], TAXELS - 1 - ends[1])


def _finger_taxels(finger: str) -> tuple[Ends, Ends]:
    """Rows from a finger's root to its tip, and its columns, on the right glove."""
    if finger == "thumb":
        return _THUMB_ROWS, _THUMB_COLUMNS
    first = _FINGER_COLUMNS[finger]
    return (_FINGER_ROWS, 0.0), (first, first + _FINGER_WIDTH)


def _per_metre(ahead: Array) -> Array:
    return np.asarray(ahead / (ahead @ ahead))


def _across(width: Array, ahead: Array, share: float) -> Array:
    """Direction across a bone, per metre: `share` of the knuckles' width is one."""
    flat = width - (width @ ahead) / (ahead @ ahead) * ahead
    return np.asarray(flat / np.linalg.norm(flat) / (share * np.linalg.norm(width)))
