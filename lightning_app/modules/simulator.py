"""Simulator: the video diffusion simulator with its action encoder, trained end to end."""

from pathlib import Path

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from data_modules.partners import partners
from data_modules.windows import Ask
from lightning_app.build import TowerConfig, build_simulator, load_checkpoint
from lightning_app.modules.base import MssimModule, adam
from lightning_app.rows import ROWS, predict_row
from lightning_app.scoring import Judges, PerceptionConfig, Scoring
from mssim.action.encoder import EncoderConfig
from mssim.batch import Batch
from mssim.errors import UserError
from mssim.metrics.summary import per_unit, summarise
from mssim.senses import SenseSet
from mssim.video.diffusion import DiffusionConfig, SamplerConfig
from mssim.video.rollout import Rollout
from mssim.video.simulator import LossWeights
from mssim.video.unet import UNetConfig

VALIDATION_ROWS = ("model", "copy-last-frame", "shuffled-actions")
_SCALE_BATCHES = 16  # training batches that the residual's scale is measured on


class Simulator(MssimModule):
    """Actions in, video out.

    Args:
        senses: Linked from `data.senses`.
        sources: Linked from `data.sources`.
        context: H, linked from `data.context`.
        predict: P, linked from `data.predict`.
        use_senses: Linked from `data.use_senses`.
        encoder: Of actions.
        tower: Of frames and text.
        unet: The space-time network.
        diffusion: What is diffused, and how.
        sampler: How frames are drawn, the same for all rows of a table.
        weights: Of the loss.
        drop_condition: Share of training windows that see the null condition.
        init_encoder: Checkpoint of an `ActionEncoder` run to start from.
        perception: Weights of LPIPS and FVD.
        optimizer: See `MssimModule`.
        lr_scheduler: See `MssimModule`.
        seed: See `MssimModule`.
    """

    def __init__(
        self,
        senses: SenseSet,
        sources: list[str],
        context: int = 4,
        predict: int = 8,
        use_senses: list[str] | None = None,
        encoder: EncoderConfig = EncoderConfig(),  # noqa: B008 - frozen
        tower: TowerConfig = TowerConfig(),  # noqa: B008 - frozen
        unet: UNetConfig = UNetConfig(),  # noqa: B008 - frozen
        diffusion: DiffusionConfig = DiffusionConfig(),  # noqa: B008 - frozen
        sampler: SamplerConfig = SamplerConfig(),  # noqa: B008 - frozen
        weights: LossWeights = LossWeights(),  # noqa: B008 - frozen
        drop_condition: float = 0.1,
        init_encoder: Path | None = None,
        perception: PerceptionConfig = PerceptionConfig(),  # noqa: B008 - frozen
        optimizer: OptimizerCallable = adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, seed)
        self.sampler, self.weights = sampler, weights
        self.perception = perception
        self.simulator = build_simulator(
            senses.used(use_senses),
            len(sources),
            context,
            predict,
            encoder,
            tower,
            unet,
            diffusion,
            drop_condition,
        )
        if init_encoder is not None:
            self._load_encoder(init_encoder)
        self.scoring = Scoring(())

    def setup(self, stage: str) -> None:
        rows = {"fit": VALIDATION_ROWS, "validate": VALIDATION_ROWS, "test": ROWS}.get(stage, ())
        split = "test" if stage == "test" else "val"
        if rows and len(windows := self.data.datasets[split]):
            self.partner_of = partners(windows.index.unit, self.seed)
            frames = self.data.context + self.data.predict
            judges = Judges(self.perception, self.data.clock.size, frames)
            self.scoring = Scoring(rows, judges if stage == "test" else None)
        if stage == "fit":
            self.simulator.encoder.normalizer.set_statistics(self.data.statistics())
            if self.simulator.diffusion.config.residual:
                self.simulator.residual_scale.fill_(self._residual_scale())

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        losses = self.simulator.loss(batch, self.weights, self.seed, self.global_step)
        self.log_all(
            "train",
            {
                "loss": losses.total,
                "video": losses.video,
                "ssl": losses.ssl,
                "norm": losses.norm,
            },
            batch.size,
        )
        return losses.total

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._score(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._score(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Roll the simulator along all of the batch's actions: uint8 (B, T - H, 3, S, S)."""
        h, p = batch.context, self.simulator.net.when.num_embeddings
        rollout = Rollout(self.simulator, self.sampler)
        state = rollout.start(batch, self.seed)
        senses = {n: v[:, h:] for n, v in batch.senses.items()}
        steps = rollout.run(state, senses, batch.presence[:, h:], p)
        return torch.cat([frames for frames, _ in steps], dim=1)

    def on_validation_epoch_end(self) -> None:
        """Log pooled PSNR and the gaps that say whether actions are obeyed."""
        psnr = {
            row: summarise(per_unit(scores)).intervals["psnr"].value
            for row, scores in self.scoring.compute().items()
        }
        self.scoring.reset()
        model = psnr["model"]
        self.log("val/psnr", model, prog_bar=True)
        self.log("val/over_copy", model - psnr["copy-last-frame"], prog_bar=True)
        self.log("val/over_shuffled", model - psnr["shuffled-actions"], prog_bar=True)

    def _score(self, batch: Batch, split: str) -> None:
        theirs = self.partner_of[batch.window.cpu().numpy()]
        ask = Ask(theirs, 0, batch.length - batch.context)
        partner = self.data.datasets[split].__getitems__(ask).to(self.device)
        for row in self.scoring.rows:
            frames = predict_row(row, self.simulator, batch, partner, self.sampler, self.seed)
            self.scoring.update(row, batch, frames)

    def _residual_scale(self) -> float:
        """Root mean square of target frames minus the last context frame, on training data."""
        loader = self.data.train_dataloader()
        simulator = self.simulator
        simulator.residual_scale.fill_(1.0)
        squares = []
        for i, batch in enumerate(loader):
            if i == _SCALE_BATCHES:
                break
            squares.append(simulator.to_diffused(batch.to(self.device)).square().mean())
        return max(float(torch.stack(squares).mean().sqrt()), 1e-3)

    def _load_encoder(self, path: Path) -> None:
        state = load_checkpoint(path)["state_dict"]
        mine = {k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")}
        try:
            self.simulator.encoder.load_state_dict(mine)
        except RuntimeError as error:
            raise UserError(
                f"model.init_encoder: {path} does not fit this encoder "
                f"({str(error).splitlines()[-1].strip()}); use the same senses and encoder sizes"
            ) from None
