"""Recording: one synchronised capture on one clock, as every source gives it.

Letters: N frames, S pixels a side, K samples a frame interval.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.images import Crop
from mssim.senses import SenseSet


@dataclass(frozen=True)
class Span:
    """An activity instance or episode: frames [start, stop) of its recording, and what it is."""

    start: int
    stop: int
    text: str


@dataclass(frozen=True)
class Recording:
    """One capture. Row t of a sense is what was sensed in (tau_{t-1}, tau_t].

    Attributes:
        id: Unique in its source; letters, digits, `.`, `_` and `-`.
        source: Name of its source.
        subject: Who or what acts, e.g. `S05`.
        interval: Seconds between frames.
        cameras: By camera, uint8 (N, S, S, 3).
        senses: By sense, float32 (N, K, *shape); zeros where absent.
        present: By sense, bool (N,).
        spans: Activity instances in time order.
        notes: What was odd about the files, for a person to read.
    """

    id: str
    source: str
    subject: str
    interval: float
    cameras: dict[str, NDArray[np.uint8]]
    senses: dict[str, NDArray[np.float32]]
    present: dict[str, NDArray[np.bool_]]
    spans: tuple[Span, ...]
    notes: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        """N."""
        return len(next(iter(self.cameras.values())))


@dataclass(frozen=True)
class Entry:
    """A recording that a source found but has not read.

    Attributes:
        id: As `Recording.id`.
        subject: As `Recording.subject`.
        files: What it will be read from; their sizes and times tell a changed recording.
        frames: About how many frames it will have, for telling the size before starting.
        key: What the source needs to find it again.
        facts: What the dataset's metadata say of it and conversion uses, such as frames a second:
            like the files, they tell a changed recording.
    """

    id: str
    subject: str
    files: tuple[Path, ...]
    frames: int
    key: dict[str, Any] = field(default_factory=dict)
    facts: str = ""


@dataclass(frozen=True)
class Clock:
    """The common clock and picture size that recordings are brought to.

    Attributes:
        senses: The senses to keep; a source fills those that it has.
        size: Pixels a side, S.
        rate: Frames a second; None keeps the source's own rate.
        crop: How pictures become square.
    """

    senses: SenseSet
    size: int
    rate: float | None = None
    crop: Crop = "center"
