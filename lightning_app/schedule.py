"""OneCycleLR as long as the training: filled in, checked, and stretched where training goes on."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from mssim.errors import UserError

KEY = "model.lr_scheduler.total_steps"


class Schedule:
    """The learning rate's schedule of a config.

    Args:
        make: What makes it of an optimizer; None where the rate stays as it is.
    """

    def __init__(self, make: Callable[[Optimizer], Any] | None) -> None:
        self._make = make
        # The config's classes come as `partial(instantiate, CLASS, **arguments)`.
        cycle = isinstance(make, partial) and OneCycleLR in make.args
        self._cycle: partial[Any] | None = make if isinstance(make, partial) and cycle else None

    @property
    def follows(self) -> bool:
        """Is it as long as the training, nothing else being set?"""
        set_ = {} if self._cycle is None else self._cycle.keywords
        free = all(set_.get(k) is None for k in ("total_steps", "epochs", "steps_per_epoch"))
        return self._cycle is not None and free

    def check(self, steps: int) -> str | None:
        """What is to be told of a length that is set and is not the training's.

        Args:
            steps: Optimizer steps of the training; below 1 where that is not known.

        Raises:
            UserError: The schedule ends before the training.
        """
        length = None if self._cycle is None else self._cycle.keywords.get("total_steps")
        if length is None or length == steps or steps < 1:
            return None
        if length < steps:
            raise UserError(
                f"{KEY}: {length}, but trainer.max_steps is {steps}, and OneCycleLR ends there; "
                "set total_steps to null, which follows max_steps, or to the same number"
            )
        return f"schedule: OneCycleLR is {length} steps long ({KEY}); training ends at {steps}"

    def of(self, optimizer: Optimizer, steps: int | None) -> LRScheduler | None:
        """The scheduler, at its first step.

        Args:
            optimizer: Whose rate it sets.
            steps: Optimizer steps of the training; None where it has no end.

        Raises:
            UserError: It is to be as long as a training without an end.
        """
        if self._make is None:
            return None
        made: LRScheduler
        if self._cycle is None or not self.follows:
            made = self._make(optimizer)
            return made
        if steps is None:
            raise UserError(
                "model.lr_scheduler: OneCycleLR is as long as the training, which has no end; set "
                "trainer.max_steps"
            )
        # A rise of exactly one step would be divided by its length, 0.
        longer = int(self._cycle.keywords.get("pct_start", 0.3) * steps == 1)
        made = partial(self._cycle, total_steps=steps + longer)(optimizer)
        return made

    def stretch(
        self, checkpoint: dict[str, Any], optimizer: Optimizer, steps: int | None
    ) -> str | None:
        """Make a checkpoint go on under a schedule of another length, at the step that it is at.

        Args:
            checkpoint: Changed in place; nothing is where the length is the same.
            optimizer: One as the config makes it, for nothing but this.
            steps: As for `of`.

        Returns:
            What is to be told of it.
        """
        saved: dict[str, Any] = next(iter(checkpoint.get("lr_schedulers") or []), {})
        before = saved.get("total_steps")
        new = self.of(optimizer, steps)
        if before is None or not isinstance(new, OneCycleLR) or new.total_steps == before:
            return None
        step = saved["last_epoch"]
        if step:
            optimizer.step()  # Of no gradients; a scheduler complains of one that never stepped.
            new.last_epoch = step - 1
            new.step()
        groups = checkpoint["optimizer_states"][0]["param_groups"]
        rate = groups[0]["lr"]
        for group, now in zip(groups, optimizer.param_groups, strict=True):
            group.update({k: v for k, v in now.items() if k != "params"})
        checkpoint["lr_schedulers"] = [new.state_dict() | {"_step_count": saved["_step_count"]}]
        return (
            f"schedule: OneCycleLR is stretched from {before} to {new.total_steps} steps; at step "
            f"{step} the learning rate goes from {rate:.2g} to {groups[0]['lr']:.2g}"
        )
