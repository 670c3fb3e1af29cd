import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from helpers import lerobot_writer as writer

from data_modules.commands import read_settings
from data_modules.images import square_area
from data_modules.prepare import prepare
from data_modules.recording import Clock, Recording
from data_modules.sources.lerobot import Columns, LeRobotSource, default_senses
from mssim.errors import UserError
from mssim.senses import Role, Sense, SenseSet


@pytest.fixture(scope="module", params=["v2.1", "v3.0"])
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / request.param
    return writer.write_lerobot(root, request.param, episodes=4, frames=23)


def read(source: LeRobotSource, clock: Clock, stores: Path, episode: int = 0) -> Recording:
    ids = [f"episode_{episode:06d}"]
    store = prepare("toy", source, clock, stores, only=ids)
    return store.open(ids[0])


@pytest.mark.parametrize("episode", [0, 1, 3])
def test_rows_and_frames_of_both_layouts(dataset: Path, tmp_path: Path, episode: int) -> None:
    got = read(writer.source(dataset), Clock(writer.senses(), 16), tmp_path, episode)
    state = writer.states(episode, 23 + writer.LEAD)[:23]
    np.testing.assert_array_equal(got.senses["arm"][:, 0], state[:, :2])
    np.testing.assert_array_equal(got.senses["hand"][:, 0], state[:, 2:])
    assert got.present["arm"].all() and got.frames == 23 and got.interval == 0.1
    truth = np.stack([square_area(writer.picture(s, 32), 16) for s in state])
    error = np.abs(got.cameras["top"].astype(int) - truth)
    assert error.mean() < 3  # what H.264 costs; a frame early or late costs ten times that
    late = np.abs(got.cameras["top"][1:].astype(int) - truth[:-1]).mean()
    assert late > 2 * error.mean()
    assert [s.text for s in got.spans] == [writer.TASKS[episode % 2]]
    assert (got.spans[0].start, got.spans[0].stop, got.subject) == (0, 23, "square")


def test_a_slower_clock_takes_the_latest_row_and_never_a_later_one(
    dataset: Path, tmp_path: Path
) -> None:
    senses = SenseSet([Sense("arm", [2], "rad", samples_per_frame=2), Sense("hand", [2], "rad")])
    got = read(writer.source(dataset), Clock(senses, 8, rate=4.0), tmp_path, 1)
    state = writer.states(1, 23)
    assert got.interval == 0.25 and got.frames == 9
    rows = (np.arange(9) * 2.5 + 1e-6).astype(int)
    np.testing.assert_array_equal(got.senses["hand"][:, 0], state[rows, 2:])
    halves = np.floor(np.arange(1, 9) * 2.5 - 1.25 + 1e-6).astype(int)
    np.testing.assert_array_equal(got.senses["arm"][1:, 0], state[halves, :2])
    np.testing.assert_array_equal(got.senses["arm"][1:, 1], state[rows[1:], :2])
    assert not got.present["arm"][0] and got.present["arm"][1:].all()
    with pytest.raises(UserError, match=r"rate 20: .* has 10 frames a second"):
        read(writer.source(dataset), Clock(senses, 8, rate=20.0), tmp_path)


def test_a_leading_column_is_taken_back_by_its_offset(dataset: Path, tmp_path: Path) -> None:
    source = LeRobotSource(dataset, {"command": Columns("action", 0, 4, writer.LEAD / writer.FPS)})
    senses = SenseSet([Sense("command", [4], "rad", role="command")])
    got = read(source, Clock(senses, 8), tmp_path)
    assert got.present["command"].tolist() == [False] * 2 + [True] * 21
    np.testing.assert_array_equal(got.senses["command"][2:, 0], writer.states(0, 23)[2:])


