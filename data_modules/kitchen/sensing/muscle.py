"""What the armbands hear: muscles' electricity, from the torques that the joints are driven by.

A joint's torque is shared among the muscles that can pull that way; each muscle lies somewhere
around the forearm and is heard by the electrodes near it; what an electrode gives is noise as loud
as the muscles below it work.

Letters: T control ticks, M muscles, C = 8 electrodes, n samples.
"""

import zlib
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from data_modules.kitchen.sensing.clocks import tick_of
from data_modules.kitchen.world.names import (
    FINGER_JOINTS,
    FINGERS,
    POSE_JOINTS,
    SIDES,
    Side,
    joint_index,
)
from data_modules.kitchen.world.subject import Subject

Array = NDArray[np.float64]

ELECTRODES = 8
LOW, HIGH = -128, 127

# Muscle: where around the forearm (degrees from the bone on the thumb's side, over the palm's
# side), the joints it moves, which ways, and the torque of an average person's full effort, N m.
_WAYS = "+-"
_FLEXED = tuple(f"{f}_{j}" for f in FINGERS[1:] for j in FINGER_JOINTS[1:])
_THUMB = tuple(f"thumb_{j}" for j in FINGER_JOINTS)
_MUSCLES: dict[str, tuple[float, tuple[str, ...], str, float]] = {
    "finger_flexor": (100.0, _FLEXED, "+", 4.0),
    "finger_extensor": (255.0, _FLEXED, "-", 2.0),
    "thumb": (300.0, _THUMB, "+-", 4.0),
    "wrist_flexor": (140.0, ("wrist_pitch",), "-", 3.0),
    "wrist_extensor": (230.0, ("wrist_pitch",), "+", 3.0),
    "radial": (330.0, ("wrist_yaw",), "+", 4.0),
    "ulnar": (190.0, ("wrist_yaw",), "-", 4.0),
    "pronator": (55.0, ("forearm_roll",), "+", 4.0),
    "elbow_flexor": (20.0, ("elbow",), "+", 14.0),
    "elbow_extensor": (205.0, ("elbow",), "-", 6.0),
}
MUSCLES = tuple(_MUSCLES)
# The wrist is held against the fingers' pull.
_STEADIES = ("wrist_extensor", "finger_flexor", 0.4)
_WIDTH = 32.0
_LOUD = 34.0
_REST = 8.0
_LAG = 0.05
_TICK = 1 / 60


class Effortful(Protocol):
    """Anything that says how hard joints are driven: a `KitchenWorld`."""

    def efforts(self) -> NDArray[Any]:
        """float64 (59,): torque at each of POSE_JOINTS, N m."""
        ...


class Muscles:
    """Both armbands of one subject, worn through a whole recording.

    `drives` each control tick, after the world's step; `signal` once at the end.

    Args:
        subject: Whose arms: strength, and how the armbands sit.
        rng: Of this recording's noise.
    """

    def __init__(self, subject: Subject, rng: np.random.Generator) -> None:
        self._rngs = rng.spawn(len(SIDES))
        # A strong person's full effort is more torque.
        self._pulls = _pulls().reshape(2 * len(POSE_JOINTS), -1) / subject.strength
        self.mixing: Array = electrode_mixing(subject.name)

    def drives(self, world: Effortful) -> Array:
        """How hard the muscles work now: (2, M) of the right and left arm, 0 at rest, 1 in full."""
        torque = world.efforts()
        pulls = np.concatenate([np.maximum(torque, 0.0), np.maximum(-torque, 0.0)])
        effort = (pulls @ self._pulls).reshape(len(SIDES), -1)
        held, by, part = _STEADIES
        effort[:, MUSCLES.index(held)] += part * effort[:, MUSCLES.index(by)]
        return np.asarray(np.tanh(effort), np.float64)

    def signal(self, side: Side, ticks: Array, drives: Array, taken: Array) -> NDArray[np.int32]:
        """Samples of one armband.

        Args:
            side: Which arm.
            ticks: (T,) control ticks, seconds, ascending.
            drives: (T, M) of that arm at each.
            taken: (n,) when the samples are taken, ascending.

        Returns:
            int32 (n, 8) in [-128, 127], of mean 0.
        """
        arm = SIDES.index(side)
        pace = 1.0 - np.exp(-_TICK / _LAG)
        start = (1.0 - pace) * drives[:1]
        smooth, _ = lfilter([pace], [1.0, pace - 1.0], drives, axis=0, zi=start)
        held = tick_of(ticks, taken)
        loud = np.hypot(_REST, _LOUD * (smooth @ self.mixing[arm].T))[held]
        values = np.rint(loud * _noise(self._rngs[arm], len(taken)))
        return np.asarray(np.clip(values, LOW, HIGH), np.int32)


def electrode_mixing(name: str) -> Array:
    """How loud each electrode hears each muscle: (2, 8, M), right and left arm.

    Armbands sit a few degrees turned and their electrodes touch differently well, which is fixed
    for a subject: drawn by the subject's name.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    muscles = np.array([place for place, *_ in _MUSCLES.values()])
    electrodes = np.arange(ELECTRODES) * 360.0 / ELECTRODES
    turned = rng.uniform(-8.0, 8.0, (len(SIDES), 1, 1))
    apart = (electrodes[:, None] + turned - muscles + 180.0) % 360.0 - 180.0
    touch = rng.uniform(0.85, 1.15, (len(SIDES), ELECTRODES, 1))
    return np.asarray(touch * np.exp(-((apart / _WIDTH) ** 2) / 2), np.float64)


def _pulls() -> Array:
    """(2 * 59, 2, M): how joints' torques count in the efforts of each arm's muscles, 1 / (N m).

    First the torques that turn joints forwards, then those that turn them back: muscles that pull
    against each other both work.
    """
    pulls = np.zeros((2, len(POSE_JOINTS), len(SIDES), len(MUSCLES)))
    for muscle, (_, joints, ways, full) in enumerate(_MUSCLES.values()):
        for arm, side in enumerate(SIDES):
            for joint in joints:
                for way in ways:
                    pulls[_WAYS.index(way), joint_index(f"{side}_{joint}"), arm, muscle] = 1 / full
    return pulls.reshape(-1, len(SIDES), len(MUSCLES))


def _noise(rng: np.random.Generator, count: int) -> Array:
    """(count, 8) of variance 1, weaker at low frequencies, as skin and amplifier leave it."""
    white = rng.standard_normal((count + 1, ELECTRODES))
    return np.asarray((white[1:] - 0.5 * white[:-1]) / np.sqrt(1.25))
