"""LeRobot datasets, layouts v2.1 and v3.0, read with pyarrow and PyAV.

v2.1 has one parquet and one mp4 an episode. v3.0 packs many episodes into each file and says in
`meta/episodes/*/*.parquet` where each begins. Layouts: huggingface/lerobot, `datasets/utils.py`.

Letters: R rows of an episode, N frames on the common clock, K samples a frame interval.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.recording import Clock, Entry, Span
from data_modules.resample import Times, clock_times, is_fresh, last_at_or_before, sub_times
from data_modules.sources.base import Source
from data_modules.sources.contents import Contents, lerobot_contents
from data_modules.sources.lerobot_video import Clip
from data_modules.store import Draft
from mssim.errors import UserError
from mssim.senses import Sense

SHORT = 0.05
"""A video may lack this share of its frames at the end; more than that is a broken file."""


@dataclass(frozen=True)
class Columns:
    """A slice of a vector column that forms one sense.

    Args:
        column: Name of the feature, e.g. `observation.state`.
        start: First element.
        stop: One past the last element.
        offset: Seconds by which the column leads the frames, e.g. 0.2 for a command that the body
            follows late: the frame at tau then goes with the row at tau - offset.
    """

    column: str
    start: int
    stop: int
    offset: float = 0.0


class LeRobotSource(Source):
    """One LeRobot dataset; each episode is one recording with one span.

    Args:
        path: The dataset's folder, which holds `meta/info.json`.
        senses: Which slice forms which sense.
        camera: A video feature, by key or by the last part of it; `all` for all of them; the first
            one that is not a depth map by default.
        subject: Name of the body; the dataset's `robot_type` by default.
    """

    def __init__(
        self,
        path: Path,
        senses: dict[str, Columns],
        camera: str | None = None,
        subject: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.senses = senses
        self.camera = camera
        self.subject = subject

    @cached_property
    def info(self) -> dict[str, Any]:
        """`meta/info.json`."""
        file = self.path / "meta" / "info.json"
        try:
            info = json.loads(file.read_text())
        except FileNotFoundError:
            raise UserError(
                f"{file} is not there; give the folder of a LeRobot dataset (v2.1 or v3.0)"
            ) from None
        except ValueError as error:
            raise UserError(f"{file}: not readable as JSON ({error}); download it again") from None
        if str(info.get("codebase_version")) not in ("v2.0", "v2.1", "v3.0"):
            raise UserError(
                f"{file}: codebase_version {info.get('codebase_version')!r} is not v2.1 or v3.0; "
                "convert the dataset with lerobot's own scripts"
            )
        return dict(info)

    @property
    def fps(self) -> float:
        return float(self.info["fps"])

    @cached_property
    def cameras(self) -> dict[str, str]:
        """Feature key of each camera that is read, by its short name."""
        features = self.info["features"]
        keys = [k for k, f in features.items() if f["dtype"] == "video"]
        if not keys:
            raise UserError(f"{self.path / 'meta/info.json'}: no feature of dtype video to predict")
        short = {k.removeprefix("observation.images.").replace("/", "_"): k for k in keys}
        if self.camera == "all":
            return short
        if self.camera is None:
            depth = [k for k in keys if features[k].get("info", {}).get("video.is_depth_map")]
            name = next((n for n, k in short.items() if k not in depth), next(iter(short)))
            return {name: short[name]}
        for name, key in short.items():
            if self.camera in (name, key):
                return {name: key}
        raise UserError(f"camera {self.camera!r} is not in {self.path}; it has {', '.join(short)}")

    def entries(self) -> list[Entry]:
        self._check_columns()
        episodes = self._episodes_v3() if self.info["codebase_version"] == "v3.0" else None
        found = self._episodes_v2() if episodes is None else episodes
        if not found:
            raise UserError(f"{self.path}: no episodes in meta/; download the dataset again")
        return found

    def signature(self) -> dict[str, Any]:
        return {
            "format": "lerobot",
            "senses": {name: asdict(columns) for name, columns in self.senses.items()},
            "camera": self.camera,
            "subject": self.subject,
        }

    def splits(self) -> dict[str, Sequence[str]] | None:
        declared: dict[str, str] = self.info.get("splits") or {}
        out: dict[str, Sequence[str]] = {}
        for name, rows in declared.items():
            first, _, last = str(rows).partition(":")
            if not (first.isdigit() and last.isdigit()):
                raise UserError(
                    f"{self.path / 'meta/info.json'}: split {name} is {rows!r}, expected first:last"
                )
            out[name] = [_episode_id(i) for i in range(int(first), int(last))]
        return out or None

    def contents(self) -> Contents:
        return lerobot_contents(self.info, next(iter(self.cameras)))

    def every_camera(self) -> "LeRobotSource":
        one = len(self.contents().cameras) == 1
        return self if one else LeRobotSource(self.path, self.senses, "all", self.subject)

    def convert(self, entry: Entry, clock: Clock, draft: Draft) -> None:
        rate = self.fps if clock.rate is None else clock.rate
        if rate > self.fps * (1 + 1e-6):
            raise UserError(
                f"rate {rate:g}: {self.path} has {self.fps:g} frames a second; choose at most that"
            )
        self._check_senses(clock)
        table = self._rows(entry)
        notes: list[str] = []
        times = table.pop("timestamp")[:, 0].astype(np.float64)
        times -= times[0]
        rows = len(times)
        clips = {camera: self._clip(entry, camera) for camera in self.cameras}
        kept = _kept(clips.values(), rows, notes)
        taus = clock_times(0.0, (kept - 1) / self.fps, rate)
        picks = np.minimum(((taus + 1e-6) * self.fps + 1e-3).astype(int), kept - 1)
        for camera, clip in clips.items():
            draft.add_frames(camera, clip.frames(picks, clock.size), len(picks))
        for name, columns in self.senses.items():
            sense = clock.senses[name]
            values = table[columns.column][:, columns.start : columns.stop]
            data, present, gaps = _on_clock(values, times, taus, 1 / rate, columns.offset, sense)
            draft.add_sense(name, data, present)
            if gaps:
                notes.append(f"{name}: {gaps} of {rows} rows are not finite and count as absent")
        draft.finish(1 / rate, [Span(0, len(picks), entry.key["text"])], notes)

    def _check_columns(self) -> None:
        features = self.info["features"]
        file = self.path / "meta" / "info.json"
        vectors = [k for k, f in features.items() if f["dtype"].startswith("float")]
        for name, c in self.senses.items():
            if c.column not in features:
                raise UserError(
                    f"sense {name}: {file} has no column {c.column!r}; it has {', '.join(vectors)}"
                )
            width = int(np.prod(features[c.column]["shape"]))
            if not 0 <= c.start < c.stop <= width:
                raise UserError(
                    f"sense {name}: slice {c.start}:{c.stop} is out of range for {c.column} of "
                    f"{file}, which has {width}: {_element_names(features[c.column])}"
                )

    def _check_senses(self, clock: Clock) -> None:
        for name, c in self.senses.items():
            size = clock.senses[name].size
            if c.stop - c.start != size:
                raise UserError(
                    f"sense {name}: {c.column}[{c.start}:{c.stop}] has {c.stop - c.start} numbers, "
                    f"its shape {clock.senses[name].shape} has {size}; make them agree"
                )

    def _episodes_v2(self) -> list[Entry]:
        file = self.path / "meta" / "episodes.jsonl"
        if not file.exists():
            raise UserError(f"{file} is not there; download the dataset again")
        entries = []
        for line in file.read_text().splitlines():
            if not line.strip():
                continue
            row = json.loads(line)
            index = int(row["episode_index"])
            place = {
                "episode_index": index,
                "episode_chunk": index // int(self.info.get("chunks_size", 1000)),
            }
            data = self.path / self.info["data_path"].format(**place)
            videos = {
                camera: {
                    "file": str(self.path / self.info["video_path"].format(**place, video_key=k))
                }
                for camera, k in self.cameras.items()
            }
            entries.append(self._entry(index, row["tasks"], row["length"], data, videos))
        return entries

    def _episodes_v3(self) -> list[Entry]:
        import pyarrow.parquet as pq

        entries = []
        for file in sorted((self.path / "meta" / "episodes").glob("*/*.parquet")):
            wanted = ["episode_index", "tasks", "length", "data/chunk_index", "data/file_index"]
            for key in self.cameras.values():
                parts = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
                wanted += [f"videos/{key}/{part}" for part in parts]
            try:
                rows = pq.read_table(file, columns=wanted).to_pylist()
            except Exception as error:
                raise UserError(
                    f"{file}: not readable as parquet ({error}); download it again"
                ) from None
            for row in rows:
                data = self.path / self.info["data_path"].format(
                    chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
                )
                videos = {c: self._video_v3(row, k) for c, k in self.cameras.items()}
                index, length = int(row["episode_index"]), int(row["length"])
                entries.append(self._entry(index, row["tasks"], length, data, videos))
        return sorted(entries, key=lambda e: e.id)

    def _video_v3(self, row: dict[str, Any], key: str) -> dict[str, Any]:
        file = self.info["video_path"].format(
            video_key=key,
            chunk_index=row[f"videos/{key}/chunk_index"],
            file_index=row[f"videos/{key}/file_index"],
        )
        return {
            "file": str(self.path / file),
            "start": float(row[f"videos/{key}/from_timestamp"]),
            "stop": float(row[f"videos/{key}/to_timestamp"]),
        }

    def _entry(
        self, index: int, tasks: list[str], length: int, data: Path, videos: dict[str, Any]
    ) -> Entry:
        key = {
            "index": index,
            "text": tasks[0] if tasks else "",
            "data": str(data),
            "videos": videos,
            "cameras": len(videos),
            "rate": self.fps,
        }
        subject = self.subject or str(self.info.get("robot_type") or "robot")
        files = (data, *(Path(v["file"]) for v in videos.values()))
        return Entry(_episode_id(index), subject, files, int(length), key)

    def _rows(self, entry: Entry) -> dict[str, NDArray[Any]]:
        """Columns of one episode, each (R, width)."""
        import pyarrow.parquet as pq

        file = Path(entry.key["data"])
        columns = sorted({c.column for c in self.senses.values()} | {"timestamp"})
        if not file.exists():
            raise UserError(f"{file} is not there; download the dataset again")
        try:
            table = pq.read_table(
                file, columns=columns, filters=[("episode_index", "==", entry.key["index"])]
            )
        except Exception as error:
            raise UserError(
                f"{file}: not readable as parquet ({error}); download it again"
            ) from None
        missing = [c for c in columns if c not in table.column_names]
        if missing or not table.num_rows:
            what = f"no column {missing[0]!r}" if missing else f"no rows of {entry.id}"
            raise UserError(f"{file}: {what}, which meta/info.json promises; download it again")
        return {c: _column(table[c], table.num_rows) for c in columns}

    def _clip(self, entry: Entry, camera: str) -> Clip:
        video = entry.key["videos"][camera]
        return Clip(Path(video["file"]), self.fps, video.get("start"), video.get("stop"))


def default_senses(info: dict[str, Any]) -> dict[str, Columns]:
    """A sense for every float vector that starts with `observation.`, and one for `action`.

    Args:
        info: `meta/info.json` of the dataset.
    """
    senses = {}
    for key, feature in info["features"].items():
        if not feature["dtype"].startswith("float") or len(feature["shape"]) != 1:
            continue
        if key.startswith("observation.") or key == "action":
            name = key.removeprefix("observation.").replace(".", "_").replace("/", "_")
            senses[name] = Columns(key, 0, int(feature["shape"][0]))
    return senses


def _kept(clips: Iterable[Clip], rows: int, notes: list[str]) -> int:
    """How many of an episode's rows have their frame in every clip; a short tail may be missing."""
    counts = {clip.file: clip.count() for clip in clips}
    file = min(counts, key=lambda f: counts[f])
    kept = min(rows, counts[file])
    if kept < rows - max(2, SHORT * rows):
        raise UserError(
            f"{file}: {kept} frames for {rows} rows of data; the video is cut short: "
            "download it again"
        )
    if kept < rows:
        notes.append(f"video has {kept} frames for {rows} rows; the last rows are dropped")
    return kept


