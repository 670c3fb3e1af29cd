"""Flags of Lightning's Trainer: honoured, or refused in one line."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.tiny import checkpoint, fit, write_config

from lightning_app.cli import main
from lightning_app.modules.simulator import Simulator

ROOT = Path(__file__).parents[2]


def refused(capsys: pytest.CaptureFixture[str], config: Path, *words: str) -> str:
    """The one line that `mssim fit` stops with."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(config), *words])
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert [line for line in said if line.startswith("mssim: ")] == said[-1:], said
    return said[-1].removeprefix("mssim: ")


def test_a_logger_of_the_config_writes_beside_ours(toy: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, toy)
    table = yaml.safe_load(config.read_text())
    given = {"class_path": "lightning.pytorch.loggers.CSVLogger"}
    given["init_args"] = {"save_dir": str(tmp_path / "csv"), "name": "", "version": ""}  # type: ignore[assignment]
    table["trainer"]["logger"] = given
    config.write_text(yaml.safe_dump(table))
    fit(config, tmp_path / "run", 4)
    with next((tmp_path / "csv").rglob("metrics.csv")).open() as file:
        rows = list(csv.DictReader(file))
    assert any(row.get("train/loss") for row in rows) and any(row.get("val/psnr") for row in rows)
    assert any((tmp_path / "run" / "logs").glob("events*"))
    fit(write_config(tmp_path, toy), tmp_path / "none", 1, "--trainer.logger", "false")
    assert not (tmp_path / "none" / "logs").exists()


def test_a_logger_that_is_not_installed_is_told_in_one_line(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(capsys, write_config(tmp_path, toy), "--trainer.logger", "WandbLogger")
    assert "wandb" in told and "pip install" in told


@pytest.mark.parametrize("more", [[], ["--data.workers", "1"]])
def test_overfit_batches_repeats_the_same_batches(
    more: list[str], toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, seen = Simulator.training_step, []

    def noted(self: Simulator, batch: Any, batch_idx: int) -> torch.Tensor:
        seen.append((batch.window.tolist(), batch.length, batch.presence.sum().item()))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Simulator, "training_step", noted)
    config = write_config(tmp_path, toy)
    words = ["--trainer.overfit_batches", "2", "--trainer.check_val_every_n_epoch", "100"]
    words += ["--data.predict_min", "3", "--data.sense_dropout", "0.3", *more]
    fit(config, tmp_path / "run", 3, *words, "--trainer.val_check_interval", "1.0")
    # Resumed in the middle of a round.
    fit(config, tmp_path / "run", 6, *words, "--trainer.val_check_interval", "1.0")
    assert checkpoint(tmp_path / "run")["global_step"] == 6
    assert seen[0] != seen[1] and seen == seen[:2] * 3


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("default_root_dir", "elsewhere", "name that by --run"),
        ("barebones", "true", "--trainer.fast_dev_run 5"),
        ("enable_checkpointing", "false", "--trainer.fast_dev_run 5"),
        ("reload_dataloaders_every_n_epochs", "1", "leave it out"),
        ("precision", "64-true", "set 32-true, bf16-mixed or 16-mixed"),
        ("precision", "bf16-true", "set 32-true, bf16-mixed or 16-mixed"),
        ("precision", "16-true", "set 32-true, bf16-mixed or 16-mixed"),
        ("plugins", "lightning.fabric.plugins.TorchCheckpointIO", "leave it out"),
    ],
)
def test_a_flag_that_we_must_override_is_refused(
    flag: str,
    value: str,
    said: str,
    toy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = refused(capsys, write_config(tmp_path, toy), f"--trainer.{flag}", value)
    assert told.startswith(f"trainer.{flag}: ") and said in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("seed_everything", "seed_everything: -1 must lie in 0 to 4294967295"),
        ("data.seed", "data.seed: -1 must be at least 0"),
        ("model.seed", "model.seed: -1 must be at least 0"),
    ],
)
def test_a_negative_seed_is_refused(
    flag: str, said: str, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, write_config(tmp_path, toy), f"--{flag}", "-1") == said


@pytest.mark.parametrize("devices", ["1", "2"])
def test_a_gpu_that_is_not_there_is_told_with_what_is(
    devices: str,
    toy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    words = ["--trainer.accelerator", "gpu", "--trainer.devices", devices]
    told = refused(capsys, write_config(tmp_path, toy), *words)
    assert told.startswith("trainer.accelerator, trainer.devices: ")
    assert "; here is no GPU: set trainer.accelerator to cpu" in told


@pytest.mark.parametrize("command", ["fit", "test", "predict", "validate"])
def test_a_command_without_a_config_says_how_to_name_one(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command])
    told = capsys.readouterr().err.strip()
    named = "config is named; such as mssim fit --con" if command == "fit" else "run is named; such"
    assert told.startswith(f"mssim: {command}: no {named}")
    assert "\n" not in told


def test_a_config_has_a_short_flag(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "-c", str(write_config(tmp_path, toy)), "--data.size", "0"])
    assert capsys.readouterr().err.strip() == "mssim: data.size: 0 must be at least 1"


def test_a_file_that_is_no_config_or_no_checkpoint_is_told(
    trained: Path, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, config = trained / "checkpoints" / "last.ckpt", write_config(tmp_path, toy)
    text = tmp_path / "list.yaml"
    text.write_text("just words")
    for file, reason in (
        (weights, "it is not YAML"),
        (ROOT / "README.md", "it is not YAML (line 3)"),
        (text, "it holds no settings"),
    ):
        assert refused(capsys, file) == f"{file}: is no config, {reason}; see configs/"
    for file in (ROOT / "README.md", tmp_path):
        told = refused(capsys, config, "--ckpt_path", str(file))
        assert told.startswith(f"{file}: not a readable checkpoint (it is another kind of file);")
        assert told.endswith("with --ckpt_path best or last")


def watching(config: Path, monitor: str, **more: object) -> Path:
    """The config, with EarlyStopping on a metric."""
    table = yaml.safe_load(config.read_text())
    stopping = {"class_path": "EarlyStopping", "init_args": {"monitor": monitor, "mode": "max"}}
    table["trainer"]["callbacks"] = [stopping]
    table["trainer"] |= more
    config.write_text(yaml.safe_dump(table))
    return config


def test_early_stopping_on_what_is_not_measured_is_told_before_training(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(capsys, watching(write_config(tmp_path, toy), "val/pnsr"))
    assert told.startswith("trainer.callbacks: monitor of EarlyStopping: 'val/pnsr' is not measur")
    assert "val/psnr" in told and not (tmp_path / "run").exists()
    told = refused(capsys, write_config(tmp_path, toy), "--best.monitor", "val/foo")
    assert told.startswith("best.monitor: 'val/foo' is not measured; there are train/loss, ")


def test_early_stopping_on_what_this_run_does_not_measure_is_told(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One validation unit has no partner, so there is nothing over shuffled actions."""
    config = watching(write_config(tmp_path, toy), "val/over_shuffled")
    told = refused(capsys, config, "--data.limit", "1")
    assert told.startswith("trainer.callbacks: Early stopping conditioned on metric `val/over_shu")


def test_early_stopping_on_what_is_measured_stops(toy: Path, tmp_path: Path) -> None:
    fit(watching(write_config(tmp_path, toy), "val/psnr"), tmp_path / "run", 3)
    assert checkpoint(tmp_path / "run")["global_step"] == 3
