"""`make gpu`: any machine with a GPU moves the jobs of a plan forward, for as long as it has.

One call takes up what an earlier one left, here or on another machine, trains the first unfinished
jobs, tests the finished ones, and leaves a folder of small files to go on from.
"""

import argparse
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)

from data_modules.files import whole
from lightning_app.checkpoint import BEST, LAST, load_checkpoint
from lightning_app.jobs import Job, Plan, launch, make, read_plan
from lightning_app.parts import (
    Manifest,
    Packing,
    choose,
    join,
    locked,
    packings,
    read_manifest,
    split,
)
from lightning_app.stop import Stopped, stoppable
from mssim.errors import UserError

MEGA = 1_000_000
# Of a call: to write the parts at the end, and for a fit to start before and validate after.
_KEEP, _AROUND = (20.0, 0.1), (60.0, 0.2)
_SCORES = {"psnr": "val/psnr", "over_copy": "val/over_copy"}


@dataclass(frozen=True)
class Call:
    """What one call works with.

    Args:
        runs: Folder of the runs.
        state: Parts to go on from.
        out: Where parts are left.
        stop: When nothing may run any more, in `time.monotonic` seconds.
        around: Seconds that a fit needs beside its training.
        slots: Jobs at once.
    """

    runs: Path
    state: Path
    out: Path
    stop: float
    around: float
    slots: int

    def run(self, job: Job) -> Path:
        """A job's run folder."""
        return self.runs / job.name

    def left(self) -> float:
        """Seconds."""
        return self.stop - time.monotonic()


@dataclass
class Ledger:
    """How the call went.

    Args:
        at: How far each job is.
        ready: Jobs whose data are there.
        skipped: Jobs that could not go on, and why, in a few words.
        failed: What failed, and its last word.
    """

    at: dict[str, Manifest]
    ready: set[str] = field(default_factory=set)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)


def standing(job: Job, call: Call) -> Manifest:
    """How far a job is; its run is made of the parts where those are further than it.

    Raises:
        UserError: A part or a checkpoint is missing or torn.
    """
    kept, run = read_manifest(call.state, job.name), call.run(job)
    if _done(job, kept):
        return kept
    here = _progress(run, kept.scores)
    if here.step >= kept.step:
        return _finished(job, here, run)
    if LAST not in kept.parts:
        print(f"{job.name}: {call.state} has no training state of it, so it starts anew")
        return here
    join(call.state, kept, run)
    print(f"{job.name}: taken up at step {kept.step} from {call.state}")
    return replace(kept, tested=False)


def advance(plan: Plan, call: Call, ledger: Ledger, lock: int) -> None:
    """Train and test, the first jobs first, until the time is up or nothing is left to do."""
    running: dict[str, tuple[Job, str, subprocess.Popen[bytes]]] = {}
    spent: set[str] = set()
    try:
        while True:
            for name, (job, action, process) in list(running.items()):
                if process.poll() is not None:
                    del running[name]
                    if not _settle(job, action, process.returncode, call, ledger):
                        spent.add(name)
            if call.left() <= 0:
                break
            for job in plan.jobs:
                free = len(running) < call.slots and job.name not in {*running, *spent}
                if free and not _done(job, ledger.at[job.name]):
                    started = _start(job, plan, call, ledger, lock)
                    if started is None:
                        spent.add(job.name)
                    else:
                        running[job.name] = (job, *started)
            if not running:
                break
            time.sleep(min(0.2, max(call.left(), 0)))
    finally:
        for _, _, process in running.values():
            # What it kept last is whole; the next call goes on from there.
            process.kill()
            process.wait()
    for job, _, _ in running.values():
        ledger.at[job.name] = _progress(call.run(job), ledger.at[job.name].scores)


def leave(plan: Plan, call: Call, ledger: Ledger, room: int) -> None:
    """Write the parts of all jobs that are further than the parts that are there."""
    offers: dict[str, list[Packing]] = {}
    for job in plan.jobs:
        at, last = ledger.at[job.name], call.run(job) / "checkpoints" / LAST
        there = [read_manifest(folder, job.name) for folder in (call.state, call.out)]
        covering = [kept for kept in there if _covers(kept, at)]
        if covering:
            ledger.at[job.name] = covering[0]
        elif last.exists():
            offers[job.name] = packings(call.run(job), at.tested)
    for name, packing in choose(offers, room).items():
        at, most = ledger.at[name], offers[name][-1]
        for kind in ("json", "md") if at.tested else ():
            with whole(call.out / f"{name}.metrics.{kind}") as temporary:
                shutil.copyfile(call.runs / name / f"metrics.{kind}", temporary)
        ledger.at[name] = split(call.out, name, packing, at)
        if packing is not most:
            print(f"{name}: {_lost(packing, at.tested, most.size / MEGA, room / MEGA)}")


