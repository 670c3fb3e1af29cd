"""A run that was cut short and goes on equals one that was not, bit by bit."""

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.tiny import MSSIM, assert_same, checkpoint, environment, fit, write_config

from lightning_app.cli import main
from lightning_app.modules.simulator import Simulator
from mssim.batch import Batch

RANDOM = [
    *("--model.encoder.dropout", "0.2", "--model.drop_condition", "0.3"),
    *("--data.sense_dropout", "0.3", "--data.predict_min", "3", "--data.strides", "[1,2]"),
]
SCHEDULE = [
    *("--model.lr_scheduler", "torch.optim.lr_scheduler.OneCycleLR"),
    *("--model.lr_scheduler.max_lr", "0.003", "--model.lr_scheduler.total_steps", "20"),
]


class Cut(BaseException):
    """What ends a process in the middle, as far as this process can."""


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes training end at a given batch, counted from now; None lets it run."""
    step = Simulator.training_step

    def arrange(after: int | None) -> None:
        calls = itertools.count()

        def training_step(self: Simulator, batch: Batch, batch_idx: int) -> torch.Tensor:
            if next(calls) == after:
                raise Cut
            return step(self, batch, batch_idx)

        monkeypatch.setattr(Simulator, "training_step", training_step)

    return arrange


@pytest.mark.parametrize(
    ("more", "after"),
    [
        # Epochs of four batches: cut in the second, or on its very edge.
        (("--data.epoch_batches", "4"), 5),
        pytest.param(("--data.epoch_batches", "4"), 4, marks=pytest.mark.slow),
        pytest.param(("--data.workers", "2"), 5, marks=pytest.mark.slow),
        pytest.param(("--trainer.accumulate_grad_batches", "2"), 9, marks=pytest.mark.slow),
    ],
)
def test_resumed_training_equals_uninterrupted(
    more: Sequence[str], after: int, toy: Path, tmp_path: Path, cut: Any
) -> None:
    config, words = write_config(tmp_path, toy), [*RANDOM, *SCHEDULE, *more]
    fit(config, tmp_path / "whole", 7, *words)
    cut(after)
    with pytest.raises(Cut):
        fit(config, tmp_path / "cut", 7, *words)
    stopped = checkpoint(tmp_path / "cut")["global_step"]
    assert 0 < stopped <= after
    cut(None)
    fit(config, tmp_path / "cut", 7, *words)
    assert checkpoint(tmp_path / "cut")["global_step"] == 7
    assert_same(tmp_path / "whole", tmp_path / "cut")
    assert_same(tmp_path / "whole", tmp_path / "cut", "best")


def test_a_finished_run_is_left_alone_and_a_longer_one_goes_on(
    toy: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, toy)
    fit(config, tmp_path / "parts", 3)
    file = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    first = file.read_bytes()
    assert checkpoint(tmp_path / "parts")["global_step"] == 3
    capsys.readouterr()
    fit(config, tmp_path / "parts", 3)
    assert file.read_bytes() == first
    saved = tmp_path / "parts" / "config.yaml"
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'parts'}: training is finished, at step 3; next:",
        f"  mssim test {tmp_path / 'parts'}",
        f"  mssim predict {tmp_path / 'parts'}",
        f"  mssim fit --config {saved} --trainer.max_steps 6",
    ]
    main(["fit", "--config", str(saved), "--trainer.max_steps", "6"])
    assert_same(trained, tmp_path / "parts")


CYCLE = SCHEDULE[:-2]
"""A schedule without a length of its own."""


def rates(run: Path) -> list[float]:
    """The learning rate and its first moment's decay, as a run's last checkpoint has them."""
    group = checkpoint(run)["optimizer_states"][0]["param_groups"][0]
    return [group["lr"], group["betas"][0]]


def test_the_schedule_is_as_long_as_the_training(toy: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, toy)
    fit(config, tmp_path / "follows", 4, *CYCLE)
    fit(config, tmp_path / "set", 4, *CYCLE, "--model.lr_scheduler.total_steps", "4")
    assert checkpoint(tmp_path / "follows")["lr_schedulers"][0]["total_steps"] == 4
    assert_same(tmp_path / "follows", tmp_path / "set")
    epochs = ["--trainer.max_epochs", "2", "--trainer.limit_train_batches", "3"]
    fit(config, tmp_path / "epochs", -1, *CYCLE, *epochs, "--trainer.accumulate_grad_batches", "2")
    assert checkpoint(tmp_path / "epochs")["lr_schedulers"][0]["total_steps"] == 4
    assert checkpoint(tmp_path / "epochs")["global_step"] == 4
    # The rise takes exactly one step of these, which torch would divide by zero.
    fit(config, tmp_path / "rise", 2, *CYCLE, "--model.lr_scheduler.pct_start", "0.5")
    assert checkpoint(tmp_path / "rise")["global_step"] == 2


def test_training_goes_on_longer_than_planned(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A finished run, too; its schedule is then that of the longer training, at the same step."""
    config = write_config(tmp_path, toy)
    fit(config, tmp_path / "run", 4, *CYCLE)
    ended = rates(tmp_path / "run")[0]
    capsys.readouterr()
    fit(config, tmp_path / "run", 8, *CYCLE)
    said = capsys.readouterr().out
    line = next(s for s in said.splitlines() if s.startswith("schedule: "))
    assert "stretched from 4 to 8 steps; at step 4 the learning rate goes from" in line
    assert f"from {ended:.2g} to " in line
    fit(config, tmp_path / "whole", 8, *CYCLE)
    states = [checkpoint(tmp_path / r)["lr_schedulers"] for r in ("run", "whole")]
    assert states[0] == states[1]
    assert rates(tmp_path / "run") == rates(tmp_path / "whole")
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert saved["trainer"]["max_steps"] == 8


