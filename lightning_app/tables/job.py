"""A job, which is a config with flags, and the processes of `mssim` that do it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from data_modules.commands import read_settings
from mssim.errors import UserError

RECORDED = "kitchen"
"""The source that is recorded where it is missing: same seed, same files."""


@dataclass(frozen=True)
class Job:
    """One run to bring to its end.

    Args:
        config: A config of `mssim fit`.
        steps: How many optimizer steps it is trained for.
        overrides: Values of flags of `mssim fit`, by the flag's name without dashes.
    """

    config: Path
    steps: int
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def store(self) -> str:
        """Where its data are converted to."""
        return str(self.overrides.get("data.store", "stores"))

    def sources(self) -> dict[str, Path]:
        """Where each of its sources lies."""
        found = read_settings(self.config).sources
        return {n: Path(self.overrides.get(_path(n), s.source.path)) for n, s in found.items()}

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
                raise UserError(f"{path} is not there; name the folder of recordings with --data")
            command = ["prepare", str(path), "--config", str(self.config), "--out", self.store]
            for key in ("size", "rate"):
                if f"data.{key}" in self.overrides:
                    command += [f"--{key}", _word(self.overrides[f"data.{key}"])]
            commands.append(command + jobs)
        return commands


def as_words(flags: dict[str, Any]) -> list[str]:
    """Flags as they stand on a command line."""
    return [w for k, v in flags.items() for w in (f"--{k}", _word(v))]


def make(words: list[str]) -> None:
    """Run a command of `mssim` that makes data, to its end."""
    subprocess.run(_mssim(words), check=True)


def launch(words: list[str], log: IO[bytes], lock: int, threads: int) -> "subprocess.Popen[bytes]":
    """Begin a command of `mssim`, all that it says going to a file.

    Args:
        words: The command's.
        log: The file.
        lock: What the process holds while it lives, even if it outlives this one.
        threads: How many it may use.
    """
    return subprocess.Popen(
        _mssim(words),
        stdout=log,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        pass_fds=[lock],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )


def _mssim(words: list[str]) -> list[str]:
    return [sys.executable, "-m", "lightning_app", *words]


def _path(source: str) -> str:
    return f"data.sources.{source}.source.init_args.path"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