def _on_clock(
    values: NDArray[Any], times: Times, taus: Times, interval: float, offset: float, sense: Sense
) -> tuple[NDArray[np.float32], NDArray[np.bool_], int]:
    """Bring rows (R, width) at `times` (R,) to (N, K, *shape) at frames `taus` (N,), causally.

    Each sample is the latest row at or before its time, less the offset. It is absent where that
    row is not finite, or older than a row and a frame interval.

    Returns:
        Values, presence (N,) and the number of rows that are not finite.
    """
    period = float(np.median(np.diff(times))) if len(times) > 1 else interval
    # float32 timestamps are not exact: a row may be this much late.
    wanted = sub_times(taus, interval, sense.samples_per_frame) - offset + 0.02 * period  # (N, K)
    row = last_at_or_before(times, wanted)
    finite = np.isfinite(values).all(axis=1)
    fresh = is_fresh(times, row, wanted, 1.04 * period + interval) & finite[row.clip(0)]
    data = np.where(fresh[..., None], values[row.clip(0)], 0).astype(np.float32)
    shaped = data.reshape(len(taus), sense.samples_per_frame, *sense.shape)
    return shaped, fresh.all(axis=1), int((~finite).sum())


def _column(column: Any, rows: int) -> NDArray[Any]:
    """An arrow column of numbers or lists of equal length as (R, width)."""
    flat = column.combine_chunks()
    while hasattr(flat.type, "value_type"):
        flat = flat.flatten()
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(rows, -1)


def _element_names(feature: dict[str, Any]) -> str:
    names = np.ravel(feature.get("names") or []).tolist()
    return ", ".join(str(n) for n in names) or "no names given"


def _episode_id(index: int) -> str:
    return f"episode_{index:06d}"
