"""LeRobot datasets, layouts v2.1 and v3.0, read with pyarrow and PyAV.

v2.1 has one parquet and one mp4 an episode. v3.0 packs many episodes into each file and says in
`meta/episodes/*/*.parquet` where each lies. Layouts: huggingface/lerobot, `datasets/utils.py`.

Letters: R rows of an episode, N frames on the common clock, K samples a frame interval.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.recording import Clock, Entry, Span
from data_modules.resample import Times, clock_times, is_fresh, last_at_or_before, sub_times
from data_modules.sources.base import Source
from data_modules.sources.contents import Contents, lerobot_contents
from data_modules.sources.lerobot_meta import (
    PICTURES,
    Episode,
    Info,
    read_episodes,
    read_info,
)
from data_modules.sources.lerobot_rows import Rows, read_rows
from data_modules.sources.lerobot_video import Clip, Pictures
from data_modules.store import Draft
from mssim.errors import UserError
from mssim.senses import Sense

SHORT = 0.05
"""A video may lack this share of its frames at the end; more than that is a broken file."""

READER = 2
"""Counts what this file writes otherwise than before, so that older stores are not taken for it."""


@dataclass(frozen=True)
class Columns:
    """A slice of a vector column that forms one sense.

    Args:
        column: Name of the feature, e.g. `observation.state`.
        start: First element.
        stop: One past the last element.
        offset: Seconds by which the column leads the frames, e.g. 0.2 for a command that the body
            follows late: the frame at tau then goes with the row at tau - offset. By default one
            frame of the dataset for a command, which is issued after its row's frame was seen (a
            sense whose role is `command`, and any column `action`), and none for what is measured.

    Raises:
        UserError: The offset is below 0, or no number.
    """

    column: str
    start: int
    stop: int
    offset: float | None = None

    def __post_init__(self) -> None:
        if self.offset is not None and not 0 <= self.offset < math.inf:
            raise UserError(
                f"column {self.column}: offset {self.offset:g} must be at least 0 seconds; below 0 "
                "a frame would be told what was recorded after it"
            )

    def lead(self, sense: Sense, fps: float) -> float:
        """The offset in seconds, for a sense of a dataset with so many frames a second."""
        if self.offset is not None:
            return self.offset
        commands = sense.role == "command" or self.column.split(".")[0] == "action"
        return 1 / fps if commands else 0.0


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
    def info(self) -> Info:
        """`meta/info.json`."""
        return read_info(self.path)

    @property
    def fps(self) -> float:
        return self.info.fps

    @cached_property
    def cameras(self) -> dict[str, str]:
        """Feature key of each camera that is read, by its short name."""
        features = self.info.features
        keys = [k for k, f in features.items() if f.dtype in PICTURES]
        if not keys:
            raise UserError(
                f"{self.info.file}: no feature of dtype video or image to predict; "
                "give a dataset that was recorded with a camera"
            )
        short = {k.removeprefix("observation.images.").replace("/", "_"): k for k in keys}
        if self.camera == "all":
            return short
        if self.camera is None:
            flat = (n for n, k in short.items() if not features[k].depth)
            name = next(flat, next(iter(short)))
            return {name: short[name]}
        for name, key in short.items():
            if self.camera in (name, key):
                return {name: key}
        raise UserError(f"camera {self.camera!r} is not in {self.path}; it has {', '.join(short)}")

    def entries(self) -> list[Entry]:
        self._check_columns()
        films = {c: k for c, k in self.cameras.items() if self._is_film(k)}
        found = read_episodes(self.path, self.info, films)
        if not found:
            raise UserError(f"{self.path}: no episodes in meta/; download the dataset again")
        return [self._entry(episode) for episode in found]

    def signature(self) -> dict[str, Any]:
        return {
            "format": "lerobot",
            "reader": READER,
            "senses": {name: asdict(columns) for name, columns in self.senses.items()},
            "camera": self.camera,
            "subject": self.subject,
        }

    def splits(self) -> dict[str, Sequence[str]] | None:
        declared = self.info.splits.items()
        return {name: [_episode_id(i) for i in rows] for name, rows in declared} or None

    def contents(self) -> Contents:
        return lerobot_contents(self.info, next(iter(self.cameras)))

    def every_camera(self) -> "LeRobotSource":
        one = len(self.contents().cameras) == 1
        return self if one else LeRobotSource(self.path, self.senses, "all", self.subject)

    def convert(self, entry: Entry, clock: Clock, draft: Draft) -> None:
        if entry.key["problem"]:
            raise UserError(entry.key["problem"])
        rate = self.fps if clock.rate is None else clock.rate
        if rate > self.fps * (1 + 1e-6):
            raise UserError(
                f"rate {rate:g}: {self.path} has {self.fps:g} frames a second; choose at most that"
            )
        self._check_senses(clock)
        table = self._rows(entry)
        notes = [*entry.key["notes"], *table.notes]
        films = {camera: self._film(entry, camera, table) for camera in self.cameras}
        notes += [note for film in films.values() for note in film.notes()]
        kept = _kept(films.values(), table, notes)
        taus = clock_times(0.0, (kept - 1) / self.fps, rate)
        picks = np.minimum(((taus + 1e-6) * self.fps + 1e-3).astype(int), kept - 1)
        for camera, film in films.items():
            draft.add_frames(camera, film.frames(picks, clock.size, clock.crop), len(picks))
        times = np.arange(len(table)) / self.fps
        for name, columns in self.senses.items():
            sense = clock.senses[name]
            lead = columns.lead(sense, self.fps)
            values = table.values[columns.column][:, columns.start : columns.stop]
            data, present, gaps = _on_clock(values, times, taus, 1 / rate, lead, sense)
            draft.add_sense(name, data, present)
            if gaps:
                notes.append(
                    f"{name}: {gaps} of {len(table)} rows are not finite and count as absent"
                )
        draft.finish(1 / rate, _spans(picks, table.breaks, entry.key["text"], notes), notes)

    def _check_columns(self) -> None:
        features, file = self.info.features, self.info.file
        vectors = [k for k, f in features.items() if f.dtype.startswith("float")]
        for name, c in self.senses.items():
            if c.column not in features:
                raise UserError(
                    f"sense {name}: {file} has no column {c.column!r}; it has {', '.join(vectors)}"
                )
            feature = features[c.column]
            if not 0 <= c.start < c.stop <= feature.width:
                names = ", ".join(feature.names) or "no names given"
                raise UserError(
                    f"sense {name}: slice {c.start}:{c.stop} is out of range for {c.column} of "
                    f"{file}, which has {feature.width}: {names}"
                )

    def _check_senses(self, clock: Clock) -> None:
        for name, c in self.senses.items():
            size = clock.senses[name].size
            if c.stop - c.start != size:
                raise UserError(
                    f"sense {name}: {c.column}[{c.start}:{c.stop}] has {c.stop - c.start} numbers, "
                    f"its shape {clock.senses[name].shape} has {size}; make them agree"
                )

    def _is_film(self, key: str) -> bool:
        return self.info.features[key].dtype == "video"

    def _entry(self, episode: Episode) -> Entry:
        key = {
            "index": episode.index,
            "text": episode.text,
            "data": episode.data,
            "videos": episode.videos,
            "cameras": len(self.cameras),
            "rate": self.fps,
            "notes": list(episode.notes),
            "problem": episode.problem,
        }
        names = [episode.data, *(v["file"] for v in episode.videos.values())]
        files = tuple(self.path / name for name in names if name)
        subject = self.subject or self.info.robot
        facts = json.dumps([subject, self.fps, episode.length, episode.text, episode.videos])
        return Entry(_episode_id(episode.index), subject, files, episode.length, key, facts)

    def _rows(self, entry: Entry) -> Rows:
        """The rows of one episode, as many as its metadata say."""
        file = self.path / entry.key["data"]
        columns = {c.column for c in self.senses.values()}
        widths = {c: self.info.features[c].width for c in columns}
        rows = read_rows(file, entry.key["index"], widths, self.fps)
        if len(rows) != entry.frames:
            raise UserError(
                f"{file}: {len(rows)} rows of {entry.id}, its length in meta/ is {entry.frames}; "
                "download the dataset again"
            )
        return rows

    def _film(self, entry: Entry, camera: str, rows: Rows) -> Clip | Pictures:
        if camera in entry.key["videos"]:
            return Clip.of(self.path, entry.key["videos"][camera], self.fps, len(rows))
        file, column = self.path / entry.key["data"], self.cameras[camera]
        return Pictures(file, self.path, column, entry.key["index"], rows.order)


def default_senses(info: Info) -> dict[str, Columns]:
    """A sense for every float vector that starts with `observation.`, and one for `action`.

    Args:
        info: `meta/info.json` of the dataset.
    """
    senses = {}
    for key, feature in info.features.items():
        if not feature.dtype.startswith("float") or len(feature.shape) != 1:
            continue
        if key.startswith("observation.") or key == "action":
            name = key.removeprefix("observation.").replace(".", "_").replace("/", "_")
            senses[name] = Columns(key, 0, feature.shape[0])
    return senses


def _kept(films: Iterable[Clip | Pictures], table: Rows, notes: list[str]) -> int:
    """How many of an episode's rows have their frame in every film; a short tail may be missing."""
    rows = len(table)
    counts = {film.file: film.count() for film in films}
    file = min(counts, key=lambda f: counts[f])
    kept = min(rows, counts[file])
    if kept < rows - max(2, SHORT * rows) or not kept:
        raise UserError(
            f"{file}: {kept} frames for {rows} rows of data; the video is cut short: "
            "download it again"
        )
    if kept < rows:
        notes.append(f"video has {kept} frames for {rows} rows; the last rows are dropped")
    file, most = max(counts.items(), key=lambda item: item[1])
    if most > rows:
        if abs(table.late) > 0.5:
            raise UserError(
                f"{file}: {most} frames for {rows} rows, the first of which says that it is row "
                f"{table.late:g}: nothing says which frames are theirs; download it again"
            )
        notes.append(f"video has {most} frames for {rows} rows; the last frames are dropped")
    return kept


def _spans(
    picks: NDArray[np.int64], breaks: Sequence[int], text: str, notes: list[str]
) -> list[Span]:
    """The stretches of rows without a break, on the clock whose frames show rows `picks` (N,).

    A stretch of one frame shows nothing that moves: it is left out.
    """
    edges = [0, *np.searchsorted(picks, breaks).tolist(), len(picks)]
    spans = [Span(a, b, text) for a, b in pairwise(edges) if b - a > 1]
    if not spans:
        notes.append(f"{len(picks)} frame, which is no episode: left out")
    return spans


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


def _episode_id(index: int) -> str:
    return f"episode_{index:06d}"
