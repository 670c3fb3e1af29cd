"""`mssim test RUN --on FOLDER`: other recordings, the run's own statistics, a folder of its own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.lerobot_writer import write_lerobot
from helpers.tiny import checkpoint, mssim

from data_modules.module import DataModule
from lightning_app.cli import main
from lightning_app.elsewhere import spelled_out
from lightning_app.modules.simulator import Simulator
from lightning_app.release import release
from mssim.resources import CONFIGS, PRETRAINED


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings that no run has seen."""
    return write_lerobot(tmp_path_factory.mktemp("else") / "other day", episodes=3, seed=7)


def contents(folder: Path) -> dict[str, bytes]:
    """What lies in a run's folder, but for what was scored elsewhere."""
    files = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    return {name: p.read_bytes() for name, p in files.items() if not name.startswith("on/")}


def complaint(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("mssim: ")
    return line


def test_a_run_is_scored_on_other_recordings_in_a_folder_of_its_own(
    trained: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "moved"
    shutil.copytree(trained, run)
    before, seen, units = contents(run), {}, []

    def remember(module: Simulator) -> None:
        seen.update(module.simulator.encoder.normalizer.state_dict())
        units.extend(module.data.unit_names)

    def refuse(_: DataModule) -> None:
        raise AssertionError("statistics are the run's own")

    monkeypatch.setattr(DataModule, "statistics", refuse)
    monkeypatch.setattr(Simulator, "on_test_end", remember)
    main(["test", str(run), "--on", str(other)])
    (folder,) = (run / "on").iterdir()
    assert folder.name.startswith("other_day-")
    assert {"metrics.md", "metrics.json", "drift.png", "index.html"} <= {
        p.name for p in folder.iterdir()
    }
    assert contents(run) == before
    assert units == [f"toy/episode_{i:06d}#0" for i in range(3)]
    saved = checkpoint(run, "best")["state_dict"]
    assert seen and all(
        torch.equal(v, saved[f"simulator.encoder.normalizer.{k}"]) for k, v in seen.items()
    )
    with np.load(folder / "scores.npz") as scores, np.load(run / "scores.npz") as own:
        assert any(not np.array_equal(scores[k], own[k]) for k in own.files)
    shown = mssim("predict", run, f"--on={other}", "--data.horizon", "10")
    assert shown.returncode == 0 and "LightningCLI" not in shown.stderr, shown.stderr
    assert list((folder / "rollouts").glob("toy_episode_000000-0*.mp4"))


def test_a_run_is_named_by_its_folder(trained: Path, tmp_path: Path) -> None:
    config = str(trained / "config.yaml")
    assert spelled_out(["test", str(trained), "--data.workers", "1"]) == [
        *("test", "--config", config, "--data.workers", "1")
    ]
    as_before = ["test", "--config", config]
    assert spelled_out(as_before) == as_before
    assert spelled_out(["fit", "--on", "x"]) == ["fit", "--on", "x"]


def test_packaged_configs_and_released_simulators_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kitchen, released = str(CONFIGS / "kitchen.yaml"), PRETRAINED / "kitchen-32" / "config.yaml"
    assert spelled_out(["fit", "--config", "kitchen"]) == ["fit", "--config", kitchen]
    assert spelled_out(["fit", "--config=kitchen"]) == ["fit", f"--config={kitchen}"]
    assert spelled_out(["test", "kitchen-32"]) == ["test", "--config", str(released)]


def test_other_recordings_are_taken_at_the_rate_of_the_runs_own(
    trained: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = spelled_out(["test", str(trained), "--on", str(other)])
    assert words[words.index("--data.rate") + 1] == "10.0"
    words = spelled_out(["test", str(trained), "--on", str(other), "--data.rate", "5"])
    assert words.count("--data.rate") == 1
    for flag in ("--config", "-c"):
        config = str(trained / "config.yaml")
        assert "--data.rate" in spelled_out(["test", flag, config, "--on", str(other)])
    table = yaml.safe_load((trained / "config.yaml").read_text())
    table["data"]["sources"]["toy"]["source"]["init_args"]["path"] = str(tmp_path / "gone")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(table))
    assert "--data.rate" not in spelled_out(["test", str(tmp_path), "--on", str(other)])
    assert f"{tmp_path / 'gone'} is gone, so {other} is taken at its own" in capsys.readouterr().err


def test_released_weights_are_scored_elsewhere_too(
    trained: Path, other: Path, tmp_path: Path
) -> None:
    release(trained, tmp_path / "toy")
    words = ["--run", str(tmp_path / "scored"), "--data.store", str(tmp_path / "stores")]
    main(["test", str(tmp_path / "toy"), "--on", str(other), *words])
    rows = json.loads((tmp_path / "scored" / "metrics.json").read_text())
    assert rows[0]["row"] == "model" and rows[0]["psnr"] > 0


def test_what_is_not_clear_is_told_in_one_line(
    trained: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(trained)
    gone = str(tmp_path / "gone")
    assert f"{gone}: no run is there" in complaint(["test", gone], capsys)
    assert f"--on: {gone} is no folder" in complaint(["test", run, "--on", gone], capsys)
    assert "--on: give a value" in complaint(["test", run, "--on"], capsys)
    assert "--on: no run is named" in complaint(["test", "--on", str(other)], capsys)
    assert "use mssim test" in complaint(["validate", run, "--on", str(other)], capsys)
    config = yaml.safe_load((trained / "config.yaml").read_text())
    config["data"]["sources"]["more"] = config["data"]["sources"]["toy"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    told = complaint(["test", str(tmp_path), "--on", str(other)], capsys)
    assert f"has the sources toy, more; say which one reads {other}" in told
    words = spelled_out(["test", str(tmp_path), "--on", f"more={other}"])
    assert f"--data.sources.more.source.init_args.path {other}" in " ".join(words)
    told = complaint(["test", run, "--on", str(tmp_path)], capsys)
    assert "info.json is not there; give the folder of a LeRobot dataset" in told
