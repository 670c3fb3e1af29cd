"""What `fit` says while it trains, and what TensorBoard shows of it."""

import io
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from helpers.tiny import MSSIM, checkpoint, differences, environment, write_config
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_app.callbacks.progress import Progress
from lightning_app.cli import main


@pytest.fixture(scope="module")
def silent(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config that says nothing of bars and summaries."""
    config = write_config(tmp_path_factory.mktemp("progress"), toy)
    table = yaml.safe_load(config.read_text())
    for key in ("enable_progress_bar", "enable_model_summary"):
        del table["trainer"][key]
    config.write_text(yaml.safe_dump(table))
    return config


def test_fit_says_what_it_trains_how_long_and_what_comes_next(
    silent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = silent.parent / "run"
    main(["fit", "--config", str(silent), "--trainer.max_steps", "24", "--progress.lines", "4"])
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[:4] == [
        f"run folder: {run}",
        "windows: 116 to train, 8 to validate, 8 to test",
        "model: Simulator, 0.11 M parameters",
        "steps: 24, 8 windows each",
    ]
    assert lines[-3:] == [
        "trained; next:",
        f"  mssim test --config {run / 'config.yaml'}",
        f"  mssim predict --config {run / 'config.yaml'}",
    ]
    steps = [line for line in lines if line.startswith("step ")]
    assert [line.split(",")[0] for line in steps] == [f"step {n} of 24" for n in (6, 12, 18, 24)]
    assert re.search(r"train/loss [\d.]+, val/psnr [\d.]+, [\d.]+ s a step, .* to go", steps[-1])
    assert sum(bool(re.match(r"expected time: \d+ s, ", line)) for line in lines) == 1
    assert len(lines) == 3 + 4 + 4 + 1
    for noise in ("FLOPs", "Flops", "Modules in", "it/s", "\r"):
        assert noise not in out + err


def test_a_terminal_gets_a_bar_and_the_same_words(
    silent: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning's bars swallow what is printed before they are drawn."""
    monkeypatch.setenv("TERM", "xterm")
    run = silent.parent / "drawn"
    seen: list[object] = []

    def begin(self: Progress, trainer: Trainer, module: LightningModule) -> None:
        seen.append(trainer.progress_bar_callback)
        said(self, trainer, module)

    said = Progress.on_train_start
    monkeypatch.setattr(Progress, "on_train_start", begin)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    main(["fit", "--config", str(silent), "--run", str(run), "--trainer.max_steps", "2"])
    out = capsys.readouterr().out
    assert seen[0] is not None
    assert f"run folder: {run}\n" in out and "steps: 2, 8 windows each\n" in out
    assert "trained; next:" in out


def test_a_run_that_goes_on_says_what_is_done(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_config(tmp_path, toy))
    main(["fit", "--config", config, "--trainer.max_steps", "2"])
    capsys.readouterr()
    main(["fit", "--config", config, "--trainer.max_steps", "4"])
    assert "steps: 4, 2 done, 8 windows each" in capsys.readouterr().out


def test_tensorboard_shows_rate_gradient_speed_strip_and_rollout(trained: Path) -> None:
    events = EventAccumulator(str(trained / "logs"), size_guidance={"images": 0})
    events.Reload()
    for name in ("learning_rate", "gradient_norm", "samples_per_second"):
        points = events.Scalars(f"train/{name}")
        assert [p.step for p in points] == [1, 3, 5] and min(p.value for p in points) > 0
    assert events.Scalars("train/learning_rate")[0].value == pytest.approx(1e-3)
    for name in ("val/strip", "val/rollout"):
        assert [image.step for image in events.Images(name)] == [3, 6]
    (first, _) = events.Images("val/rollout")
    with Image.open(io.BytesIO(first.encoded_image_string)) as film:
        # An episode of 40 frames: 4 of context, and 32 that the horizon allows.
        assert film.format == "GIF" and film.n_frames == 4 + 32  # type: ignore[attr-defined]


def test_watching_changes_no_weight(toy: Path, tmp_path: Path) -> None:
    for name, watched in (("seen", "true"), ("unseen", "false")):
        config = str(write_config(tmp_path, toy, run=name))
        main(["fit", "--config", config, "--watch.rollout", watched])
    one, two = (checkpoint(tmp_path / n)["state_dict"] for n in ("seen", "unseen"))
    assert differences(one, two) == []


def test_a_log_file_has_a_line_when_it_is_said_and_not_when_all_is_over(silent: Path) -> None:
    run = silent.parent / "log"
    words = ["fit", "--config", str(silent), "--run", str(run), "--trainer.max_steps", "200"]
    env = {k: v for k, v in environment().items() if k != "PYTHONUNBUFFERED"}
    with subprocess.Popen([str(MSSIM), *words], stdout=subprocess.PIPE, text=True, env=env) as fit:
        assert fit.stdout is not None
        try:
            assert fit.stdout.readline() == f"run folder: {run}\n"
            assert fit.poll() is None and not (run / "checkpoints" / "best.ckpt").exists()
        finally:
            fit.terminate()
