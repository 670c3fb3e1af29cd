"""Going on with a run: what must be as it was, and what may have changed since."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mssim.errors import UserError

ELSEWHERE = "choose another --run"
_TRAINER = (
    "precision",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "overfit_batches",
    "limit_train_batches",
    "limit_val_batches",
)
"""Of the trainer, what decides a number; how long and on what it trains, and what it tells, does
not."""
_FREE = re.compile(
    r"run|config|ckpt_path|weights_only|(report|last|watch|progress)(\..*)?"
    r"|data\.(store|workers|eval_batch_size|horizon|rollouts)"
    # Where the recordings lie; that they are the same ones is seen from themselves.
    r"|data\.sources\.[^.]+\.source\.path"
    # What only `test` reads.
    r"|model\.(perception|controls|long)(\..*)?"
    # Its length follows the training's.
    r"|model\.lr_scheduler\.total_steps"
    rf"|trainer\.(?!({'|'.join(_TRAINER)})$).*"
)
_SHOWN = 6
_LONGEST = 40


def check_same(file: Path, before: Mapping[str, Any], now: Mapping[str, Any], remedy: str) -> None:
    """See that a run goes on under the settings that it was begun with.

    Args:
        file: The run's `config.yaml`.
        before: Its content, with what is today's default where it says nothing.
        now: The settings of this call.
        remedy: What can be done about it.

    Raises:
        UserError: Something that decides a number is not as it was.
    """
    old, new = _flat(before), _flat(now)
    changed = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
    if changed:
        told = [f"{k} {_value(old, k)} there, {_value(new, k)} here" for k in changed[:_SHOWN]]
        more = [f"{len(changed) - _SHOWN} more"] if len(changed) > _SHOWN else []
        raise UserError(
            f"{file}: the run there was trained with other settings ({'; '.join(told + more)}); "
            f"{remedy}"
        )


def check_processes(checkpoint: Mapping[str, Any], processes: int) -> None:
    """See that as many processes share a batch as before.

    Raises:
        UserError: They are more, or fewer.
    """
    before = checkpoint.get("processes", processes)
    if before != processes:
        raise UserError(
            f"trainer.devices: the run was trained by {before} processes, here are {processes}, "
            f"which makes other batches; set trainer.devices as before, or {ELSEWHERE}"
        )


def check_data(
    checkpoint: Mapping[str, Any],
    contents: Mapping[str, str],
    statistics: Mapping[str, tuple[Tensor, Tensor]],
) -> None:
    """See that a run goes on with the recordings that it was begun with, wherever they lie now.

    Args:
        checkpoint: Of the run.
        contents: What each split holds now.
        statistics: Mean and std of each sense now, each float32 (sources, *shape); none where the
            run has its own from elsewhere.

    Raises:
        UserError: They are others.
    """
    saved = checkpoint.get("recordings", contents)
    found = [f"{k} had {saved[k]}, has {contents[k]}" for k in contents if saved[k] != contents[k]]
    for name, now in statistics.items():
        for kind, value in zip(("mean", "std"), now, strict=True):
            for key, before in checkpoint["state_dict"].items():
                mine = f".{key}".endswith(f".normalizer.{kind}_{name}")
                # Rounding differs from machine to machine, and that is no other recording.
                if mine and not _near(before.cpu(), value.cpu(), now[1].cpu()):
                    found.append(f"the {kind} of {name} is another")
    if found:
        raise UserError(
            f"data.sources: the recordings are not those that the run was trained on "
            f"({'; '.join(found[:_SHOWN])}); {ELSEWHERE}, or give the old recordings"
        )


def _near(before: Tensor, now: Tensor, scale: Tensor) -> bool:
    return before.shape == now.shape and bool(((before - now).abs() <= 1e-3 * scale).all())


def is_finished(checkpoint: Mapping[str, Any], steps: int, epochs: int | None) -> bool:
    """Has training come to its end?

    Args:
        checkpoint: Of the run.
        steps: `trainer.max_steps`; -1 where it is not set.
        epochs: `trainer.max_epochs`; -1 or None where it is not set.
    """
    progress = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_progress", {})
    done = progress.get("current", {}).get("completed", 0)
    enough = epochs not in (None, -1) and done >= epochs
    return enough or (steps != -1 and checkpoint["global_step"] >= steps)


def _flat(settings: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """What decides a number, by the name of its flag."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{at}.{key}" if at else str(key)
        if key == "init_args":
            found |= _flat(value, at)
        elif isinstance(value, Mapping) and value:
            found |= _flat(value, name)
        elif not _FREE.fullmatch(name):
            found[name] = value
    return found


def _value(settings: Mapping[str, Any], key: str) -> str:
    if key not in settings:
        return "not set"
    text = str(settings[key])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
