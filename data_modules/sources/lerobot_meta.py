"""A LeRobot dataset's metadata, checked: `meta/info.json` and the list of its episodes.

v2.1 lists episodes in `meta/episodes.jsonl`. v3.0 lists them in `meta/episodes/*/*.parquet`, with
the file that each lies in; where in that file is counted from the lengths of those before it.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from data_modules.sources.fields import Fields, formatted, parse_json, read_json, read_text
from mssim.errors import UserError

VERSIONS = ("v2.0", "v2.1", "v3.0")
PICTURES = ("video", "image")


@dataclass(frozen=True)
class Feature:
    """What `info.json` says of a column.

    Attributes:
        dtype: `float32`, `video`, `image` and so on.
        shape: Of one row.
        names: Of the elements, flat; may be empty.
        depth: Is it a depth map?
    """

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...]
    depth: bool

    @property
    def width(self) -> int:
        """Numbers in one row."""
        out = 1
        for size in self.shape:
            out *= size
        return out


@dataclass(frozen=True)
class Info:
    """`meta/info.json`.

    Attributes:
        file: Where it lies.
        packed: Do many episodes share a file, as in v3.0?
        fps: Frames and rows a second.
        robot: Name of the body.
        chunk: Episodes in a folder, v2.1.
        data_path: Template of the parquet files' paths.
        video_path: Template of the videos' paths; empty where no camera is a video.
        features: By column.
        splits: First and last episode, the latter not included, by split.
    """

    file: Path
    packed: bool
    fps: float
    robot: str
    chunk: int
    data_path: str
    video_path: str
    features: dict[str, Feature]
    splits: dict[str, range]


@dataclass(frozen=True)
class Episode:
    """What the metadata say of an episode; paths are below the dataset's folder.

    Attributes:
        index: Its number.
        length: Its rows.
        text: What is done.
        data: The parquet file.
        videos: By camera, the mp4 and, in v3.0, where the episode lies in it; `Clip` has the keys.
        notes: What is odd and does no harm.
        problem: Why it cannot be read; empty where it can.
    """

    index: int
    length: int = 0
    text: str = ""
    data: str = ""
    videos: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    problem: str = ""


def read_info(path: Path) -> Info:
    """`meta/info.json` of a dataset's folder.

    Raises:
        UserError: It is not there, or a field of it is not what it should be.
    """
    file = path / "meta" / "info.json"
    table = read_json(file, "give the folder of a LeRobot dataset (v2.1 or v3.0)")
    version = table.raw("codebase_version")
    if version not in VERSIONS:
        raise UserError(
            f"{file}: codebase_version {version!r} is not v2.1 or v3.0; "
            "convert the dataset with lerobot's own scripts"
        )
    listed = table.fields("features")
    features = {key: _feature(listed.fields(key)) for key in listed}
    films = any(f.dtype == "video" for f in features.values())
    return Info(
        file,
        version == "v3.0",
        table.number("fps", above=0),
        (table.text("robot_type") if table.has("robot_type") else "") or "robot",
        table.whole("chunks_size", 1) if table.has("chunks_size") else 1000,
        table.text("data_path"),
        table.text("video_path") if films else "",
        features,
        _splits(table),
    )


def read_episodes(path: Path, info: Info, cameras: dict[str, str]) -> list[Episode]:
    """The episodes by number.

    Args:
        path: The dataset's folder.
        info: Its `info.json`.
        cameras: Feature key of each camera that is a video, by its name.

    Raises:
        UserError: A file of the list is missing or broken, or does not number its episodes. What
            is wrong with one episode alone is its `problem`.
    """
    read = _episodes_v3 if info.packed else _episodes_v2
    return sorted(read(path, info, cameras), key=lambda e: e.index)


def _feature(table: Fields) -> Feature:
    about = table.fields("info") if isinstance(table.raw("info"), dict) else Fields({}, "")
    return Feature(
        table.text("dtype"),
        table.wholes("shape"),
        tuple(_flat(table.raw("names"))),
        bool(about.raw("video.is_depth_map")),
    )


def _flat(names: object) -> list[str]:
    """Names come as a list, as a list in a list, or as a table of such."""
    if isinstance(names, dict):
        return _flat(list(names.values()))
    if isinstance(names, list):
        return [flat for name in names for flat in _flat(name)]
    return [] if names is None else [str(names)]


def _splits(table: Fields) -> dict[str, range]:
    if not table.has("splits"):
        return {}
    splits = table.fields("splits")
    out = {}
    for name in splits:
        first, _, last = str(splits.raw(name)).partition(":")
        if not (first.isdecimal() and last.isdecimal()):
            raise splits.wrong(name, "first:last, such as 0:50")
        out[name] = range(int(first), int(last))
    return out


def _episodes_v2(path: Path, info: Info, cameras: dict[str, str]) -> list[Episode]:
    file = path / "meta" / "episodes.jsonl"
    lines = enumerate(read_text(file).splitlines(), start=1)
    rows = [parse_json(line, f"{file}: line {n}") for n, line in lines if line.strip()]
    out = []
    for row in rows:
        index = row.whole("episode_index")
        place = {"episode_index": index, "episode_chunk": index // info.chunk}
        films = {
            camera: {
                "file": formatted(
                    info.video_path, f"{info.file}: video_path", **place, video_key=key
                )
            }
            for camera, key in cameras.items()
        }
        data = formatted(info.data_path, f"{info.file}: data_path", **place)
        out.append(_episode(row, data, films))
    return out


def _episodes_v3(path: Path, info: Info, cameras: dict[str, str]) -> list[Episode]:
    from data_modules.sources.parquet import read_columns

    wanted = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    for key in cameras.values():
        parts = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
        wanted += [f"videos/{key}/{part}" for part in parts]
    out = []
    for file in sorted((path / "meta" / "episodes").glob("*/*.parquet")):
        table = read_columns(file, wanted, optional=("tasks",))
        for number, content in enumerate(table.to_pylist()):
            out.append(_packed(Fields(content, f"{file}: row {number}"), info, cameras))
    return _counted(out, cameras)


def _packed(row: Fields, info: Info, cameras: dict[str, str]) -> Episode:
    """An episode of v3.0, whose places in the videos are still those that the file says."""
    index = row.whole("episode_index")
    try:
        data = formatted(
            info.data_path,
            f"{info.file}: data_path",
            chunk_index=row.whole("data/chunk_index"),
            file_index=row.whole("data/file_index"),
        )
        films = {camera: _film(row, info, key) for camera, key in cameras.items()}
    except UserError as error:
        return Episode(index, problem=str(error))
    return _episode(row, data, films)


def _film(row: Fields, info: Info, key: str) -> dict[str, Any]:
    file = formatted(
        info.video_path,
        f"{info.file}: video_path",
        video_key=key,
        chunk_index=row.whole(f"videos/{key}/chunk_index"),
        file_index=row.whole(f"videos/{key}/file_index"),
    )
    start = row.number(f"videos/{key}/from_timestamp")
    return {"file": file, "start": start, "stop": row.number(f"videos/{key}/to_timestamp")}


def _episode(row: Fields, data: str, films: dict[str, dict[str, Any]]) -> Episode:
    index = row.whole("episode_index")
    try:
        length = row.whole("length")
    except UserError as error:
        return Episode(index, data=data, videos=films, problem=str(error))
    tasks = row.raw("tasks")
    texts = [tasks] if isinstance(tasks, str) else tasks
    if isinstance(texts, list) and texts and isinstance(texts[0], str):
        return Episode(index, length, texts[0], data, films)
    note = "no text in tasks, which meta/ lists; the episode has none"
    return Episode(index, length, "", data, films, (note,))


def _counted(episodes: list[Episode], cameras: dict[str, str]) -> list[Episode]:
    """Tell each episode at which frame of its video it begins, and how many frames that has.

    `from_timestamp` adds up rounded seconds and drifts (huggingface/lerobot #3177): it only says
    which episode comes first. Where a length is not known, nothing is counted in that file.
    """
    videos = [dict(e.videos) for e in episodes]
    for camera in cameras:
        files = defaultdict(list)
        for number, episode in enumerate(episodes):
            if camera in episode.videos:
                files[episode.videos[camera]["file"]].append(number)
        unknown = any(not e.videos for e in episodes)  # it may lie in any file
        for numbers in files.values():
            if unknown or any(episodes[n].problem for n in numbers):
                continue
            numbers.sort(key=lambda n: (episodes[n].videos[camera]["start"], episodes[n].index))
            total, first = sum(episodes[n].length for n in numbers), 0
            for n in numbers:
                videos[n][camera] = {**videos[n][camera], "first": first, "total": total}
                first += episodes[n].length
    return [replace(e, videos=v) for e, v in zip(episodes, videos, strict=True)]
