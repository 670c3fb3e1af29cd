"""Report: what is written into the run folder by `test` and `predict`, for a person to look at."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from einops import rearrange
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor

from data_modules.files import homeless
from data_modules.text import GRIP_READS_AHEAD, Captions
from lightning_app.callbacks.keep import Best, is_trial
from lightning_app.modules.simulator import Simulator
from lightning_app.report.attribution import write_attribution
from lightning_app.report.curve import write_curve
from lightning_app.report.drift import write_drift
from lightning_app.report.page import SENSES, write_clip, write_page
from lightning_app.report.scores import write_scores
from lightning_app.report.table import (
    brief,
    build_long_table,
    build_table,
    one_step,
    write_table,
)
from lightning_app.report.video import film_strip, side_by_side, write_gif, write_mp4, write_png
from lightning_app.scoring import device_name
from mssim.attribution import contributions
from mssim.batch import Batch


class Report(Callback):
    """Metric table, drift plot, rollout videos and `index.html`.

    Args:
        gifs: How many rollouts are also written as GIF and film strip, with what each sense adds.
    """

    def __init__(self, gifs: int = 1) -> None:
        self.gifs = gifs

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not isinstance(pl_module, Simulator) or is_trial(trainer):
            return
        # Gathering is every rank's work; writing is one's.
        rows, distances = pl_module.scoring.compute(), pl_module.scoring.distances()
        long = pl_module.long_scoring.compute()
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        table = build_table(rows, pl_module.scoring.lpips, distances, seed=pl_module.seed)
        table += build_long_table(long, seed=pl_module.seed) if long else []
        facts = _facts(pl_module)
        write_table(folder, table, facts)
        write_scores(folder / "scores.npz", rows | long)
        write_drift(folder / "drift.png", rows | long, _interval(pl_module))
        print(brief(table, folder))
        print(f"wrote {write_page(folder, folder.name, facts)}")

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if is_trial(trainer) or not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            logger.save()
        folder = Path(trainer.default_root_dir)
        best = [c.monitor for c in trainer.checkpoint_callbacks if isinstance(c, Best)]
        write_curve(folder, *filter(None, best))
        write_page(folder, folder.name, {})

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not isinstance(pl_module, Simulator) or is_trial(trainer):
            return
        folder = Path(trainer.default_root_dir) / "rollouts"
        folder.mkdir(parents=True, exist_ok=True)
        for row in range(batch.size):
            unit = pl_module.data.unit_names[int(batch.unit[row])]
            name = unit.replace("/", "_").replace("#", "-")
            moving = trainer.is_global_zero and batch_idx * batch.size + row < self.gifs
            _write_rollout(folder / name, batch, row, outputs[row], moving)
            label = pl_module.data.unit_labels[int(batch.unit[row])]
            person = pl_module.data.subject_names[int(batch.subject[row])]
            write_clip(folder / name, label, person, _psnr(batch, row, outputs[row]))
            if moving:
                _write_attribution(folder / f"{name}{SENSES}.png", pl_module, batch, row)

    def on_predict_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not isinstance(pl_module, Simulator) or is_trial(trainer):
            return
        trainer.strategy.barrier()  # the page shows what all ranks have made
        if trainer.is_global_zero:
            folder = Path(trainer.default_root_dir)
            print(f"wrote {write_page(folder, folder.name, _facts(pl_module))}")


def truth_and_prediction(
    batch: Batch, row: int, predicted: Tensor
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """What happened and what was predicted from its context on, uint8 (N, S, S, 3) each.

    Args:
        batch: Holds the truth.
        row: Of the batch.
        predicted: uint8 (P, 3, S, S); frames after the end of the unit are left out.
    """
    h, real = batch.context, int(batch.target_mask[row].sum())
    true = _pictures(next(iter(batch.frames.values()))[row])[: h + real]
    return true, np.concatenate([true[:h], _pictures(predicted)[:real]])


def _write_rollout(stem: Path, batch: Batch, row: int, predicted: Tensor, moving: bool) -> None:
    """STEM.mp4, and where `moving` STEM.gif and STEM.png: truth beside prediction."""
    true, shown = truth_and_prediction(batch, row, predicted)
    h, real = batch.context, len(true) - batch.context
    traces: dict[str, NDArray[np.float64]] = {}
    for m, (name, values) in enumerate(batch.senses.items()):
        if batch.presence[row, :, m].any():
            flat = rearrange(values[row, : h + real], "t ... -> t (...)")
            traces[name] = flat.cpu().double().numpy()
    fps = 1.0 / float(batch.interval[row])
    write_mp4(stem.with_name(stem.name + ".mp4"), side_by_side(true, shown, h, traces), fps)
    if moving:
        write_gif(stem.with_name(stem.name + ".gif"), side_by_side(true, shown, h, traces), fps)
        write_png(stem.with_name(stem.name + ".png"), film_strip(true, shown, h))


def _psnr(batch: Batch, row: int, predicted: Tensor) -> float:
    """Of all predicted frames pooled, dB; infinite where there is no error."""
    true, shown = truth_and_prediction(batch, row, predicted)
    error = (true[batch.context :].astype(np.float64) - shown[batch.context :]) / 255.0
    return -10 * math.log10(mse) if (mse := float(np.square(error).mean())) else math.inf


def _write_attribution(path: Path, module: Simulator, batch: Batch, row: int) -> None:
    """What each sense contributes to the first frames of a rollout."""
    index = torch.tensor([row], device=batch.presence.device)
    window = batch.rows(index).first(module.predict)
    change = contributions(module.simulator, window, module.sampler, module.seed)
    write_attribution(path, list(batch.senses), change[:, 0].double().cpu().numpy())


def _pictures(frames: Tensor) -> NDArray[np.uint8]:
    """uint8 (T, 3, S, S) as (T, S, S, 3)."""
    return np.ascontiguousarray(rearrange(frames.cpu(), "t c y x -> t y x c").numpy())


def _interval(module: Simulator) -> float | None:
    """Seconds between the frames of a test window, where all have the same."""
    return module.data.datasets["test"].interval()


def _facts(module: Simulator) -> Mapping[str, object]:
    """What a number in the table came from."""
    trainer, sampler = module.trainer, module.sampler
    guidance = f"guidance 0 (row guided: {module.guided:g})" if module.guided else "guidance 0"
    if sampler.guidance:
        guidance += f", rollouts {sampler.guidance:g}"
    reads = module.simulator.encoder.config.reads_text
    captions = module.data.datasets["test"].captions if reads else None
    return {
        "data": ", ".join(module.data.source_names),
        "size": f"{module.data.clock.size} px",
        "checkpoint": homeless(str(trainer.ckpt_path or "none")),
        "sampler": f"{sampler.kind}, {sampler.steps} steps, {guidance}",
        "seed": module.seed,
        "precision": trainer.precision,
        "hardware": device_name(module.device),
        **remarks(sampler.steps, captions),
    }


def remarks(steps: int, captions: Captions | None) -> dict[str, str]:
    """What must be known of some settings to read the numbers.

    Args:
        steps: Of the sampler.
        captions: What is said of the windows, if the model reads it.
    """
    found = {}
    if (drawn := one_step(steps)) is not None:
        found["drawn frames"] = drawn
    if captions is not None and captions.grip is not None and captions.grip.any():
        found["captions"] = GRIP_READS_AHEAD
    return found
