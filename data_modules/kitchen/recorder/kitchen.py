"""From the arguments of `mssim record` to a folder of recordings."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from data_modules.kitchen.command.activities import ACTIVITIES
from data_modules.kitchen.recorder.capture import capture
from data_modules.kitchen.recorder.plan import (
    RecordingPlan,
    check_arguments,
    parse_activities,
    parse_recolour,
    plan_recordings,
)
from data_modules.kitchen.recorder.record import expected_seconds, open_set, record_set, recorded
from data_modules.kitchen.world.furniture import MATERIALS
from data_modules.kitchen.world.subject import SUBJECTS
from mssim.errors import UserError

_SENSE_BYTES = 200_000
_PIXEL_BYTES = 2.5
"""Of a second of senses and truth, and of a pixel of video: rounded up from recordings made."""


def record_kitchen(
    out: Path,
    subjects: Sequence[str] | None,
    minutes: float | None,
    fps: float,
    size: int,
    seed: int,
    jobs: int | None,
    activities: str | None = None,
    recolour: str | None = None,
) -> list[RecordingPlan]:
    """Record what is not yet there; the arguments are those of `data_modules.commands.record`.

    Returns:
        Every recording that was asked for; each is there now.

    Raises:
        UserError: An argument is out of range, the folder is another set's, or there is no room.
    """
    wanted = list(SUBJECTS) if subjects is None else list(subjects)
    check_arguments(wanted, list(SUBJECTS), minutes, fps, size, seed)
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs: {jobs} processes cannot record; give 1 or more")
    asked = dict.fromkeys(wanted, minutes)
    done = parse_activities(activities, tuple(ACTIVITIES))
    colours = parse_recolour(recolour, tuple(MATERIALS))
    plans = plan_recordings(asked, done, fps, size, seed, colours)
    shape = {"fps": fps, "size": size, "seed": seed}
    open_set(out, asked, {**shape, "activities": activities, "recolour": recolour})
    todo = [p for p in plans if not recorded(out, p)]
    if todo:
        _announce(out, todo)
        record_set(out, plans, jobs or len(os.sched_getaffinity(0)), capture)
    return plans


def _announce(out: Path, todo: Sequence[RecordingPlan]) -> None:
    """Tell the size before starting, and refuse what cannot fit."""
    seconds = sum(expected_seconds(p) for p in todo)
    pixels = sum(expected_seconds(p) * p.fps * p.size**2 for p in todo)
    need, free = _SENSE_BYTES * seconds + _PIXEL_BYTES * pixels, shutil.disk_usage(out).free
    print(
        f"kitchen: {len(todo)} recordings to make, about {seconds / 60:.0f} minutes, "
        f"{need / 1e6:.0f} MB in {out} ({free / 1e6:.0f} MB free)",
        file=sys.stderr,
    )
    if need > free:
        raise UserError(
            f"{out}: {need / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free; make room, or choose "
            "another folder"
        )