def test_a_run_that_was_cut_goes_on_to_another_end(toy: Path, tmp_path: Path, cut: Any) -> None:
    config = write_config(tmp_path, toy)
    cut(2)
    with pytest.raises(Cut):
        fit(config, tmp_path / "run", 4, *CYCLE)
    cut(None)
    assert checkpoint(tmp_path / "run")["global_step"] == 2
    fit(config, tmp_path / "run", 3, *CYCLE, "--model.lr_scheduler.total_steps", "9")
    fit(config, tmp_path / "whole", 3, *CYCLE, "--model.lr_scheduler.total_steps", "9")
    assert rates(tmp_path / "run") == rates(tmp_path / "whole")


def test_a_schedule_of_another_length_is_told_before_the_first_step(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, toy)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        fit(config, tmp_path / "run", 40, *SCHEDULE)
    line = capsys.readouterr().err.strip()
    assert "model.lr_scheduler.total_steps: 20, but trainer.max_steps is 40" in line
    assert "set total_steps to null" in line and "\n" not in line
    assert not (tmp_path / "run" / "checkpoints").exists()
    fit(config, tmp_path / "run", 2, *SCHEDULE)
    told = "OneCycleLR is 20 steps long (model.lr_scheduler.total_steps); training ends at 2"
    assert told in capsys.readouterr().out


def test_the_place_in_the_data_is_in_the_checkpoint(trained: Path) -> None:
    loops = checkpoint(trained)["loops"]["fit_loop"]["state_dict"]
    assert loops["combined_loader"] == [{"place": 6}]


@pytest.mark.slow
def test_a_moved_run_remembers_its_best_score(toy: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, toy)
    fit(config, tmp_path / "run", 3)
    (tmp_path / "run").rename(tmp_path / "moved")
    path = tmp_path / "moved" / "checkpoints" / "last.ckpt"
    content = checkpoint(tmp_path / "moved")
    best = next(k for k in content["callbacks"] if "'monitor': 'val/psnr'" in k)
    content["callbacks"][best]["best_model_score"] = torch.tensor(99.0)
    torch.save(content, path)
    before = (tmp_path / "moved" / "checkpoints" / "best.ckpt").read_bytes()
    fit(config, tmp_path / "moved", 6)
    assert checkpoint(tmp_path / "moved")["global_step"] == 6
    assert (tmp_path / "moved" / "checkpoints" / "best.ckpt").read_bytes() == before


def test_a_config_of_an_older_mssim_goes_on_unless_it_says_what_is_unknown(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, path = write_config(tmp_path, toy), tmp_path / "run" / "config.yaml"
    fit(config, tmp_path / "run", 2)
    table = yaml.safe_load(path.read_text())
    # What it had before `injection` was thought of.
    del table["model"]["init_args"]["unet"]["injection"]
    path.write_text(yaml.safe_dump(table))
    fit(config, tmp_path / "run", 3)
    assert checkpoint(tmp_path / "run")["global_step"] == 3
    table["model"]["init_args"]["unet"]["wings"] = 2
    path.write_text(yaml.safe_dump(table))
    capsys.readouterr()
    with pytest.raises(SystemExit):
        fit(config, tmp_path / "run", 4)
    line = capsys.readouterr().err.strip()
    assert line.startswith(f"mssim: {path}: ") and "wings" in line and "\n" not in line
    assert line.endswith("choose another --run, or remove the folder")


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_command(toy: Path, tmp_path: Path) -> None:
    words, steps = [*RANDOM, "--data.workers", "2", "--trainer.val_check_interval", "7"], 14
    config = write_config(tmp_path, toy)
    fit(config, tmp_path / "whole", steps, *words)
    command = [str(MSSIM), "fit", "--config", str(config), "--run", str(tmp_path / "cut"), *words]
    command += ["--trainer.max_steps", str(steps)]
    process = subprocess.Popen(
        command, env=environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    path, deadline = tmp_path / "cut" / "checkpoints" / "last.ckpt", time.monotonic() + 120
    while time.monotonic() < deadline and not path.exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 0 < checkpoint(tmp_path / "cut")["global_step"] < steps
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert f"resuming from {path}" in done.stdout
    assert_same(tmp_path / "whole", tmp_path / "cut")
    assert sorted(p.name for p in path.parent.iterdir()) == ["best.ckpt", "last.ckpt"]