@pytest.mark.parametrize("rate", [None, 5.0])
@pytest.mark.parametrize("role", ["command", "sensation"])
def test_no_frame_is_told_the_command_issued_after_it_was_seen(
    dataset: Path, tmp_path: Path, role: Role, rate: float | None
) -> None:
    """An `action` is one, whatever its sense says; another column is where the sense says so."""
    source = LeRobotSource(
        dataset, {"told": Columns("action", 0, 4), "felt": Columns("observation.state", 0, 4)}
    )
    senses = SenseSet([Sense("told", [4], "rad", role=role), Sense("felt", [4], "rad", role=role)])
    got = read(source, Clock(senses, 8, rate), tmp_path)
    state = writer.states(0, 23 + writer.LEAD)
    seen = np.arange(0, 23, 1 if rate is None else 2)  # the row of each frame
    command = state[writer.LEAD :]
    assert got.present["told"].tolist() == [False] + [True] * (len(seen) - 1)
    np.testing.assert_array_equal(got.senses["told"][1:, 0], command[seen[1:] - 1])
    late = int(role == "command")
    np.testing.assert_array_equal(got.senses["felt"][1:, 0], state[seen[1:] - late])


def test_an_offset_that_is_given_is_taken_as_it_is(dataset: Path, tmp_path: Path) -> None:
    source = LeRobotSource(dataset, {"command": Columns("action", 0, 4, 0.0)})
    senses = SenseSet([Sense("command", [4], "rad", role="command")])
    got = read(source, Clock(senses, 8), tmp_path)
    np.testing.assert_array_equal(got.senses["command"][:, 0], writer.states(0, 25)[2:])


@pytest.mark.parametrize("offset", [-0.1, float("nan"), float("inf")])
def test_an_offset_into_the_future_is_refused_in_one_line(offset: float, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"column action: offset \S+ must be at least 0 seconds"):
        Columns("action", 0, 4, offset)
    senses = {"a": {"column": "action", "start": 0, "stop": 4, "offset": offset}}
    kind = "data_modules.sources.lerobot.LeRobotSource"
    source = {"class_path": kind, "init_args": {"path": "x", "senses": senses}}
    listed = {"senses": [{"name": "a", "shape": [4], "unit": "rad", "role": "command"}]}
    group = {"sources": {"toy": {"source": source, "split": {}}}, "senses": listed}
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(group))
    with pytest.raises(UserError, match="column action: offset"):
        read_settings(tmp_path / "toy.yaml")


def test_what_the_dataset_declares(dataset: Path) -> None:
    source = writer.source(dataset)
    splits = source.splits()
    assert splits is not None
    assert splits["test"] == ["episode_000003"] and len(splits["train"]) == 3
    assert list(default_senses(source.info)) == ["state", "action"]
    assert [e.frames for e in source.entries()] == [23] * 4


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns("observation.force", 0, 2), "no column 'observation.force'; it has observation."),
        (Columns("observation.state", 2, 5), "slice 2:5 is out of range .* x, y, grip, light"),
        (Columns("observation.state", 2, 2), "slice 2:2 is out of range"),
    ],
)
def test_wrong_columns_are_told(dataset: Path, columns: Columns, message: str) -> None:
    with pytest.raises(UserError, match=message):
        LeRobotSource(dataset, {"arm": columns}).entries()