def table(plan: Plan, ledger: Ledger) -> str:
    """Where every job is."""
    rows = [("job", "step / steps", "val/psnr", "over copy", "state")]
    for job in plan.jobs:
        at = ledger.at[job.name]
        scores = [f"{at.scores[k]:+.2f}" if k in at.scores else "-" for k in _SCORES]
        count = sum(map(len, at.parts.values()))
        kept = f"{at.form}, {count} files, {at.size / MEGA:.1f} MB" if count else "none"
        said = [*filter(None, [ledger.skipped.get(job.name)]), *["tested"] * at.tested, kept]
        row = (job.name, f"{at.step} / {job.steps}", scores[0].lstrip("+"), scores[1])
        rows.append((*row, "; ".join(said)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) for r in rows)
    return "\n".join(line.rstrip() for line in lines)


def gpu(
    plan: Plan, state: Path, out: Path, runs: Path, minutes: float, jobs: int, room: float
) -> None:
    """One call.

    Args:
        plan: What to train.
        state: Parts to go on from.
        out: Where parts are left; may be `state`.
        runs: Folder of the runs.
        minutes: How long the call may take.
        jobs: How many train at once.
        room: Megabytes of parts that the call may leave.

    Raises:
        UserError: A number is out of range, the folder is in use, a part is torn, or a job failed.
    """
    for name, value in (("minutes", minutes), ("jobs", jobs), ("room", room)):
        if not value > 0:
            raise UserError(f"{name}: {value} must be above 0")
    seconds = 60 * minutes
    keep, around = (min(most, share * seconds) for most, share in (_KEEP, _AROUND))
    stop = time.monotonic() + seconds - keep
    call = Call(runs, state, out, stop, around, jobs)
    with locked(runs, "`make gpu`"), locked(out, "`make gpu`") as lock:
        ledger = Ledger({job.name: standing(job, call) for job in plan.jobs})
        advance(plan, call, ledger, lock)
        leave(plan, call, ledger, int(room * MEGA))
    print(table(plan, ledger))
    if ledger.failed:
        raise UserError("; ".join(ledger.failed))


