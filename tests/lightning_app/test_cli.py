"""`mssim`: its words, what it says to wrong ones, and what a run's folder holds."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest
import yaml
from helpers.tiny import LONG, MSSIM, ROWS, checkpoint, complaint, mssim, write_config
from PIL import Image

import mssim as package
from lightning_app import trainer as trainer_module
from lightning_app.cli import main
from lightning_app.plain import plain
from lightning_app.report.scores import read_scores

COMMANDS = ["fit", "validate", "test", "predict", "record", "prepare", "data", "release"]


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that `mssim WORDS` stops with."""
    with pytest.raises(SystemExit) as stop:
        main([str(w) for w in words])
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said and said.startswith("mssim: ")
    return said.removeprefix("mssim: ")


def changed(config: Path, key: str, value: object) -> Path:
    """A copy of a config with one value, at a path such as `data/size`, set or added."""
    table = yaml.safe_load(config.read_text())
    *path, last = key.split("/")
    part = table
    for name in path:
        part = part[name]
    part[last] = value
    copy = config.with_name("changed.yaml")
    copy.write_text(yaml.safe_dump(table))
    return copy


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"mssim {package.__version__}\n"


def test_help_lists_all_commands_at_once() -> None:
    start = time.monotonic()
    done = subprocess.run([MSSIM, "--help"], capture_output=True, text=True, check=True)
    took = time.monotonic() - start
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[2:]] == COMMANDS
    # Under a second where nothing else runs (0.06 s here); tests share their cores.
    assert took < 3
    code = "import sys; from lightning_app.cli import main; main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "numpy", "lightning", "jsonargparse", "open_clip"}
    assert not heavy & set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("command", ["prepare", "data"])
def test_data_commands_import_no_framework(command: str, toy: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from lightning_app.cli import main; main(sys.argv[1:]); "
        "print(*[m for m in ('lightning', 'open_clip', 'torch') if m in sys.modules])"
    )
    words = [command, str(toy), "--out", str(tmp_path / "out"), "--size", "16", "--limit", "2"]
    words += ["--store", str(tmp_path / "stores")] if command == "data" else []
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == ""
    if command == "data":
        assert Image.open(tmp_path / "out" / "toy.png").width > 100


