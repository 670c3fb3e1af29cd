"""DataModules over the tiny datasets of `lerobot_writer`."""

from pathlib import Path
from typing import Any

from data_modules.module import DataModule
from data_modules.splits import SourceConfig, Split
from helpers import lerobot_writer as writer


def config(root: Path, name: str = "a", weight: float = 1.0, **split: Any) -> SourceConfig:
    chosen = {"train": ["0:2"], "val": ["2:3"], "test": ["3:"], **split}
    return SourceConfig(writer.source(root / name), Split(**chosen), weight)


def module(root: Path, **more: Any) -> DataModule:
    arguments = {"sources": {"a": config(root)}, "senses": writer.senses(), "size": 16}
    data = DataModule(**{**arguments, "store": root / "stores", "batch_size": 5, **more})
    data.prepare_data()
    data.setup()
    return data
