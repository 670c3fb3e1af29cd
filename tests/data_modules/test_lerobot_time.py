"""Rows and frames go together by count; what clocks say is held against that."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers import lerobot_writer as writer

from data_modules.images import square_area
from data_modules.prepare import prepare
from data_modules.recording import Clock, Recording
from data_modules.store import Store
from mssim.errors import UserError

ROWS = 20
TIMES = np.arange(ROWS) / writer.FPS
JUMPED = np.where(np.arange(ROWS) < 12, TIMES, TIMES - 0.5)
PAUSED = np.where(np.arange(ROWS) < 12, TIMES, TIMES + 3.0)
HOLED = [None, *TIMES[1:].tolist()]


def dataset(tmp_path: Path, version: str = "v2.1", episodes: int = 1) -> tuple[Path, Path]:
    root = writer.write_lerobot(tmp_path / "toy", version, episodes=episodes, frames=ROWS)
    return root, root / "data/chunk-000/episode_000000.parquet"


def store(root: Path) -> Store:
    source, clock = writer.source(root), Clock(writer.senses(), 16)
    return prepare("toy", source, clock, root.parent / "stores")


def check(got: Recording, episode: int = 0, frames: int = ROWS) -> None:
    """Every frame and every row is that of its time."""
    state = writer.states(episode, frames)
    np.testing.assert_array_equal(got.senses["arm"][:, 0], state[:, :2])
    assert got.present["arm"].all() and got.frames == frames
    shown = np.asarray(got.cameras["top"]).astype(int)
    truth = np.stack([square_area(writer.picture(s, 32), 16) for s in state]).astype(int)
    error = np.abs(shown[:, None] - truth[None]).mean(axis=(2, 3, 4))  # frames by states
    np.testing.assert_array_equal(error.argmin(axis=1), np.arange(frames))


@pytest.mark.parametrize(
    ("stamps", "note", "spans"),
    [
        (TIMES * 1e3, "timestamp is in milliseconds, not seconds", [(0, 20)]),
        (TIMES * 1e9, "timestamp is in nanoseconds, not seconds", [(0, 20)]),
        (JUMPED, "timestamp goes from 1.1 to 0.7 at row 12", [(0, 12), (12, 20)]),
        (PAUSED, "timestamp goes from 1.1 to 4.2 at row 12", [(0, 12), (12, 20)]),
        (np.where(TIMES == 0, np.nan, TIMES), "not finite in 1 of 20 rows, first in", [(0, 20)]),
        (HOLED, "timestamp is not finite in 1 of 20 rows, first in row 0", [(0, 20)]),
        (np.full(ROWS, np.inf), "timestamp is not finite in 20 of 20 rows", [(0, 20)]),
    ],
)
def test_a_broken_timestamp_gives_no_frame_another_row(
    tmp_path: Path, stamps: Any, note: str, spans: list[tuple[int, int]]
) -> None:
    root, data = dataset(tmp_path)
    writer.edit_rows(data, timestamp=stamps)
    got = store(root).open("episode_000000")
    check(got)
    assert len(got.notes) == 1 and note in got.notes[0] and "frame_index" in got.notes[0]
    assert [(s.start, s.stop) for s in got.spans] == spans


def test_a_timestamp_in_lists_of_one_is_a_timestamp(tmp_path: Path) -> None:
    root, data = dataset(tmp_path)
    writer.edit_rows(data, timestamp=[[t] for t in TIMES], frame_index=[[i] for i in range(ROWS)])
    got = store(root).open("episode_000000")
    check(got)
    assert got.notes == ()


@pytest.mark.parametrize("with_index", [True, False])
def test_rows_out_of_order_are_put_in_order(tmp_path: Path, with_index: bool) -> None:
    root, data = dataset(tmp_path)
    order = np.random.default_rng(0).permutation(ROWS)
    columns = {} if with_index else {"frame_index": None}
    writer.edit_rows(data, order, **columns)
    got = store(root).open("episode_000000")
    check(got)
    by = "frame_index" if with_index else "timestamp"
    assert got.notes == (f"rows do not lie in order; they are put in order by {by}",)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"timestamp": TIMES * 3}, r"timestamp rises by 0\.3 a row, at 10 fps it is 0\.1 seconds"),
        ({"timestamp": TIMES * 0}, r"timestamp rises by 0 a row, at 10 fps it is 0\.1 seconds"),
        ({"timestamp": ["x"] * ROWS}, "timestamp holds string, expected seconds"),
        ({"timestamp": [[0.0, 1.0]] * ROWS}, "timestamp has 2 numbers in a row, meta/info"),
        (
            {"timestamp": np.random.default_rng(0).permutation(TIMES)},
            "timestamp (goes|rises)",
        ),
        (
            {"timestamp": JUMPED, "frame_index": None},
            r"timestamp goes from 1\.1 to 0\.7 at row 12, and there is no frame_index to go by",
        ),
        (
            {"timestamp": HOLED, "frame_index": [7] * ROWS},
            "timestamp is not finite in row 0, and frame_index does not count them",
        ),
        ({"timestamp": None, "frame_index": None}, "timestamp is not finite in row 0, and there"),
    ],
)
def test_rows_that_nothing_puts_in_order_are_refused(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    root, data = dataset(tmp_path)
    writer.edit_rows(data, **columns)
    with pytest.raises(UserError, match=f"episode_000000.parquet: episode 0: {message}") as caught:
        store(root)
    assert "\n" not in str(caught.value)


def test_a_video_longer_than_rows_that_begin_late_is_refused(tmp_path: Path) -> None:
    """Cut at the front or at the back? Nothing says which frames are the rows'."""
    root, data = dataset(tmp_path)
    writer.edit_rows(data, np.arange(5, ROWS))
    text = (root / "meta/episodes.jsonl").read_text()
    (root / "meta/episodes.jsonl").write_text(text.replace('"length": 20', '"length": 15'))
    with pytest.raises(UserError, match=r"20 frames for 15 rows, the first of which says .* row 5"):
        store(root)


