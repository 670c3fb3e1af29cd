"""Watch: what a person looks at in TensorBoard while a simulator trains."""

import tempfile
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.optim import Optimizer

from data_modules.windows import Ask
from lightning_app.callbacks.report import truth_and_prediction
from lightning_app.modules.simulator import Simulator
from lightning_app.report.canvas import Pixels
from lightning_app.report.video import film_strip, side_by_side, write_gif
from mssim.batch import Batch


class Watch(Callback):
    """Logs learning rate, gradient norm and samples a second, and at each validation a picture
    strip and a rollout video of one validation window.

    Args:
        rollout: Whether validations are shown.
    """

    def __init__(self, rollout: bool = True) -> None:
        self.rollout = rollout
        self._since: float | None = None
        self._samples = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since, self._samples = None, 0

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """The norm before it is clipped, where it is written: it costs a pass over all weights."""
        if (trainer.global_step + 1) % _every(trainer) == 0:
            there = [p.grad for p in pl_module.parameters() if p.grad is not None]
            norms = torch.stack([torch.linalg.vector_norm(g) for g in there])
            pl_module.log("train/gradient_norm", torch.linalg.vector_norm(norms))

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        pl_module.log("train/learning_rate", trainer.optimizers[0].param_groups[0]["lr"])
        now = time.monotonic()
        if self._since is not None:
            self._samples += batch.size * trainer.world_size
            rate = self._samples / max(now - self._since, 1e-9)
            pl_module.log("train/samples_per_second", rate)
        if self._since is None or trainer.global_step % _every(trainer) == 0:
            self._since, self._samples = now, 0

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """While the averaged weights are in."""
        logs = next((x for x in trainer.loggers if isinstance(x, TensorBoardLogger)), None)
        wanted = self.rollout and isinstance(pl_module, Simulator) and trainer.is_global_zero
        if not wanted or logs is None or trainer.sanity_checking:
            return
        assert isinstance(pl_module, Simulator)
        shown = _rolled_out(pl_module)
        if shown is None:
            return
        true, predicted, h, fps = shown
        step = trainer.global_step
        strip = film_strip(true, predicted, h)
        logs.experiment.add_image("val/strip", strip, step, dataformats="HWC")
        _add_gif(logs, "val/rollout", list(side_by_side(true, predicted, h, {})), fps, step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since, self._samples = None, 0  # no validation in samples a second


def _every(trainer: pl.Trainer) -> int:
    """Steps from one point of a curve to the next."""
    return max(1, int(getattr(trainer, "log_every_n_steps", 50)))


def _rolled_out(module: Simulator) -> tuple[Pixels, Pixels, int, float] | None:
    """Truth and prediction (N, S, S, 3) from the first validation window on, H, frames a second."""
    windows = module.data.datasets["val"]
    if not len(windows):
        return None
    ask = Ask(np.array([0]), 0, windows.frames_ahead(0, module.data.horizon))
    batch = windows[ask].to(module.device)
    with module.trainer.precision_plugin.forward_context():
        predicted = module.predict_step(batch, 0)[0]
    true, shown = truth_and_prediction(batch, 0, predicted)
    return true, shown, batch.context, 1.0 / float(batch.interval[0])


def _add_gif(
    logs: TensorBoardLogger, tag: str, frames: list[Pixels], fps: float, step: int
) -> None:
    """A moving picture, as TensorBoard's own `add_video` writes it, which needs moviepy."""
    with tempfile.TemporaryDirectory() as folder:
        write_gif(Path(folder) / "a.gif", frames, fps)
        content = (Path(folder) / "a.gif").read_bytes()
    height, width = frames[0].shape[:2]
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content)
    summary = Summary(value=[Summary.Value(tag=tag, image=image)])
    logs.experiment._get_file_writer().add_summary(summary, step)
