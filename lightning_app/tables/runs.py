"""Which trainings and tests a table consists of, and where each lies.

    RUNS/HASH-MADE/             one training: `mssim fit`, resumed as long as the budget asks
        what.json               all that it depends on but its length
        tests/STEPS-HASH-MADE/  one test of it after so many steps: metrics, scores.npz

A training is known by all that it depends on but its length (`identity.py`), code and data too, so
that rows of different tables that train alike share it, and a larger budget goes on from it. A
test is known by what only testing reads: a row that hides a sense at test is another test of the
same training.
"""

from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from data_modules.commands import read_settings
from lightning_app.tables.code import code_of, parts
from lightning_app.tables.elsewhere import content, source_of, spec_elsewhere
from lightning_app.tables.identity import (
    BATCH,
    HARDWARE,
    WHAT,
    What,
    differs,
    find,
    global_batch,
    name_of,
    read,
    write,
)
from lightning_app.tables.job import Job, as_words
from lightning_app.tables.spec import Need, Row, Spec
from mssim.checkpoint import LAST, load_checkpoint
from mssim.errors import UserError
from mssim.metrics.perceptual import cached_weights

KITCHEN = "kitchen"
"""The data of the config itself; anything else is a folder for its source."""
TEST_ONLY = (
    "model.sampler",
    "model.guided",
    "model.perception",
    "model.controls",
    "model.long",
    "data.eval_every",
    "data.eval_skip",
    "data.eval_batch_size",
    "data.absent",
)
_FREE = ("run", "report", "last", "data.store", "trainer.max_steps")
_UNRECORDED = ("data.seed", "data.text", "data.use_senses", "data.absent", "data.eval", "data.past")
"""Flags that many rows differ in, of which no recording's content depends."""
_CONTROLS = ["copy-last-frame", "shuffled-actions"]
"""Of a row that is not the reference; what the reference must beat stands below a table."""
_QUIET = ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]


@dataclass(frozen=True)
class Setting:
    """What a call asks of all rows.

    Args:
        data: `kitchen`, or a folder of ActionSense.
        seeds: How many, from 0.
        budget: Optimizer steps of a row; what the spec says by default.
        runs: Where trainings lie.
        size: Pixels a side; what the config says by default. A kitchen of another size is recorded
            beside the one that the config names.
        overrides: Flags for all rows, by name without dashes.

    Raises:
        UserError: A number is out of range, or the folder is not there.
    """

    data: str = KITCHEN
    seeds: int = 3
    budget: int | None = None
    runs: Path = Path("runs/tables")
    size: int | None = None
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise UserError(f"seeds: {self.seeds} must be at least 1")
        if self.budget is not None and self.budget < 1:
            raise UserError(f"budget: {self.budget} must be at least 1")
        if self.size is not None and self.size < 1:
            raise UserError(f"size: {self.size} must be at least 1")
        if self.data != KITCHEN and not Path(self.data).is_dir():
            raise UserError(f"data: {self.data} is no folder; give {KITCHEN} or one of ActionSense")

    @property
    def own(self) -> Path:
        """Where tables go that are not published, each sort of data apart."""
        data = [] if self.data == KITCHEN else [Path(self.data).resolve().name]
        size = [] if self.size is None else [f"{self.size}px"]
        return self.runs / "-".join([*data, *size])

    def changed(self, config: Path) -> dict[str, Any]:
        """The overrides that change what a row is, and the global batch that they make, if so."""
        kept = {k: v for k, v in self.overrides.items() if k not in (*HARDWARE, *BATCH)}
        table = content(config)
        now, own = (global_batch(table, flags) for flags in (self.overrides, {}))
        return kept if now == own else {**kept, "global batch": f"{now} windows, not {own}"}

    def steps(self, spec: Spec) -> int:
        """Optimizer steps of each row."""
        return spec.budget if self.budget is None else self.budget


