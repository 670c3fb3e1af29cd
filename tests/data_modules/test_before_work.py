"""What a config asks that the recordings do not hold: one line, before anything is converted."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import lerobot_writer as writer
from helpers.toy_data import config, module

from data_modules.commands import prepare
from data_modules.splits import SourceConfig, Split
from mssim.errors import UserError


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    writer.write_lerobot(root / "a", "v2.1", seed=0)
    return root


def refused(toy: Path, store: Path, **more: Any) -> str:
    """What setting up the data says; fails if anything is written."""
    with pytest.raises(UserError) as stop:
        module(toy, store=store, **more)
    assert not list(store.glob("**/recordings/*"))
    return str(stop.value)


@pytest.mark.parametrize("item", ["5:7", ":100", "4:9"])
def test_a_range_past_the_last_recording_is_refused(item: str, toy: Path, tmp_path: Path) -> None:
    told = refused(toy, tmp_path, sources={"a": config(toy, test=[item])})
    assert told.startswith(f"sources.a.split.test: '{item}' ends past the last recording; there")
    rest = f"'{item.split(':')[0]}:'"
    assert told.endswith(f"are 6, episode_000000 to episode_000005; for all the rest write {rest}")


def test_a_recording_in_two_splits_of_two_sources_is_refused(toy: Path, tmp_path: Path) -> None:
    again = SourceConfig(writer.source(toy / "a"), Split("recording", [], [], ["0:1"]))
    told = refused(toy, tmp_path, sources={"a": config(toy), "b": again})
    assert told == (
        "sources.b.split.test: episode_000000 is in train of sources.a, which reads the same "
        "folder; a recording belongs to one split"
    )


def test_a_camera_that_no_model_would_see_is_refused(toy: Path, tmp_path: Path) -> None:
    two = writer.write_lerobot(tmp_path / "two" / "a")
    file = two / "meta" / "info.json"
    info = json.loads(file.read_text())
    info["features"]["observation.images.wrist"] = info["features"][writer.CAMERA]
    file.write_text(json.dumps(info))
    source = writer.LeRobotSource(two, writer.COLUMNS, camera="all")
    given = SourceConfig(source, Split("recording", ["0:3"], ["3:4"], ["4:"]))
    told = refused(toy, tmp_path / "s", sources={"a": given})
    assert told.startswith("data.sources.a.source.camera: 2 cameras are read, and a model sees one")
    assert told.endswith("name one of top, wrist")


def test_more_pixels_than_were_recorded_are_refused(toy: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    told = refused(toy, store, size=33)
    assert told == (
        "size: 33, but a was recorded with 32 x 32 pixels; set data.size (of a command: --size) "
        "to 32 at most"
    )
    with pytest.raises(UserError, match="size: 64, but a was recorded with 32 x 32 pixels"):
        prepare(toy / "a", store, size=64)


def test_a_sense_of_a_source_that_is_none_of_the_data_s_is_refused(
    toy: Path, tmp_path: Path
) -> None:
    columns = {"armm": writer.COLUMNS["arm"], "hand": writer.COLUMNS["hand"]}
    given = SourceConfig(writer.LeRobotSource(toy / "a", columns), Split(train=["0:3"]))
    told = refused(toy, tmp_path, sources={"a": given})
    assert told == (
        "data.sources.a.source.senses: no sense named 'armm'; there are arm, hand in data.senses"
    )
