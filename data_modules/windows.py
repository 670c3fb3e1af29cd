"""Windows: H context frames and P to predict, inside one span, as whole batches.

Letters: B batch, T = H + P frames, K samples a frame interval, N frames of a recording, s stride,
M senses, S pixels a side.

Frame j of a window stands at row start + j s. Its action covers rows start + (j - 1) s + 1 up to
start + j s: with a stride, the s K samples between two frames are brought to K as each sense says,
see `merging.py`. Rows before the recording are absent.

A recording of one frame is an image: a window whose context and later frames are masked.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch.utils.data import Dataset

from data_modules.merging import merge, steps_present
from data_modules.recording import Recording, Span
from data_modules.store import Store
from data_modules.text import Captions
from mssim.batch import Batch
from mssim.errors import UserError
from mssim.senses import SenseSet

OPEN = 1024
"""Recordings held open at once; each holds a few memory maps."""

_TEXT = -1  # names the draw of a caption's detail; senses' own draws count from 0


@dataclass(frozen=True)
class Track:
    """A prepared recording's place in the data: what every window of it shares.

    Attributes:
        store: Where it is.
        id: Its id there.
        source: Index of its source.
        subject: Index of its subject.
        unit: Index of its first span among all units.
    """

    store: Store
    id: str
    source: int
    subject: int
    unit: int


@dataclass(frozen=True)
class WindowIndex:
    """Where windows lie, each int64 (n,): index of the track, first row, stride, unit."""

    track: NDArray[np.int64]
    start: NDArray[np.int64]
    stride: NDArray[np.int64]
    unit: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.track)


@dataclass(frozen=True)
class Ask:
    """What a sampler asks of the dataset: one batch.

    Attributes:
        windows: int64 (B,), which windows.
        epoch: For what is drawn anew each epoch.
        predict: Frames to predict in this batch.
    """

    windows: NDArray[np.int64]
    epoch: int
    predict: int


def index_windows(
    spans: Sequence[tuple[int, int, Sequence[Span], int]],
    context: int,
    length: int,
    strides: Sequence[int],
    every: int,
    skip: int = 0,
) -> WindowIndex:
    """All windows that fit, ordered by track, span, stride and start.

    Args:
        spans: Of each recording: index of its first unit, its frames N, its spans, its track.
        context: H.
        length: T.
        strides: Rows between frames.
        every: Rows between starts.
        skip: Rows left out at the beginning of each span.
    """
    parts: list[NDArray[np.int64]] = []
    for unit, frames, inside, track in spans:
        for number, span in enumerate(inside):
            if frames == 1:
                parts.append(np.array([[track, -context, 1, unit + number]]))
                continue
            for stride in strides:
                last = span.stop - 1 - (length - 1) * stride
                starts = np.arange(span.start + skip, last + 1, every)
                rows = np.stack(np.broadcast_arrays(track, starts, stride, unit + number), axis=1)
                parts.append(rows.astype(np.int64))
    table = np.concatenate(parts) if parts else np.zeros((0, 4), np.int64)
    columns = [np.ascontiguousarray(c) for c in table.T]
    return WindowIndex(*columns)


class Windows(Dataset[Batch]):
    """Windows of prepared recordings; indexing with an `Ask` gives a whole `Batch`.

    Args:
        tracks: The recordings.
        index: The windows in them.
        senses: Which senses a batch holds, in order; those that a recording lacks are absent.
        context: H.
        cameras: Names of the cameras of a batch; a recording's cameras fill them by position.
        captions: Text of a window.
        dropout: Chance that a sense of a window is made absent; never all that it has.
        seed: Of the dropout, and of captions of varied detail.
        absent: Names of senses that are hidden in every window.
        past: Whether anything is felt in the context's steps; their frames are there anyhow.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        index: WindowIndex,
        senses: SenseSet,
        context: int,
        cameras: Sequence[str],
        captions: Captions,
        dropout: float = 0.0,
        seed: int = 0,
        absent: Sequence[str] = (),
        past: bool = True,
    ) -> None:
        self.tracks = list(tracks)
        self.index = index
        self.senses = senses
        self.context = context
        self.cameras = list(cameras)
        self.captions = captions
        self.dropout = dropout
        self.seed = seed
        self.absent = [senses.names.index(name) for name in absent]
        self.past = past
        self._summed = np.array([s.merge == "sum" for s in senses], bool)
        self._open: OrderedDict[int, _Arrays] = OrderedDict()

    def __len__(self) -> int:
        return len(self.index)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": OrderedDict()}

    def __getitem__(self, ask: Ask) -> Batch:
        """The batch that a sampler asks for; see `mssim.batch.Batch` for shapes."""
        ids = np.asarray(ask.windows, np.int64)
        index = self.index
        track, start, stride = index.track[ids], index.start[ids], index.stride[ids]
        arrays = [self._arrays(int(t)) for t in track]
        counts = np.array([a.frames for a in arrays])
        predict = 1 if (counts == 1).all() else ask.predict
        length = self.context + predict
        frames = self._frames(arrays, start, stride, length)
        senses, presence = self._senses(arrays, start, stride, length)
        if self.absent or not self.past:
            self._hide(senses, presence)
        if self.dropout:
            self._drop(senses, presence, ids, ask.epoch)
        at = start[:, None] + stride[:, None] * np.arange(length)
        real = torch.from_numpy((at >= 0) & (at < counts[:, None]))
        tracks = [self.tracks[t] for t in track]
        return Batch(
            frames=frames,
            senses={name: torch.from_numpy(values) for name, values in senses.items()},
            presence=torch.from_numpy(presence),
            context_mask=real[:, : self.context].clone(),
            target_mask=real[:, self.context :].clone(),
            text=self.captions.of(ids, index, uniform(self.seed, ask.epoch, ids, _TEXT)),
            source=torch.tensor([t.source for t in tracks]),
            subject=torch.tensor([t.subject for t in tracks]),
            interval=torch.tensor([a.interval for a in arrays]) * torch.from_numpy(stride).float(),
            window=torch.from_numpy(ids.copy()),
            unit=torch.from_numpy(index.unit[ids]),
        )

    def frames_ahead(self, window: int, most: int) -> int:
        """Frames that window `window`'s span has after its context, `most` at most."""
        track = self.tracks[self.index.track[window]]
        spans = track.store.open(track.id).spans
        span = spans[int(self.index.unit[window]) - track.unit]
        start, stride = int(self.index.start[window]), int(self.index.stride[window])
        ahead: int = (span.stop - 1 - start) // stride + 1 - self.context
        return min(most, ahead)

    @property
    def source(self) -> NDArray[np.int64]:
        """Source of each window, (n,)."""
        return np.array([t.source for t in self.tracks], np.int64)[self.index.track]

    def interval(self) -> float | None:
        """Seconds between the frames of a window; None where windows have several strides."""
        strides = set(self.index.stride.tolist())
        track = self.tracks[int(self.index.track[0])]
        return track.store.open(track.id).interval * strides.pop() if len(strides) == 1 else None

    def _arrays(self, track: int) -> "_Arrays":
        if track in self._open:
            self._open.move_to_end(track)
            return self._open[track]
        where = self.tracks[track]
        self._open[track] = arrays = _Arrays(where.store.open(where.id), self.senses, self.cameras)
        if len(self._open) > OPEN:
            self._open.popitem(last=False)
        return arrays

    def _frames(
        self,
        arrays: "list[_Arrays]",
        start: NDArray[np.int64],
        stride: NDArray[np.int64],
        length: int,
    ) -> dict[str, torch.Tensor]:
        """By camera, uint8 (B, T, 3, S, S): a view of memory that lies as (B, T, S, S, 3)."""
        out = {}
        for number, camera in enumerate(self.cameras):
            shape = arrays[0].cameras[number].shape[1:]
            stack = np.empty((len(arrays), length, *shape), np.uint8)
            for row, a, i, s in zip(stack, arrays, start.tolist(), stride.tolist(), strict=True):
                if i < 0:  # an image: only its one frame is real
                    row[:] = 0
                    row[self.context] = a.cameras[number][0]
                else:
                    row[:] = a.cameras[number][i : i + (length - 1) * s + 1 : s]
            out[camera] = rearrange(torch.from_numpy(stack), "b t h w c -> b t c h w")
        return out

    def _senses(
        self,
        arrays: "list[_Arrays]",
        start: NDArray[np.int64],
        stride: NDArray[np.int64],
        length: int,
    ) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.bool_]]:
        """By sense, (B, T, K, *shape); presence (B, T, M)."""
        batch = len(arrays)
        presence = np.empty((batch, length, len(self.senses)), bool)
        out = {
            s.name: np.empty((batch, length, s.samples_per_frame, *s.shape), np.float32)
            for s in self.senses
        }
        values = list(out.values())
        for b, (a, i, s) in enumerate(zip(arrays, start.tolist(), stride.tolist(), strict=True)):
            there = a.there(i - s + 1, length * s)
            presence[b] = steps_present(there, s, self._summed)
            whole = np.logical_and.reduce(there, axis=0)
            for m, target in enumerate(values):
                rows = a.rows(m, i - s + 1, length * s)
                how = self.senses.senses[m].merge
                merge(rows, None if whole[m] else there[:, m], s, how, target[b])
        return out, presence

    def _drop(
        self,
        senses: dict[str, NDArray[np.float32]],
        presence: NDArray[np.bool_],
        ids: NDArray[np.int64],
        epoch: int,
    ) -> None:
        """Make senses of whole windows absent; what is drawn depends on seed, epoch and window."""
        chance = uniform(self.seed, epoch, ids[:, None], np.arange(len(self.senses)))  # (B, M)
        has = presence.any(axis=1)  # (B, M)
        drop = (chance < self.dropout) & has
        luckiest = np.where(has, chance, -1.0).argmax(axis=1)
        everything = (drop | ~has).all(axis=1)
        drop[np.flatnonzero(everything), luckiest[everything]] = False
        presence &= ~drop[:, None, :]
        for m, values in enumerate(senses.values()):
            values[drop[:, m]] = 0.0

    def _hide(self, senses: dict[str, NDArray[np.float32]], presence: NDArray[np.bool_]) -> None:
        """Make absent what is never to be felt: some senses, or all of them in the past."""
        hidden = np.zeros(presence.shape[1:], bool)  # (T, M)
        hidden[:, self.absent] = True
        hidden[: 0 if self.past else self.context] = True
        presence &= ~hidden
        for m, values in enumerate(senses.values()):
            values[:, hidden[:, m]] = 0.0


