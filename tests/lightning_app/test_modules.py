"""The LightningModules: each learns a batch by heart, and an encoder starts a simulator."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from helpers.tiny import build, checkpoint, write_config
from torch import Tensor

from lightning_app.cli import main
from lightning_app.modules.action_encoder import ActionEncoder
from lightning_app.modules.base import groups
from lightning_app.modules.simulator import Simulator
from lightning_app.rows import predict_row
from mssim.batch import Batch

# One recording, two windows of it, both of them in every batch.
ONE_BATCH = ["--data.limit", "1", "--data.start_every", "16", "--data.batch_size", "2"]


class Losses(pl.Callback):
    """What `training_step` returned, step by step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, *args: Any, **_: Any) -> None:
        self.seen.append(float(args[2]["loss"]))


def learn(config: Path, steps: int, *words: str) -> tuple[Any, Batch, list[float]]:
    """Train on one batch through the Trainer; the module, the batch, and the losses."""
    more = ["--trainer.max_steps", str(steps), "--trainer.limit_val_batches", "0", *words]
    cli, losses = build(config, *ONE_BATCH, *more), Losses()
    cli.trainer.callbacks.append(losses)
    cli.trainer.fit(cli.model, cli.datamodule)
    assert len(cli.datamodule.train_dataloader()) == 1
    return cli.model.eval(), next(iter(cli.datamodule.train_dataloader())), losses.seen


def test_the_simulator_learns_a_batch_by_heart(toy: Path, tmp_path: Path) -> None:
    words = ["--model.optimizer.lr", "0.006", "--model.drop_condition", "0"]
    module, batch, losses = learn(write_config(tmp_path, toy), 60, *words)
    assert isinstance(module, Simulator)
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    true = batch.frames["top"][:, 4:].float()
    error = {
        row: (predict_row(row, module.simulator, batch, batch, module.sampler, 0).float() - true)
        .square()
        .mean()
        for row in ("model", "copy-last-frame")
    }
    assert error["model"] < 0.4 * error["copy-last-frame"]


def test_the_encoder_learns_a_batch_by_heart(toy: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, toy, model="ActionEncoder")
    module, _, losses = learn(config, 60, "--model.optimizer.lr", "0.02")
    assert isinstance(module, ActionEncoder)
    assert losses[-1] < 0.1 * losses[0]


def test_an_encoder_s_run_starts_a_simulator(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = ["--trainer.max_steps", "2"]
    main(["fit", "--config", str(write_config(tmp_path, toy, "enc", "ActionEncoder")), *steps])
    path = tmp_path / "enc" / "checkpoints" / "last.ckpt"
    encoder = checkpoint(tmp_path / "enc")["state_dict"]
    config = str(write_config(tmp_path, toy))
    words = ["fit", "--config", config, *steps, "--model.init_encoder", str(path)]
    started: dict[str, Tensor] = {}

    class Look(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            started.update({k: v.clone() for k, v in pl_module.state_dict().items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_app.callbacks.report.Report.on_train_start", Look.on_train_start)
        main([*words, "--run", str(tmp_path / "sim")])
    learned = {k: v for k, v in encoder.items() if k.startswith(("encoder.", "tower."))}
    assert any("experts" in k for k in learned) and any("tower" in k for k in learned)
    assert all(torch.equal(started[f"simulator.{k}"], v) for k, v in learned.items())
    # What has begun needs the encoder's run no more.
    path.rename(path.with_name("gone.ckpt"))
    main(["validate", "--config", str(tmp_path / "sim" / "config.yaml")])
    main([*words, "--run", str(tmp_path / "sim"), "--trainer.max_steps", "3"])
    path.with_name("gone.ckpt").rename(path)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*words, "--run", str(tmp_path / "other"), "--model.encoder.code", "12"])
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith(f"mssim: model.init_encoder: {path}: does not fit this model: encoder.")
    assert "is (16" in told and "(12" in told
    with pytest.raises(SystemExit):
        main([*words, "--run", str(tmp_path / "other"), "--model.init_encoder", "nowhere.ckpt"])
    assert "nowhere.ckpt: no checkpoint there" in capsys.readouterr().err


def test_an_encoder_has_nothing_to_predict(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_config(tmp_path, toy, model="ActionEncoder"))
    main(["fit", "--config", config, "--trainer.max_steps", "1"])
    cli = build(Path(config))
    cli.trainer.fit(cli.model, cli.datamodule)
    assert set(cli.model.measured) <= cli.trainer.callback_metrics.keys()
    main(["test", "--config", config])
    assert "test/loss" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["predict", "--config", config])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said == "mssim: model: an ActionEncoder predicts no frames; predict with a Simulator"


def test_a_single_validation_unit_has_no_partner(toy: Path, tmp_path: Path) -> None:
    words = ["--data.limit", "1", "--trainer.limit_val_batches", "1"]
    cli = build(write_config(tmp_path, toy), *words, "--trainer.max_steps", "3")
    cli.trainer.fit(cli.model, cli.datamodule)
    assert cli.model.scoring.rows == ("model", "copy-last-frame")
    seen = cli.trainer.callback_metrics
    assert "val/psnr" in seen and "val/over_copy" in seen and "val/over_shuffled" not in seen


def test_a_single_test_unit_is_tested_without_its_partner_s_row(
    toy: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["test", "--config", str(trained / "config.yaml"), "--run", str(tmp_path / "one")]
    words += ["--ckpt_path", str(trained / "checkpoints" / "last.ckpt"), "--data.limit", "1"]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(words)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    controls = "[copy-last-frame, held-action, no-action]"
    assert said.endswith(f"or leave that row out: --model.controls '{controls}'")
    main([*words, "--model.controls", controls])
    assert (tmp_path / "one" / "metrics.json").exists()


def test_the_gap_to_shuffled_actions_is_logged(toy: Path, tmp_path: Path) -> None:
    cli = build(write_config(tmp_path, toy), "--trainer.max_steps", "3")
    cli.trainer.fit(cli.model, cli.datamodule)
    seen = cli.trainer.callback_metrics
    wanted = {"train/loss", "train/video", "train/ssl", "train/norm"}
    wanted |= {"val/psnr", "val/over_copy", "val/over_shuffled"}
    assert wanted <= seen.keys()
    assert set(cli.model.measured) <= seen.keys()
    weights = cli.model.weights
    parts = weights.video * seen["train/video"] + weights.ssl * seen["train/ssl"]
    parts += weights.norm * seen["train/norm"]
    torch.testing.assert_close(seen["train/loss"], parts)


def test_the_residual_s_scale_is_measured_on_training_windows(toy: Path, tmp_path: Path) -> None:
    cli = build(write_config(tmp_path, toy), "--data.batch_size", "4", "--data.epoch_batches", "3")
    cli.model.trainer = cli.trainer
    cli.trainer.datamodule = cli.datamodule  # type: ignore[attr-defined]
    batches = list(cli.datamodule.train_dataloader())
    steps = [b.video()[:, 4:] - b.video()[:, 3:4] for b in batches]
    expected = torch.cat(steps).square().mean().sqrt().item()
    assert cli.model._residual_scale() == pytest.approx(expected, rel=1e-5)


def test_only_matrices_decay() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    module[1].bias.requires_grad_(False)
    matrices, rest = groups(module)
    assert [p.shape for p in matrices["params"]] == [(4, 3)]  # type: ignore[attr-defined]
    assert "weight_decay" not in matrices and rest["weight_decay"] == 0.0
    assert len(rest["params"]) == 2  # type: ignore[arg-type]
