"""What every module of ours does alike: optimizer groups, schedule, seeding a step, logging."""

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from data_modules.module import DataModule
from lightning_app.resume import check_data, check_processes
from lightning_app.schedule import Schedule
from mssim.action.encoder import EncoderConfig
from mssim.errors import UserError
from mssim.noise import seed_of


def adam(params: object) -> Optimizer:
    """Adam as in the paper: learning rate 1e-4, betas (.9, .99)."""
    return torch.optim.Adam(params, lr=1e-4, betas=(0.9, 0.99))  # type: ignore[arg-type]


class MssimModule(pl.LightningModule):
    """Base of our modules.

    Args:
        optimizer: Made from parameter groups; matrices decay, gains and biases do not.
        lr_scheduler: Stepped after every optimizer step; a `OneCycleLR` whose `total_steps` is not
            set is as long as the training.
        seed: Of the noise.

    Raises:
        UserError: The seed is negative.

    Attributes:
        measured: Names of what is logged while training, for callbacks to watch.
    """

    measured: tuple[str, ...] = ()

    def __init__(
        self,
        optimizer: OptimizerCallable = adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if seed < 0:
            raise UserError(f"model.seed: {seed} must be at least 0")
        self.optimizer = optimizer
        self.schedule = Schedule(lr_scheduler)
        self.seed = seed

    @property
    def started_from(self) -> Path | None:
        """The weights whose statistics of the senses a fresh run takes, instead of its data's."""
        return None

    @property
    def data(self) -> DataModule:
        """The DataModule of this run."""
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, DataModule):
            raise TypeError("our modules need the trainer to have our DataModule")
        return data

    def check_start(self) -> None:
        """See, before anything is done, that a fresh run can start from what its config names.

        Raises:
            UserError: It cannot.
        """

    def check_text(self, encoder: EncoderConfig) -> None:
        """Insist that something is said where the encoder reads text.

        Raises:
            UserError: The data come without words.
        """
        if encoder.reads_text and self.data.text == "none":
            raise UserError(
                f"data.text: `none`, but the encoder reads text (encoder.text `{encoder.text}`, "
                f"encoder.binding `{encoder.binding}`); set data.text to verb, phrase or sentence"
            )

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Dropout draws from the global generator: make it, too, a function of rank and step."""
        torch.manual_seed(seed_of(self.seed, self.global_rank, self.global_step))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.optimizer(groups(self))
        schedule = self.schedule.of(optimizer, self._steps())
        if schedule is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["recordings"] = self.data.contents()
        checkpoint["processes"] = self.trainer.world_size

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Where training goes on, it does so on the same data; to another end, if need be.

        Raises:
            UserError: The data are not those that it was begun on.
        """
        if self.trainer.state.fn != TrainerFn.FITTING:
            return
        check_processes(checkpoint, self.trainer.world_size)
        statistics = {} if self.started_from is not None else self.data.statistics()
        check_data(checkpoint, self.data.contents(), statistics)
        told = self.schedule.stretch(checkpoint, self.optimizer(groups(self)), self._steps())
        if told is not None and self.trainer.is_global_zero:
            print(told)

    def _steps(self) -> int | None:
        """Optimizer steps of the whole training; None where it has no end.

        Not the trainer's own estimate: that makes the loaders, and a resumed place is lost.
        """
        trainer = self.trainer
        most = None if trainer.max_steps == -1 else trainer.max_steps
        if trainer.max_epochs in (None, -1):
            return most
        batches, limit = len(self.data.train_dataloader()), trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        steps = math.ceil(batches / trainer.accumulate_grad_batches) * trainer.max_epochs
        return steps if most is None else min(steps, most)

    def log_all(self, stage: str, values: dict[str, Tensor], size: int) -> None:
        """Log scalars as `stage/name`; the first also in the progress bar."""
        for i, (name, value) in enumerate(values.items()):
            self.log(
                f"{stage}/{name}",
                value,
                prog_bar=i == 0,
                batch_size=size,
                sync_dist=stage != "train",
            )


def groups(module: nn.Module) -> list[dict[str, object]]:
    """Parameter groups: matrices and kernels decay as the optimizer says, the rest does not."""
    trained = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2]},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