class _Arrays:
    """One recording's arrays in a batch's order; plain views of its memory maps."""

    def __init__(self, recording: Recording, senses: SenseSet, cameras: Sequence[str]) -> None:
        self.interval = recording.interval
        self.frames = recording.frames
        self.cameras = [np.asarray(c) for c in recording.cameras.values()]
        if len(self.cameras) < len(cameras):
            raise UserError(
                f"recording {recording.id} of {recording.source} has {len(self.cameras)} cameras, "
                f"others have {len(cameras)}; read the same number from each source"
            )
        there = np.zeros((self.frames, len(senses)), bool)
        self._senses: list[NDArray[np.float32] | None] = []
        for m, name in enumerate(senses.names):
            found = name in recording.senses
            self._senses.append(np.asarray(recording.senses[name]) if found else None)
            if found:
                there[:, m] = recording.present[name]
        self._there = there

    def there(self, first: int, count: int) -> NDArray[np.bool_]:
        """Presence of the rows from `first` on (count, M), False outside the recording."""
        return _padded(self._there, first, count)

    def rows(self, sense: int, first: int, count: int) -> NDArray[np.float32] | None:
        """Rows of a sense from `first` on (count, K, *shape), zeros outside; None without it."""
        values = self._senses[sense]
        return None if values is None else _padded(values, first, count)


def _padded(array: NDArray[Any], first: int, count: int) -> NDArray[Any]:
    """`count` rows from `first` on: a view where all are there, else padded with zeros."""
    if first >= 0 and first + count <= len(array):
        return array[first : first + count]
    out = np.zeros((count, *array.shape[1:]), array.dtype)
    lo, hi = max(first, 0), min(first + count, len(array))
    out[lo - first : hi - first] = array[lo:hi]
    return out


def uniform(*keys: int | NDArray[np.int64]) -> NDArray[np.float64]:
    """Numbers in [0, 1) that depend on nothing but the broadcast keys (splitmix64, Vigna 2015)."""
    state = np.zeros(np.broadcast_shapes(*(np.shape(k) for k in keys)), np.uint64)
    with np.errstate(over="ignore"):
        for key in keys:
            state = (state ^ np.asarray(key, np.int64).astype(np.uint64)) + np.uint64(
                0x9E3779B97F4A7C15
            )
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return np.asarray((state >> np.uint64(11)).astype(np.float64) / 2.0**53)
