"""Checkpoints of a run: written whole or not at all, found again, read, and seen to fit."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from safetensors import safe_open
from torch import Tensor

from data_modules.store import alive
from mssim.errors import UserError

BEST, LAST = "best.ckpt", "last.ckpt"
RELEASED = ".safetensors"
"""Ending of a file that holds weights alone."""
_KINDS = {
    "simulator.": "Simulator",
    "contrast.": "ImageTextTower",
    "encoder.": "ActionEncoder",
}
"""Whose weights have names that begin so; the first that is found."""


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
                f"{final}: the checkpoint could not be written ({_first_line(disk)}); "
                "make room, then run the same command again to resume"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As the base class; released weights, too."""
        if Path(path).suffix == RELEASED:
            return _released(Path(path))
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


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, plain data and tensors only.

    Raises:
        UserError: It is not there, cut short, or no checkpoint.
    """
    if not path.exists():
        raise UserError(f"{path}: no checkpoint there; train first with `mssim fit`")
    try:
        if path.suffix == RELEASED:
            return _released(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        content["state_dict"], content["global_step"]
    except Exception as error:
        # To remove what was never a checkpoint is no remedy.
        remove = ", or remove it" if path.suffix == ".ckpt" else ""
        reason = "it is another kind of file" if _is_other(path) else _first_line(error)
        raise UserError(
            f"{path}: not a readable checkpoint ({reason}); name the run's other one "
            f"with --ckpt_path {BEST.removesuffix('.ckpt')} or {LAST.removesuffix('.ckpt')}{remove}"
        ) from None
    return dict(content)


def _is_other(path: Path) -> bool:
    """Does a file not even begin as a checkpoint, an archive, does?"""
    if path.is_dir():
        return True
    with path.open("rb") as file:
        return path.suffix != RELEASED and file.read(2) != b"PK"


def _released(path: Path) -> dict[str, Any]:
    """Released weights as a checkpoint that can be scored; no training goes on from it."""
    with safe_open(path, "pt") as file:
        weights = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 - not a mapping
        step = int((file.metadata() or {}).get("global_step", 0))
    return {
        "state_dict": weights,
        "global_step": step,
        "epoch": 0,
        "pytorch-lightning_version": lightning.__version__,
    }


def narrow(weights: Mapping[str, Tensor], trained: Collection[str]) -> dict[str, Tensor]:
    """Weights in bfloat16; buffers stay as they are.

    Statistics of senses are few, and all that the network sees goes through them.

    Args:
        weights: A checkpoint's weights and buffers, by name.
        trained: Names of those that were trained.
    """

    def cast(tensor: Tensor) -> Tensor:
        return tensor.bfloat16() if tensor.is_floating_point() and tensor.ndim else tensor

    return {n: cast(t) if n in trained else t for n, t in weights.items()}


def check_kind(path: Path, saved: Mapping[str, Tensor], kind: str) -> None:
    """See that weights of a checkpoint are of a kind of module.

    Args:
        path: The checkpoint, for the message.
        saved: Its weights.
        kind: Name of the module.

    Raises:
        UserError: They are of another kind.
    """
    found = _kind(saved)
    if found is not None and found != kind:
        raise UserError(
            f"{path}: holds the weights of {found}, needed are those of {kind}; name a "
            f"checkpoint of a run of {kind}"
        )


def _kind(weights: Mapping[str, Tensor]) -> str | None:
    return next((k for part, k in _KINDS.items() if any(w.startswith(part) for w in weights)), None)


def check_fit(path: Path, saved: Mapping[str, Tensor], mine: Mapping[str, Tensor]) -> None:
    """See that weights of a checkpoint are those of a model.

    Args:
        path: The checkpoint, for the message.
        saved: Its weights.
        mine: The model's.

    Raises:
        UserError: One is missing, one is too many, or one has another shape.
    """
    kind = _kind(mine)
    if kind is not None:
        check_kind(path, saved, kind)
    for name in [*mine, *saved]:
        there = tuple(saved[name].shape) if name in saved else "missing"
        wanted = tuple(mine[name].shape) if name in mine else "not known"
        if there != wanted:
            raise UserError(
                f"{path}: does not fit this model: {name} is {there} there and {wanted} here; "
                "use the senses and sizes of the run's config.yaml"
            )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
