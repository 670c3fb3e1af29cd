"""Every sense of one recording, taken at its device's own pace and written as ActionSense's.

Letters: T control ticks, n samples of a device.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.kitchen.recorder.streams import StreamFile
from data_modules.kitchen.sensing import clocks, gaze, pose
from data_modules.kitchen.sensing.camera import FOV
from data_modules.kitchen.sensing.gaze import Eyes
from data_modules.kitchen.sensing.muscle import Muscles
from data_modules.kitchen.sensing.touch import Gloves
from data_modules.kitchen.world.names import CONTROL_HZ, SIDES
from data_modules.kitchen.world.subject import Subject

Array = NDArray[Any]

LONGEST = 3600.0
"""Seconds that the gloves' clocks are laid out for."""
OUTLIERS = 0.01
"""Chance that a reading of a glove holds a transmission error."""
# Generators by device: another sample of one moves no other.
_TOUCH, _MUSCLE, _EYES, _CLOCKS, _GLOVES = range(1, 6)


class Senses:
    """What one body feels, tick after tick.

    Args:
        subject: Whose body.
        start: Epoch seconds of the log's start; tick g is at start + (g + 1) / 60.
        seed: Numbers that all chance comes from.
    """

    def __init__(self, subject: Subject, start: float, seed: tuple[int, ...]) -> None:
        self._start = start
        self._seed = seed
        self._gloves = Gloves(self._rng(_TOUCH), outliers=OUTLIERS)
        self._muscles = Muscles(subject, self._rng(_MUSCLE))
        self._pose: list[tuple[Array, Array, Array]] = []
        self._drives: list[Array] = []
        self._gaze: list[Array] = []
        self._touch: tuple[list[Array], list[Array]] = ([], [])
        clock = self._rng(_GLOVES)
        self._due = [clocks.tactile(clock, start, LONGEST) for _ in SIDES]

    @property
    def ticks(self) -> Array:
        """(T,) epoch seconds of the ticks so far."""
        return tick_times(self._start, len(self._gaze))

    def feel(self, world: Any, target: Array) -> None:
        """Take in what a world is like after a control tick.

        Args:
            world: A `KitchenWorld`; another one may follow.
            target: (3,) world point that is looked at.
        """
        self._pose.append(
            (pose.segments(world), pose.orientations(world), pose.centre_of_mass(world))
        )
        self._drives.append(self._muscles.drives(world))
        self._gaze.append(gaze.world_gaze(world, target, FOV))
        self._gloves.feel(world)
        next_tick = self._start + (len(self._gaze) + 1) / CONTROL_HZ
        for due, taken, side in zip(self._due, self._touch, SIDES, strict=True):
            while due[len(taken)] < next_tick:
                taken.append(self._gloves.read(side))

    def write(self, log: StreamFile) -> None:
        """Write all streams but the video's."""
        rng, ticks = self._rng(_CLOCKS), self.ticks
        end = float(ticks[-1])
        for index, side in enumerate(SIDES):
            touch = np.stack(self._touch[index])
            attributes = {"Range": "[0, 4095]", "Units": "ADC", "Description": "Pressure, raw"}
            times = self._due[index][: len(touch)]
            log.add(f"tactile-glove-{side}/tactile_data", touch, times, attributes)
            stamps, taken = clocks.emg(rng, self._start, end - self._start)
            drives = np.stack([d[index] for d in self._drives])
            log.add(
                f"myo-{side}/emg",
                self._muscles.signal(side, ticks, drives, taken),
                stamps,
                {"Range": "[-128, 127]", "Data headings": str([f"Channel {c}" for c in range(8)])},
                time_s_original=taken[:, None],
            )
        self._write_pose(log, rng, ticks)
        self._write_gaze(log, rng, ticks)

    def _write_pose(self, log: StreamFile, rng: np.random.Generator, ticks: Array) -> None:
        places, turns, centre = (np.stack(part) for part in zip(*self._pose, strict=True))
        stamps = clocks.xsens(rng, ticks)
        attributes = {"Units": "cm", "Data headings": _headings("Segment", pose.SEGMENTS, "xyz")}
        log.add("xsens-segments/position_cm", _coarse(places, 10), stamps, attributes)
        attributes = {"Data headings": _headings("Segment", pose.SEGMENTS, "wxyz")}
        log.add("xsens-segments/orientation_quaternion", _coarse(turns, 16), stamps, attributes)
        angles = _coarse(pose.joint_angles(turns), 10)
        attributes = {"Units": "deg", "Data headings": _headings("Joint", angles.shape[1], "xzy")}
        log.add("xsens-joints/rotation_xzy_deg", angles, stamps, attributes)
        # The centre of mass comes in its own message, a moment later.
        log.add("xsens-CoM/position_cm", _coarse(centre, 10), stamps + 0.002, {"Units": "cm"})

    def _write_gaze(self, log: StreamFile, rng: np.random.Generator, ticks: Array) -> None:
        taken, received = clocks.gaze(rng, self._start, float(ticks[-1]) - self._start)
        seen = Eyes(self._rng(_EYES)).signal(ticks, np.stack(self._gaze), taken)
        attributes = {"Units": "normalized", "Description": "Origin at the bottom left"}
        log.add("eye-tracking-gaze/position", seen, received, attributes)
        log.add("eye-tracking-gaze/timestamp", taken[:, None], received, {"Units": "s"})

    def _rng(self, device: int) -> np.random.Generator:
        return np.random.default_rng([*self._seed, device])


def tick_times(start: float, count: int) -> Array:
    """float64 (count,): when the commands of a recording have been carried out, epoch seconds."""
    return np.asarray(start + np.arange(1, count + 1) / CONTROL_HZ, np.float64)


def _coarse(values: Array, bits: int) -> Array:
    """Rounded to so many bits behind the point: a suit tells no more, and files stay small."""
    return np.asarray(np.ldexp(np.rint(np.ldexp(values, bits)), -bits))


def _headings(what: str, count: int, axes: str) -> str:
    return str([f"{what} {i} {axis}" for i in range(count) for axis in axes])
