"""Simulator: the video diffusion simulator with its action encoder, trained end to end."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from data_modules.partners import partners
from data_modules.windows import Ask, Windows
from lightning_app.modules.base import MssimModule, adam
from lightning_app.rows import (
    CONTROLS,
    GUIDED,
    LONG,
    LONG_ROWS,
    ONE_BY_ONE,
    Control,
    copy_last,
    predict_row,
    roll_out,
)
from lightning_app.scoring import Judges, PerceptionConfig, Scoring
from mssim.action.encoder import EncoderConfig
from mssim.batch import Batch
from mssim.build import TowerConfig, build_simulator
from mssim.checkpoint import check_fit, check_kind, load_checkpoint
from mssim.errors import UserError
from mssim.metrics.summary import per_unit, summarise
from mssim.resources import find_weights
from mssim.senses import SenseSet
from mssim.video.diffusion import DiffusionConfig, SamplerConfig
from mssim.video.rollout import Rollout
from mssim.video.simulator import LossWeights
from mssim.video.unet import UNetConfig

_SHUFFLED: Control = "shuffled-actions"
VALIDATION_CONTROLS: tuple[Control, ...] = ("copy-last-frame", _SHUFFLED)
_SCALE_WINDOWS = 128  # training windows that the residual's scale is measured on


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
        sampler: How frames are drawn, the same for all rows of a table, but for its guidance:
            `predict` draws with it, and of a table the row `guided` alone.
        guided: Guidance of the row `guided` that `test` adds; the sampler's by default, and 0
            leaves the row out.
        weights: Of the loss.
        drop_condition: Share of training windows that see the null condition.
        init: Checkpoint of a `Simulator` run, or released weights by file or name, to start
            from, statistics of the senses included.
        init_encoder: Checkpoint of an `ActionEncoder` run to start from: its encoder and tower.
        perception: Weights of LPIPS and FVD.
        controls: What `test` scores beside the model; all of them by default.
        long: Whether `test` also scores rollouts of `data.horizon` frames, as `predict` shows them.
        optimizer: See `MssimModule`.
        lr_scheduler: See `MssimModule`.
        seed: See `MssimModule`.

    Raises:
        UserError: The sampler does not go with the diffusion, or the tower's width is another.
    """

    measured = (
        *("train/loss", "train/video", "train/ssl", "train/norm"),
        *("val/psnr", "val/over_copy", "val/over_shuffled", "val/motion", "val/gradient"),
    )

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
        guided: float | None = None,
        weights: LossWeights = LossWeights(),  # noqa: B008 - frozen
        drop_condition: float = 0.1,
        init: Path | None = None,
        init_encoder: Path | None = None,
        perception: PerceptionConfig = PerceptionConfig(),  # noqa: B008 - frozen
        controls: list[Control] | None = None,
        long: bool = True,
        optimizer: OptimizerCallable = adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, seed)
        self.sampler, self.weights = sampler, weights
        self.guided = sampler.guidance if guided is None else guided
        self.init, self.init_encoder = init, init_encoder
        self.perception, self.predict = perception, predict
        self.controls = CONTROLS if controls is None else tuple(controls)
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
        # A sampler that does not go with the target is told now, not at the first validation.
        self.simulator.diffusion.scheduler(sampler)
        self.long = long
        self.scoring, self.long_scoring = Scoring(()), Scoring(())

    @property
    def started_from(self) -> Path | None:
        return self.init

    def setup(self, stage: str) -> None:
        self.check_text(self.simulator.encoder.config)
        windows = self.data.datasets["test" if stage == "test" else "val"]
        if stage != "predict" and len(windows):
            self._open_scoring(windows, tested=stage == "test")
        if stage == "fit" and self.trainer.ckpt_path is None:
            self._begin()

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

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        if dataloader_idx:
            self._score_long(batch)
        else:
            self._score(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Roll the simulator along all of the batch's actions: uint8 (B, T - H, 3, S, S)."""
        return roll_out(self._rollout(), batch, self.predict, self.seed)

    def on_validation_epoch_end(self) -> None:
        """Log pooled PSNR and the gaps that say whether actions are obeyed."""
        found = {
            row: summarise(per_unit(scores)).intervals
            for row, scores in self.scoring.compute().items()
        }
        self.scoring.reset()
        for name in ("motion", "gradient"):
            self.log(f"val/{name}", found["model"][name].value)
        psnr = {row: intervals["psnr"].value for row, intervals in found.items()}
        model = psnr["model"]
        self.log("val/psnr", model, prog_bar=True)
        self.log("val/over_copy", model - psnr["copy-last-frame"], prog_bar=True)
        if _SHUFFLED in psnr:
            self.log("val/over_shuffled", model - psnr[_SHUFFLED], prog_bar=True)

    def _open_scoring(self, windows: Windows, tested: bool) -> None:
        """Choose rows and partners for these windows; `test` insists on all that it is asked."""
        guided = (GUIDED,) if tested and self.guided else ()
        controls = self.controls if tested else VALIDATION_CONTROLS
        rows: tuple[str, ...] = ("model", *guided, *controls)
        judges = None
        if tested:
            frames = self.data.context + self.data.predict
            judges = Judges(self.perception, self.data.clock.size, frames)
            # A rollout no longer than a window would say the same again.
            self.data.tests_rollouts = self.long and self.data.horizon > self.predict
            long_rows = LONG_ROWS if self.data.tests_rollouts else ()
            self.long_scoring = Scoring(long_rows, length=self.data.horizon)
        unit = windows.index.unit
        self.partner_of = np.arange(len(unit))
        if _SHUFFLED in rows:
            try:
                self.partner_of = partners(unit, windows.source, self.seed)
            except UserError:
                if tested:
                    raise
                # A single unit has nobody to swap actions with, which is no reason not to train.
                rows = tuple(r for r in rows if r != _SHUFFLED)
        self.scoring = Scoring(rows, judges)

    def _score(self, batch: Batch, split: str) -> None:
        theirs = self.partner_of[batch.window.cpu().numpy()]
        ask = Ask(theirs, 0, batch.length - batch.context)
        partner = self.data.datasets[split][ask].to(self.device)
        sampler = replace(self.sampler, guidance=self.guided)
        for row in self.scoring.rows:
            frames = predict_row(row, self.simulator, batch, partner, sampler, self.seed)
            self.scoring.update(row, batch, frames)

    def _score_long(self, batch: Batch) -> None:
        pace = {LONG: self.predict, ONE_BY_ONE: 1}
        for row in self.long_scoring.rows:
            if row in pace:
                frames = roll_out(self._rollout(), batch, pace[row], self.seed)
            else:
                frames = copy_last(batch)
            self.long_scoring.update(row, batch, frames)

    def _rollout(self) -> Rollout:
        return Rollout(self.simulator, self.sampler, self.data.past_actions)

    def _begin(self) -> None:
        """What a fresh run takes from its data; one that goes on has it in its checkpoint."""
        if self.init is not None:
            self.load_state_dict(self._weights(self.init))
            return
        if self.init_encoder is not None:
            self.simulator.load_state_dict(self._encoder_weights(self.init_encoder), strict=False)
        self.simulator.encoder.normalizer.set_statistics(self.data.statistics())
        if self.simulator.diffusion.config.residual:
            self.simulator.residual_scale.fill_(self._residual_scale())

    def _residual_scale(self) -> float:
        """Root mean square of target frames minus the last context frame, on training data.

        Measured on the windows that training begins with, the same ones on every rank.
        """
        simulator, data = self.simulator, self.data
        simulator.residual_scale.fill_(1.0)
        windows = data.train_dataloader().plan.windows(epoch=0)[:_SCALE_WINDOWS]
        squares, count = 0.0, 0
        for part in np.array_split(windows, -(-len(windows) // data.eval_batch_size)):
            batch = data.datasets["train"][Ask(part, 0, data.predict)]
            batch = batch.to(self.device)
            real = simulator.to_diffused(batch)[batch.target_mask]
            squares, count = squares + real.double().square().sum().item(), count + real.numel()
        return max(math.sqrt(squares / max(count, 1)), 1e-3)

    def check_start(self) -> None:
        if self.init is not None:
            self._weights(self.init)
        elif self.init_encoder is not None:
            self._encoder_weights(self.init_encoder)

    def _weights(self, path: Path) -> dict[str, Tensor]:
        """Those of a whole simulator, if they fit."""
        saved: dict[str, Tensor] = load_checkpoint(find_weights(path))["state_dict"]
        try:
            check_fit(path, saved, self.state_dict())
        except UserError as error:
            raise UserError(f"model.init: {error}") from None
        return saved

    def _encoder_weights(self, path: Path) -> dict[str, Tensor]:
        """Those of an action encoder and its tower, if they fit."""
        parts = ("encoder.", "tower.")
        every = load_checkpoint(path)["state_dict"]
        saved = {k: v for k, v in every.items() if k.startswith(parts)}
        mine = {k: v for k, v in self.simulator.state_dict().items() if k.startswith(parts)}
        try:
            check_kind(path, every, "ActionEncoder")
            check_fit(path, saved, mine)
        except UserError as error:
            raise UserError(f"model.init_encoder: {error}") from None
        return saved
