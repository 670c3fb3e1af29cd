"""The Trainer's own flags: what is honoured beside ours, and what we must override."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from mssim.errors import UserError

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
    for plugin in as_list(given.get("plugins")):
        if isinstance(plugin, CheckpointIO):
            raise UserError(
                f"trainer.plugins: {type(plugin).__name__} cannot be; checkpoints are written "
                "whole or not at all by ours; leave it out"
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