def main(args: Sequence[str] | None = None) -> None:
    """Parse and run.

    Raises:
        SystemExit: With 2 on bad input or a failed job, after one line on standard error.
    """
    parser = argparse.ArgumentParser(prog="gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="how long the call may take")
    parser.add_argument("--jobs", type=int, default=2, help="how many train at once")
    parser.add_argument("--plan", type=Path, default=Path("configs/gpu.yaml"))
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu"), help="folder of the runs")
    parser.add_argument("--state", type=Path, help="parts to go on from; RUNS/state by default")
    parser.add_argument("--out", type=Path, help="where parts are left; RUNS/state by default")
    parser.add_argument("--room", type=float, default=60.0, help="megabytes of parts in all")
    parser.add_argument("--g1", type=Path, help="folder of the humanoid's recordings")
    given = parser.parse_args(args)
    try:
        # A call that is ended takes its processes with it.
        with stoppable():
            plan = read_plan(given.plan)
            if given.g1 is not None:
                plan = replace(plan, jobs=[job.moved("g1", given.g1) for job in plan.jobs])
            home = given.runs / "state"
            state, out = given.state or home, given.out or home
            gpu(plan, state, out, given.runs, given.minutes, given.jobs, given.room)
    except Stopped as stop:
        print(f"gpu: {stop}", file=sys.stderr)
        raise SystemExit(128 + stop.number) from None
    except (UserError, OSError) as error:
        print(f"gpu: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None


def _progress(run: Path, scores: dict[str, float]) -> Manifest:
    """How far a run is by its own files."""
    last = run / "checkpoints" / LAST
    if not last.exists():
        return Manifest(scores=scores)
    return Manifest(int(load_checkpoint(last)["global_step"]), scores={**scores, **_scores(run)})


def _scores(run: Path) -> dict[str, float]:
    """The newest validation's, if there was one here."""
    if not (run / "logs").is_dir():
        return {}
    log = EventAccumulator(str(run / "logs"))
    log.Reload()
    known = log.Tags()["scalars"]
    return {k: log.Scalars(tag)[-1].value for k, tag in _SCORES.items() if tag in known}


def _finished(job: Job, at: Manifest, run: Path) -> Manifest:
    """The same, tested if metrics are there that are newer than the weights."""
    metrics, best = run / "metrics.json", run / "checkpoints" / BEST
    weights = best if best.exists() else best.with_name(LAST)
    if at.step < job.steps or not metrics.exists():
        return at
    return replace(at, tested=metrics.stat().st_mtime >= weights.stat().st_mtime)


def _done(job: Job, at: Manifest) -> bool:
    return at.tested and at.step >= job.steps


def _covers(kept: Manifest, at: Manifest) -> bool:
    """Do these parts hold all that is to be kept of it?"""
    whole = kept.tested or LAST in kept.parts
    return whole and (kept.step, kept.tested) == (at.step, at.tested)


def _start(
    job: Job, plan: Plan, call: Call, ledger: Ledger, lock: int
) -> tuple[str, subprocess.Popen[bytes]] | None:
    """Begin what a job needs next; None if that cannot be now."""
    if not _ready(job, plan, call, ledger):
        return None
    at, run = ledger.at[job.name], call.run(job)
    words, action = job.words(run), "test" if at.step >= job.steps else "fit"
    if action == "fit":
        seconds = call.left() - call.around
        if seconds < call.around:
            ledger.skipped[job.name] = "no time was left to train; the next call goes on"
            return None
        words += ["--trainer.max_time", _max_time(run, seconds)]
    print(f"{job.name}: {action} from step {at.step} of {job.steps}", flush=True)
    run.mkdir(parents=True, exist_ok=True)
    with (run / "log.txt").open("ab") as log:
        return action, launch([action, *words], log, lock)


def _ready(job: Job, plan: Plan, call: Call, ledger: Ledger) -> bool:
    """Make a job's data, while those that began before it train."""
    try:
        if job.name not in ledger.ready:
            for words in job.preparations(plan.record, len(os.sched_getaffinity(0))):
                make(words, call.left())
        ledger.ready.add(job.name)
        return True
    except UserError as error:
        ledger.skipped[job.name] = f"skipped: {error}"
    except subprocess.TimeoutExpired:
        ledger.skipped[job.name] = "its data were not ready in time; the next call goes on"
    except subprocess.CalledProcessError as error:
        ledger.skipped[job.name] = f"{error.cmd[3]} failed"
        ledger.failed.append(f"{job.name}: mssim {error.cmd[3]} failed, as said above")
    return False


def _settle(job: Job, action: str, code: int, call: Call, ledger: Ledger) -> bool:
    """Note what has ended; may the job go on in this call?"""
    run, before = call.run(job), ledger.at[job.name]
    at = _progress(run, before.scores)
    ledger.at[job.name] = replace(at, tested=action == "test" and code == 0)
    if code:
        said = (run / "log.txt").read_text(errors="replace").strip().splitlines() or ["nothing"]
        ledger.skipped[job.name] = f"{action} failed"
        ledger.failed.append(f"{job.name}: {action} failed: {said[-1]} (see {run / 'log.txt'})")
    return code == 0 and action == "fit" and at.step >= job.steps


def _max_time(run: Path, seconds: float) -> str:
    """Lightning's limit for training so many seconds more: it counts those before resuming, too."""
    last, before = run / "checkpoints" / LAST, 0.0
    if last.exists():
        timer: dict[str, Any] = load_checkpoint(last)["callbacks"].get("Timer", {})
        with suppress(KeyError):
            before = float(timer["time_elapsed"]["train"])
    minutes, rest = divmod(math.ceil(before + seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours // 24:02}:{hours % 24:02}:{minutes:02}:{rest:02}"


def _lost(packing: Packing, tested: bool, size: float, room: float) -> str:
    """What a packing that is not the largest leaves behind."""
    fact = f"{size:.1f} MB of state do not fit in --room {room:g}"
    if tested:
        return f"{fact}: its best weights are kept in bfloat16"
    if packing.form == "weights":
        return f"{fact}: only its best weights are kept, in bfloat16; elsewhere it starts anew"
    return f"{fact}: moments and averages are kept in bfloat16"


if __name__ == "__main__":
    main()
