"""`python -m data_modules.kitchen.bench`: how fast one core runs and records the kitchen.

    physics     control ticks of the world and the physics steps in them
    command     planning what to do, spread over the doing
    senses      touch, muscles, body and gaze, at the control rate
    camera      10 frames a second
    record      all of that and the files, as `mssim record --jobs 1` does it

Of one instance of each activity, in processor time: what else runs on the machine counts little.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence

from data_modules.kitchen.command.activities import ACTIVITIES
from data_modules.kitchen.command.performer import perform
from data_modules.kitchen.recorder.capture import capture
from data_modules.kitchen.recorder.plan import RecordingPlan
from data_modules.kitchen.recorder.senses import Senses
from data_modules.kitchen.sensing.camera import Camera
from data_modules.kitchen.world.names import CONTROL_HZ
from data_modules.kitchen.world.physics import SUBSTEPS
from data_modules.kitchen.world.subject import SUBJECTS

SIZES, FPS = (32, 64), 10
_SUBJECT = "S00"


class Watch:
    """Adds up where the time goes."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._since = time.process_time()

    def __call__(self, part: str) -> None:
        """All time since the last call was this part's."""
        now = time.process_time()
        self.spent[part] += now - self._since
        self._since = now


def main(labels: Sequence[str], instances: int) -> None:
    """Measure and print.

    Args:
        labels: Activities to perform part by part.
        instances: How many to record whole.
    """
    watch, seconds = Watch(), 0.0
    for label in labels:
        seconds += _perform(label, watch)
    print(f"one core: {seconds:.0f} simulated seconds of {len(labels)} activities")
    steps = seconds * CONTROL_HZ * SUBSTEPS / watch.spent["physics"]
    print(f"  {'physics':<18}{steps:>9.0f} steps/s")
    for part, spent in watch.spent.items():
        print(f"  {part:<18}{1000 * spent / seconds:>9.1f} ms a simulated second")
    for size in SIZES:
        plan = RecordingPlan(_SUBJECT, 0, 0.0, instances, seed=0, fps=FPS, size=size)
        begin = time.process_time()
        made = capture(plan, lambda _: None)
        speed = made.seconds / (time.process_time() - begin)
        size_ = f"record, {size} px"
        print(f"  {size_:<18}{speed:>9.1f} minutes a minute")


def _perform(label: str, watch: Watch) -> float:
    """One instance, every part timed; returns its length in seconds."""
    subject = SUBJECTS[_SUBJECT]
    senses = Senses(subject, 0.0, (0,))
    ticks = 0
    watch("rest")
    performance = perform(subject, label, 0)
    tick = next(performance, None)
    watch("command")
    assert tick is not None
    world = tick.world
    cameras = {size: Camera(world.model, size) for size in SIZES}
    watch("cameras made")
    while tick is not None:
        # The world steps when the next tick is asked for, and nothing is planned there.
        following = next(performance, None)
        watch("physics")
        senses.feel(world, tick.gaze)
        watch("senses")
        if ticks % (CONTROL_HZ // FPS) == 0:
            for size, camera in cameras.items():
                camera.render(world)
                watch(f"camera, {size} px")
        ticks += 1
        tick = following
    return ticks / CONTROL_HZ


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--activities", type=int, default=len(ACTIVITIES), help="how many to perform"
    )
    parser.add_argument("--instances", type=int, default=4, help="to record at each size")
    given = parser.parse_args()
    main(list(ACTIVITIES)[: given.activities], given.instances)
