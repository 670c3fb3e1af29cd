"""What was odd about files reaches who prepares and who trains, counted by kind, worst first."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import lerobot_writer as writer
from helpers.toy_data import module

from data_modules.commands import prepare
from data_modules.notes import counted


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Six episodes of 40 rows: two have rows that are not numbers, one lacks frames at the end."""
    root = writer.write_lerobot(tmp_path / "a")
    for episode, rows in ((1, 2), (4, 7)):
        file = root / f"data/chunk-000/episode_{episode:06d}.parquet"
        state = writer.states(episode, 40)
        state[5 : 5 + rows] = np.nan
        table = pq.read_table(file)
        values = pa.FixedSizeListArray.from_arrays(pa.array(state.ravel()), 4)
        place = table.column_names.index("observation.state")
        pq.write_table(table.set_column(place, "observation.state", values), file)
    video = root / f"videos/chunk-000/{writer.CAMERA}/episode_000000.mp4"
    writer.write_video(video, [writer.picture(s, 32) for s in writer.states(0, 39)])
    return root


TOLD = [
    "notes on 3 recordings, worst first; `mssim data` lists them one by one",
    "  arm: 7 of 40 rows are not finite and count as absent (in 2 recordings, such as {}4)",
    "  hand: 7 of 40 rows are not finite and count as absent (in 2 recordings, such as {}4)",
    "  video has 39 frames for 40 rows; the last rows are dropped (in {}0)",
]


def test_who_prepares_is_told(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = odd.parent / "toy.yaml"
    config.write_text(
        "sources: {a: {source: {class_path: data_modules.sources.lerobot.LeRobotSource, init_args: "
        f"{{path: {odd}, senses: {{arm: {{column: observation.state, start: 0, stop: 2}}, "
        "hand: {column: observation.state, start: 2, stop: 4}}}}, split: {}}}\n"
        "senses: {senses: [{name: arm, shape: [2], unit: rad}, "
        "{name: hand, shape: [2], unit: rad}]}\n"
    )
    for _ in range(2):  # a store that is there already tells the same
        prepare(odd, odd.parent / "stores", config, size=8)
        lines = capsys.readouterr().out.splitlines()
        assert lines[1:] == [line.format("episode_00000") for line in TOLD]
    prepare(odd, odd.parent / "stores", config, size=8, limit=1)
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_who_trains_is_told(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = module(odd.parent)
    capsys.readouterr()
    data.setup("fit")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [line.format("a/episode_00000") for line in TOLD]
    data.setup("test")
    assert capsys.readouterr().err == ""


def test_what_is_lost_comes_before_what_was_mended_and_none_is_hidden() -> None:
    notes = [(str(i), f"stamps run backwards {i + 1} times; rows sorted by time") for i in range(5)]
    notes += [("7", "sense gaze: its device is missing or silent")]
    notes += [(str(i), f"kind {chr(97 + i)} of something left out") for i in range(12)]
    lines = counted(notes)
    assert len(lines) == 1 + 12 + 2
    assert lines[-1] == (
        "  stamps run backwards 5 times; rows sorted by time (in 5 recordings, such as 4)"
    )
    assert "  sense gaze: its device is missing or silent (in 7)" in lines[1:-1]
    assert counted([]) == []
