"""`mssim fit --help`: our own options first; `--help TOPIC` has those of a class, all of them."""

import os
from collections.abc import Mapping, Sequence
from unittest import mock

from jsonargparse import ArgumentParser
from lightning.pytorch import Trainer

from data_modules.module import DataModule
from data_modules.sources.actionsense import ActionSenseSource
from data_modules.sources.h2o import H2OSource
from data_modules.sources.lerobot import Columns, LeRobotSource
from data_modules.splits import SourceConfig
from lightning_app.callbacks.ema import EMA
from lightning_app.callbacks.keep import Best, Last
from lightning_app.callbacks.progress import Progress
from lightning_app.callbacks.report import Report
from lightning_app.callbacks.watch import Watch
from lightning_app.modules.action_encoder import ActionEncoder
from lightning_app.modules.image_text_tower import ImageTextTower
from lightning_app.modules.simulator import Simulator
from mssim.errors import UserError
from mssim.senses import Sense

_SOURCE = "data.sources.NAME.source.init_args"
TOPICS: Mapping[str, tuple[type, str]] = {
    "trainer": (Trainer, "trainer"),
    "Simulator": (Simulator, "model"),
    "ActionEncoder": (ActionEncoder, "model"),
    "ImageTextTower": (ImageTextTower, "model"),
    "sources": (SourceConfig, "data.sources.NAME"),
    "LeRobotSource": (LeRobotSource, _SOURCE),
    "Columns": (Columns, f"{_SOURCE}.senses.SENSE"),
    "ActionSenseSource": (ActionSenseSource, _SOURCE),
    "H2OSource": (H2OSource, _SOURCE),
    "senses": (Sense, "data.senses.senses"),
}
"""By word, a class and where its arguments stand in a config."""
_OURS: Mapping[str, type] = {
    "data": DataModule,
    "ema": EMA,
    "best": Best,
    "last": Last,
    "report": Report,
    "watch": Watch,
    "progress": Progress,
}
_LINKED = {"senses", "sources", "context", "predict", "use_senses"}
_WIDTH = "112"


def asked(words: Sequence[str]) -> str | None:
    """What help is asked for on: a topic, nothing in particular (empty), or None for no help."""
    for flag in ("--help", "-h"):
        if flag in words:
            after = words[words.index(flag) + 1 :]
            return after[0] if after and not after[0].startswith("-") else ""
    return None


def help_on(command: str, topic: str) -> str:
    """The help of `mssim COMMAND --help TOPIC`.

    Raises:
        UserError: There is no such topic.
    """
    if topic and topic not in TOPICS:
        raise UserError(f"--help: no topic {topic!r}; there are {', '.join(TOPICS)}")
    parser = ArgumentParser(
        prog="mssim", add_help=False, usage=f"mssim {command} --config FILE [--KEY VALUE ...]"
    )
    if topic:
        of, key = TOPICS[topic]
        linked = _LINKED if key == "model" else {"source"} if topic == "sources" else set()
        parser.add_class_arguments(of, key, skip=linked)
    else:
        parser.add_argument("--config", help="A config; `mssim data PATH --yaml FILE` writes one.")
        parser.add_argument("--run", help="The run's folder.")
        parser.add_argument("--ckpt_path", help="Weights: a file, `best` or `last` of the run.")
        parser.add_argument("--seed_everything", help="Of weights and dropout.")
        for name, of in _OURS.items():
            parser.add_class_arguments(of, name)
    with mock.patch.dict(os.environ, {"COLUMNS": _WIDTH}):
        text = str(parser.format_help())
    return text if topic else f"{text}\n{_topics(command)}"


def _topics(command: str) -> str:
    lines = [f"More, with `mssim {command} --help TOPIC`:"]
    for name, (of, key) in TOPICS.items():
        what = (of.__doc__ or "As Lightning documents it.").strip().splitlines()[0]
        lines.append(f"  {name:18}--{key}: {what}")
    return "\n".join(lines)