@dataclass(frozen=True)
class Run:
    """One training.

    Args:
        job: Its config and flags; its steps are the budget.
        folder: Of the run.
        what: All that it depends on.
        needs: What must be trained before it.
        instead: Why an earlier training of the same settings is not this one, if there is one.
        pace: Seconds that a step is expected to take, as two windows of noise took on one thread.
    """

    job: Job
    folder: Path
    what: What
    needs: tuple["Run", ...] = ()
    instead: str | None = None
    pace: float = 0.0

    @property
    def weights(self) -> Path:
        """Where its newest weights lie."""
        return self.folder / "checkpoints" / LAST

    def step(self) -> int:
        """Optimizer steps done."""
        return int(load_checkpoint(self.weights)["global_step"]) if self.weights.exists() else 0

    def fit(self) -> list[str]:
        """The command that brings it to its budget."""
        write(self.folder, self.what)
        return ["fit", *self.job.words(self.folder), *_QUIET]


@dataclass(frozen=True)
class Cell:
    """One test of a training: a row under one seed.

    Args:
        run: The training.
        flags: Of testing alone.
        folder: What is written there.
        what: What it depends on beside the training.
    """

    run: Run
    flags: dict[str, Any]
    folder: Path
    what: What

    @property
    def done(self) -> bool:
        """Scores are written whole, and last of what is needed here."""
        return (self.folder / "scores.npz").exists()

    def test(self) -> list[str]:
        """The command that makes it."""
        write(self.folder, self.what)
        weights = ["--ckpt_path", str(self.run.weights)]
        return ["test", *self.run.job.words(self.folder), *_QUIET, *as_words(self.flags), *weights]


def cells(spec: Spec, setting: Setting) -> dict[str, list[Cell]]:
    """The tests of each row, one a seed.

    Raises:
        UserError: A config is missing or has not one source.
    """
    if setting.data != KITCHEN:
        spec = spec_elsewhere(spec, setting.data, setting.own)
    return {
        row.name: [cell(spec, row, setting, s) for s in range(setting.seeds)] for row in spec.rows
    }


def reached(spec: Spec, setting: Setting, rows: Collection[str]) -> Setting:
    """The call at the largest budget under which all these rows are finished.

    Args:
        spec: The table.
        setting: What is asked. It stays where it names a budget, and where no larger one than the
            table's own was reached.
        rows: Names of rows.
    """
    if setting.budget is not None:
        return setting
    tested = (p.name.partition("-")[0] for p in setting.runs.glob("*/tests/*-*"))
    budgets = {int(steps) for steps in tested if steps.isdecimal()}
    for budget in sorted((b for b in budgets if b > spec.budget), reverse=True):
        there = replace(setting, budget=budget)
        found = cells(spec, there)
        if all(c.done for name in rows for c in found[name]):
            return there
    return setting


def cell(spec: Spec, row: Row, setting: Setting, seed: int) -> Cell:
    """The test of one row under one seed."""
    needs = {name: _needed(spec.needs[name], setting) for name in sorted(row.needs())}
    places = {name: str(run.weights) for name, run in needs.items()}
    given = {k: v for k, v in {**row.train, **setting.overrides}.items() if not _tests(k)}
    more = _sized(spec.config, setting)
    more |= {"seed_everything": seed, "model.seed": seed, "data.seed": seed}
    train = {k: _filled(v, places) for k, v in given.items()} | more
    job = Job(spec.config, setting.steps(spec), train)
    run = _run(job, setting.runs, {**given, **more}, tuple(needs.values()))
    read_only = [{k: v for k, v in f.items() if _tests(k)} for f in (row.train, setting.overrides)]
    test = {"model.long": False, **read_only[0], **row.test, **read_only[1]}
    if row.name != spec.reference:
        test = {"model.controls": _CONTROLS, "model.guided": 0.0, **test}
    return _cell(run, test)


def _cell(run: Run, test: dict[str, Any]) -> Cell:
    """A test of a training, under flags of its own."""
    config, flags = run.job.config, {**run.job.overrides, **test}
    what: What = {"config": _parted(content(config))[1], "flags": test}
    if weights := cached_weights():
        # What could not be measured before can be now: another test.
        what["weights"] = weights
    name = f"{run.job.steps}-{name_of(what)}"
    what |= {"code": code_of(config, flags).testing, "data": data_of(config, flags, "test")}
    folder, what, _ = find(run.folder / "tests", name, what)
    return Cell(run, test, folder, what)


