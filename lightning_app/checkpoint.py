"""Checkpoints of a run: written whole or not at all, found again, loaded as a module."""

import os
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from mssim.errors import UserError

BEST, LAST = "best.ckpt", "last.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames: a killed or full-disk write leaves the old file whole.

    Lightning's own goes through the system's temporary folder, which may be another disk.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """As the base class."""
        import torch

        final = Path(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f".{final.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(final)
        except RuntimeError as error:
            # torch's zip writer turns a short write into a RuntimeError without a word on the disk.
            raise UserError(
                f"{final}: checkpoint could not be written ({str(error).splitlines()[0][:80]}); "
                "free disk space and run the same command again to resume"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)


def folder_of(config: Path | None, run: Path) -> Path:
    """The run's folder: where its saved config lies, else as the config says."""
    if config is not None and (config.parent / "checkpoints").is_dir():
        return config.parent
    return run


def chosen(run: Path) -> Path:
    """The checkpoint that stands for a run: the best, else the last.

    Raises:
        UserError: The run has none.
    """
    for name in (BEST, LAST):
        path = run / "checkpoints" / name
        if path.exists():
            return path
    raise UserError(
        f"{run / 'checkpoints'}: no checkpoint there; train first with "
        "`mssim fit`, or name one with --ckpt_path"
    )
