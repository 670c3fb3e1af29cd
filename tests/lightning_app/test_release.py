"""Released weights: small, whole, and the same simulator as the run they come from."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.tiny import build, checkpoint, write_config
from safetensors.torch import load_file

import mssim
from data_modules.module import DataModule
from data_modules.windows import Ask
from lightning_app.cli import main
from lightning_app.modules.simulator import Simulator
from lightning_app.release import release
from mssim.checkpoint import load_checkpoint
from mssim.errors import UserError
from mssim.pretrained import load_example, load_simulator
from mssim.video.rollout import Rollout


@pytest.fixture(scope="module")
def out(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("released") / "toy"
    release(trained, folder)
    return folder


def flags(toy: Path, run: Path) -> list[str]:
    """Where the data are and results go: what a released config leaves to its user."""
    source = "--data.sources.toy.source.init_args.path"
    return [source, str(toy), "--data.store", str(toy.parent / "store"), "--run", str(run)]


def test_averages_are_halved_and_statistics_are_not(out: Path, trained: Path) -> None:
    there, best = load_file(out / "model.safetensors"), checkpoint(trained, "best")
    assert there.keys() == best["state_dict"].keys()
    for name, value in best["state_dict"].items():
        if name in best["raw_state"]:
            assert there[name].dtype == torch.bfloat16
            torch.testing.assert_close(there[name].float(), value, atol=1e-6, rtol=2**-8)
        else:
            assert torch.equal(there[name], value), name
    assert load_checkpoint(out / "model.safetensors")["global_step"] == best["global_step"]


def test_python_loads_a_run_and_its_release_and_rolls_out_as_lightning_does(
    out: Path, trained: Path, toy: Path, tmp_path: Path
) -> None:
    cli = build(write_config(tmp_path, toy))
    cli.model.load_state_dict(checkpoint(trained, "best")["state_dict"])
    batch = cli.datamodule.datasets["test"][Ask(np.arange(3), 0, 8)]
    h = batch.context
    context = {n: v[:, :h] for n, v in batch.senses.items()}
    future = {n: v[:, h:] for n, v in batch.senses.items()}
    rollout = Rollout(cli.model.simulator.eval(), cli.model.sampler)
    expected, _ = rollout.step(rollout.start(batch), future, batch.presence[:, h:])
    for folder, within in ((trained, 0), (out, 8)):
        sim = load_simulator(folder)
        assert (sim.config.sources, sim.config.size, sim.config.predict) == (["toy"], 16, 8)
        (frames,) = batch.frames.values()
        sim.start(frames[:, :h], context, interval=batch.interval[0].item())
        torch.testing.assert_close(sim.step(future), expected, atol=within, rtol=0)


def test_a_run_of_another_module_is_refused(trained: Path, tmp_path: Path) -> None:
    text = (trained / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text.replace(".Simulator\n", ".ActionEncoder\n"))
    for read in (load_simulator, lambda run: release(run, tmp_path / "out")):
        with pytest.raises(UserError, match="a run of ActionEncoder; give one of a Simulator"):
            read(tmp_path)


def test_a_word_of_mssim_writes_it_with_an_example(
    trained: Path, toy: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["release", "--run", str(trained), "--out", str(tmp_path), "--example", str(toy)])
    assert "MB of weights" in capsys.readouterr().out
    names = {p.name for p in out.iterdir()} | {"example.safetensors"}
    assert {p.name for p in tmp_path.iterdir()} == names
    assert len({p.stat().st_mode for p in tmp_path.iterdir()}) == 1
    frames, senses = load_example(tmp_path)
    assert frames.shape == (1, 20, 3, 16, 16) and frames.dtype == torch.uint8
    assert {n: tuple(v.shape) for n, v in senses.items()} == {
        "place": (1, 20, 1, 2),
        "other": (1, 20, 1, 2),
    }
    with pytest.raises(UserError, match="no example is there"):
        load_example(out)
    with pytest.raises(SystemExit):
        main(["release", "--run", str(trained)])
    assert "see mssim release --help" in capsys.readouterr().err


def test_it_scores_as_the_run_did_without_any_training_data(
    out: Path, trained: Path, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the weights are found beside the config, wherever one is
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["data"]["sources"]["toy"]["split"]["train"] == []
    main(["test", "--config", str(out / "config.yaml"), *flags(toy, tmp_path / "run")])
    before, after = (
        {r["row"]: r["psnr"] for r in json.loads((folder / "metrics.json").read_text())}
        for folder in (trained, tmp_path / "run")
    )
    assert after["copy-last-frame"] == before["copy-last-frame"]
    assert after == pytest.approx(before, abs=0.2)
    main(["predict", "--config", str(out / "config.yaml"), *flags(toy, tmp_path / "run")])
    assert (tmp_path / "run" / "index.html").exists()


@pytest.mark.parametrize("command", ["test", "predict"])
def test_trained_weights_keep_the_statistics_that_they_were_trained_with(
    command: str, out: Path, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the rule of today: only a fresh training takes statistics from data."""
    seen: dict[str, torch.Tensor] = {}

    def remember(module: Simulator) -> None:
        seen.update(module.simulator.encoder.normalizer.state_dict())

    def refuse(_: DataModule) -> None:
        raise AssertionError("statistics were taken anew")

    monkeypatch.setattr(DataModule, "statistics", refuse)
    monkeypatch.setattr(Simulator, f"on_{command}_end", remember)
    main([command, "--config", str(out / "config.yaml"), *flags(toy, tmp_path / "run")])
    saved = load_file(out / "model.safetensors")
    assert seen and all(
        torch.equal(v, saved[f"simulator.encoder.normalizer.{k}"]) for k, v in seen.items()
    )


def test_training_starts_from_it_but_does_not_go_on(
    out: Path, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = out / "model.safetensors"
    words = ["fit", "--config", str(out / "config.yaml"), *flags(toy, tmp_path / "run")]
    with pytest.raises(SystemExit):
        main(words)
    told = capsys.readouterr().err
    assert f"start a run of its own with --ckpt_path null --model.init {weights}" in told
    words += ["--ckpt_path", "null", "--model.init", str(weights)]
    with pytest.raises(SystemExit):
        main(words)
    assert "split.train is empty; name the recordings" in capsys.readouterr().err
    split = "--data.sources.toy.split"
    words += [f"{split}.train", '["0:4"]', f"{split}.val", '["4:6"]']
    # At a learning rate of zero it stays what it was.
    main([*words, "--model.optimizer.lr", "0", "--trainer.max_steps", "2"])
    begun, there = checkpoint(tmp_path / "run")["state_dict"], load_file(weights)
    assert begun.keys() == there.keys()
    for name, value in there.items():
        torch.testing.assert_close(begun[name], value.float(), atol=1e-6, rtol=1e-6)


def test_cut_short_it_says_so(
    out: Path, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = (out / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    (tmp_path / "config.yaml").write_text((out / "config.yaml").read_text())
    with pytest.raises(SystemExit):
        main(["test", "--config", str(tmp_path / "config.yaml"), *flags(toy, tmp_path / "run")])
    assert "model.safetensors: not a readable checkpoint" in capsys.readouterr().err


def test_what_comes_with_the_package_is_small() -> None:
    """A wheel and a clone carry it; a run of one's own may be released at any size."""
    files = [p for p in Path(mssim.__file__).with_name("pretrained").rglob("*") if p.is_file()]
    assert len(files) >= 4 and sum(p.stat().st_size for p in files) < 16_000_000
