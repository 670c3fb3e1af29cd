"""Checkpoints of a run: written whole or not at all; which folder is a run's."""

import os
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from data_modules.store import alive
from mssim.checkpoint import RELEASED, first_line, load_checkpoint
from mssim.errors import UserError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames: a killed or full-disk write leaves the old file whole.

    Lightning's own goes through the system's temporary folder, which may be another disk.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """As the base class.

        Raises:
            UserError: The disk is full.
        """
        final = Path(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        _sweep(final)
        temporary = final.with_name(f".{final.name}.{os.getpid()}.partial")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(final)
        except (OSError, RuntimeError) as error:
            # torch's zip writer hides the disk's error behind one of its own.
            disk = error.__context__ if isinstance(error.__context__, OSError) else error
            raise UserError(
                f"{final}: the checkpoint could not be written ({first_line(disk)}); "
                "make room, then run the same command again to resume"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As the base class; released weights, too."""
        if Path(path).suffix == RELEASED:
            # Lightning asks every checkpoint which version wrote it.
            version = {"pytorch-lightning_version": lightning.__version__}
            return {**load_checkpoint(Path(path)), **version}
        return super().load_checkpoint(path, *args, **kwargs)


def _sweep(final: Path) -> None:
    """Remove what killed writes of a checkpoint left behind."""
    for left in final.parent.glob(f".{final.name}.*.partial"):
        pid = left.name.split(".")[-2]
        if not pid.isdigit() or not alive(int(pid)):
            left.unlink(missing_ok=True)


def folder_of(config: Path | None, run: Path) -> Path:
    """A run's folder: where its saved config lies, for it may have been moved.

    Args:
        config: The file that was given, if one was.
        run: What it and the flags say; a flag that says otherwise than the file wins.
    """
    if config is None or not (config.parent / "checkpoints").is_dir():
        return run
    saved = yaml.safe_load(config.read_text()).get("run")
    return config.parent if saved is not None and Path(saved) == run else run
