"""What every module of ours does alike: optimizer groups, seeding a step, logging."""

import lightning.pytorch as pl
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from data_modules.module import DataModule
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
        lr_scheduler: Stepped after every batch.
        seed: Of the noise.
    """

    def __init__(
        self,
        optimizer: OptimizerCallable = adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.seed = seed

    @property
    def data(self) -> DataModule:
        """The DataModule of this run."""
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, DataModule):
            raise TypeError("our modules need the trainer to have our DataModule")
        return data

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
        if self.lr_scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.lr_scheduler(optimizer), "interval": "step"},
        }

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
