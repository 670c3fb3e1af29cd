"""Jobs, each a config with flags, the processes that do them, and the plan of `make gpu`."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO, Any

import yaml

from data_modules.commands import read_settings
from mssim.errors import UserError

RECORDED = "kitchen"
"""The source that is recorded where it is missing: same seed, same files, so it never travels."""


@dataclass(frozen=True)
class Job:
    """One run to bring to its end.

    Args:
        name: Of the run's folder and of its files.
        config: As for `mssim fit`.
        steps: Optimizer steps.
        overrides: Values of flags of `mssim fit`, by the flag's name without dashes.
    """

    name: str
    config: Path
    steps: int
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", str(self.name)):
            raise UserError(f"name {self.name!r}: letters, digits, - and _ only")
        if not self.config.is_file():
            raise UserError(f"config of {self.name}: {self.config} is not there")
        if not isinstance(self.steps, int) or self.steps < 1:
            raise UserError(f"steps of {self.name}: {self.steps!r} must be a number above 0")

    @property
    def store(self) -> str:
        """Where its data are converted to."""
        return str(self.overrides.get("data.store", "stores"))

    def sources(self) -> dict[str, Path]:
        """Where each of its sources lies."""
        found = read_settings(self.config).sources
        return {n: Path(self.overrides.get(_path(n), s.source.path)) for n, s in found.items()}

    def moved(self, source: str, folder: Path) -> "Job":
        """The same job with one source, if it has it, read from another folder."""
        if source not in self.sources():
            return self
        overrides = {**self.overrides, _path(source): str(folder)}
        return Job(self.name, self.config, self.steps, overrides)

    def words(self, run: Path) -> list[str]:
        """Its flags, for `fit` and for `test`.

        Args:
            run: The run's folder.
        """
        flags = {"data.store": self.store, "trainer.max_steps": self.steps, **self.overrides}
        return ["--config", str(self.config), "--run", str(run), *as_words(flags)]

    def preparations(self, record: dict[str, Any], processes: int) -> list[list[str]]:
        """The commands of `mssim` that make its data, each quick where they are made.

        Args:
            record: Flags of `mssim record`.
            processes: How many may work at once.

        Raises:
            UserError: Data are missing that cannot be made.
        """
        commands = []
        for name, path in self.sources().items():
            jobs = ["--jobs", str(processes)]
            if name == RECORDED:
                commands.append(["record", "--out", str(path), *as_words(record), *jobs])
            elif not path.exists():
                hint = f"--{name}" if name == "g1" else f"the override {_path(name)}"
                raise UserError(f"{path} is not there; name the folder with {hint}")
            command = ["prepare", str(path), "--config", str(self.config), "--out", self.store]
            for key in ("size", "rate"):
                if f"data.{key}" in self.overrides:
                    command += [f"--{key}", _word(self.overrides[f"data.{key}"])]
            commands.append(command + jobs)
        return commands


@dataclass(frozen=True)
class Plan:
    """What to train, the most valuable first.

    Args:
        jobs: In order.
        record: Flags of `mssim record`, for jobs that train on the kitchen.
    """

    jobs: list[Job]
    record: dict[str, Any] = field(default_factory=dict)


def read_plan(file: Path) -> Plan:
    """Read a plan such as `configs/gpu.yaml`.

    Raises:
        UserError: It is not there, or not what it should be.
    """
    try:
        table = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        raise UserError(f"{file} is not there; name a plan with --plan") from None
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not YAML ({' '.join(str(error).split())})") from None
    rows = table.get("jobs") if isinstance(table, dict) else None
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{file}: has no list `jobs`; see configs/gpu.yaml for how it looks")
    try:
        jobs = [_job(row) for row in rows]
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    names = [j.name for j in jobs]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise UserError(f"{file}: two jobs are named {twice[0]}; a name is a run's folder")
    return Plan(jobs, table.get("record") or {})


def as_words(flags: dict[str, Any]) -> list[str]:
    """Flags as they stand on a command line."""
    return [w for k, v in flags.items() for w in (f"--{k}", _word(v))]


def make(words: list[str], seconds: float | None = None) -> None:
    """Run a command of `mssim` that makes data.

    Args:
        words: The command's.
        seconds: After which it is ended.
    """
    limit = None if seconds is None else max(seconds, 0)
    subprocess.run(_mssim(words), check=True, timeout=limit)


def launch(
    words: list[str], log: IO[bytes], lock: int, threads: int | None = None
) -> "subprocess.Popen[bytes]":
    """Begin a command of `mssim`, all that it says going to a file.

    Args:
        words: The command's.
        log: The file.
        lock: What the process holds while it lives, even if it outlives this one.
        threads: That it may use; as many as torch likes by default.
    """
    few = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        _mssim(words),
        stdout=log,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        pass_fds=[lock],
        env={**os.environ, **few},
    )


def _mssim(words: list[str]) -> list[str]:
    return [sys.executable, "-m", "lightning_app", *words]


def _job(row: Any) -> Job:
    known = {f.name for f in fields(Job)}
    if not isinstance(row, dict) or not known - {"overrides"} <= row.keys() <= known:
        raise UserError(f"job {row!r}: needs name, config, steps, may have overrides, nothing else")
    return Job(row["name"], Path(row["config"]), row["steps"], row.get("overrides") or {})


def _path(source: str) -> str:
    return f"data.sources.{source}.source.init_args.path"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
