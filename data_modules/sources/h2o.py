"""H2O: two hands that handle objects, seen from the head (Kwon et al. 2021), as downloaded.

    subject1/h1/0/cam4/rgb256/000000.jpg       a frame, 455 x 256
    subject1/h1/0/cam4/hand_pose/000000.txt    flag, 63 numbers of the left hand; then of the right
    label_split/action_train.txt               id path action_label start_act end_act ...

A flag of 0 says that the hand was not annotated: the sense is absent there. The 21 joints are in
the head camera's frame. The test list tells when something is done, but not what.

Letters: R frames as recorded, N frames on the common clock, K samples a frame interval.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.images import square_area
from data_modules.recording import Clock, Entry, Span
from data_modules.resample import Times, clock_times, last_at_or_before, sub_times
from data_modules.sources.base import Source
from data_modules.sources.contents import Camera, Contents
from data_modules.sources.fields import read_text
from data_modules.store import Draft
from mssim.errors import UserError

CAMERA = "cam4"
PIXELS = (455, 256)
"""Width and height of its frames."""
HANDS = ("left_hand_pose", "right_hand_pose")
JOINTS = 21
SPLITS = ("train", "val", "test")
ACTIONS = (
    *("background", "grab book", "grab espresso", "grab lotion", "grab spray", "grab milk"),
    *("grab cocoa", "grab chips", "grab cappuccino", "place book", "place espresso"),
    *("place lotion", "place spray", "place milk", "place cocoa", "place chips"),
    *("place cappuccino", "open lotion", "open milk", "open chips", "close lotion", "close milk"),
    *("close chips", "pour milk", "take out espresso", "take out cocoa", "take out chips"),
    *("take out cappuccino", "put in espresso", "put in cocoa", "put in cappuccino"),
    *("apply lotion", "apply spray", "read book", "read espresso", "spray spray"),
    "squeeze lotion",
)
"""By `action_label`."""

_NAMES = {str(number): name for number, name in enumerate(ACTIONS)}
_HAND = 1 + 3 * JOINTS
_PLACE = re.compile(r"(?P<subject>subject\d+)/[a-z]\d+/\d+")


@dataclass(frozen=True)
class _Action:
    """A line of an action list: frames [start, stop] of a recording as recorded, both included.

    Where the line is broken, `problem` says how, and its take is refused.
    """

    split: str
    place: str
    start: int = 0
    stop: int = 0
    text: str = ""
    problem: str = ""


class H2OSource(Source):
    """H2O's head camera with both hands' poses; each take is one recording, its actions spans.

    Senses: `left_hand_pose` and `right_hand_pose`, each 21 joints (m).

    Args:
        path: The download, which holds `subject1` and so on, and `label_split`.
        fps: Frames a second of the recordings; the files do not say.

    Raises:
        UserError: `fps` is not above 0.
    """

    def __init__(self, path: Path, fps: float = 30.0) -> None:
        if not fps > 0:
            raise UserError(f"fps: {fps} frames a second must be above 0")
        self.path = Path(path)
        self.fps = fps

    @staticmethod
    def matches(path: Path) -> bool:
        """Does the folder hold takes of this format? Names only."""
        return next(path.glob(f"subject*/*/*/{CAMERA}"), None) is not None

    def entries(self) -> list[Entry]:
        """Takes by path: those that the action lists name and that are there."""
        lists = tuple(self._list(split) for split in SPLITS)
        found = []
        for place in sorted({a.place for a in self._actions}):
            frames, hands = (self.path / place / CAMERA / n for n in ("rgb256", "hand_pose"))
            if frames.is_dir():
                files = (frames, hands, *(f for f in lists if f.exists()))
                subject = place.split("/")[0]
                count = sum(1 for _ in frames.glob("*.jpg"))
                found.append(Entry(_id(place), subject, files, count, {"place": place}))
        if not found:
            raise UserError(
                f"{self.path}: no take (SUBJECT/PLACE/NUMBER/{CAMERA}/rgb256) that "
                "label_split/action_*.txt name; give the download's folder"
            )
        return found

    def contents(self) -> Contents:
        return Contents((Camera(CAMERA, *PIXELS),), (), self.fps)

    def convert(self, entry: Entry, clock: Clock, draft: Draft) -> None:
        rate = self.fps if clock.rate is None else clock.rate
        if not 0 < rate <= self.fps * (1 + 1e-6):
            raise UserError(f"rate: {rate:g} must lie above 0 and up to {self.fps:g}, H2O's own")
        for sense in clock.senses:
            if sense.name in HANDS and sense.shape != [JOINTS, 3]:
                raise UserError(f"sense {sense.name}: shape {sense.shape} must be [{JOINTS}, 3]")
        problem = next((a.problem for a in self._of(entry.key["place"]) if a.problem), None)
        if problem:
            raise UserError(problem)
        frames, hands = entry.files[:2]
        count = _count(frames)
        times = np.arange(count) / self.fps
        taus = clock_times(0.0, float(times[-1]), rate)
        late = 0.02 / self.fps  # a tick that is early by rounding is not the frame before
        picks = last_at_or_before(times, taus + late)
        draft.add_frames(CAMERA, _pictures(frames, picks.tolist(), clock), len(taus))
        poses, notes = _poses(hands, count)
        for hand, name in enumerate(HANDS):
            if name not in clock.senses.names:
                continue
            samples = clock.senses[name].samples_per_frame
            row = last_at_or_before(times, sub_times(taus, 1 / rate, samples) + late)  # (N, K)
            known = (row >= 0) & (poses[row, hand, 0] != 0)
            values = np.where(known[..., None], poses[row, hand, 1:], 0).astype(np.float32)
            shaped = values.reshape(*row.shape, JOINTS, 3)
            draft.add_sense(name, shaped, known.all(axis=1))
        draft.finish(1 / rate, self._spans(entry.key["place"], taus, notes), notes)

    def signature(self) -> dict[str, Any]:
        return {"format": "h2o", "fps": self.fps}

    def splits(self) -> dict[str, Sequence[str]] | None:
        there = {e.id for e in self.entries()}
        named = {s: {_id(a.place) for a in self._actions if a.split == s} & there for s in SPLITS}
        return {split: sorted(ids) for split, ids in named.items() if ids}

    def _list(self, split: str) -> Path:
        return self.path / "label_split" / f"action_{split}.txt"

    @cached_property
    def _actions(self) -> list[_Action]:
        """All lines of the lists that are there."""
        lists = [(split, self._list(split)) for split in SPLITS]
        if not any(file.exists() for _, file in lists):
            raise UserError(
                f"{self.path / 'label_split'}: holds no action_train.txt, _val or _test; "
                "give the folder of the download, with its label_split"
            )
        return [a for split, file in lists if file.exists() for a in _read_list(split, file)]

    def _of(self, place: str) -> list[_Action]:
        """The actions of a take."""
        return [a for a in self._actions if a.place == place]

    def _spans(self, place: str, taus: Times, notes: list[str]) -> list[Span]:
        """The take's actions on the clock; what ends before a frame, or is not there, is noted."""
        spans = []
        for action in self._of(place):
            first, last = action.start / self.fps - 1e-6, action.stop / self.fps + 1e-6
            inside = np.flatnonzero((taus >= first) & (taus <= last))
            if len(inside) > 1:  # one frame shows nothing that moves
                spans.append(Span(int(inside[0]), int(inside[-1]) + 1, action.text))
            else:
                why = "are one frame" if len(inside) else "are not there"
                notes.append(f"frames {action.start} to {action.stop} {why}; left out")
        return sorted(spans, key=lambda s: (s.start, s.stop))


