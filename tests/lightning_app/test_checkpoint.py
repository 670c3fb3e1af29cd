"""What is in a checkpoint, and how it is written, found and read."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import checkpoint, write_config
from torch import Tensor

from lightning_app.checkpoint import AtomicCheckpointIO, folder_of
from lightning_app.cli import main
from mssim import build
from mssim.checkpoint import check_fit, chosen, load_checkpoint
from mssim.errors import UserError


class FrozenTower:
    """Stands for open_clip: no module, so nobody's parameters."""

    width = 16

    def __init__(self, *_: object) -> None:
        self._net = torch.nn.Linear(3, 16).requires_grad_(False)

    def images(self, video: Tensor) -> Tensor:
        return torch.nn.functional.normalize(self._net(video.mean((-1, -2))), dim=-1)

    def texts(self, texts: list[str]) -> Tensor:
        return torch.nn.functional.normalize(torch.ones(len(texts), 16), dim=-1)


def test_a_checkpoint_is_plain_data_without_hyperparameters(trained: Path) -> None:
    for name in ("best", "last"):
        content = checkpoint(trained, name)
        assert {"state_dict", "raw_state", "optimizer_states", "loops"} <= content.keys()
        assert not any("hyper" in key for key in content)
        assert all(isinstance(v, Tensor) for v in content["state_dict"].values())
        assert not any("scoring" in key for key in content["state_dict"])


def test_statistics_and_scale_are_in_it(trained: Path) -> None:
    state = checkpoint(trained)["state_dict"]
    for sense in ("place", "other"):
        std = state[f"simulator.encoder.normalizer.std_{sense}"]
        # Sines of unit amplitude.
        assert ((std > 0.4) & (std < 1.0)).all()
    assert 0.02 < state["simulator.residual_scale"] < 1.0


def test_frozen_towers_are_not_in_it(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["fit", "--config", str(write_config(tmp_path, toy)), "--trainer.max_steps", "1"]
    main([*words, "--run", str(tmp_path / "small")])
    monkeypatch.setattr(build, "OpenClipTower", FrozenTower)
    main([*words, "--run", str(tmp_path / "frozen"), "--model.tower.kind", "open_clip"])
    small, frozen = (checkpoint(tmp_path / r) for r in ("small", "frozen"))
    extra = small["state_dict"].keys() - frozen["state_dict"].keys()
    assert extra and all(k.startswith("simulator.tower.") for k in extra)
    assert not any("tower" in k for k in frozen["state_dict"] | frozen["raw_state"])


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    io, path = AtomicCheckpointIO(), tmp_path / "checkpoints" / "last.ckpt"
    io.save_checkpoint({"state_dict": {}, "global_step": 1}, path)
    (path.parent / f".last.ckpt.{2**22 + 1}.partial").write_bytes(b"what a killed write left")
    io.save_checkpoint({"state_dict": {}, "global_step": 2}, path)
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"last\.ckpt: .*No space left on device.*make room"):
        io.save_checkpoint({"state_dict": {}, "global_step": 3}, path)
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]
    assert load_checkpoint(path)["global_step"] == 2


def test_the_best_is_chosen_then_the_last(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    with pytest.raises(UserError, match="no checkpoint there"):
        chosen(tmp_path)
    (folder / "last.ckpt").touch()
    assert chosen(tmp_path).name == "last.ckpt"
    (folder / "best.ckpt").touch()
    assert chosen(tmp_path).name == "best.ckpt"


def test_a_run_s_folder_is_where_its_config_lies_unless_a_flag_says_otherwise(
    tmp_path: Path,
) -> None:
    config = tmp_path / "moved" / "config.yaml"
    (config.parent / "checkpoints").mkdir(parents=True)
    config.write_text("run: runs/g1\n")
    assert folder_of(config, Path("runs/g1")) == config.parent
    assert folder_of(config, Path("runs/other")) == Path("runs/other")
    assert folder_of(None, Path("runs/g1")) == Path("runs/g1")
    (config.parent / "checkpoints").rmdir()
    assert folder_of(config, Path("runs/g1")) == Path("runs/g1")


@pytest.mark.parametrize("content", [b"", b"no zip", None, [1, 2], {"epoch": 3}])
def test_what_is_no_checkpoint_is_told_in_one_line(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    if content is None:
        torch.save({"state_dict": {"w": torch.zeros(999)}, "global_step": 1}, path)
        path.write_bytes(path.read_bytes()[:-500])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(
        UserError, match=r"last\.ckpt: not a readable checkpoint .*--ckpt_path"
    ) as e:
        load_checkpoint(path)
    assert "\n" not in str(e.value)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": {}, "global_step": 1, "x": Path.cwd}, path)
    with pytest.raises(UserError, match="not a readable checkpoint"):
        load_checkpoint(path)


def test_weights_must_fit() -> None:
    mine = {"a": torch.zeros(2), "b": torch.zeros(3)}
    check_fit(Path("x"), {"b": torch.ones(3), "a": torch.ones(2)}, mine)
    for saved, said in (
        ({"a": torch.zeros(2)}, r"b is missing there and \(3,\) here"),
        ({**mine, "c": torch.zeros(1)}, r"c is \(1,\) there and not known here"),
        ({**mine, "a": torch.zeros(2, 1)}, r"a is \(2, 1\) there and \(2,\) here"),
    ):
        with pytest.raises(UserError, match=rf"x: does not fit this model: {said}; use the senses"):
            check_fit(Path("x"), saved, mine)


def test_what_a_killed_write_left_is_removed_and_another_process_s_is_not(tmp_path: Path) -> None:
    dead, alive = (tmp_path / f".last.ckpt.{pid}.partial" for pid in (2**22 + 1, os.getppid()))
    dead.write_bytes(b"half")
    alive.write_bytes(b"half")
    AtomicCheckpointIO().save_checkpoint({"step": 1}, tmp_path / "last.ckpt")
    assert sorted(p.name for p in tmp_path.iterdir()) == [alive.name, "last.ckpt"]


def test_a_checkpoint_of_another_kind_of_module_is_told_before_any_work(
    toy: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = write_config(tmp_path, toy, "encoder", "ActionEncoder")
    main(["fit", "--config", str(encoder), "--trainer.max_steps", "1"])
    config = write_config(tmp_path, toy)
    mine = tmp_path / "encoder" / "checkpoints" / "last.ckpt"
    theirs = trained / "checkpoints" / "last.ckpt"
    fresh = ["--run", str(tmp_path / "new"), "--data.store", str(tmp_path / "store")]
    for words, told in (
        (["test", "--config", config, "--ckpt_path", mine], f"{mine}: holds the weights of Act"),
        (["fit", "--config", config, "--model.init", mine], f"model.init: {mine}: holds"),
        (["fit", "--config", config, "--model.init_encoder", theirs], f"encoder: {theirs}: holds"),
        (["test", "--config", encoder, "--ckpt_path", theirs], f"{theirs}: holds the weights of S"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main([*map(str, words), *fresh])
        line = capsys.readouterr().err.strip()
        assert told in line and "\n" not in line, line
        assert "; name a checkpoint of a run of " in line
        assert not (tmp_path / "store").exists() and not (tmp_path / "new").exists()