def episodes(root: Path, **columns: Any) -> None:
    """Change columns of v3.0's list of episodes, `{camera}` for the camera's part of a name."""
    file = root / "meta/episodes/chunk-000/file-000.parquet"
    named = {f"videos/{writer.CAMERA}/{k}": v for k, v in columns.items() if k != "length"}
    named |= {k: v for k, v in columns.items() if k == "length"}
    writer.edit_rows(file, **named)


def test_a_drifting_from_timestamp_moves_no_frame(tmp_path: Path) -> None:
    root, _ = dataset(tmp_path, "v3.0", 6)
    episodes(root, from_timestamp=[0, 2.06, 4.3, 0, 2.0, 4.0])
    got = store(root)
    for episode in range(6):
        check(got.open(f"episode_{episode:06d}"), episode)
    assert got.open("episode_000001").notes == (
        "from_timestamp is +0.6 frames off in file-000.mp4; frames are counted",
    )
    assert "+3.0 frames" in got.open("episode_000002").notes[0]
    assert got.open("episode_000004").notes == ()


def test_where_frames_are_missing_a_drifting_episode_alone_is_refused(tmp_path: Path) -> None:
    root, _ = dataset(tmp_path, "v3.0", 6)
    video = root / f"videos/{writer.CAMERA}/chunk-000/file-000.mp4"
    frames = [writer.picture(s, 32) for e in range(3) for s in writer.states(e, ROWS)]
    writer.write_video(video, frames[:-1])
    episodes(root, from_timestamp=[0, 2.04, 4.0, 0, 2.0, 4.0])
    message = (
        r"^episode_000001: .*file-000\.mp4: 59 frames for 60 rows of its episodes, and "
        r"from_timestamp 2\.04 is 0\.40 frames from the nearest one"
    )
    with pytest.raises(UserError, match=message):
        store(root)
    kept = Store(next((tmp_path / "stores").iterdir()))
    assert len(kept.ids()) == 5
    check(kept.open("episode_000000"))
    check(kept.open("episode_000002"), 2, ROWS - 1)


def test_an_episode_of_unknown_length_leaves_the_others_their_frames(tmp_path: Path) -> None:
    root, _ = dataset(tmp_path, "v3.0", 6)
    episodes(root, length=[None, *[ROWS] * 5])
    with pytest.raises(UserError, match=r"row 0: length is null, expected a whole .*1 of 6 rec"):
        store(root)
    kept = Store(next((tmp_path / "stores").iterdir()))
    for episode in range(1, 6):
        check(kept.open(f"episode_{episode:06d}"), episode)


def test_an_open_group_of_pictures_decodes(tmp_path: Path) -> None:
    """Frames before a key frame lean on the group before it, which a seek leaves out."""
    root = writer.write_lerobot(tmp_path / "toy", "v3.0", episodes=6, frames=37)
    for file in range(2):
        part = [writer.states(e, 37) for e in range(3 * file, 3 * file + 3)]
        frames = [writer.picture(s, 32) for state in part for s in state]
        video = root / f"videos/{writer.CAMERA}/chunk-000/file-{file:03d}.mp4"
        writer.write_video(video, frames, open_gop=True)
    got = store(root)
    for episode in range(6):
        check(got.open(f"episode_{episode:06d}"), episode, 37)


def test_an_episode_of_one_row_is_no_image(tmp_path: Path) -> None:
    root, data = dataset(tmp_path, episodes=2)
    writer.edit_rows(data, [0])
    text = (root / "meta/episodes.jsonl").read_text()
    (root / "meta/episodes.jsonl").write_text(text.replace('"length": 20', '"length": 1', 1))
    video = root / f"videos/chunk-000/{writer.CAMERA}/episode_000000.mp4"
    writer.write_video(video, [writer.picture(writer.states(0, 1)[0], 32)])
    got = store(root).open("episode_000000")
    assert got.frames == 1 and got.spans == ()
    assert got.notes == ("1 frame, which is no episode: left out",)
    assert pq.read_table(data).num_rows == 1
