"""One recording as it happens: perform, step, feel, see, and keep the truth.

Instances follow each other on one clock; the table is laid afresh between two of them. Tick g ends
at log start + (g + 1) / 60: that is where the physics is when its senses and frame are taken.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.kitchen.command.activities import ACTIVITIES
from data_modules.kitchen.command.performer import Tick, perform, success
from data_modules.kitchen.recorder.plan import Instance as Planned
from data_modules.kitchen.recorder.plan import RecordingPlan
from data_modules.kitchen.recorder.record import Captured, Tell
from data_modules.kitchen.recorder.senses import Senses, tick_times
from data_modules.kitchen.recorder.streams import StreamFile
from data_modules.kitchen.recorder.truth import Instance, TruthFile, flat_state
from data_modules.kitchen.recorder.video import encode_video
from data_modules.kitchen.sensing import clocks
from data_modules.kitchen.sensing.camera import Camera
from data_modules.kitchen.world.names import CONTROL_HZ
from data_modules.kitchen.world.subject import SUBJECTS

Array = NDArray[Any]

FIRST_FRAME = 24
"""Ticks before the first frame: the sensors run by then, as the eye tracker starts late."""
_VIDEO, _SENSES = 1, 2


def capture(plan: RecordingPlan, tell: Tell) -> Captured:
    """Make one recording.

    Args:
        plan: What to record.
        tell: Called with the seconds simulated since the last call.
    """
    recording = _Recording(plan, tell)
    while not recording.done:
        recording.perform_next()
    return recording.finish()


class _Recording:
    """A recording that grows by one instance at a time."""

    def __init__(self, plan: RecordingPlan, tell: Tell) -> None:
        self._plan = plan
        self._tell = tell
        self._subject = replace(SUBJECTS[plan.subject], recoloured=plan.recolour)
        self._start = plan.start.timestamp()
        seed = (plan.seed, int(plan.subject[1:]), plan.number, _SENSES)
        self._senses = Senses(self._subject, self._start, seed)
        self._due = _frame_ticks(plan.fps)
        self._next = next(self._due)
        self._frames: list[Array] = []
        self._frame_ticks: list[int] = []
        self._todo = plan.instances(plan.activities or tuple(ACTIVITIES))
        self._performed: list[_Performed] = []
        self._tick = 0

    @property
    def done(self) -> bool:
        """Is it long enough?"""
        enough = self._tick >= self._plan.seconds * CONTROL_HZ
        return enough and sum(p.whole for p in self._performed) >= self._plan.least

    def perform_next(self) -> None:
        """Perform the plan's next instance, from rest to rest.

        Where the physics diverges the instance ends, is marked as bad, and comes again otherwise.
        """
        planned = next(self._todo)
        ticks = perform(self._subject, planned.label, planned.seed)
        tick = next(ticks, None)
        assert tick is not None, planned
        world = tick.world
        performed = _Performed(planned, self._tick, world)
        camera = Camera(world.model, self._plan.size)
        while tick is not None:
            # The world obeys a tick's command when the next one is asked for.
            following = next(ticks, None)
            if world.data.warning.number.any():
                performed.whole = False
                self._todo = chain([replace(planned, seed=planned.seed + 1)], self._todo)
                break
            performed.did(tick)
            self._senses.feel(world, tick.gaze)
            if self._tick == self._next:
                performed.frame(len(self._frames))
                self._frames.append(camera.render(world))
                self._frame_ticks.append(self._tick)
                self._next = next(self._due)
            self._tick += 1
            if self._tick % CONTROL_HZ == 0:
                self._tell(1.0)
            tick = following
        performed.succeeded = performed.whole and success(planned.label, world)
        if performed.shown:
            self._performed.append(performed)

    def finish(self) -> Captured:
        """The recording's three files."""
        rng = self._plan.rng(_VIDEO)
        ticks = tick_times(self._start, self._tick)
        taken, received = clocks.video(rng, ticks[self._frame_ticks])
        log, truth = StreamFile(), TruthFile()
        self._senses.write(log)
        name = "eye-tracking-video-world/frame_timestamp"
        log.add(name, taken[:, None], received, {"Units": "s"})
        instances = [p.instance(self._subject.name, ticks, taken) for p in self._performed]
        _write_events(log, self._start, instances)
        for instance in instances:
            truth.add(instance)
        return Captured(
            log=log.close(),
            video=encode_video(self._frames, self._plan.size),
            truth=truth.close(),
            seconds=self._tick / CONTROL_HZ,
        )