def test_an_unknown_command_is_told_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "flt") == f"no command 'flt'; there are {', '.join(COMMANDS)}"
    main([])
    assert capsys.readouterr().out.startswith("usage: mssim COMMAND")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model/init_args/unet/wdith", 3, "'wdith'"),
        ("model/init_args/unett", {"width": 3}, "'unett.width'"),
        ("model/init_args/optimizer/init_args/lrr", 3, "optimizer: Option 'lrr'"),
        ("model/class_path", "Simulatorr", "model: there is no class Simulatorr"),
        ("data/sizes", 3, "'data.sizes'"),
        ("data/size", "big", "data.size: Expected a <class 'int'>. Got value: big"),
        ("data/sources/toy/source/init_args/pth", 3, "data.sources: .*'pth'"),
        ("data/sources/toy/splits", 3, "'splits'"),
        ("data/senses/senses", [{"name": "place", "shape": [2], "unitt": "px"}], "'unitt'"),
        ("trainer/max_stepz", 3, "'trainer.max_stepz'"),
        ("trainer/precision", "foo", "trainer.precision: .*Got value: foo"),
        ("trainer/accelerator", "gpu", "No supported gpu backend found"),
        ("datas", 3, "'datas'"),
    ],
)
def test_a_wrong_key_or_value_in_a_file_is_named(
    key: str,
    value: object,
    said: str,
    toy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = changed(write_config(tmp_path, toy), key, value)
    told = refused(capsys, "fit", "--config", config)
    assert re.search(said, told) and len(told) < 300, told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--model.unet.wdith", 3, "unet.wdith"),
        ("--model.wdith", 3, "'wdith'"),
        ("--data.sizze", 3, "--data.sizze"),
        ("--model.diffusion.target", "vv", "diffusion.target: Expected one of 'v', 'x'"),
        ("--model", "Foo", "model: there is no class Foo"),
        ("--model.sampler.steps", 0, "sampler.steps: 0 is not in 1..1000"),
        ("--model.sampler.kind", "ddpm", "sampler.kind: ddpm does not go with"),
        ("--data.use_senses", "[foo]", "no sense named 'foo'; there are place, other"),
        ("--data.predict_min", 9, "data.predict_min: 9 must lie in 1 to predict = 8"),
        ("--config", "nope.yaml", "nope.yaml"),
    ],
)
def test_a_wrong_flag_is_named(
    flag: str,
    value: object,
    said: str,
    toy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = refused(capsys, "fit", "--config", write_config(tmp_path, toy), flag, value)
    assert said in told and len(told) < 300


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prepare"], "prepare --help"),
        (["prepare", "nowhere", "--wrong", 3], "--wrong"),
        (["prepare", "nowhere"], "nowhere: is no folder"),
        (["data", "nowhere", "--size", "x"], "size: .*x"),
    ],
)
def test_data_commands_refuse_in_one_line(
    words: list[object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(said, refused(capsys, *words))


def test_a_worker_s_error_is_told_without_its_traceback() -> None:
    message = (
        "Caught UserError in DataLoader worker process 0.\nOriginal Traceback (most recent call "
        'last):\n  File "x.py", line 1\nmssim.errors.UserError: a.npy: cut short; prepare again\n'
    )
    assert plain(message) == "a.npy: cut short; prepare again"
    assert plain("runs/x: no checkpoint there") == "runs/x: no checkpoint there"


def test_the_module_is_chosen_and_set_by_flags(toy: Path, tmp_path: Path) -> None:
    base = ["--config", str(write_config(tmp_path, toy, model="ActionEncoder"))]
    words = ["fit", *base, "--model", "ActionEncoder", "--model.encoder.code", "12"]
    main([*words, "--trainer.max_steps", "1", "--data.use_senses", "[other]"])
    shapes = {k: tuple(v.shape) for k, v in checkpoint(tmp_path / "run")["state_dict"].items()}
    assert "encoder.normalizer.mean_other" in shapes
    assert "encoder.normalizer.mean_place" not in shapes
    assert not any("net." in name for name in shapes)
    assert any(12 in shape for name, shape in shapes.items() if "experts" in name)
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert saved["model"]["class_path"] == "lightning_app.modules.action_encoder.ActionEncoder"
    assert saved["model"]["init_args"]["encoder"]["code"] == 12


def test_the_run_s_folder_holds_everything(trained: Path) -> None:
    names = {p.name for p in trained.iterdir()}
    pages = {"index.html", "metrics.json", "metrics.csv", "metrics.md", "drift.png", "scores.npz"}
    pages |= {"learning.png"}
    assert names == pages | {"config.yaml", "checkpoints", "logs", "rollouts"}
    assert {p.name for p in (trained / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert any(p.name.startswith("events") for p in (trained / "logs").iterdir())
    kinds = [p.suffix for p in (trained / "rollouts").iterdir()]
    assert kinds.count(".mp4") == 2 and kinds.count(".gif") == 1
    assert kinds.count(".png") == 2  # a film strip, and what each sense adds
    page = (trained / "index.html").read_text()
    assert "rollouts/toy_episode_000006-0.mp4" in page and "drift.png" in page
    assert re.search(r"<figcaption>S\w+ the square\., square: [\d.]+ dB \(", page)
    assert "<a href='config.yaml'>" in page and "<a href='learning.png'>" in page
    assert "rollouts/toy_episode_000006-0-senses.png" in page
    video = next((trained / "rollouts").glob("*.mp4"))
    with av.open(str(video)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 4 + 12


def test_the_table_has_the_issue_s_rows_and_keys(trained: Path) -> None:
    table = json.loads((trained / "metrics.json").read_text())
    assert [row["row"] for row in table] == ROWS + LONG
    wanted = {"row", "mse", "mae", "psnr", "psnr_frame", "ssim", "n_windows", "n_units", "ci"}
    for row in table:
        assert wanted <= row.keys() and row["n_units"] == 2
        # Episodes of 40 frames hold 29 windows of 12; every eighth start is 4 of them.
        assert row["n_windows"] == (2 if row["row"] in LONG else 8)
        assert row["frames"] == (32 if row["row"] in LONG else 8)
    scores = read_scores(trained / "scores.npz")
    assert list(scores) == ROWS + LONG
    windows = [scores[row].window.tolist() for row in ROWS]
    assert all(w == list(range(8)) for w in windows)
    per_unit = scores["model"].values["mse"].reshape(2, -1).mean(1)
    assert table[0]["mse"] == pytest.approx(float(per_unit.mean()))


def test_only_the_controls_that_are_asked_for_are_scored(trained: Path, tmp_path: Path) -> None:
    where = ["--config", str(trained / "config.yaml"), "--run", str(tmp_path)]
    weights = ["--ckpt_path", str(trained / "checkpoints" / "best.ckpt")]
    mssim(
        "test", *where, *weights, "--model.controls", '["copy-last-frame"]', "--model.long", "false"
    )
    table, whole = (json.loads((p / "metrics.json").read_text()) for p in (tmp_path, trained))
    assert [row["row"] for row in table] == ["model", "copy-last-frame"]
    assert [row["psnr"] for row in table] == [row["psnr"] for row in whole[:2]]
    wrong = mssim("test", *where, *weights, "--model.controls", '["copy-first-frame"]')
    assert "controls" in complaint(wrong) and "copy-first-frame" in complaint(wrong)


def test_the_saved_config_has_no_checkpoint_and_is_enough(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = yaml.safe_load((trained / "config.yaml").read_text())
    assert saved["ckpt_path"] is None and saved["trainer"]["max_steps"] == 6
    main(["validate", "--config", str(trained / "config.yaml")])
    assert "val/over_shuffled" in capsys.readouterr().out


def test_a_run_without_checkpoints_is_not_scored(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, toy)
    told = refused(capsys, "test", "--config", config)
    assert told.startswith(f"{tmp_path / 'run' / 'checkpoints'}: no checkpoint there; train")
    told = refused(capsys, "test", "--config", config, "--ckpt_path", tmp_path / "x.ckpt")
    assert told.startswith(f"{tmp_path / 'x.ckpt'}: no checkpoint there")
    told = refused(capsys, "fit", "--config", config, "--ckpt_path", "last")
    assert "checkpoints/last.ckpt: no checkpoint there" in told


def test_a_trial_leaves_nothing_behind(toy: Path, tmp_path: Path) -> None:
    main(["fit", "--config", str(write_config(tmp_path, toy)), "--trainer.fast_dev_run", "1"])
    assert not (tmp_path / "run").exists()


def test_flags_win_over_the_config(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def run(self: trainer_module.MssimCLI, subcommand: str) -> None:
        self.before_test()
        seen["steps"] = self.model.sampler.steps
        seen["folder"] = Path(self.trainer.default_root_dir)
        seen["checkpoint"] = Path(self.trainer.ckpt_path).name

    monkeypatch.setattr(trainer_module.MssimCLI, "_run_subcommand", run)
    saved = str(trained / "config.yaml")
    main(["test", "--config", saved])
    assert seen == {"steps": 2, "folder": trained, "checkpoint": "best.ckpt"}
    words = ["--model.sampler.steps", "3", "--run", "/tmp/elsewhere"]
    main(["test", "--config", saved, *words, "--ckpt_path", str(trained / "checkpoints/last.ckpt")])
    assert seen["steps"] == 3 and str(seen["folder"]) == "/tmp/elsewhere"
    assert seen["checkpoint"] == "last.ckpt"
    main(["test", "--config", saved, "--ckpt_path", "last"])
    assert seen["folder"] == trained and seen["checkpoint"] == "last.ckpt"


@pytest.mark.slow
def test_the_console_script_stops_with_one_line(toy: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, toy)
    told = complaint(mssim("fit", "--config", config, "--model.unet.wdith", 3))
    assert "unet.wdith" in told and told.endswith("see mssim fit --help")
