"""Whatever a LeRobot dataset's files hold, it is checked before it is used."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import lerobot_writer as writer

from data_modules.images import square_area
from data_modules.prepare import prepare
from data_modules.recording import Clock
from data_modules.sources.detect import detect
from data_modules.store import Store
from mssim.errors import UserError

ROWS = 20
STATE = writer.states(0, ROWS).tolist()


def dataset(tmp_path: Path, version: str = "v2.1", episodes: int = 3) -> Path:
    return writer.write_lerobot(tmp_path / "toy", version, episodes=episodes, frames=ROWS)


def store(root: Path) -> Store:
    source, clock = writer.source(root), Clock(writer.senses(), 16)
    return prepare("toy", source, clock, root.parent / "stores")


def complaint(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        store(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("fps", None, "has no fps, expected a number above 0"),
        ("fps", "10", "fps is '10', expected a number above 0"),
        ("fps", 0, "fps is 0, expected a number above 0"),
        ("fps", float("nan"), "fps is nan, expected a number above 0"),
        ("fps", 10**400, "fps is 1000000"),
        ("fps", True, "fps is True, expected a number"),
        ("data_path", None, "has no data_path, expected text"),
        ("data_path", "data/{episode}.parquet", "data_path is 'data/{episode}.parquet', which may"),
        ("video_path", 7, "video_path is 7, expected text"),
        ("video_path", "{0}", "video_path is '{0}', which may hold {episode_index}"),
        ("features", None, "has no features, expected a table"),
        ("features", [], "features is [], expected a table"),
        ("features", {"x": None}, "features: x is null, expected a table"),
        ("features", {"x": {"shape": [1]}}, "features: x: has no dtype, expected text"),
        ("features", {"x": {"dtype": "int64"}}, "features: x: has no shape, expected a list"),
        (
            "features",
            {"x": {"dtype": "int64", "shape": ["2"]}},
            "features: x: shape is '2', expected a whole number",
        ),
        ("features", {}, "no feature of dtype video or image to predict; give a dataset"),
        ("chunks_size", 0, "chunks_size is 0, expected a whole number from 1"),
        ("robot_type", 3, "robot_type is 3, expected text"),
        ("splits", [1], "splits is [1], expected a table"),
        ("splits", {"train": 7}, "splits: train is 7, expected first:last"),
    ],
)
def test_a_wrong_field_of_info_json_is_named(
    tmp_path: Path, field: str, value: Any, message: str
) -> None:
    root = dataset(tmp_path, episodes=1)
    writer.edit_info(root, **{field: value})
    if field == "features":
        told = pytest.raises(UserError)
        with told as caught:
            detect(root)[0].entries()
        assert message in str(caught.value) and "\n" not in str(caught.value)
    else:
        told_line = complaint(root)
        assert message in told_line and str(root / "meta/info.json") in told_line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"fps": ', "info.json: not readable as JSON"),
        (b"[1]", "info.json: is [1], expected a table"),
        (b"null", "info.json: is null, expected a table"),
        (b"[" * 100_000, "info.json: not readable as JSON"),
        ('{"robot_type": "b\xfcffel"}'.encode("latin-1"), "not UTF-8 text (byte 17); save it as"),
        ('{"fps": 10}'.encode("utf-16-le"), "info.json: not UTF-8 text"),
    ],
)
def test_what_is_no_json_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    root = dataset(tmp_path, episodes=1)
    (root / "meta/info.json").write_bytes(content)
    assert message in complaint(root)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_name_themselves_are_read(tmp_path: Path, encoding: str) -> None:
    root = dataset(tmp_path, episodes=1)
    for file in (root / "meta/info.json", root / "meta/episodes.jsonl"):
        file.write_text(file.read_text(), encoding=encoding)
    assert store(root).open("episode_000000").frames == ROWS


@pytest.mark.parametrize("name", ["meta/info.json", "meta/episodes.jsonl", "data", "videos"])
@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_a_folder_in_the_place_of_a_file_is_told(tmp_path: Path, name: str, version: str) -> None:
    root = dataset(tmp_path, version)
    file = root / name
    if name == "meta/episodes.jsonl" and version == "v3.0":
        file = root / "meta/episodes/chunk-000/file-000.parquet"
    if not file.suffix:
        file = sorted(p for p in file.rglob("*") if p.is_file())[0]
    file.unlink()
    file.mkdir()
    told = complaint(root)
    assert str(file) in told and ("folder" in told or "Is a directory" in told)


def test_names_of_elements_come_in_all_their_forms(tmp_path: Path) -> None:
    root = dataset(tmp_path, episodes=1)
    info = json.loads((root / "meta/info.json").read_text())
    for names in (["a", "b", "c", "d"], [["a", "b", "c", "d"]], {"motors": ["a", "b", "c", "d"]}):
        info["features"]["observation.state"]["names"] = names
        writer.edit_info(root, features=info["features"])
        source = writer.LeRobotSource(root, {"arm": writer.Columns("observation.state", 2, 9)})
        with pytest.raises(UserError, match=r"which has 4: a, b, c, d$"):
            source.entries()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"episode_index": 1, "leng', "line 2: not readable as JSON"),
        ("7", "line 2: is 7, expected a table"),
        ('{"tasks": ["x"], "length": 20}', "line 2: has no episode_index, expected a whole"),
        ('{"episode_index": -1, "length": 20}', "line 2: episode_index is -1, expected a whole"),
    ],
)
def test_a_broken_line_of_the_episodes_is_named(tmp_path: Path, line: str, message: str) -> None:
    root = dataset(tmp_path)
    file = root / "meta/episodes.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], line, lines[2]]))
    assert f"{file}: {message}" in complaint(root)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"length": None}, "line 2: length is null, expected a whole number from 0"),
        ({"length": "20"}, "line 2: length is '20', expected a whole number from 0"),
        ({"length": 19}, "20 rows of episode_000001, its length in meta/ is 19"),
    ],
)
def test_an_episode_with_a_wrong_length_leaves_the_others(
    tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    root = dataset(tmp_path)
    file = root / "meta/episodes.jsonl"
    lines = file.read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), **row})
    file.write_text("\n".join(lines))
    told = complaint(root)
    assert told.startswith("episode_000001: ") and message in told
    assert len(Store(next((tmp_path / "stores").iterdir())).ids()) == 2


@pytest.mark.parametrize("tasks", [None, [], [3], 5])
@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_an_episode_without_tasks_has_no_text(tmp_path: Path, version: str, tasks: Any) -> None:
    root = dataset(tmp_path, version, 1)
    if version == "v3.0":
        file = root / "meta/episodes/chunk-000/file-000.parquet"
        writer.edit_rows(file, tasks=None if tasks is None else [tasks])
    else:
        row = {"episode_index": 0, "length": ROWS, "tasks": tasks}
        (root / "meta/episodes.jsonl").write_text(json.dumps(row))
    got = store(root).open("episode_000000")
    assert [s.text for s in got.spans] == [""] and "no text in tasks" in got.notes[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([*STATE[:5], None, *STATE[6:]], "is null in row 5"),
        ([*STATE[:5], [0.0, None, 0.0, 0.0], *STATE[6:]], "is null in row 5"),
        ([*STATE[:5], [0.0], *STATE[6:]], "in row 5 is not as wide as in row 0"),
        ([row[:3] for row in STATE], "has 3 numbers in a row, meta/info.json says 4"),
        ([0.0] * ROWS, "has 1 numbers in a row, meta/info.json says 4"),
        ([["a"] * 4] * ROWS, "holds string, expected numbers"),
        (["a"] * ROWS, "holds string, expected numbers"),
        (None, "no column 'observation.state', which meta/info.json promises"),
    ],
)
@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_a_column_that_is_not_what_it_should_be_costs_its_recordings_alone(
    tmp_path: Path, values: Any, message: str, version: str
) -> None:
    root = dataset(tmp_path, version, 3)
    if version == "v3.0":  # its second file holds the last episode alone
        writer.edit_rows(root / "data/chunk-000/file-001.parquet", observation_state=values)
    else:
        writer.edit_rows(root / "data/chunk-000/episode_000002.parquet", observation_state=values)
    told = complaint(root)
    assert told.startswith("episode_000002: ") and message in told
    assert "1 of 3 recordings failed" in told
    assert len(Store(next((tmp_path / "stores").iterdir())).ids()) == 2


def test_a_column_of_another_kind_of_list_is_read(tmp_path: Path) -> None:
    root = dataset(tmp_path, episodes=1)
    data = root / "data/chunk-000/episode_000000.parquet"
    table = pq.read_table(data).drop_columns(["observation.state"])
    values = pa.array(STATE, pa.large_list(pa.float64()))
    pq.write_table(table.append_column("observation.state", values), data)
    got = store(root).open("episode_000000")
    np.testing.assert_array_equal(got.senses["arm"][:, 0], writer.states(0, ROWS)[:, :2])


@pytest.mark.parametrize("linked", [False, True])
def test_frames_that_lie_as_pictures_in_the_parquet_are_read(tmp_path: Path, linked: bool) -> None:
    root = dataset(tmp_path)
    frames = [[writer.picture(s, 32) for s in writer.states(e, ROWS)] for e in range(3)]
    writer.pictures_in_rows(root, frames, linked)
    order = np.random.default_rng(0).permutation(ROWS)
    writer.edit_rows(root / "data/chunk-000/episode_000001.parquet", order)
    kept = store(root)
    for episode in range(3):
        shown = np.asarray(kept.open(f"episode_{episode:06d}").cameras["top"])
        truth = np.stack([square_area(frame, 16) for frame in frames[episode]])
        np.testing.assert_array_equal(shown, truth)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (None, "no column 'observation.images.top'"),
        ([{"bytes": None, "path": None}] * ROWS, "in row 0 is dict, no picture"),
        ([{"bytes": b"x", "path": None}] * ROWS, "in row 0 is not readable as a picture"),
        ([{"bytes": None, "path": "gone.png"}] * ROWS, "in row 0 is not readable as a picture"),
        ([3] * ROWS, "in row 0 is int, no picture"),
    ],
)
def test_pictures_that_are_none_are_named(tmp_path: Path, cells: Any, message: str) -> None:
    root = dataset(tmp_path)
    frames = [[writer.picture(s, 32) for s in writer.states(e, ROWS)] for e in range(3)]
    writer.pictures_in_rows(root, frames, False)
    file = root / "data/chunk-000/episode_000001.parquet"
    writer.edit_rows(file, **{writer.CAMERA: cells})
    told = complaint(root)
    assert told.startswith(f"episode_000001: {file}: ") and message in told
    assert len(Store(next((tmp_path / "stores").iterdir())).ids()) == 2
