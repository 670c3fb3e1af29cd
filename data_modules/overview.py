"""What is in a dataset: counts as a table, and one stretch of it as a picture.

Letters: N frames, K samples a frame interval.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from data_modules.files import whole
from data_modules.recording import Recording, Span
from mssim.senses import Sense, SenseSet

CHANNELS = 6
"""At most so many channels of a sense are drawn: those that vary most."""


@dataclass(frozen=True)
class SenseRow:
    """One sense over a dataset.

    Attributes:
        sense: The sense.
        recordings: How many recordings have it.
        share: Of all frames, how many it is present in.
    """

    sense: Sense
    recordings: int
    share: float


@dataclass(frozen=True)
class Overview:
    """What is in a dataset.

    Attributes:
        recordings: How many.
        minutes: Of all recordings.
        subjects: Recordings by subject.
        senses: In the order of the set.
        labels: By label, instances and minutes; most frequent first.
        notes: `recording: note` for what was odd.
    """

    recordings: int
    minutes: float
    subjects: dict[str, int]
    senses: tuple[SenseRow, ...]
    labels: dict[str, tuple[int, float]]
    notes: tuple[str, ...]

    def table(self) -> str:
        """The overview for a terminal."""
        subjects = ", ".join(f"{name} ({n})" for name, n in self.subjects.items())
        head = f"{self.recordings} recordings, {self.minutes:.1f} minutes; subjects {subjects}"
        senses = [["sense", "shape", "unit", "samples/frame", "recordings", "present"]]
        for row in self.senses:
            shape = "x".join(map(str, row.sense.shape))
            k = str(row.sense.samples_per_frame)
            share = f"{100 * row.share:.1f} %"
            senses.append([row.sense.name, shape, row.sense.unit, k, str(row.recordings), share])
        labels = [["label", "instances", "minutes"]]
        labels += [[name, str(n), f"{m:.1f}"] for name, (n, m) in self.labels.items()]
        parts = [head, aligned(senses), aligned(labels)]
        if self.notes:
            parts.append("notes\n" + "\n".join(self.notes))
        return "\n\n".join(parts)


def overview(recordings: Iterable[Recording], senses: SenseSet) -> Overview:
    """Count what is in recordings, one after the other.

    Args:
        recordings: At least one.
        senses: What to look for.
    """
    frames, seconds = 0, 0.0
    subjects: Counter[str] = Counter()
    having: Counter[str] = Counter()
    there: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    minutes: defaultdict[str, float] = defaultdict(float)
    notes: list[str] = []
    for r in recordings:
        frames, seconds = frames + r.frames, seconds + r.frames * r.interval
        subjects[r.subject] += 1
        for name in (s.name for s in senses if s.name in r.senses):
            having[name] += 1
            there[name] += int(r.present[name].sum())
        for span in r.spans:
            labels[span.text] += 1
            minutes[span.text] += (span.stop - span.start) * r.interval / 60
        notes += [f"{r.id}: {note}" for note in r.notes]
    return Overview(
        sum(subjects.values()),
        seconds / 60,
        dict(sorted(subjects.items())),
        tuple(SenseRow(s, having[s.name], there[s.name] / max(frames, 1)) for s in senses),
        {text: (count, minutes[text]) for text, count in labels.most_common()},
        tuple(notes),
    )


def contact_sheet(
    recording: Recording, senses: SenseSet, file: Path, seconds: float = 60.0, pictures: int = 10
) -> None:
    """Draw a stretch of a recording: every camera, spans, every sense's trace on one time axis.

    Args:
        recording: It is drawn from its first span on.
        senses: What to draw, in order; grey where absent.
        file: A PNG, written whole or not at all.
        seconds: How much to draw at most.
        pictures: Frames to show of each camera.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    first = recording.spans[0].start if recording.spans else 0
    stop = min(recording.frames, first + max(2, int(seconds / recording.interval)))
    eyes = len(recording.cameras)
    heights = [1.3] * eyes + [0.35] + [0.9] * len(senses)
    figure = Figure(figsize=(13, 1 + sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    times = np.arange(first, stop) * recording.interval
    limits = (float(times[0]), float(times[-1] + recording.interval))
    for axis, camera in zip(axes, recording.cameras, strict=False):
        _draw_frames(axis, recording, camera, (first, stop), limits, pictures)
    _draw_spans(axes[eyes:], recording.spans, recording.interval, limits)
    for axis, sense in zip(axes[eyes + 1 :], senses, strict=True):
        _draw_sense(axis, recording, sense, first, stop)
    axes[0].set_title(f"{recording.source}: {recording.id} ({recording.subject})", loc="left")
    axes[0].set_xlim(*limits)
    axes[-1].set_xlabel("seconds")
    with whole(file) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _draw_frames(
    axis: Any,
    recording: Recording,
    camera: str,
    rows: tuple[int, int],
    limits: tuple[float, float],
    pictures: int,
) -> None:
    """Frames side by side, each with its left edge at its own time."""
    frames, (first, stop) = recording.cameras[camera], rows
    edges = np.linspace(*limits, min(pictures, stop - first) + 1)
    for left, right in pairwise(edges.tolist()):
        index = min(round(left / recording.interval), stop - 1)
        width = 0.97 * (right - left)
        axis.imshow(
            frames[index], extent=(left, left + width, 0, 1), aspect="auto", interpolation="nearest"
        )
    axis.set_ylim(0, 1)
    axis.set_yticks([])
    axis.set_ylabel(camera, rotation=0, ha="right", va="center")


def _draw_spans(
    axes: Any, spans: Sequence[Span], interval: float, limits: tuple[float, float]
) -> None:
    """Bands with their text in the first axis, their borders in all."""
    axes[0].set_yticks([])
    axes[0].set_ylabel("spans", rotation=0, ha="right", va="center")
    for number, span in enumerate(spans):
        start, stop = span.start * interval, span.stop * interval
        if start >= limits[1] or stop <= limits[0]:
            continue
        axes[0].axvspan(start, stop, color=f"C{number % 10}", alpha=0.35, linewidth=0)
        at = max(start, limits[0])
        axes[0].text(at, 0.5, f" {span.text}", va="center", fontsize=8, clip_on=True)
        for axis in axes[1:]:
            for edge in (start, stop):
                axis.axvline(edge, color="0.6", linewidth=0.6)


def _draw_sense(axis: Any, recording: Recording, sense: Sense, first: int, stop: int) -> None:
    title = f"{sense.name}\n{sense.unit}".strip()
    axis.set_ylabel(title, rotation=0, ha="right", va="center", fontsize=8)
    axis.tick_params(labelsize=7)
    interval = recording.interval
    present = np.zeros(stop - first, bool)
    if sense.name in recording.senses:
        present = np.asarray(recording.present[sense.name][first:stop])
        values = np.asarray(recording.senses[sense.name][first:stop])
        lines, total = _channels(values, present)
        back = np.arange(sense.samples_per_frame - 1, -1, -1) / sense.samples_per_frame
        times = (np.arange(first, stop)[:, None] - back) * interval
        axis.plot(times.ravel(), lines, linewidth=0.8)
        if total > lines.shape[1]:
            share = f"{lines.shape[1]} of {total} "
            corner = {"transform": axis.transAxes, "ha": "right", "va": "top"}
            axis.text(1, 0.98, share, fontsize=7, color="0.4", **corner)
    for start, end in _runs(~present):
        axis.axvspan((first + start) * interval, (first + end) * interval, color="0.9", linewidth=0)


def _channels(
    values: NDArray[np.float32], present: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], int]:
    """The channels of values (N, K, *shape) that vary most, as (N K, channels), and how many there
    are in all; NaN where absent.
    """
    flat = rearrange(values, "n k ... -> (n k) (...)").copy()
    flat[~np.repeat(present, values.shape[1])] = np.nan
    if not present.any() or flat.shape[1] <= CHANNELS:
        return flat, flat.shape[1]
    most = np.argsort(-np.nanvar(flat, axis=0), kind="stable")[:CHANNELS]
    return flat[:, np.sort(most)], flat.shape[1]


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Stretches [start, stop) of True in a mask (N,)."""
    edges = np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of a table as lines, each column as wide as its widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
