"""What to record: a pure function of the arguments.

A recording is one person doing one activity after another. Every activity comes once before any
comes again, in an order of the recording's own; it ends with the first instance after which it is
long enough, so it is never shorter than planned.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import numpy as np

from data_modules.kitchen.world.subject import Colour
from mssim.errors import UserError

EASTERN = timezone(timedelta(hours=-5))
FIRST_DAY = datetime(2026, 1, 5, 8, 0, 0, tzinfo=EASTERN)
MINUTES = 3.0
"""About how long a recording is."""
TRAINING_MINUTES = 12.0
"""Of each subject by default, but for the one who is held out."""
HELD_OUT, HELD_OUT_DECKS, HELD_OUT_INSTANCES = "S05", 4, 24
"""Who is scored once, how often by default it performs every activity, and how many at least."""
FPS = 60.0
"""The most frames a second: one for each command."""


@dataclass(frozen=True)
class Instance:
    """One activity to perform.

    Attributes:
        label: As ActionSense spells it.
        seed: Of all that varies in it.
    """

    label: str
    seed: int


@dataclass(frozen=True)
class RecordingPlan:
    """One recording.

    Attributes:
        subject: `S` and two digits.
        number: Which of the subject's recordings.
        seconds: It ends once it is so long
        least: and holds so many instances.
        seed: Of the whole set.
        fps: Frames a second.
        size: Pixels a side.
        activities: What is done; all there are by default.
        recolour: Materials that have another colour, RGB in 0..1.
    """

    subject: str
    number: int
    seconds: float
    least: int
    seed: int
    fps: float
    size: int
    activities: tuple[str, ...] = ()
    recolour: tuple[tuple[str, Colour], ...] = ()

    @property
    def start(self) -> datetime:
        """When its log starts: a day for each subject, ten minutes for each recording."""
        days = int(self.subject[1:])
        return FIRST_DAY + timedelta(days=days, minutes=10 * self.number)

    @property
    def id(self) -> str:
        """What the reader calls it."""
        return f"{stamp_name(self.start)}_{self.subject}"

    @property
    def folder(self) -> tuple[str, str]:
        """The experiment's folder, and the recording's in it, launched 25 s before the log."""
        launch = stamp_name(self.start - timedelta(seconds=25))
        day = f"{self.start:%Y-%m-%d}_experiment_{self.subject}"
        return day, f"{launch}_actionNet-wearables_{self.subject}"

    def rng(self, *stream: int) -> np.random.Generator:
        """A generator of the recording's own; each `stream` of numbers has another."""
        return np.random.default_rng([self.seed, int(self.subject[1:]), self.number, *stream])

    def instances(self, labels: Sequence[str]) -> Iterator[Instance]:
        """Instances without end; the recording takes as many as it needs."""
        rng = self.rng(0)
        while True:
            for index in rng.permutation(len(labels)):
                yield Instance(labels[index], int(rng.integers(2**31)))


def stamp_name(when: datetime) -> str:
    """A time as ActionSense writes it into names."""
    return f"{when:%Y-%m-%d_%H-%M-%S}"


def plan_recordings(
    subjects: Mapping[str, float | None],
    activities: tuple[str, ...],
    fps: float,
    size: int,
    seed: int,
    recolour: tuple[tuple[str, Colour], ...] = (),
) -> list[RecordingPlan]:
    """All recordings, in the order of the subjects.

    Args:
        subjects: Minutes by subject; None is the default: TRAINING_MINUTES, and for HELD_OUT every
            activity HELD_OUT_DECKS times, or until there are HELD_OUT_INSTANCES.
        activities: What is done.
        fps: Frames a second.
        size: Pixels a side.
        seed: Of all that varies.
        recolour: Materials that have another colour.
    """
    plans, labels = [], len(activities)
    for subject, minutes in subjects.items():
        if minutes is None and subject == HELD_OUT:
            count = max(HELD_OUT_DECKS, -(-HELD_OUT_INSTANCES // labels))
            seconds, least = 0.0, labels
        else:
            wanted = TRAINING_MINUTES if minutes is None else minutes
            count = max(1, round(wanted / MINUTES))
            seconds, least = 60.0 * wanted / count, 1
        for number in range(count):
            plans.append(
                RecordingPlan(
                    subject, number, seconds, least, seed, fps, size, activities, recolour
                )
            )
    return plans


def check_arguments(
    subjects: Sequence[str],
    known: Sequence[str],
    minutes: float | None,
    fps: float,
    size: int,
    seed: int,
) -> None:
    """Are the arguments of `mssim record` ones that it can work with?

    Raises:
        UserError: One is not.
    """
    for subject in subjects:
        if subject not in known:
            raise UserError(f"subjects: no {subject!r} in the kitchen; it has {', '.join(known)}")
    if not subjects:
        raise UserError(f"subjects: none given; name some of {','.join(known)}")
    if len(set(subjects)) < len(subjects):
        raise UserError(f"subjects: {','.join(subjects)} names one twice; name each once")
    if minutes is not None and not 0 < minutes <= 600:
        raise UserError(f"minutes: {minutes} a subject must be above 0 and at most 600")
    if not 1 <= fps <= FPS:
        raise UserError(f"fps: {fps} frames a second must be 1 to {FPS:.0f}")
    if not 8 <= size <= 1024:
        raise UserError(f"size: {size} pixels a side must be 8 to 1024")
    if not 0 <= seed < 2**31:
        raise UserError(f"seed: {seed} must be 0 or more, and below {2**31}")


def parse_activities(said: str | None, known: Sequence[str]) -> tuple[str, ...]:
    """Labels with commas between them; a label may be cut short where its beginning is enough.

    Raises:
        UserError: One is not known, or is the beginning of several.
    """
    if said is None:
        return tuple(known)
    chosen = []
    for word in (w.strip() for w in said.split(",")):
        found = [k for k in known if k.lower() == word.lower()]
        found = found or [k for k in known if word and k.lower().startswith(word.lower())]
        if len(found) != 1:
            which = "is none of" if not found else "begins several of"
            raise UserError(f"activities: {word!r} {which} {'; '.join(known)}")
        chosen.append(found[0])
    return tuple(k for k in known if k in chosen)


def parse_recolour(said: str | None, known: Sequence[str]) -> tuple[tuple[str, Colour], ...]:
    """`NAME=#rrggbb` with commas between them, as materials and their colours, RGB in 0..1.

    Raises:
        UserError: It is written otherwise, or there is no such material.
    """
    out: dict[str, Colour] = {}
    for word in [] if said is None else said.split(","):
        match = re.fullmatch(r"\s*(\w+)\s*=\s*#?([0-9a-fA-F]{6})\s*", word)
        if match is None:
            raise UserError(f"recolour: {word!r} is not like cucumber=#c83020")
        name, digits = match.groups()
        if name not in known:
            raise UserError(f"recolour: no material {name!r}; there are {', '.join(known)}")
        r, g, b = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
        out[name] = (r, g, b)
    return tuple(sorted(out.items()))