def test_wrong_names_and_shapes_are_told(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sense named 'arm'; there are leg"):
        read(writer.source(dataset), Clock(SenseSet([Sense("leg", [2], "rad")]), 8), tmp_path)
    wide = SenseSet([replace(s, shape=[3]) for s in writer.senses()])
    with pytest.raises(UserError, match=r"has 2 numbers, its shape \[3\] has 3"):
        read(writer.source(dataset), Clock(wide, 8), tmp_path)
    source = LeRobotSource(dataset, writer.COLUMNS, camera="wrist")
    with pytest.raises(UserError, match=r"camera 'wrist' is not in .* it has top"):
        source.entries()


def broken(tmp_path: Path) -> tuple[Path, Path, Path]:
    root = writer.write_lerobot(tmp_path / "toy", episodes=1, frames=30)
    data = root / "data/chunk-000/episode_000000.parquet"
    return root, data, root / f"videos/chunk-000/{writer.CAMERA}/episode_000000.mp4"


def test_broken_files_are_named_and_leave_nothing(tmp_path: Path) -> None:
    root, data, video = broken(tmp_path)
    clock = Clock(writer.senses(), 8)
    whole_data, whole_video = data.read_bytes(), video.read_bytes()
    cases = [
        (video, None, r"episode_000000\.mp4 is not there"),
        (video, b"x" * 100, r"episode_000000\.mp4: not readable as video"),
        (video, whole_video[:400], r"episode_000000\.mp4: "),
        (data, None, r"episode_000000\.parquet is not there"),
        (data, whole_data[:400], r"episode_000000\.parquet: not readable as parquet"),
    ]
    for file, content, message in cases:
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(UserError, match=message) as caught:
            read(writer.source(root), clock, tmp_path / "stores")
        assert "\n" not in str(caught.value) and str(caught.value).startswith("episode_000000: ")
        assert not list((tmp_path / "stores").glob("*/recordings/*"))
        file.write_bytes(whole_video if file == video else whole_data)
    assert read(writer.source(root), clock, tmp_path / "stores").frames == 30


def test_a_short_video_loses_its_tail_and_a_very_short_one_is_refused(tmp_path: Path) -> None:
    root, _, video = broken(tmp_path)
    frames = [writer.picture(s, 32) for s in writer.states(0, 30)]
    writer.write_video(video, frames[:28])
    got = read(writer.source(root), Clock(writer.senses(), 8), tmp_path / "stores")
    assert got.frames == 28 and "28 frames for 30 rows" in got.notes[0]
    writer.write_video(video, frames[:20])
    with pytest.raises(UserError, match="20 frames for 30 rows of data; the video is cut short"):
        read(writer.source(root), Clock(writer.senses(), 8), tmp_path / "stores")


def test_rows_that_are_not_numbers_are_absent(tmp_path: Path) -> None:
    root, data, _ = broken(tmp_path)
    table = pq.read_table(data)
    state = writer.states(0, 30)
    state[4, 1] = np.nan
    values = pa.FixedSizeListArray.from_arrays(pa.array(state.ravel()), 4)
    pq.write_table(table.set_column(0, "observation.state", values), data)
    got = read(writer.source(root), Clock(writer.senses(), 8), tmp_path / "stores")
    assert np.flatnonzero(~got.present["arm"]).tolist() == [4] and got.present["hand"].all()
    assert not got.senses["arm"][4].any()
    assert got.notes == ("arm: 1 of 30 rows are not finite and count as absent",)


def test_other_versions_and_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"info\.json is not there; give the folder of a LeRobot"):
        writer.source(tmp_path).entries()
    root = writer.write_lerobot(tmp_path / "toy", episodes=1, frames=5)
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps({**info, "codebase_version": "v1.6"}))
    with pytest.raises(UserError, match=r"codebase_version 'v1\.6' is not v2\.1 or v3\.0"):
        writer.source(root).entries()


def test_the_real_recordings(g1: Path, tmp_path: Path) -> None:
    source = LeRobotSource(g1, {"left_arm": Columns("observation.state", 0, 7)})
    clock = Clock(SenseSet([Sense("left_arm", [7], "rad")]), 32)
    store = prepare("g1", source, clock, tmp_path, limit=2)
    assert store.ids() == ["episode_000000", "episode_000001"]
    got = store.open("episode_000000")
    assert got.frames == 131 and got.cameras["cam_high"].shape == (131, 32, 32, 3)
    assert got.spans[0].text == "Pick up the yellow bottle on the table."
    assert 0.01 < np.abs(np.diff(got.cameras["cam_high"].astype(float), axis=0)).mean() < 20
