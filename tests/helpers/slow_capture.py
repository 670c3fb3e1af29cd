"""A recording that is nothing but time, bytes and its plan: for killing, starving and counting."""

import os
import sys
import time
from pathlib import Path

from data_modules.kitchen.recorder.plan import RecordingPlan, plan_recordings
from data_modules.kitchen.recorder.record import Captured, Tell, open_set, record_set

SUBJECTS = ("S00", "S01", "S04")


def slow(plan: RecordingPlan, tell: Tell) -> Captured:
    """As long as PAUSE says; the log tells what was made and how, the others are bulk."""
    for _ in range(10):
        time.sleep(float(os.environ.get("PAUSE", "0")) / 10)
        tell(plan.seconds / 10)
    log = f"{plan.id} on {os.environ['OMP_NUM_THREADS']} thread".encode()
    return Captured(log, b"v" * 60_000, b"t" * 30_000, plan.seconds)


def main(out: Path, jobs: int) -> None:
    """Record six recordings of SUBJECTS with `slow`."""
    minutes = dict.fromkeys(SUBJECTS, 6.0)
    plans = plan_recordings(minutes, ("a", "b", "c"), fps=10.0, size=16, seed=0)
    open_set(out, minutes, {"fps": 10.0, "size": 16, "seed": 0})
    record_set(out, plans, jobs, slow)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]))
    except OSError as error:
        print(error.filename, error.errno)
        sys.exit(2)
