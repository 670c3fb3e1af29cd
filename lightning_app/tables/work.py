"""Doing what a table lacks: data, what rows build upon, trainings and tests, as processes.

Each is a command of `mssim` that goes on where it was stopped, so nothing here keeps a state: what
is done is seen from the files. However this ends, at most the steps since a training's last
checkpoint are done again.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_modules.files import locked
from lightning_app.tables.job import launch, make
from lightning_app.tables.runs import KITCHEN, Cell, Run, Setting, forget_data
from mssim.errors import UserError


def record_flags(setting: Setting) -> dict[str, Any]:
    """Flags of `mssim record`, as `make kitchen` has them."""
    return {"size": setting.size or 32, "fps": 10, "seed": 0}


@dataclass
class Task:
    """A training and the tests of it that are lacking.

    Attributes:
        title: For the line that is printed.
        run: The training.
        steps: Optimizer steps that it lacks.
        cells: Tests to do once it is done.
        fault: Why it cannot be done; None if it can.
    """

    title: str
    run: Run
    steps: int
    cells: list[Cell] = field(default_factory=list)
    fault: str | None = None


@dataclass
class Clock:
    """How long it will still take, by what was done in this call.

    Attributes:
        jobs: At once.
        fits: Seconds of a training step.
        tests: Seconds of a test.
    """

    jobs: int
    fits: list[float] = field(default_factory=list)
    tests: list[float] = field(default_factory=list)

    def left(self, steps: int, tests: int) -> str:
        """In words, for so many training steps and tests."""
        if (steps and not self.fits) or (tests and not (self.tests or self.fits)):
            return "time left not known yet"
        each = [sum(x) / len(x) if x else 0.0 for x in (self.fits, self.tests)]
        minutes = (steps * each[0] + tests * each[1]) / self.jobs / 60
        return f"about {minutes:.0f} min left" if minutes >= 1 else "under a minute left"


def bring(
    look: Callable[[], dict[str, list[Cell]]],
    setting: Setting,
    jobs: int,
    finished: Callable[[], None],
) -> None:
    """Train and test what is lacking, the first rows first.

    Args:
        look: Gives the tests of each row; once data are prepared, they may be others.
        setting: What the call asks.
        jobs: Processes at once.
        finished: Called whenever another test is done.

    Raises:
        UserError: Another call works there, or a run is past the budget or a command failed; the
            others are done nonetheless.
    """
    if not lacking(look()):
        return
    with locked(setting.runs, "call, or a run that one left behind,") as lock:
        tasks = lacking(look())
        runs = [*_needs(tasks), *(task.run for task in tasks)]
        for words in _preparations(runs, setting):
            _make(words)
        forget_data()
        tasks = lacking(look())
        needs = _needs(tasks)
        for run in [*needs, *(task.run for task in tasks)]:
            if run.instead is not None:
                print(f"{run.folder.name}: trained anew, what is there is of {run.instead}")
        runs = [*needs, *(task.run for task in tasks)]
        print(expected([(run.job.steps - run.step(), run.pace) for run in runs], jobs), flush=True)
        crew = _Crew(jobs, lock, finished)
        crew.work([_task(f"needed: {n.folder.name}", n) for n in needs])
        crew.work(tasks)
        finished()


def expected(trainings: Iterable[tuple[int, float]], jobs: int) -> str:
    """What is ahead, in words, before anything is trained.

    Args:
        trainings: Of each, the steps to be done and the seconds that one is expected to take.
        jobs: Processes at once.
    """
    ahead = [(steps, pace) for steps, pace in trainings if steps > 0]
    minutes = sum(steps * pace for steps, pace in ahead) / jobs / 60
    time = f"{minutes / 60:.1f} hours" if minutes >= 90 else f"{max(minutes, 1):.0f} minutes"
    return (
        f"{len(ahead)} trainings, {sum(steps for steps, _ in ahead)} steps in all: roughly {time} "
        f"with {jobs} at once, tests aside (as two windows of noise took, on one thread)"
    )


def _needs(tasks: Iterable[Task]) -> list[Run]:
    """What trainings build upon, each once."""
    return list({need.folder: need for task in tasks for need in task.run.needs}.values())


def lacking(rows: dict[str, list[Cell]]) -> list[Task]:
    """The trainings with tests that are not done, in order, each once."""
    tasks: dict[Path, Task] = {}
    for name, cells in rows.items():
        for seed, cell in enumerate(cells):
            if not cell.done:
                if cell.run.folder not in tasks:
                    tasks[cell.run.folder] = _task(f"{name}, seed {seed}", cell.run)
                task = tasks[cell.run.folder]
                if cell.folder not in {c.folder for c in task.cells}:
                    task.cells.append(cell)
    return list(tasks.values())


class _Crew:
    """Processes that work through tasks.

    Args:
        jobs: At once.
        lock: What each process holds while it lives.
        finished: Called whenever another test is done.
    """

    def __init__(self, jobs: int, lock: int, finished: Callable[[], None]) -> None:
        self.jobs, self.lock, self.finished = jobs, lock, finished
        self.clock = Clock(jobs)
        # Threads of processes that run side by side must not fight for cores.
        self.threads = max(1, len(os.sched_getaffinity(0)) // jobs)

    def work(self, tasks: list[Task]) -> None:
        """Do them all.

        Raises:
            UserError: One failed; the others are done.
        """
        waiting = [task for task in tasks if task.fault is None]
        failed = [task.fault for task in tasks if task.fault is not None]
        running: list[_Process] = []
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    self._begin(waiting.pop(0), running, waiting)
                for process in [p for p in running if p.over]:
                    running.remove(process)
                    fault = self._end(process)
                    if fault is not None:
                        failed.append(fault)
                    elif process.task.cells:
                        self._begin(process.task, running, waiting)
                time.sleep(0.05 if running else 0)
        finally:
            for process in running:
                process.stop()
        if failed:
            raise UserError("; ".join(failed))

    def _begin(self, task: Task, running: "list[_Process]", waiting: list[Task]) -> None:
        """The next command of a task: its training, then one test after the other."""
        if not task.steps and not task.cells:
            return
        words = task.run.fit() if task.steps else task.cells[0].test()
        action = f"train {task.steps} steps" if task.steps else "test"
        others = [*waiting, *(p.task for p in running)]
        print(f"{task.title}: {action}; {self._left([task, *others])}", flush=True)
        running.append(_Process(task, words, self.lock, self.threads))

    def _end(self, process: "_Process") -> str | None:
        """Note what is over; in words, if it failed."""
        task = process.task
        if process.code:
            said = process.log.read_text(errors="replace").strip().splitlines() or ["nothing"]
            return f"{task.title} failed: {said[-1]} (see {process.log})"
        if not task.steps:
            task.cells.pop(0)
            self.clock.tests.append(process.seconds)
            self.finished()
            return None
        if task.run.step() < task.run.job.steps:
            return f"{task.title} ended at step {task.run.step()} of {task.run.job.steps}"
        self.clock.fits.append(process.seconds / task.steps)
        task.steps = 0
        return None

    def _left(self, tasks: list[Task]) -> str:
        return self.clock.left(sum(t.steps for t in tasks), sum(len(t.cells) for t in tasks))


class _Process:
    """A command that runs, or has run."""

    def __init__(self, task: Task, words: list[str], lock: int, threads: int) -> None:
        self.task, self.log = task, task.run.folder / "log.txt"
        self._start = time.monotonic()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as file:
            self._process = launch(words, file, lock, threads)

    @property
    def over(self) -> bool:
        return self._process.poll() is not None

    @property
    def code(self) -> int:
        return self._process.returncode

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def stop(self) -> None:
        """End it; what it kept last is whole."""
        self._process.kill()
        self._process.wait()


def _task(title: str, run: Run) -> Task:
    step, steps = run.step(), run.job.steps
    if step <= steps:
        return Task(title, run, steps - step)
    fault = (
        f"{title}: {run.folder} is trained for {step} steps already, and is to be tested at "
        f"{steps}; ask for a budget of {step} or more, or move that folder away"
    )
    return Task(title, run, 0, fault=fault)


def _preparations(runs: Iterable[Run], setting: Setting) -> list[list[str]]:
    """The commands that make the data of all runs, each once."""
    found: list[list[str]] = []
    for run in runs:
        for words in run.job.preparations(record_flags(setting), len(os.sched_getaffinity(0))):
            # What is not the kitchen was recorded by people.
            if words not in found and (words[0] != "record" or setting.data == KITCHEN):
                found.append(words)
    return found


def _make(words: list[str]) -> None:
    print(f"mssim {' '.join(words)}", flush=True)
    try:
        make(words)
    except subprocess.CalledProcessError:
        raise UserError(f"mssim {words[0]} failed, as said above") from None
