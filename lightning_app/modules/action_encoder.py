"""ActionEncoder alone: reconstruction and norm loss; can initialise a simulator."""

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from lightning_app.modules.base import MssimModule, adam
from mssim.action.encoder import ActionEncoder as Encoder
from mssim.action.encoder import EncoderConfig
from mssim.batch import Batch
from mssim.build import TowerConfig, build_tower
from mssim.errors import UserError
from mssim.senses import SenseSet
from mssim.video.simulator import LossWeights


class ActionEncoder(MssimModule):
    """Trains the action encoder by L = ssl L_ssl + norm L_norm (paper section 2).

    Args:
        senses: Linked from `data.senses`.
        sources: Linked from `data.sources`.
        use_senses: Linked from `data.use_senses`.
        encoder: Sizes and variants.
        tower: What looks at frames; a small one stays as it was initialised, being trained by
            the video loss alone.
        weights: Of the loss; `video` is not used.
        optimizer: See `MssimModule`.
        lr_scheduler: See `MssimModule`.
        seed: See `MssimModule`.
    """

    measured = tuple(f"{s}/{n}" for s in ("train", "val") for n in ("loss", "ssl", "norm"))

    def __init__(
        self,
        senses: SenseSet,
        sources: list[str],
        use_senses: list[str] | None = None,
        encoder: EncoderConfig = EncoderConfig(),  # noqa: B008 - frozen
        tower: TowerConfig = TowerConfig(),  # noqa: B008 - frozen
        weights: LossWeights = LossWeights(),  # noqa: B008 - frozen
        optimizer: OptimizerCallable = adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, seed)
        self.weights = weights
        self.encoder = Encoder(senses.used(use_senses), len(sources), encoder)
        self.tower = build_tower(tower, encoder)
        if isinstance(self.tower, torch.nn.Module):
            self.tower.requires_grad_(False)

    def setup(self, stage: str) -> None:
        self.check_text(self.encoder.config)
        if stage == "fit" and self.trainer.ckpt_path is None:
            self.encoder.normalizer.set_statistics(self.data.statistics())

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._step(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._step(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """There is nothing to see of an encoder.

        Raises:
            UserError: Always.
        """
        raise UserError("model: an ActionEncoder predicts no frames; predict with a Simulator")

    def _step(self, batch: Batch, stage: str) -> Tensor:
        with torch.no_grad():
            seen = self.tower.images(batch.video())
            text = self.tower.texts(batch.text) if self.encoder.config.reads_text else None
        encoding = self.encoder(batch, seen, text)
        loss: Tensor = self.weights.ssl * encoding.ssl + self.weights.norm * encoding.norm
        self.log_all(stage, {"loss": loss, "ssl": encoding.ssl, "norm": encoding.norm}, batch.size)
        return loss
