"""Two gloo ranks do what one does: the same weights, the same table."""

import json
import os
from pathlib import Path

import pytest
import torch
from helpers.tiny import LONG, ROWS, checkpoint, mssim, write_config

from lightning_app.cli import main
from lightning_app.report.scores import read_scores

FORK = ["--trainer.devices", "2", "--trainer.strategy", "ddp_fork"]


def test_two_gloo_ranks_equal_one(toy: Path, tmp_path: Path) -> None:
    config = str(write_config(tmp_path, toy))
    words = ["fit", "--config", config, "--trainer.max_steps", "3", "--data.predict_min", "3"]
    # Adam divides a gradient by its own size and so blows up its rounding; this does not.
    words += ["--model.drop_condition", "0.3", "--model.optimizer", "torch.optim.SGD"]
    words += ["--model.optimizer.lr", "0.02"]
    main([*words, "--run", str(tmp_path / "one")])
    main([*words, "--run", str(tmp_path / "two"), "--data.batch_size", "4", *FORK])
    one, two = (checkpoint(tmp_path / r) for r in ("one", "two"))
    assert one["global_step"] == two["global_step"] == 3
    for key in ("state_dict", "raw_state"):
        assert one[key].keys() == two[key].keys()
        for name, value in one[key].items():
            torch.testing.assert_close(two[key][name], value, atol=1e-6, rtol=1e-4)
    moved = [n for n, v in one["raw_state"].items() if not torch.equal(v, one["state_dict"][n])]
    assert len(moved) > 0.5 * len(one["raw_state"])
    scale = "simulator.residual_scale"
    assert torch.equal(one["state_dict"][scale], two["state_dict"][scale])
    begun = [c["callbacks"] for c in (one, two)]
    best = [next(v for k, v in c.items() if "val/psnr" in k)["best_model_score"] for c in begun]
    assert float(best[0]) == pytest.approx(float(best[1]), abs=1e-2)


def test_no_window_counts_twice_under_two_ranks(trained: Path, tmp_path: Path) -> None:
    words = ["test", "--config", str(trained / "config.yaml"), "--run", str(tmp_path / "two")]
    best = str(trained / "checkpoints" / "best.ckpt")
    # Four windows a rank in batches of three: the last batches are ragged.
    main([*words, "--ckpt_path", best, "--data.eval_batch_size", "3", *FORK])
    one, two = (read_scores(p / "scores.npz") for p in (trained, tmp_path / "two"))
    for row in ROWS + LONG:
        # A rollout starts where its unit does.
        assert two[row].window.tolist() == ([0, 4] if row in LONG else list(range(8)))
        assert torch.equal(one[row].unit, two[row].unit)
        torch.testing.assert_close(
            two[row].values["mse"], one[row].values["mse"], atol=1e-5, rtol=1e-4
        )
    tables = [json.loads((p / "metrics.json").read_text()) for p in (trained, tmp_path / "two")]
    for mine, yours in zip(*tables, strict=True):
        assert (mine["row"], mine["n_windows"]) == (yours["row"], yours["n_windows"])
        assert mine["psnr"] == pytest.approx(yours["psnr"], abs=1e-3)


@pytest.mark.slow
def test_two_ranks_show_each_unit_once(trained: Path, tmp_path: Path) -> None:
    words = ["predict", "--config", str(trained / "config.yaml"), "--run", str(tmp_path / "two")]
    best = str(trained / "checkpoints" / "best.ckpt")
    main([*words, "--ckpt_path", best, "--data.horizon", "12", *FORK])
    made = {p.name for p in (tmp_path / "two" / "rollouts").iterdir()}
    assert made == {p.name for p in (trained / "rollouts").iterdir()}
    page = (tmp_path / "two" / "index.html").read_text()
    assert all(name in page for name in made if name.endswith(".mp4"))


@pytest.mark.slow
def test_the_launcher_of_full_yaml_works(toy: Path, tmp_path: Path) -> None:
    """`strategy: ddp` starts a second `mssim` with the same words."""
    config = write_config(tmp_path, toy)
    words = ["--trainer.devices", 2, "--trainer.strategy", "ddp", "--trainer.max_steps", 2]
    done = mssim("fit", "--config", config, *words, "--data.batch_size", 4)
    assert done.returncode == 0, done.stderr[-3000:]
    assert checkpoint(tmp_path / "run")["global_step"] == 2
    assert os.listdir(tmp_path / "run" / "checkpoints") == ["last.ckpt"]
