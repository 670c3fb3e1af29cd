"""Flags: a config that is none, and of the Trainer's own, what is honoured and what cannot be."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from data_modules.files import shown_path
from lightning_app.elsewhere import CONFIG_FLAGS
from mssim.errors import UserError
from mssim.resources import CONFIGS

_OURS = {
    "default_root_dir": (None, "all that a run writes lies in its folder: name that by --run"),
    "barebones": (False, "a run logs and keeps checkpoints; for a trial: --trainer.fast_dev_run 5"),
    "enable_checkpointing": (
        (None, True),
        "a run keeps checkpoints; for a trial that keeps nothing: --trainer.fast_dev_run 5",
    ),
    "reload_dataloaders_every_n_epochs": (
        0,
        "a loader made anew begins with the first batch again; leave it out",
    ),
}
"""By flag, the values that can be, and why not others."""
_PRECISIONS = (None, "32-true", "32", 32, "bf16-mixed", "bf16", "16-mixed", "16", 16)


def check_words(words: Sequence[str]) -> None:
    """See that a command of the Trainer is told what to work on.

    Args:
        words: The command and its flags.

    Raises:
        UserError: No config is named, or one that is no config.
    """
    flags = [word.partition("=")[0] for word in words[1:]]
    told = (*CONFIG_FLAGS, "--data", "--help", "-h", "--print_config")
    if not any(flag in told or flag.startswith(("--data.", "--help.")) for flag in flags):
        if words[0] != "fit":
            raise UserError(f"{words[0]}: no run is named; such as mssim {words[0]} runs/g1")
        raise UserError(
            "fit: no config is named; such as mssim fit --config configs/g1.yaml, or write one for "
            "your recordings with mssim data PATH --yaml mine.yaml"
        )
    for word, value in zip(words, [*words[1:], ""], strict=True):
        name, given, same = word.partition("=")
        file = Path(same if given else value)
        if name in CONFIG_FLAGS and file.is_file():
            _check_config(file)


def _check_config(file: Path) -> None:
    try:
        table = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        place = getattr(error, "problem_mark", None)
        where = "" if place is None else f" (line {place.line + 1})"
        raise UserError(
            f"{file}: is no config, it is not YAML{where}; see {shown_path(CONFIGS)}/"
        ) from None
    if not isinstance(table, dict):
        raise UserError(f"{file}: is no config, it holds no settings; see {shown_path(CONFIGS)}/")


def check_flags(given: Namespace) -> None:
    """See that no flag of the Trainer is set that a run must override.

    Args:
        given: Flags of the Trainer, by name.

    Raises:
        UserError: One is.
    """
    for name, (allowed, why) in _OURS.items():
        value = given.get(name)
        if value not in (allowed if isinstance(allowed, tuple) else (allowed,)):
            raise UserError(f"trainer.{name}: {value} cannot be; {why}")
    if given.get("precision") not in _PRECISIONS:
        raise UserError(
            f"trainer.precision: {given.precision} cannot be; weights and their average are "
            "float32: set 32-true, bf16-mixed or 16-mixed"
        )
    for plugin in as_list(given.get("plugins")):
        if isinstance(plugin, CheckpointIO):
            raise UserError(
                f"trainer.plugins: {type(plugin).__name__} cannot be; checkpoints are written "
                "whole or not at all by ours; leave it out"
            )


def check_watched(callbacks: Sequence[Callback], measured: Sequence[str]) -> None:
    """See, before anything is trained, that what callbacks watch will be there.

    Args:
        callbacks: Of the Trainer.
        measured: Names of what the module logs.

    Raises:
        UserError: One watches what nobody measures.
    """
    for callback in callbacks:
        name = getattr(callback, "monitor", None)
        if name is not None and name not in measured:
            kind = type(callback).__name__
            flag = "best.monitor" if kind == "Best" else f"trainer.callbacks: monitor of {kind}"
            raise UserError(
                f"{flag}: {name!r} is not measured; there are {', '.join(sorted(measured))}"
            )


def explained(error: Exception) -> str:
    """What Lightning says of a Trainer that cannot be, with what can be done about it."""
    text = " ".join(str(error).split())
    if not any(word in text.lower() for word in ("gpu", "cuda", "devices", "accelerator")):
        return text
    there = torch.cuda.device_count()
    cards = f"{there} GPU{'' if there == 1 else 's'}" if there else "no GPU"
    most = f"trainer.devices to {there} at most, or " if there else ""
    return (
        f"trainer.accelerator, trainer.devices: {text.rstrip('.!')}; here is {cards}: set {most}"
        "trainer.accelerator to cpu and trainer.devices to 1"
    )


def loggers(run: Path, given: Any) -> list[Logger]:
    """Ours for TensorBoard in the run's folder, and beside it those of `trainer.logger`.

    Args:
        run: The run's folder.
        given: A logger or several; True or None for ours alone, False for none at all.
    """
    if given is False:
        return []
    ours = TensorBoardLogger(run, name="logs", version="", default_hp_metric=False)
    return [ours, *(g for g in as_list(given) if isinstance(g, Logger))]


def as_list(given: Any) -> list[Any]:
    """What may be one thing, several or None, as a list."""
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple) else [given]
