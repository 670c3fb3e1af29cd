"""Tiny LeRobot datasets, written straight to the two layouts, whose pixels obey the state.

A bright square stands where `arm` says, as large as `hand[0]` says and as bright as `hand[1]` says,
so that a simulator trained on them has something to obey. `action` leads the state by two rows.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from data_modules.sources.lerobot import Columns, LeRobotSource
from mssim.senses import Sense, SenseSet

FPS = 10
CAMERA = "observation.images.top"
LEAD = 2
TASKS = ["Slide the square.", "Squeeze the square."]
COLUMNS = {
    "arm": Columns("observation.state", 0, 2),
    "hand": Columns("observation.state", 2, 4),
}


def senses() -> SenseSet:
    """The two senses of `COLUMNS`."""
    return SenseSet([Sense("arm", [2], "rad"), Sense("hand", [2], "rad")])


def source(root: Path) -> LeRobotSource:
    """The source that reads what `write_lerobot` wrote."""
    return LeRobotSource(root, COLUMNS)


def states(episode: int, frames: int, seed: int = 0) -> NDArray[np.float32]:
    """Smooth states in [-1, 1], (frames, 4), of one episode."""
    rng = np.random.default_rng([seed, episode])
    t = np.arange(frames)[:, None] / FPS
    speed, phase = rng.uniform(1.0, 3.0, 4), rng.uniform(0, 2 * np.pi, 4)
    return np.sin(speed * t + phase).astype(np.float32)


def picture(state: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
    """The frame that shows a state (4,): uint8 (size, size, 3)."""
    x, y, wide, light = (state + 1) / 2
    side = size * (0.15 + 0.2 * wide)
    left, top = x * (size - side), y * (size - side)
    grid = np.arange(size)
    # Coverage of each pixel row and column, so that the square moves by fractions of a pixel.
    across = np.clip(np.minimum(grid + 1, left + side) - np.maximum(grid, left), 0, 1)
    down = np.clip(np.minimum(grid + 1, top + side) - np.maximum(grid, top), 0, 1)
    mask = (down[:, None] * across[None, :])[..., None]
    back = np.array([40.0, 60.0, 90.0])
    front = np.array([255.0, 220.0, 120.0]) * (0.5 + 0.5 * light)
    return np.round(back * (1 - mask) + front * mask).astype(np.uint8)


def write_video(
    path: Path, frames: list[NDArray[np.uint8]], fps: int = FPS, open_gop: bool = False
) -> None:
    """An H.264 file of frames uint8 (H, W, 3), with B-frames and a key frame a second.

    With `open_gop` it is HEVC with a key frame every second frame, as LeRobot's encoder writes it:
    frames shown before a key frame then lean on the group of pictures before it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265" if open_gop else "libx264", rate=fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "12", "g": str(fps), "bf": "2"}
        if open_gop:
            stream.options = {"crf": "12", "g": "2", "x265-params": "log-level=none"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def write_lerobot(
    root: Path,
    version: str = "v2.1",
    episodes: int = 6,
    frames: int = 40,
    size: int = 32,
    seed: int = 0,
) -> Path:
    """Write a dataset and return its folder.

    Args:
        root: Folder to make.
        version: `v2.1` (a parquet and an mp4 an episode) or `v3.0` (two of each for all).
        episodes: How many; the last third is its declared `test` split.
        frames: Rows of each episode.
        size: Pixels a side.
        seed: Of the states.
    """
    tables, videos = [], []
    for e in range(episodes):
        state = states(e, frames + LEAD, seed)
        tables.append(_table(e, state[:frames], state[LEAD:]))
        videos.append([picture(s, size) for s in state[:frames]])
    (root / "meta").mkdir(parents=True)
    test = episodes - episodes // 3
    info = _info(version, episodes, frames, size, test)
    (root / "meta" / "info.json").write_text(json.dumps(info, indent=1))
    if version == "v3.0":
        _write_v3(root, tables, videos, frames)
    else:
        _write_v2(root, tables, videos, frames)
    return root


def _table(episode: int, state: NDArray[Any], action: NDArray[Any]) -> pa.Table:
    n = len(state)
    vectors = {"observation.state": state, "action": action}
    columns: dict[str, Any] = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(v.ravel(), pa.float32()), v.shape[1])
        for name, v in vectors.items()
    }
    columns["timestamp"] = pa.array(np.arange(n, dtype=np.float32) / FPS)
    columns["frame_index"] = pa.array(np.arange(n))
    columns["episode_index"] = pa.array(np.full(n, episode))
    columns["index"] = pa.array(np.arange(n) + episode * n)
    columns["task_index"] = pa.array(np.full(n, episode % len(TASKS)))
    return pa.table(columns)


