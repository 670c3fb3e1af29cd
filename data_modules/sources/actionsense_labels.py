"""Activity labels of ActionSense: event rows as the experimenter left them -> spans."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_modules.recording import Span

_TABLEWARE = "3 each large/small plates, bowls, mugs, glasses, sets of utensils"
LABELS = (
    "Get/replace items from refrigerator/cabinets/drawers",
    "Peel a cucumber",
    "Clear cutting board",
    "Slice a cucumber",
    "Peel a potato",
    "Slice a potato",
    "Slice bread",
    "Spread almond butter on a bread slice",
    "Spread jelly on a bread slice",
    "Open/close a jar of almond butter",
    "Pour water from a pitcher into a glass",
    "Clean a plate with a sponge",
    "Clean a plate with a towel",
    "Clean a pan with a sponge",
    "Clean a pan with a towel",
    f"Get items from cabinets: {_TABLEWARE}",
    f"Set table: {_TABLEWARE}",
    "Stack on table: 3 each large/small plates, bowls",
    f"Load dishwasher: {_TABLEWARE}",
    f"Unload dishwasher: {_TABLEWARE}",
)
RENAMED = {
    "Open a jar of almond butter": "Open/close a jar of almond butter",
    "Get items from refrigerator/cabinets/drawers": (
        "Get/replace items from refrigerator/cabinets/drawers"
    ),
}
_DROPPED = {"bad", "maybe"}
# Seconds. Real ones last up to 220.
_LONGEST = 1800.0


@dataclass(frozen=True)
class Event:
    """One row of `experiment-activities/activities`: epoch seconds and its first three columns."""

    time: float
    label: str
    kind: str
    valid: str


@dataclass(frozen=True)
class Instance:
    """One activity from start to stop, epoch seconds."""

    start: float
    stop: float
    label: str


def pair_events(events: Sequence[Event]) -> tuple[list[Instance], list[str]]:
    """Pair Start and Stop per label, whatever the order of the rows.

    A Stop closes the latest open Start of its label; a Start or Stop left over is noted, as are
    repeated rows. Instances with Bad or Maybe on either row are dropped, renamed labels are brought
    up to date.

    Args:
        events: Rows in any order.

    Returns:
        Instances by start time, and notes.
    """
    notes: list[str] = []
    by_label: dict[str, list[Event]] = defaultdict(list)
    unique = list(dict.fromkeys(events))
    if len(unique) < len(events):
        notes.append(f"activities: {len(events) - len(unique)} repeated rows left out")
    for event in sorted(unique, key=lambda e: e.time):
        by_label[RENAMED.get(event.label, event.label)].append(event)

    instances: list[Instance] = []
    dropped = 0
    for label, rows in by_label.items():
        if label not in LABELS:
            notes.append(f"activities: {label!r} is not one of the 20 labels; kept as it is")
        pairs, unpaired = _pair(rows)
        notes += [f"activities: {label!r} has a {e.kind} without its partner" for e in unpaired]
        for start, stop in pairs:
            if {start.valid.lower(), stop.valid.lower()} & _DROPPED:
                dropped += 1
            elif stop.time - start.time > _LONGEST:
                notes.append(
                    f"activities: {label!r} lasts {stop.time - start.time:.0f} s, more than "
                    f"{_LONGEST:.0f} s, so one of its stamps is off; left out"
                )
            else:
                instances.append(Instance(start.time, stop.time, label))
    if dropped:
        notes.append(f"activities: {dropped} instances marked Bad or Maybe left out")
    return sorted(instances, key=lambda i: (i.start, i.stop)), notes


def in_zone(
    instances: Sequence[Instance], start: float, stop: float
) -> tuple[list[Instance], list[str]]:
    """Instances brought to the video's clock where theirs was whole hours off, and a note.

    Args:
        instances: Any.
        start: Of the video, epoch seconds.
        stop: Of the video.
    """
    if not instances or any(i.start < stop and i.stop > start for i in instances):
        return list(instances), []
    first, last = min(i.start for i in instances), max(i.stop for i in instances)
    fitting = [h for h in range(-24, 25) if start <= first - 3600 * h and last - 3600 * h <= stop]
    if len(fitting) != 1:
        return list(instances), []
    (hours,) = fitting
    moved = [Instance(i.start - 3600 * hours, i.stop - 3600 * hours, i.label) for i in instances]
    return moved, [f"activities: their clock was {hours:+d} h off the video's; shifted"]


def to_spans(
    instances: Sequence[Instance], times: NDArray[np.float64]
) -> tuple[list[Span], list[str]]:
    """Instances on the clock: frames with start <= tau <= stop.

    Args:
        instances: By start time.
        times: float64 (N,), tau in epoch seconds.

    Returns:
        Spans in time order, and notes on instances that hold no frame.
    """
    spans: list[Span] = []
    notes: list[str] = []
    for instance in instances:
        start = int(np.searchsorted(times, instance.start, side="left"))
        stop = int(np.searchsorted(times, instance.stop, side="right"))
        if start < stop:
            spans.append(Span(start, stop, instance.label))
        else:
            notes.append(f"activities: {instance.label!r} lies outside the video; left out")
    return spans, notes


def without(spans: Sequence[Span], frozen: NDArray[np.bool_]) -> tuple[list[Span], list[str]]:
    """Spans without the frames in which the video stands still; one may fall into several.

    Args:
        spans: In time order.
        frozen: bool (N,).

    Returns:
        Spans in time order, and a note on what is left out.
    """
    out: list[Span] = []
    for span in spans:
        moving = np.flatnonzero(~frozen[span.start : span.stop]) + span.start
        for run in np.split(moving, np.flatnonzero(np.diff(moving) > 1) + 1):
            if len(run):
                out.append(Span(int(run[0]), int(run[-1]) + 1, span.text))
    lost = sum(s.stop - s.start for s in spans) - sum(s.stop - s.start for s in out)
    note = f"activities: {lost} frames in which the video stands still are left out of them"
    return out, [note] if lost else []


def _pair(rows: Sequence[Event]) -> tuple[list[tuple[Event, Event]], list[Event]]:
    """(Start, Stop) pairs among one label's rows in time order, and the rows without a partner."""
    pairs: list[tuple[Event, Event]] = []
    unpaired: list[Event] = []
    opened: Event | None = None
    for row in rows:
        if row.kind == "Start":
            unpaired += [opened] if opened is not None else []
            opened = row
        elif row.kind == "Stop" and opened is not None:
            pairs.append((opened, row))
            opened = None
        else:
            unpaired.append(row)
    return pairs, unpaired + ([opened] if opened is not None else [])
