"""Layout: the opened stores, their units numbered, and the windows of each split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_modules.recording import Span
from data_modules.splits import NAMES
from data_modules.store import Store
from data_modules.text import Captions, Detail, force_by_activity, grip_words
from data_modules.windows import Track, WindowIndex, Windows, index_windows
from mssim.senses import SenseSet


@dataclass(frozen=True)
class WindowPlan:
    """What windows are wanted; each field as `DataModule` has it."""

    senses: SenseSet
    context: int
    predict: int
    strides: list[int]
    eval_strides: list[int]
    start_every: int
    eval_every: int
    eval_skip: int
    text: Detail
    sense_dropout: float
    absent: tuple[str, ...]
    past_actions: bool
    seed: int


@dataclass
class _Opened:
    """A prepared recording with what the layout of windows needs."""

    source: str
    split: str
    track: Track
    frames: int
    spans: tuple[Span, ...]


class Layout:
    """All recordings of all splits, opened.

    Attributes:
        unit_names: `SOURCE/RECORDING#SPAN` of each unit.
        unit_labels: What is done in each unit.
        cameras: Names of the cameras.
        subjects: Names of the subjects.
        notes: `SOURCE/RECORDING`, and what was odd about its files.
        windows: By split.
    """

    def __init__(
        self, plan: WindowPlan, ids: dict[str, dict[str, list[str]]], stores: dict[str, Store]
    ) -> None:
        self.plan, self.ids, self.stores = plan, ids, stores
        self.unit_names: list[str] = []
        self.unit_labels: list[str] = []
        self.cameras: list[str] = []
        self.notes: list[tuple[str, str]] = []
        self._opened = recordings = self._open()
        forces = [self._forces(r) for r in recordings] if self._tells_grip else []
        self.windows: dict[str, Windows] = {}
        self._typical: dict[int, tuple[float, float]] = {}
        for split in NAMES:
            mine = [i for i, r in enumerate(recordings) if r.split == split]
            index = self._index(split, [recordings[i] for i in mine])
            self.windows[split] = Windows(
                [recordings[i].track for i in mine],
                index,
                plan.senses,
                plan.context,
                self.cameras,
                self._captions(split, index, [forces[i] for i in mine if forces]),
                plan.sense_dropout if split == "train" else 0.0,
                plan.seed,
                () if split == "train" else plan.absent,
                plan.past_actions,
            )

    def why_none(self, split: str, source: str | None = None) -> str:
        """Why a split has no windows, and what to do about it, on one line.

        Args:
            split: Its name.
            source: Only of this source.
        """
        plan, train = self.plan, split == "train"
        mine = [r for r in self._opened if r.split == split and source in (None, r.source)]
        head = f"no {split} windows" if source is None else f"no {split} windows of {source}"
        place = f"data.sources.{source or 'NAME'}.split.{split}"
        if not mine:
            return f"{head}; name recordings in {place}"
        lengths = [span.stop - span.start for r in mine for span in r.spans]
        if not lengths:
            return f"{head}: nothing happens in its {len(mine)} recordings; name others in {place}"
        stride = min(plan.strides if train else plan.eval_strides)
        skip = 0 if train else plan.eval_skip
        needed = (plan.context + plan.predict - 1) * stride + 1 + skip
        parts = f"context {plan.context}, predict {plan.predict}"
        parts += f", stride {stride}" * (stride > 1) + f", eval_skip {skip}" * (skip > 0)
        return (
            f"{head}: the longest of its {len(lengths)} episodes has {max(lengths)} frames, a "
            f"window takes {needed} ({parts}); lower data.predict, or name longer ones in {place}"
        )

    @property
    def _tells_grip(self) -> bool:
        return self.plan.text in ("sentence", "varied")

    def _open(self) -> list[_Opened]:
        """All recordings of all splits, units numbered by source and recording."""
        out: list[_Opened] = []
        subjects: list[str] = []
        for number, (source, splits) in enumerate(self.ids.items()):
            part = {i: split for split, ids in splits.items() for i in ids}
            for id in sorted(part):
                recording = self.stores[source].open(id)
                subjects.append(recording.subject)
                self.notes += [(f"{source}/{id}", note) for note in recording.notes]
                self.cameras = self.cameras or list(recording.cameras)
                track = Track(self.stores[source], id, number, 0, len(self.unit_names))
                out.append(_Opened(source, part[id], track, recording.frames, recording.spans))
                for n, span in enumerate(recording.spans):
                    self.unit_names.append(f"{source}/{id}#{n}")
                    self.unit_labels.append(span.text)
        self.subjects = sorted(set(subjects))
        for opened, subject in zip(out, subjects, strict=True):
            t = opened.track
            opened.track = Track(t.store, t.id, t.source, self.subjects.index(subject), t.unit)
        return out

    def _index(self, split: str, recordings: Sequence[_Opened]) -> WindowIndex:
        plan = self.plan
        train = split == "train"
        return index_windows(
            [(r.track.unit, r.frames, r.spans, i) for i, r in enumerate(recordings)],
            plan.context,
            plan.context + plan.predict,
            plan.strides if train else plan.eval_strides,
            plan.start_every if train else plan.eval_every,
            0 if train else plan.eval_skip,
        )

    def _captions(
        self,
        split: str,
        index: WindowIndex,
        sums: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    ) -> Captions:
        """What is said in a split. `train`, the first, tells what force is typical."""
        plan, train = self.plan, split == "train"
        detail: Detail = "phrase" if plan.text == "varied" and not train else plan.text
        if not self._tells_grip:
            return Captions(detail, self.unit_labels)
        force = self._window_force(index, sums)
        activity = self._activities()[index.unit]
        self._typical = self._typical or force_by_activity(force, activity)
        if not train and any("tactile" in name for name in plan.absent):
            return Captions(detail, self.unit_labels)
        return Captions(detail, self.unit_labels, grip_words(force, activity, self._typical))

    def _activities(self) -> NDArray[np.int64]:
        """Index of each unit's activity, (units,)."""
        _, index = np.unique(self.unit_labels, return_inverse=True)
        return index.astype(np.int64)

    def _forces(self, opened: _Opened) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Running sum of the hands' mean force, and of its presence, each (N + 1,)."""
        recording = opened.track.store.open(opened.track.id)
        names = [n for n in recording.senses if "tactile" in n]
        total, count = np.zeros(opened.frames + 1), np.zeros(opened.frames + 1)
        for name in names:
            present = np.asarray(recording.present[name])
            values = np.asarray(recording.senses[name])
            mean = values.reshape(len(values), -1).mean(axis=1, dtype=np.float64)
            total[1:] += np.cumsum(np.where(present, mean, 0.0))
            count[1:] += np.cumsum(present)
        return total, count

    def _window_force(
        self, index: WindowIndex, sums: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]
    ) -> NDArray[np.float64]:
        """Mean hand force of each window (n,); NaN where no hand feels."""
        length = self.plan.context + self.plan.predict
        out = np.full(len(index), np.nan)
        for track, (total, count) in enumerate(sums):
            rows = np.flatnonzero(index.track == track)
            first = index.start[rows].clip(0)
            last = (first + (length - 1) * index.stride[rows] + 1).clip(max=len(total) - 1)
            felt = count[last] - count[first]
            known = felt > 0
            out[rows[known]] = (total[last] - total[first])[known] / felt[known]
        return out