class _Performed:
    """What is kept of one instance while it happens."""

    def __init__(self, planned: Planned, begin: int, world: Any) -> None:
        self.world = world
        self.whole, self.succeeded = True, False
        self._planned, self._begin = planned, begin
        self._bodies = _object_bodies(world)
        self._first = flat_state(world.state())
        self._commands: list[Array] = []
        self._labelled: list[bool] = []
        self._rows: list[int] = []
        self._done: list[int] = []
        self._states: list[dict[str, Array]] = []
        self._objects: list[dict[str, Array]] = []

    @property
    def shown(self) -> bool:
        """Is there a frame of it?"""
        return bool(self._rows)

    def did(self, tick: Tick) -> None:
        """Keep a tick that the world has obeyed."""
        self._commands.append(np.array(tick.command.numbers(), np.float64))
        self._labelled.append(tick.labelled)

    def frame(self, row: int) -> None:
        """Keep the state that frame `row` of the video shows."""
        self._rows.append(row)
        self._done.append(len(self._commands))
        self._states.append(flat_state(self.world.state()))
        data = self.world.data
        self._objects.append(
            {n: np.concatenate([data.xpos[i], data.xquat[i]]) for n, i in self._bodies.items()}
        )

    def instance(self, subject: str, ticks: Array, taken: Array) -> Instance:
        """The truth of it.

        Args:
            subject: Name of who performed it.
            ticks: (T,) ends of all the recording's ticks, epoch seconds.
            taken: Stamps of all the recording's frames, epoch seconds.
        """
        begins = ticks[self._begin : self._begin + len(self._commands)] - 1 / CONTROL_HZ
        active = begins[np.array(self._labelled)]
        return Instance(
            label=self._planned.label,
            seed=self._planned.seed,
            subject=subject,
            scene=self.world.scene,
            whole=self.whole,
            success=self.succeeded,
            start=float(active[0]) if len(active) else np.nan,
            stop=float(active[-1]) + 1 / CONTROL_HZ if len(active) else np.nan,
            commands=np.stack(self._commands),
            command_times=begins,
            frame_times=taken[self._rows],
            frame_rows=np.array(self._rows, np.int64),
            frame_ticks=np.array(self._done, np.int64),
            state=_stacked(self._states),
            first=_stacked([self._first]),
            objects=_stacked(self._objects),
        )


def _frame_ticks(fps: float) -> Iterator[int]:
    """The tick that each frame is taken after: the first one at or past its time."""
    number = 0
    while True:
        yield FIRST_FRAME + int(np.ceil(number * CONTROL_HZ / fps - 1e-6))
        number += 1


def _object_bodies(world: Any) -> dict[str, int]:
    """Ids of the bodies of every object of the scene; food is as many as its slices."""
    names = [world.model.body(i).name for i in range(world.model.nbody)]
    kinds = {placed.body for placed in world.scene.objects}
    return {n: i for i, n in enumerate(names) if n in kinds or n.rpartition("_")[0] in kinds}


def _stacked(rows: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _write_events(log: StreamFile, start: float, instances: list[Instance]) -> None:
    """Labels as the experimenter enters them; a failure is noted, and as Good as any other."""
    rows = []
    for instance in instances:
        valid = "Good" if instance.whole else "Bad"
        note = "" if instance.success else "failed"
        if np.isfinite(instance.start):
            rows.append((instance.start, (instance.label, "Start", valid, "")))
            rows.append((instance.stop, (instance.label, "Stop", valid, note)))
    headings = ("Activity", "Start/Stop", "Valid", "Notes")
    log.add_events("experiment-activities/activities", headings, rows)
    log.add_events(
        "experiment-notes/notes", ("Notes",), [(start, ("Recorded in the kitchen of mssim",))]
    )
