"""A small table over the toy data: its spec, and its results made without training."""

from functools import cache
from pathlib import Path
from typing import IO, Any

import pytest
import torch
import yaml

from helpers.tiny import write_config
from lightning_app.report.scores import write_scores
from lightning_app.report.table import Row, build_table, write_table
from lightning_app.rows import ROWS
from lightning_app.tables import runs
from lightning_app.tables.code import Code
from mssim.metrics.collect import Scores
from mssim.metrics.frames import NAMES

SPEC: dict[str, Any] = {
    "title": "Toy: how senses are fused",
    "budget": 4,
    "reference": "Softmax",
    "rows": [
        {
            "row": "Mean",
            "train": {"model.encoder.fusion": "mean"},
            "paper": {"MSE": 0.126, "PSNR": 14.4},
            "predicted": 1.5,
        },
        {"row": "Softmax", "paper": {"MSE": 0.11}},
    ],
}


HEADING = {"hardware": "CPU, 1 threads", "drawn frames": "one step: conditional mean"}
"""Of what is above the numbers of a test."""


def write_spec(folder: Path, toy: Path, **more: Any) -> Path:
    """The spec of a small table over the toy data, and the config that its rows share."""
    config = write_config(folder, toy, "base")
    table = {**SPEC, "config": str(config), **more}
    path = folder / "table-0.yaml"
    path.write_text(yaml.safe_dump(table, sort_keys=False, allow_unicode=True))
    return path


def scores(error: float, units: int = 6, frames: int = 3, seed: int = 0) -> Scores:
    """Two windows a unit, whose squared errors scatter about `error`, and grow frame by frame."""
    generator = torch.Generator().manual_seed(seed)
    windows = 2 * units
    noise = torch.rand(windows, frames, generator=generator)
    values = dict.fromkeys(NAMES, 0.5 + 0.1 * noise)
    values["mse"] = error * (1 + torch.arange(frames)) * (1 + 0.2 * noise)
    unit = torch.arange(windows) // 2 + 3
    mask = torch.ones(windows, frames, dtype=torch.bool)
    return Scores(torch.arange(windows), unit, values, mask)


def all_rows(error: float, seed: int) -> dict[str, Scores]:
    worse = {"model": 1.0, "copy-last-frame": 2.0}
    return {row: scores(error * worse.get(row, 3.0), seed=seed) for row in ROWS}


@cache
def table_of(error: float, seed: int) -> list[Row]:
    return build_table(all_rows(error, seed))


def pretend(folder: Path, error: float, seed: int = 0) -> None:
    """What `mssim test` would leave in a folder, had the model that mean squared error."""
    rows = all_rows(error, seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder, table_of(error, seed), {"seed": seed, **HEADING})
    write_scores(folder / "scores.npz", rows)


def lightly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither code nor data are looked at: a spec's own faults are what is tested."""
    monkeypatch.setattr(runs, "code_of", lambda config, flags: Code({"loss 1": 1.0}, {"mse": 1.0}))
    monkeypatch.setattr(runs, "data_of", lambda config, flags, split: None)


class Ended:
    """A process that is over."""

    def __init__(self, returncode: int) -> None:
        self.returncode = returncode

    def poll(self) -> int:
        return self.returncode

    def kill(self) -> None:
        pass

    def wait(self) -> None:
        pass


class Pretence:
    """In the place of `launch` and `make`: a training is a number of steps, a test made-up scores.

    Attributes:
        ran: The commands, word by word.
        fails: A command with this word among its own fails.
    """

    def __init__(self) -> None:
        self.ran: list[list[str]] = []
        self.fails = ""

    def launch(self, words: list[str], log: IO[bytes], lock: int, threads: int) -> Ended:
        self.ran.append(words)
        if self.fails in words:
            log.write(b"warnings\nmssim: model.encoder.fusion: no such fusion\n")
            return Ended(2)
        flags = dict(zip(words[1::2], words[2::2], strict=True))
        run = Path(flags["--run"])
        if words[0] == "fit":
            (run / "checkpoints").mkdir(parents=True, exist_ok=True)
            state = {"global_step": int(flags["--trainer.max_steps"]), "state_dict": {}}
            torch.save(state, run / "checkpoints" / "last.ckpt")
        else:
            error = 0.02 if flags.get("--model.encoder.fusion") == "mean" else 0.01
            pretend(run, error, int(flags.get("--model.seed", 0)))
        return Ended(0)

    def make(self, words: list[str]) -> None:
        self.ran.append(words)

    def commands(self) -> list[str]:
        """The first word of each."""
        return [words[0] for words in self.ran]
