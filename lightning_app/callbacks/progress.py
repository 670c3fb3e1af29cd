"""Progress: what `fit` tells a person: what is trained, how long it takes, what to do next."""

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from lightning_app.callbacks.keep import is_trial
from lightning_app.modules.base import MssimModule
from lightning_app.modules.simulator import Simulator
from mssim.batch import Batch

_WARM = 3
"""Steps that are slower than the others, as memory and kernels are made."""
_MEASURED = 8
_LONGEST = 100
"""Most steps between two lines."""


class Progress(Callback):
    """Prints what a training is, its expected time, and the commands that come after it.

    Args:
        lines: Without a progress bar, about so many lines over the whole training.
    """

    def __init__(self, lines: int = 20) -> None:
        self.lines = lines
        self._begin = self._done = 0
        self._since: tuple[int, float] | None = None
        self._paused = self._stopped = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin, self._done = trainer.global_step, 0
        self._since, self._paused = None, 0.0
        wanted = isinstance(pl_module, MssimModule) and trainer.is_global_zero
        if not wanted or is_trial(trainer):
            return
        assert isinstance(pl_module, MssimModule)
        windows = {k: len(w) for k, w in pl_module.data.datasets.items()}
        there = ", ".join(f"{n} to {name}" for name, n in zip(_DO, windows.values(), strict=True))
        steps, done = _steps(trainer), trainer.global_step
        rest = f", {done} done" if done else ""
        # Not the module's own `print`, which goes through a bar that is not there yet.
        print(
            f"run folder: {trainer.default_root_dir}\n"
            f"windows: {there}\n"
            f"model: {_parameters(pl_module)}\n"
            f"steps: {steps or 'without end'}{rest}, {pl_module.data.batch_size} windows each"
            + (f" on each of {trainer.world_size} devices" if trainer.world_size > 1 else "")
        )

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        done, steps = trainer.global_step - self._begin, _steps(trainer)
        if done < _WARM or done == self._done or is_trial(trainer):
            return
        self._done = done  # a step may take several batches
        if self._since is None:
            self._since, self._paused = (done, time.monotonic()), 0.0
            return
        first, since = self._since
        took = time.monotonic() - since
        pace = (took - self._paused) / max(done - first, 1)
        if done == _WARM + _MEASURED and steps:
            span = _span(pace * (steps - self._begin))
            pl_module.print(f"expected time: {span}, {pace:.2g} s a step, without validation")
        if trainer.progress_bar_callback is None and self._is_due(trainer.global_step, steps):
            pl_module.print(_line(trainer, took / max(done - first, 1), steps))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stopped = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._paused += time.monotonic() - self._stopped

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if is_trial(trainer) or not trainer.is_global_zero:
            return
        config = Path(trainer.default_root_dir) / "config.yaml"
        words = ["test", "predict"] if isinstance(pl_module, Simulator) else ["validate"]
        print("\n".join(["trained; next:", *(f"  mssim {w} --config {config}" for w in words)]))

    def _is_due(self, step: int, steps: int | None) -> bool:
        every = _LONGEST if steps is None else min(max(1, steps // self.lines), _LONGEST)
        return step % every == 0


_DO = ("train", "validate", "test")


def _steps(trainer: pl.Trainer) -> int | None:
    """Optimizer steps of the whole training; None without end."""
    steps = trainer.estimated_stepping_batches
    return int(steps) if steps not in (-1, float("inf")) else None


def _parameters(module: pl.LightningModule) -> str:
    """How many numbers are trained, and how many are frozen."""
    sizes = {True: 0, False: 0}
    for parameter in module.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    frozen = f", {sizes[False] / 1e6:.2f} M frozen" if sizes[False] else ""
    return f"{type(module).__name__}, {sizes[True] / 1e6:.2f} M parameters{frozen}"


def _line(trainer: pl.Trainer, pace: float, steps: int | None) -> str:
    step = trainer.global_step
    told = [f"step {step}" + (f" of {steps}" if steps else "")]
    for name in ("train/loss", "val/psnr"):
        if name in trainer.callback_metrics:
            told.append(f"{name} {trainer.callback_metrics[name].item():.4g}")
    told.append(f"{pace:.2g} s a step")
    if steps:
        told.append(f"{_span(pace * (steps - step))} to go")
    return ", ".join(told)


def _span(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
