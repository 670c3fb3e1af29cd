"""A run goes on with what it was begun with: settings, recordings, processes; or not at all."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.lerobot_writer import write_lerobot
from helpers.tiny import checkpoint, fit, write_config

from lightning_app.resume import check_processes
from mssim.errors import UserError


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("data.sources.toy.split.train", "['0:2']", "['0:4'] there, ['0:2'] here"),
        ("data.sources.toy.split.test", "['0:2']", "['6:8'] there, ['0:2'] here"),
        ("data.sources.toy.source.camera", "front", "None there, front here"),
        ("data.sources.toy.weight", "2", "1.0 there, 2.0 here"),
        ("data.strides", "[1,2]", "None there, [1, 2] here"),
        ("data.start_every", "2", "1 there, 2 here"),
        ("data.size", "8", "16 there, 8 here"),
        ("data.rate", "5", "None there, 5.0 here"),
        ("data.use_senses", "[other]", "None there, ['other'] here"),
        ("data.context", "2", "4 there, 2 here"),
        ("data.predict", "4", "8 there, 4 here"),
        ("data.text", "none", "phrase there, none here"),
        ("data.batch_size", "4", "8 there, 4 here"),
        ("data.seed", "1", "0 there, 1 here"),
        ("model.seed", "1", "0 there, 1 here"),
        ("model.weights.norm", "0.5", "there, 0.5 here"),
        ("model.sampler.steps", "1", "2 there, 1 here"),
        ("model.diffusion.log_mean", "0.1", "there, 0.1 here"),
        ("model.optimizer.lr", "0.01", "0.001 there, 0.01 here"),
        ("model.optimizer.weight_decay", "0.1", "0.01 there, 0.1 here"),
        ("ema.decay", "0.9", "0.995 there, 0.9 here"),
        ("trainer.gradient_clip_val", "1.0", "None there, 1.0 here"),
        ("trainer.precision", "bf16-mixed", "None there, bf16-mixed here"),
        ("trainer.accumulate_grad_batches", "2", "1 there, 2 here"),
    ],
)
def test_a_run_does_not_go_on_under_other_settings(
    flag: str,
    value: str,
    said: str,
    toy: Path,
    begun: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = (begun / "config.yaml").read_text()
    capsys.readouterr()
    with pytest.raises(SystemExit):
        fit(begun.parent / "run.yaml", begun, 4, f"--{flag}", value)
    line = capsys.readouterr().err.strip()
    assert f"{begun / 'config.yaml'}: the run there was trained with other settings (" in line
    assert f"{flag} " in line and said in line and "\n" not in line, line
    assert line.endswith("choose another --run, or give the old values")
    assert (begun / "config.yaml").read_text() == kept
    assert checkpoint(begun)["global_step"] == 2


@pytest.fixture(scope="module")
def begun(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two steps; no test goes on with it."""
    folder = tmp_path_factory.mktemp("begun")
    fit(write_config(folder, toy), folder / "run", 2)
    return folder / "run"


def test_a_checkpoint_of_another_run_is_compared_with_that_run(
    toy: Path, begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last, config = begun / "checkpoints" / "last.ckpt", begun.parent / "run.yaml"
    capsys.readouterr()
    with pytest.raises(SystemExit):
        words = ("--ckpt_path", str(last), "--data.strides", "[2]")
        fit(config, tmp_path / "run", 4, *words)
    line = capsys.readouterr().err.strip()
    assert "data.strides None there, [2] here" in line
    assert line.endswith(f"start from its weights alone: --ckpt_path null --model.init {last}")
    fit(config, tmp_path / "run", 3, "--ckpt_path", str(last))
    assert checkpoint(tmp_path / "run")["global_step"] == 3


def test_a_run_does_not_go_on_with_other_recordings(
    toy: Path, begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the same names: longer ones, and ones with other senses under other statistics."""
    longer = write_lerobot(tmp_path / "longer", episodes=8, frames=44)
    louder = write_lerobot(tmp_path / "louder", episodes=8, frames=40)
    for file in sorted((louder / "data").rglob("*.parquet")):
        table = pq.read_table(file)
        place = table.column_names.index("observation.state")
        state = np.stack(table["observation.state"].to_pylist()).astype(np.float32)
        wide = pa.FixedSizeListArray.from_arrays(pa.array(2 * state.ravel()), 4)
        pq.write_table(table.set_column(place, "observation.state", wide), file)
    for folder, said in (
        (longer, "train had 116 windows of 4 units ("),
        (louder, "the mean of place is another; the std of place is another"),
    ):
        capsys.readouterr()
        words = ["--data.sources.toy.source.path", str(folder), "--data.store", str(tmp_path / "s")]
        with pytest.raises(SystemExit):
            fit(begun.parent / "run.yaml", begun, 4, *words)
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert "data.sources: the recordings are not those that the run was trained on (" in line
        assert said in line and line.endswith("choose another --run, or give the old recordings")
        assert checkpoint(begun)["global_step"] == 2


def test_a_run_does_not_go_on_with_more_processes(
    toy: Path, begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = checkpoint(begun)
    with pytest.raises(UserError, match="trained by 1 processes, here are 2"):
        check_processes(content, 2)
    check_processes({}, 2)  # of an older mssim


def test_how_long_and_where_a_run_trains_may_change(toy: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, toy)
    fit(config, tmp_path / "run", 2)
    moved = toy.rename(toy.with_name("moved"))
    try:
        words = ["--data.sources.toy.source.path", str(moved), "--data.workers", "1"]
        words += ["--data.store", str(tmp_path / "store"), "--trainer.log_every_n_steps", "1"]
        words += ["--watch.rollout", "false", "--model.long", "false"]
        fit(config, tmp_path / "run", 3, *words)
    finally:
        moved.rename(toy)
    assert checkpoint(tmp_path / "run")["global_step"] == 3