def _read_list(split: str, file: Path) -> Iterator[_Action]:
    """The lines of a list; its head names the columns, and `action_label` may be missing."""
    head, *lines = read_text(file).splitlines() or [""]
    names = head.split()
    for number, line in enumerate(lines, start=2):
        row = dict(zip(names, line.split(), strict=False))
        if not row:
            continue
        try:
            text = _NAMES[row["action_label"]] if "action_label" in names else ""
            start, stop = int(row["start_act"]), int(row["end_act"])
            if not _PLACE.fullmatch(row["path"]) or not 0 <= start <= stop:
                raise ValueError
        except (KeyError, ValueError):
            problem = (
                f"{file}: line {number} is {line[:80]!r}, not 'id path action_label start_act "
                "end_act', or not as the first line says; download it again"
            )
            if not _PLACE.fullmatch(row.get("path", "")):  # it may be any take's
                raise UserError(problem) from None
            yield _Action(split, row["path"], problem=problem)
            continue
        yield _Action(split, row["path"], start, stop, text)


def _count(frames: Path) -> int:
    """R: frames are numbered from 0 without a gap."""
    names = sorted(p.name for p in frames.glob("*.jpg"))
    for number, name in enumerate(names):
        if name != f"{number:06d}.jpg":
            raise UserError(f"{frames / f'{number:06d}.jpg'} is not there; download the take again")
    if not names:
        raise UserError(f"{frames}: holds no frame; download the take again")
    return len(names)


def _pictures(folder: Path, picks: list[int], clock: Clock) -> Iterator[NDArray[np.uint8]]:
    """The frames `picks`, uint8 (S, S, 3) each."""
    from PIL import Image

    for number in picks:
        file = folder / f"{number:06d}.jpg"
        try:
            with Image.open(file) as picture:
                frame = np.asarray(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            text = " ".join(str(error).split())
            raise UserError(
                f"{file}: not readable as a picture ({text}); download it again"
            ) from None
        yield square_area(frame, clock.size, clock.crop)


def _poses(folder: Path, count: int) -> tuple[NDArray[np.float64], list[str]]:
    """Flag and joints of both hands, (R, 2, 64), flag 0 where nothing is known; and what is odd."""
    out = np.zeros((count, 2, _HAND))
    missing = 0
    for number, pose in enumerate(out):
        file = folder / f"{number:06d}.txt"
        if not file.exists():
            missing += 1
            continue
        words = read_text(file).split()
        try:
            pose[:] = np.array(words, np.float64).reshape(2, _HAND)
        except ValueError:
            raise UserError(
                f"{file}: not {2 * _HAND} numbers (a flag and 63 for each hand); download it again"
            ) from None
        if not np.isin(pose[:, 0], (0, 1)).all():
            raise UserError(
                f"{file}: a hand's flag is {pose[0, 0]:g} or {pose[1, 0]:g}, expected 0 or 1; "
                "download it again"
            )
    broken = ~np.isfinite(out).all(axis=2)
    out[broken] = 0.0
    notes = []
    if missing:
        notes.append(f"{missing} of {count} frames have no hand pose and count as absent")
    if broken.any():
        notes.append(f"{int(broken.sum())} hand poses are not finite and count as absent")
    return out, notes


def _id(place: str) -> str:
    return place.replace("/", "_")
