"""A small table over the toy data: its spec, and its results made without training."""

from pathlib import Path
from typing import Any

import torch
import yaml

from helpers.tiny import write_config
from lightning_app.report.scores import write_scores
from lightning_app.report.table import build_table, write_table
from lightning_app.rows import ROWS
from lightning_app.tables.runs import Cell
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
        },
        {"row": "Softmax", "paper": {"MSE": 0.11}},
    ],
}


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
    values = {name: 0.5 + 0.1 * noise for name in NAMES}
    values["mse"] = error * (1 + torch.arange(frames)) * (1 + 0.2 * noise)
    unit = torch.arange(windows) // 2 + 3
    mask = torch.ones(windows, frames, dtype=torch.bool)
    return Scores(torch.arange(windows), unit, values, mask)


def pretend(cell: Cell, error: float, seed: int = 0) -> None:
    """What `mssim test` would leave, had the model that mean squared error."""
    worse = {"model": 1.0, "copy-last-frame": 2.0}
    rows = {row: scores(error * worse.get(row, 3.0), seed=seed) for row in ROWS}
    cell.folder.mkdir(parents=True, exist_ok=True)
    write_table(cell.folder, build_table(rows), {"seed": seed, "hardware": "CPU, 1 threads"})
    write_scores(cell.folder / "scores.npz", rows)
