"""Checkpoints of a run and released weights: found, read, and seen to fit. Plain PyTorch."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

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
        reason = "it is another kind of file" if _is_other(path) else first_line(error)
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
    return {"state_dict": weights, "global_step": step, "epoch": 0}


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


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its name if it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