def _run(job: Job, runs: Path, named: Mapping[str, Any], needs: tuple[Run, ...]) -> Run:
    """The training of a row.

    Args:
        job: What is to be done.
        runs: Where trainings lie.
        named: Its flags; what it builds upon is still `{NAME}` there, wherever it lies.
        needs: What it builds upon.
    """
    table = content(job.config)
    what: What = {
        "config": _parted(table)[0],
        "flags": {k: v for k, v in named.items() if k not in (*_FREE, *HARDWARE, *BATCH)},
        "batch": global_batch(table, named),
        "needs": [r.what for r in needs],
    }
    name = name_of(what)
    code = code_of(job.config, job.overrides)
    what["code"] = code.training
    what["data"] = data_of(job.config, job.overrides, "train")
    folder, what, instead = find(runs, name, what)
    return Run(job, folder, what, needs, instead, code.pace * what["batch"])


def data_of(config: Path, flags: Mapping[str, Any], split: str) -> str | None:
    """A digest of a split's recordings, or that they are not prepared; None if not here."""
    kept = {k: v for k, v in flags.items() if k.startswith("data.")}
    kept = {k: v for k, v in kept.items() if not k.startswith(_UNRECORDED)}
    found = _digests(config.read_bytes(), "--config", str(config), *as_words(kept))
    return None if found is None else found[split]


def forget_data() -> None:
    """Look at the data anew: they were prepared since."""
    _digests.cache_clear()


@cache
def _digests(content: bytes, *words: str) -> dict[str, str] | None:
    return parts(list(words))[1].digests()


def _needed(need: Need, setting: Setting) -> Run:
    """What rows build upon, on the same data; of other data, in a folder of its own."""
    table = content(need.config)
    steps = (table.get("trainer") or {}).get("max_steps")
    if not isinstance(steps, int) or steps < 1:
        raise UserError(f"{need.config}: trainer.max_steps must say for how long it is trained")
    moved = setting.data != KITCHEN or setting.size is not None
    flags = {**need.train, **_sized(need.config, setting)}
    here = {k: v for k, v in setting.overrides.items() if k in ("data.store", *HARDWARE)}
    what: What = {"config": _parted(table)[0], "flags": flags, "steps": steps}
    what["batch"] = global_batch(table, flags | here)
    name = name_of(what)
    flags = flags | here
    code = code_of(need.config, flags)
    pace = code.pace * what["batch"]
    what |= {"code": code.training, "data": data_of(need.config, flags, "train")}
    folder, instead = need.run, None
    untouched = not (folder / "checkpoints").exists()
    if moved or not (untouched or differs(read(folder / WHAT), what) is None):
        folder, what, instead = find(need.run.parent, f"{need.run.name}-{name}", what)
    elif not untouched:
        what = read(folder / WHAT)
    return Run(Job(need.config, steps, flags), folder, what, (), instead, pace)


def _sized(config: Path, setting: Setting) -> dict[str, Any]:
    """The flags that let a config's source read data of another size."""
    if setting.size is None:
        return {}
    flags: dict[str, Any] = {"data.size": setting.size}
    if setting.data == KITCHEN:
        name = source_of(config)
        here = read_settings(config).sources[name].source.path
        path = f"data.sources.{name}.source.init_args.path"
        flags[path] = str(here.parent / f"{here.name}-{setting.size}")
    return flags


def _parted(table: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What of a config training depends on, and what testing alone reads."""
    trained, tested = deepcopy(table), {}
    for path in (*_FREE, *HARDWARE, *BATCH, *TEST_ONLY):
        *way, last = path.replace("model.", "model.init_args.").split(".")
        part: Any = trained
        for key in way:
            part = part.get(key) if isinstance(part, Mapping) else None
        if isinstance(part, dict) and last in part:
            removed = part.pop(last)
            if path in TEST_ONLY:
                tested[path] = removed
    return trained, tested


def _tests(flag: str) -> bool:
    """Is it read in testing alone?"""
    return flag.startswith(TEST_ONLY)


def _filled(value: Any, places: Mapping[str, str]) -> Any:
    return value.format(**places) if isinstance(value, str) and places else value
