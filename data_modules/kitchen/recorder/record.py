"""`mssim record`: every planned recording once, in several processes, each whole or not at all.

    OUT/plan.json                       what the set was asked for
    OUT/DAY_experiment_Sxx/LAUNCH_actionNet-wearables_Sxx/
        LOG_streamLog_actionNet-wearables_Sxx.hdf5
        LOG_Sxx_eye-tracking-video-world_frame.mp4
        LOG_Sxx_truth.hdf5

A recording is made in memory, written under a temporary name and renamed when whole.
"""

import errno
import fcntl
import json
import multiprocessing
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data_modules.files import write_text
from data_modules.kitchen.recorder.plan import RecordingPlan
from data_modules.prepare import end_with_parent
from data_modules.store import alive
from mssim.errors import UserError

FORMAT = 1
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_POLL = 0.25
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Captured:
    """One recording, as the bytes of its three files, and its length in seconds."""

    log: bytes
    video: bytes
    truth: bytes
    seconds: float


Tell = Callable[[float], None]
"""Called with the seconds that were simulated since the last call."""
Capture = Callable[[RecordingPlan, Tell], Captured]


def record_set(out: Path, plans: Sequence[RecordingPlan], jobs: int, capture: Capture) -> None:
    """Record what of a plan is not yet there.

    Args:
        out: Folder of the set.
        plans: All that it should hold.
        jobs: Processes that record at once.
        capture: How one recording is made; importable, since other processes call it.

    Raises:
        UserError: The folder is another set's.
        OSError: The disk is full, or must not be written to; what is done is kept.
    """
    todo = [p for p in plans if not recorded(out, p)]
    sweep(out)
    if not todo:
        return
    total = sum(expected_seconds(p) for p in todo)
    with tqdm(total=round(total), desc="kitchen", unit="s", disable=None) as bar:
        for plan, seconds in _recorded(out, todo, jobs, capture, bar):
            total += seconds - expected_seconds(plan)
            bar.total = round(total)
            bar.refresh()


def recorded(out: Path, plan: RecordingPlan) -> bool:
    """Is the recording there? Then it is whole."""
    return _folder(out, plan).exists()


def expected_seconds(plan: RecordingPlan) -> float:
    """About how long a recording will be, for the progress bar: it ends within an activity."""
    return max(plan.seconds, 20.0 * (plan.least - 1)) + 10.0


def open_set(out: Path, minutes: Mapping[str, float | None], shape: Mapping[str, Any]) -> None:
    """Check that a folder is this set's, and remember what it is asked for.

    Args:
        out: The folder; made if need be.
        minutes: Minutes by subject, None for the default; further subjects may come later.
        shape: The arguments that all its recordings share, by their names.

    Raises:
        UserError: It was recorded with other arguments, or holds something else.
    """
    out.mkdir(parents=True, exist_ok=True)
    with _alone_in(out):
        known = _agreed(out, minutes, shape)
        known["minutes"] = {**known["minutes"], **minutes}
        write_text(out / "plan.json", json.dumps(known, indent=1) + "\n")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Of two calls at once, one waits for the other; else each would miss what the other wrote."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _agreed(out: Path, minutes: Mapping[str, float | None], shape: Mapping[str, Any]) -> Any:
    """What the folder's plan says, or a new one, if this call may add to it."""
    file = out / "plan.json"
    if not file.exists():
        if (other := next(out.glob("[!.]*"), None)) is not None:
            raise UserError(f"{out}: holds {other.name} and no plan.json; choose a new folder")
        return {"format": FORMAT, **shape, "minutes": {}}
    known = _read_plan(file)
    for field, value in {"format": FORMAT, **shape}.items():
        _check_same(out, field, known.get(field), value)
    for subject, value in minutes.items():
        if subject in known["minutes"]:
            _check_same(out, f"minutes of {subject}", known["minutes"][subject], value)
    return known


def sweep(out: Path) -> None:
    """Remove what dead processes left behind."""
    for folder in out.glob("*/.*"):
        pid = folder.name.rsplit(".", 2)[-2]
        if pid.isdigit() and not alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def save(out: Path, plan: RecordingPlan, captured: Captured) -> None:
    """Write one recording, all of it or nothing.

    Raises:
        OSError: It cannot be written; nothing of it is left.
    """
    final = _folder(out, plan)
    temporary = final.with_name(f".{plan.id}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    log, _, subject = plan.id.rpartition("_")
    # The log comes last: it is what makes a folder a recording for whoever reads.
    files = {
        f"{plan.id}_truth.hdf5": captured.truth,
        f"{plan.id}_eye-tracking-video-world_frame.mp4": captured.video,
        f"{log}_streamLog_actionNet-wearables_{subject}.hdf5": captured.log,
    }
    try:
        temporary.mkdir(parents=True)
        for name, content in files.items():
            (temporary / f"{name}.part").write_bytes(content)
        for name in files:
            (temporary / f"{name}.part").rename(temporary / name)
        try:
            temporary.rename(final)
        except OSError:
            if not final.exists():  # else another process was quicker
                raise
    except OSError as error:
        if error.errno in _FULL:
            raise OSError(error.errno, error.strerror, str(out)) from None
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _recorded(
    out: Path, todo: Sequence[RecordingPlan], jobs: int, capture: Capture, bar: Any
) -> Iterator[tuple[RecordingPlan, float]]:
    """Each plan once it is recorded, with its length in seconds."""
    context = multiprocessing.get_context("spawn")
    done, stop = context.Value("d", 0.0), context.Event()
    start = (os.getpid(), done, stop)
    with ProcessPoolExecutor(min(jobs, len(todo)), context, _begin, start) as pool:
        with _one_thread():
            futures = {pool.submit(_work, out, plan, capture): plan for plan in todo}
        try:
            while futures:
                ready, _ = wait(futures, _POLL, FIRST_COMPLETED)
                bar.update(done.value - bar.n)
                for future in ready:
                    yield futures.pop(future), future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started here calculate with one thread each.

    Small matrices on many threads cost half as much again, and sums would depend on their number.
    """
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Shared:
    """What a worker shares with the process that started it."""

    done: Any = None
    stop: Any = None


class _StoppedError(Exception):
    """Another recording failed, or the command ends: nobody waits for this one."""


def _begin(parent: int, done: Any, stop: Any) -> None:
    _Shared.done, _Shared.stop = done, stop
    end_with_parent(parent, stop)


def _tell(seconds: float) -> None:
    if _Shared.stop.is_set():
        raise _StoppedError
    with _Shared.done.get_lock():
        _Shared.done.value += seconds


def _work(out: Path, plan: RecordingPlan, capture: Capture) -> float:
    captured = capture(plan, _tell)
    save(out, plan, captured)
    return captured.seconds


def _folder(out: Path, plan: RecordingPlan) -> Path:
    return out.joinpath(*plan.folder)


def _read_plan(file: Path) -> dict[str, Any]:
    try:
        known = json.loads(file.read_text())
    except ValueError:
        known = None
    if not isinstance(known, dict) or not isinstance(known.get("minutes"), dict):
        raise UserError(f"{file}: is no plan of recordings; remove it, or choose another folder")
    return known


def _check_same(out: Path, field: str, old: object, new: object) -> None:
    if old != new:
        said = "the default" if old is None else old
        raise UserError(
            f"{field}: {out} was recorded with {said}, not {'the default' if new is None else new};"
            f" ask for {said}, or choose another folder"
        )