def _info(version: str, episodes: int, frames: int, size: int, test: int) -> dict[str, Any]:
    v3 = version == "v3.0"
    names = ["x", "y", "grip", "light"]
    return {
        "codebase_version": version,
        "robot_type": "square",
        "total_episodes": episodes,
        "total_frames": episodes * frames,
        "chunks_size": 1000,
        "fps": FPS,
        "splits": {"train": f"0:{test}", "test": f"{test}:{episodes}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
        if v3
        else "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
        if v3
        else "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": {
            "observation.state": {"dtype": "float32", "shape": [4], "names": names},
            "action": {"dtype": "float32", "shape": [4], "names": names},
            CAMERA: {"dtype": "video", "shape": [size, size, 3], "names": None},
            "timestamp": {"dtype": "float32", "shape": [1], "names": None},
            "episode_index": {"dtype": "int64", "shape": [1], "names": None},
        },
    }


def _write_v2(root: Path, tables: list[pa.Table], videos: list[Any], frames: int) -> None:
    data = root / "data" / "chunk-000"
    data.mkdir(parents=True)
    lines = []
    for e, (table, video) in enumerate(zip(tables, videos, strict=True)):
        pq.write_table(table, data / f"episode_{e:06d}.parquet")
        write_video(root / "videos" / "chunk-000" / CAMERA / f"episode_{e:06d}.mp4", video)
        task = TASKS[e % len(TASKS)]
        lines.append(json.dumps({"episode_index": e, "tasks": [task], "length": frames}))
    (root / "meta" / "episodes.jsonl").write_text("\n".join(lines) + "\n")
    tasks = [json.dumps({"task_index": i, "task": t}) for i, t in enumerate(TASKS)]
    (root / "meta" / "tasks.jsonl").write_text("\n".join(tasks) + "\n")


def _write_v3(root: Path, tables: list[pa.Table], videos: list[Any], frames: int) -> None:
    """Two files of each kind, so that both file indices and offsets matter."""
    half = (len(tables) + 1) // 2
    rows = []
    for file, first in enumerate((0, half)):
        part = range(first, min(first + half, len(tables)))
        if not part:
            continue
        data = root / "data" / "chunk-000" / f"file-{file:03d}.parquet"
        data.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.concat_tables([tables[e] for e in part]), data)
        joined = [frame for e in part for frame in videos[e]]
        write_video(root / "videos" / CAMERA / "chunk-000" / f"file-{file:03d}.mp4", joined)
        for e in part:
            rows.append(
                {
                    "episode_index": e,
                    "tasks": [TASKS[e % len(TASKS)]],
                    "length": frames,
                    "data/chunk_index": 0,
                    "data/file_index": file,
                    f"videos/{CAMERA}/chunk_index": 0,
                    f"videos/{CAMERA}/file_index": file,
                    f"videos/{CAMERA}/from_timestamp": (e - first) * frames / FPS,
                    f"videos/{CAMERA}/to_timestamp": (e - first + 1) * frames / FPS,
                }
            )
    meta = root / "meta" / "episodes" / "chunk-000"
    meta.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), meta / "file-000.parquet")
    tasks = {"task_index": list(range(len(TASKS))), "__index_level_0__": TASKS}
    pq.write_table(pa.table(tasks), root / "meta" / "tasks.parquet")


def edit_info(root: Path, **changes: Any) -> None:
    """Change fields of `meta/info.json`; None removes one."""
    file = root / "meta" / "info.json"
    info = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({k: v for k, v in info.items() if v is not None}))


def edit_rows(file: Path, order: Any = None, **columns: Any) -> None:
    """Change columns of a parquet, `_` for `.` in their names, and then the order of its rows."""
    table = pq.read_table(file)
    for name, values in columns.items():
        name = name.replace("observation_", "observation.")
        table = table.drop_columns([name]) if name in table.column_names else table
        table = table if values is None else table.append_column(name, pa.array(values))
    pq.write_table(table if order is None else table.take(order), file)


def pictures_in_rows(root: Path, frames: list[list[NDArray[np.uint8]]], linked: bool) -> None:
    """Make a v2.1 dataset one of `dtype: image`: frames as PNG in its parquet, or beside it."""
    info = json.loads((root / "meta" / "info.json").read_text())
    info["features"][CAMERA]["dtype"] = "image"
    edit_info(root, features=info["features"], video_path=None)
    shutil.rmtree(root / "videos")
    for e, episode in enumerate(frames):
        cells = []
        for i, frame in enumerate(episode):
            file = root / "images" / CAMERA / f"episode_{e:06d}" / f"frame_{i:06d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(file)
            content = None if linked else file.read_bytes()
            cells.append({"bytes": content, "path": str(file.relative_to(root))})
        if not linked:
            shutil.rmtree(root / "images")
        file = root / "data" / "chunk-000" / f"episode_{e:06d}.parquet"
        pq.write_table(pq.read_table(file).append_column(CAMERA, pa.array(cells)), file)
