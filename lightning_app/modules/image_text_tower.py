"""ImageTextTower: frames and captions brought together; trained once, then frozen for all rows."""

from collections import Counter

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from data_modules.text import Level, caption
from lightning_app.modules.base import MssimModule, adam
from mssim.batch import Batch
from mssim.contrastive import Contrast, agreement, retrieved
from mssim.errors import UserError
from mssim.towers import SmallTower

_JUDGED: tuple[Level, ...] = ("phrase", "verb")


class ImageTextTower(MssimModule):
    """Trains a small tower by symmetric InfoNCE between a window's frames and its caption.

    Each rank contrasts its own windows. A frame alone cannot tell a sentence's speed, so what is
    judged is whether it finds its activity among all of the split's phrases, and among its verbs.

    Args:
        width: D, the features' width; `encoder.feature` of the simulators that will use it.
        channels: Of the first of four layers.
        optimizer: See `MssimModule`.
        lr_scheduler: See `MssimModule`.
        seed: See `MssimModule`.
    """

    measured = (
        *("train/loss", "train/scale", "val/loss"),
        *("val/accuracy", "val/chance", "val/commonest"),
        *("val/accuracy_verb", "val/chance_verb", "val/commonest_verb"),
    )

    def __init__(
        self,
        width: int = 128,
        channels: int = 24,
        optimizer: OptimizerCallable = adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, seed)
        self.tower = SmallTower(width, channels, text=True)
        self.contrast = Contrast()

    def setup(self, stage: str) -> None:
        """Note what is done in the windows that will be judged, by level of detail.

        Raises:
            UserError: The data say nothing.
        """
        split = "test" if stage == "test" else "val"
        units = self.data.datasets[split].index.unit.tolist()
        labels = [self.data.unit_labels[u] for u in units]
        self.said = {d: Counter(s for u in labels if (s := caption(u, d))) for d in _JUDGED}
        if self.data.text == "none":
            raise UserError("data.text: `none`, but a tower learns from captions; set `varied`")
        if units and not self.said["phrase"]:
            raise UserError(f"data.sources: no window of {split} is labelled; a tower needs labels")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        frames, owner = self._seen(batch)
        loss = self._loss(batch, frames, owner)
        scale = self.contrast.log_scale.detach().exp()
        self.log_all("train", {"loss": loss, "scale": scale}, len(frames))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._judge(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._judge(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """There is nothing to see of a tower.

        Raises:
            UserError: Always.
        """
        raise UserError("model: an ImageTextTower predicts no frames; predict with a Simulator")

    def _seen(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Features of all real frames (N, D), and the window of each, int64 (N,)."""
        real = torch.cat([batch.context_mask, batch.target_mask], dim=1)
        return self.tower.images(batch.video())[real], real.nonzero()[:, 0]

    def _loss(self, batch: Batch, frames: Tensor, owner: Tensor) -> Tensor:
        same, known = (m.to(owner.device)[owner] for m in agreement(batch.text))
        loss: Tensor = self.contrast(frames, self.tower.texts(batch.text), same, known)
        return loss

    def _judge(self, batch: Batch, stage: str) -> None:
        """Log the loss, and the share of frames that find their activity.

        Beside it, what a blind guess finds (`chance`), and what the commonest name (`commonest`).
        """
        frames, owner = self._seen(batch)
        values = {"loss": self._loss(batch, frames, owner)}
        for level, said in self.said.items():
            names, suffix = sorted(said), "" if level == "phrase" else f"_{level}"
            mine = [caption(self.data.unit_labels[u], level) for u in batch.unit.tolist()]
            aim = torch.tensor([names.index(s) if s else -1 for s in mine], device=frames.device)
            aim = aim[owner]
            known = (aim >= 0).sum().clamp(min=1)
            common = names.index(said.most_common(1)[0][0])
            right = retrieved(frames, self.tower.texts(names)) == aim
            values[f"accuracy{suffix}"] = right.sum() / known
            values[f"chance{suffix}"] = torch.tensor(1 / len(names), device=frames.device)
            values[f"commonest{suffix}"] = (aim == common).sum() / known
        self.log_all(stage, values, len(frames))
