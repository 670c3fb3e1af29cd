"""What makes a row that row: global batch, code by its numbers, data by their content."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.lerobot_writer import write_lerobot
from helpers.tables import Pretence, lightly, write_spec
from helpers.tiny import build, write_config

from data_modules.digest import STALE
from lightning_app.tables import runs, work
from lightning_app.tables.__main__ import main as tables
from lightning_app.tables.code import Code, code_of, fingerprint, near
from lightning_app.tables.identity import global_batch
from lightning_app.tables.runs import Setting, cells
from lightning_app.tables.spec import read_spec
from lightning_app.tables.write import place, read_lines
from mssim.video.simulator import Losses, VideoSimulator

ROOT = Path(__file__).parents[2]


class World:
    """What code does and data hold, as a test says; changed between two calls.

    Attributes:
        code: What training steps give.
        drawn: What a sample gives.
        data: The digest of each split; None where no data are here.
    """

    def __init__(self) -> None:
        self.code, self.drawn = 1.0, 1.0
        self.data: dict[str, str] | None = {"train": "old", "test": "old"}

    def code_of(self, config: Path, flags: dict[str, Any]) -> Code:
        return Code({"loss 1": self.code}, {"mse": self.drawn})

    def data_of(self, config: Path, flags: dict[str, Any], split: str) -> str | None:
        return None if self.data is None else self.data[split]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made_up = World()
    lightly(monkeypatch)
    monkeypatch.setattr(runs, "code_of", made_up.code_of)
    monkeypatch.setattr(runs, "data_of", made_up.data_of)
    return made_up


@pytest.fixture
def again(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[str]]:
    """Makes the table once more; which commands that took, but those that prepare data."""
    made_up = Pretence()
    monkeypatch.setattr(work, "launch", made_up.launch)
    monkeypatch.setattr(work, "make", made_up.make)
    (tmp_path / "toy").mkdir()
    spec = write_spec(tmp_path, tmp_path / "toy")

    def make(*more: str) -> list[str]:
        made_up.ran.clear()
        where = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--seeds", "1"]
        tables([str(spec), *where, *more])
        return [word for word in made_up.commands() if word != "prepare"]

    return make


@pytest.mark.parametrize(
    ("flags", "windows"),
    [
        ({}, 8),
        ({"trainer.devices": 4}, 32),
        ({"trainer.devices": [0, 1]}, 16),
        ({"trainer.devices": "0,1,2"}, 24),
        ({"trainer.devices": "auto"}, 8),
        ({"trainer.num_nodes": 3}, 24),
        ({"trainer.accumulate_grad_batches": 2}, 16),
        ({"trainer.devices": 4, "data.batch_size": 2}, 8),
    ],
)
def test_the_global_batch_is_all_that_a_step_sees(flags: dict[str, Any], windows: int) -> None:
    config = {"data": {"batch_size": 8}, "trainer": {"accelerator": "cpu", "devices": 1}}
    assert global_batch(config, flags) == windows


def test_four_devices_are_no_longer_published_as_the_same_row(tmp_path: Path, world: World) -> None:
    (tmp_path / "toy").mkdir()
    spec = read_spec(write_spec(tmp_path, tmp_path / "toy"))

    def folders(**overrides: Any) -> set[Path]:
        rows = cells(spec, Setting(seeds=1, overrides=overrides))
        return {cell.run.folder for row in rows.values() for cell in row}

    four: dict[str, Any] = {"trainer.devices": 4}
    assert folders().isdisjoint(folders(**four))
    # The same windows a step, however they are shared out, are the same training.
    assert folders() == folders(**four, **{"data.batch_size": 2})
    setting = Setting(overrides=four)
    reason = place(spec, setting, ["Softmax"]).reason
    assert reason == "set by hand were global batch 32 windows, not 8; name a folder with OUT="
    same = replace(setting, overrides=four | {"data.batch_size": 2})
    assert place(spec, same, [row.name for row in spec.rows]).reason is None


def test_mended_code_leaves_no_row_done(
    again: Callable[..., list[str]], world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert again() == ["fit", "test"] * 2 and again() == []
    # Another machine's rounding is no other code.
    world.code, world.drawn = 1.00001, 0.99999
    assert again() == []
    world.code = 1.01
    capsys.readouterr()
    assert again() == ["fit", "test"] * 2
    assert "trained anew, what is there is of other code" in capsys.readouterr().out
    # Other ways to draw are other tests of the same trainings.
    world.drawn = 1.01
    assert again() == ["test", "test"] and again() == []
    world.code = world.drawn = 1.0
    assert again() == []


def test_data_recorded_anew_leave_no_row_done(
    again: Callable[..., list[str]], world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    again()
    world.data = {"train": "new", "test": "old"}
    assert again() == ["fit", "test"] * 2
    assert "what is there is of other data" in capsys.readouterr().out
    world.data = {"train": "new", "test": "new"}
    assert again() == ["test", "test"] and again() == []
    # Finished rows that were brought here without their data are still finished.
    world.data = None
    assert again() == []


def test_rows_of_other_data_are_never_in_one_table(
    again: Callable[..., list[str]],
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    again()
    for file in (tmp_path / "runs").rglob("what.json"):
        run = file.parent if file.parent.parent.name == "runs" else file.parents[2]
        if "mean" in (run / "what.json").read_text():
            file.write_text(json.dumps(json.loads(file.read_text()) | {"data": "other"}))
    world.data = None
    (tmp_path / "out" / "table-0.csv").unlink()
    capsys.readouterr()
    assert again() == []
    said = capsys.readouterr().out
    assert "Mean: left out, it is of training data other, test data other" in said
    found = {line["row"] for line in read_lines(tmp_path / "out" / "table-0.csv")}
    assert "Softmax" in found and "Mean" not in found


def test_a_table_says_by_what_code_and_of_what_data_it_is(
    again: Callable[..., list[str]], world: World, tmp_path: Path
) -> None:
    world.data = {"train": "0a1b2c", "test": "3d4e5f"}
    again()
    text = (tmp_path / "out" / "table-0.md").read_text()
    assert "- digest of the training data: 0a1b2c\n- digest of the test data: 3d4e5f\n" in text
    assert "- commit: " in text and "- fingerprint of the code: " in text
    assert "- global batch: 8\n" in text
    for line in read_lines(tmp_path / "out" / "table-0.csv"):
        assert (line["train_data"], line["test_data"], line["batch"]) == ("0a1b2c", "3d4e5f", "8")
        assert line["commit"] and len(line["fingerprint"]) == 8


def test_tables_that_were_published_before_are_still_read() -> None:
    files = sorted((ROOT / "configs" / "published" / "tables").glob("table-*.csv"))
    assert files
    for file in files:
        if file.stem != "table-5":
            assert all(line["row"] for line in read_lines(file))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("code")
    return ["--config", str(write_config(folder, folder / "toy"))]


def test_a_fingerprint_stays_with_the_numbers_and_not_with_the_text(words: list[str]) -> None:
    once = fingerprint(words)
    assert fingerprint(words) == once
    torch.manual_seed(7)
    assert fingerprint(words) == once and torch.initial_seed() == 7
    # Sums in another order, as by another processor.
    with torch.backends.mkldnn.flags(enabled=False):
        other = fingerprint(words)
    assert near(once.training, other.training) and near(once.testing, other.testing)
    wider = fingerprint([*words, "--model.encoder.code", "32"])
    assert not near(once.training, wider.training)


def test_a_mended_loss_changes_the_fingerprint(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    once, loss, sample = fingerprint(words), VideoSimulator.loss, VideoSimulator.from_diffused

    def mended(self: VideoSimulator, *args: Any) -> Losses:
        found = loss(self, *args)
        return replace(found, total=found.total + 0.01 * found.norm)

    monkeypatch.setattr(VideoSimulator, "loss", mended)
    assert not near(once.training, fingerprint(words).training)
    monkeypatch.setattr(VideoSimulator, "loss", loss)

    def drawn(self: VideoSimulator, *args: Any) -> torch.Tensor:
        return 0.99 * sample(self, *args)

    monkeypatch.setattr(VideoSimulator, "from_diffused", drawn)
    other = fingerprint(words)
    assert near(once.training, other.training) and not near(once.testing, other.testing)


@pytest.mark.parametrize("model", ["ActionEncoder", "ImageTextTower"])
def test_what_rows_build_upon_has_a_fingerprint(model: str, tmp_path: Path) -> None:
    found = fingerprint(["--config", str(write_config(tmp_path, tmp_path / "toy", model=model))])
    assert found.training["loss 1"] != found.training["loss 2"] and found.testing == {}


def test_a_digest_is_of_what_recordings_hold_and_not_of_their_files(tmp_path: Path) -> None:
    config = write_config(tmp_path, tmp_path / "toy")

    def digests(prepare: bool = True) -> dict[str, str] | None:
        if prepare:
            return build(config).datamodule.digests()
        return runs.parts(["--config", str(config)])[1].digests()

    assert digests(prepare=False) is None
    toy = write_lerobot(tmp_path / "toy", episodes=8, frames=40)
    assert digests(prepare=False) == dict.fromkeys(("train", "val", "test"), STALE)
    first = digests()
    assert first is not None and len(set(first.values())) == 3
    assert digests(prepare=False) == first
    # The same numbers in files of another day; then other numbers.
    for file in toy.rglob("*.parquet"):
        os.utime(file, (1, 1))
    assert digests() == first
    write_lerobot(tmp_path / "other", episodes=8, frames=41)
    toy.rename(tmp_path / "gone")
    (tmp_path / "other").rename(toy)
    assert digests(prepare=False) == dict.fromkeys(("train", "val", "test"), STALE)
    assert digests() != first


def test_hours_are_told_before_the_first_training() -> None:
    """Three rows of 600 steps at two seconds, two at once; what is done already costs nothing."""
    told = work.expected([(600, 2.0), (600, 2.0), (0, 9.0), (600, 2.0)], jobs=2)
    assert told.startswith("3 trainings, 1800 steps in all: roughly 30 minutes with 2 at once")
    assert "roughly 10.0 hours" in work.expected([(36000, 1.0)], jobs=1)
    config = Path(__file__).parents[2] / "configs" / "tables" / "kitchen.yaml"
    one, two = (code_of(config, {"data.size": size}).pace for size in (16, 32))
    assert 0 < one < 60 and 0 < two < 60
