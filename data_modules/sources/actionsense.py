"""ActionSense: HDF5 and world video as downloaded -> recordings.

    <date>_experiment_<Sxx>/<launch>_actionNet-wearables_<Sxx>/
        <log>_streamLog_actionNet-wearables_<Sxx>.hdf5
        <log>_<Sxx>_eye-tracking-video-world_frame.mp4

Video is aligned by `frame_timestamp`, senses by their stamps, and at every time the latest sample
counts: nothing is interpolated, and no value comes from after its time.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_modules.files import files_below
from data_modules.images import Crop
from data_modules.recording import Clock, Entry
from data_modules.resample import Index, Times, clock_times, frozen_frames, last_at_or_before
from data_modules.sources.actionsense_file import UnusableError, open_file
from data_modules.sources.actionsense_hdf5 import frame_stamps, read_events
from data_modules.sources.actionsense_labels import in_zone, pair_events, to_spans, without
from data_modules.sources.actionsense_senses import SenseReader, Signals, own_senses
from data_modules.sources.actionsense_video import VideoEndedError, VideoInfo, picked_frames, probe
from data_modules.sources.base import Source
from data_modules.sources.contents import Camera, Contents
from data_modules.store import Draft
from mssim.errors import UserError
from mssim.senses import Sense

CAMERA = "world"
DEFAULT_RATE = 10.0
_MISSING_FRAMES = 0.05
_MISSING_SECONDS = 2.0
# No new frame for so long, and the picture says nothing of what is felt meanwhile; seconds.
_STILL = 0.5
_LOG = "*_streamLog_actionNet-wearables_*.hdf5"
_NAME = re.compile(
    r"(?P<log>\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)_streamLog_actionNet-wearables_(?P<subject>S\d+)\.hdf5"
)


class ActionSenseSource(Source):
    """Recordings of MIT's ActionSense, and of anything that records to its conventions.

    Senses: hand poses (cm, from the Carpus), body pose (cm, from the centre of mass), EMG envelopes
    (raw units), touch (ADC above baseline), head, root and gaze; `actionsense_senses` has each. A
    device that is missing from a recording leaves its senses out of it, with a note.

    Args:
        path: The download, or one experiment's or recording's folder.
        subjects: Subjects to take, e.g. `[S00, S05]`; all by default.
        tare: Subtract what each taxel reads unloaded (about 560). Without, touch is raw ADC.
        tactile_range: Raw ADC readings are clipped to this range, before the tare: by default touch
            is then about -30 to 463 above baseline. The paper clips to (530, 600).
        emg_cutoff: Cut-off of the EMG envelope, Hz.
        stale: A sense is absent where its latest sample is older than this, seconds. Touch comes
            at 5-6 Hz.
        missing_video: What to do with a recording without a world video, as some of the download
            are: `skip` leaves it out and says so, `error` lists it and fails on converting it.
        foreign_senses: Senses that other sources of a mixture bring. Any other sense that is asked
            for and is none of ActionSense's is taken for a mistake.

    Raises:
        UserError: An argument is out of range.
    """

    people = frozenset(f"S{number:02d}" for number in range(10))

    def __init__(
        self,
        path: Path,
        subjects: list[str] | None = None,
        tare: bool = True,
        tactile_range: tuple[float, float] = (530.0, 1023.0),
        emg_cutoff: float = 5.0,
        stale: float = 0.5,
        missing_video: Literal["error", "skip"] = "skip",
        foreign_senses: list[str] | None = None,
    ) -> None:
        low, high = tactile_range
        if not low < high:
            raise UserError(f"tactile_range: {low} to {high} is empty; give low before high")
        for field, value in (("emg_cutoff", emg_cutoff), ("stale", stale)):
            if not value > 0:
                raise UserError(f"{field}: {value} must be above 0")
        self.path = Path(path)
        self.subjects = None if subjects is None else sorted(subjects)
        self.missing_video = missing_video
        self.foreign_senses = sorted(foreign_senses or [])
        self.signals = Signals(tare, (float(low), float(high)), float(emg_cutoff), float(stale))

    @staticmethod
    def matches(path: Path) -> bool:
        """Does the folder hold a recording of this format? Names only."""
        return any(fnmatch(file.name, _LOG) for file in files_below(path))

    def entries(self) -> list[Entry]:
        """Recordings by time; `frames` counts at 10 Hz and is 0 where it cannot be read."""
        if not self.path.is_dir():
            raise UserError(f"{self.path}: is no folder; give the folder that ActionSense is in")
        logs = self._logs()
        if not logs:
            raise UserError(
                f"{self.path}: holds no ActionSense recording ({_LOG}); give the download's folder"
            )
        wanted = [log for log in logs if self.subjects is None or log[2] in self.subjects]
        if not wanted:
            there = ", ".join(sorted({subject for _, _, subject in logs}))
            raise UserError(
                f"{self.path}: no recording left for subjects {self.subjects}; there are {there}"
            )
        taken = [log for log in wanted if self.missing_video == "error" or _video(*log).exists()]
        if not taken:
            raise UserError(
                f"{self.path}: none of the {len(wanted)} recordings has its world video, such as "
                f"{_video(*wanted[0])}; download them beside the HDF5 files"
            )
        entries = [_entry(*log) for log in taken]
        _check_unique(entries)
        return entries

    def skipped(self) -> list[str]:
        if self.missing_video == "error":
            return []
        return [
            f"{path.name}: skipped, its world video {_video(path, log, subject).name} is missing"
            for path, log, subject in self._logs()
            if (self.subjects is None or subject in self.subjects)
            and not _video(path, log, subject).exists()
        ]

    def _logs(self) -> list[tuple[Path, str, str]]:
        """File, time and subject of every recording, by time."""
        found = ((path, _NAME.fullmatch(path.name)) for path in files_below(self.path))
        logs = [(path, match["log"], match["subject"]) for path, match in found if match]
        return sorted(logs, key=lambda log: log[0].name)

    def contents(self) -> Contents:
        info = VideoInfo(0, 0, 0)
        for entry in self.entries():
            with suppress(UserError):  # one film that does not open says nothing about the others
                info = probe(entry.files[1])
                break
        return Contents((Camera(CAMERA, info.width, info.height),))

    def convert(self, entry: Entry, clock: Clock, draft: Draft) -> None:
        senses = own_senses(clock.senses, self.foreign_senses)
        rate = DEFAULT_RATE if clock.rate is None else clock.rate
        if not rate > 0:
            raise UserError(f"rate: {rate} frames a second must be above 0")
        hdf5, video = entry.files
        info = probe(video)
        notes: list[str] = []
        with open_file(hdf5) as file:
            stamps, numbers, expected = frame_stamps(file, hdf5, notes)
            film = _Film(video, info, stamps, numbers, expected)
            times, frozen, film_notes = film.write(draft, rate, clock.size, clock.crop)
            reader = SenseReader(file, hdf5, times, 1.0 / rate, info, self.signals, clock.crop)
            for sense in senses:
                _add_sense(draft, reader, sense)
            label_notes: list[str] = []
            instances, pair_notes = pair_events(read_events(file, hdf5, label_notes))
        instances, zone_notes = in_zone(instances, float(times[0]), float(times[-1]))
        whole, span_notes = to_spans(instances, times)
        spans, frozen_notes = without(whole, frozen)
        notes += [*film_notes, *reader.notes, *label_notes, *pair_notes]
        notes += [*zone_notes, *span_notes, *frozen_notes]
        draft.finish(1.0 / rate, spans, notes)

    def signature(self) -> dict[str, Any]:
        low, high = self.signals.tactile_range
        return {
            "format": 3,
            "subjects": self.subjects,
            "tare": self.signals.tare,
            "tactile_range": [low, high],
            "emg_cutoff": self.signals.emg_cutoff,
            "stale": self.signals.stale,
            "missing_video": self.missing_video,
            "foreign_senses": self.foreign_senses,
        }


def _add_sense(draft: Draft, reader: SenseReader, sense: Sense) -> None:
    """One sense into the draft, or a note that says what is the matter with it."""
    try:
        sampled = reader.read(sense.name, sense.samples_per_frame)
    except UnusableError as error:
        reader.notes.append(f"sense {sense.name}: left out, {error}")
        return
    if sampled is None:
        reader.notes.append(f"sense {sense.name}: its device is missing or silent")
        return
    if not sampled.present.any():
        reader.notes.append(f"sense {sense.name}: nothing usable came while the video ran")
        return
    draft.add_sense(sense.name, sampled.values, sampled.present)
    gone = int((~sampled.present).sum())
    if gone:
        count = len(sampled.present)
        reader.notes.append(f"sense {sense.name}: absent in {gone} of {count} frames")


class _Film:
    """One world video and the times of its frames: (n,) stamps, their frame numbers, and how many
    frames the stamps say there are.
    """

    def __init__(
        self, path: Path, info: VideoInfo, stamps: Times, numbers: Index, expected: int
    ) -> None:
        self._path = path
        self._info = info
        self._stamps = stamps
        self._numbers = numbers
        self._expected = expected
        # Of the camera, seconds; one frame alone tells none.
        self._interval = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 1.0 / 30

    def write(
        self, draft: Draft, rate: float, size: int, crop: Crop
    ) -> tuple[Times, NDArray[np.bool_], list[str]]:
        """Write the frames to the draft.

        Returns:
            The clock (N,) that they stand on, bool (N,) where the video stands still, and notes.

        Raises:
            UserError: More than 5 % or 2 s of the frames are missing.
        """
        there, cause = self._info.frames or self._expected, ""
        while True:
            used = self._check(min(there, self._expected), cause)
            stamps = self._stamps[:used]
            times = clock_times(float(stamps[0]), float(stamps[-1]), rate)
            held = last_at_or_before(stamps, times)
            try:
                frames = picked_frames(self._path, self._numbers[held], size, crop)
                draft.add_frames(CAMERA, frames, len(times))
                break
            except VideoEndedError as error:
                # The header promised more than the file holds: once more, with what there is.
                there, cause = error.decoded, error.cause
        notes = list(self._count_notes(there))
        frozen = frozen_frames(stamps, held, times, max(_STILL, 3 * self._interval), 1.0 / rate)
        if frozen.any():
            notes.append(f"{self._path.name}: stands still for {frozen.sum()} frames of the clock")
        return times, frozen, notes

    def _check(self, there: int, cause: str) -> int:
        """How many of the stamps have their frame."""
        missing = self._expected - there
        if missing > min(_MISSING_FRAMES * self._expected, _MISSING_SECONDS / self._interval):
            raise UserError(
                f"{self._path}: {there} frames can be decoded, frame_timestamp has {self._expected}"
                f"{f' ({cause})' if cause else ''}; its clock is {missing * self._interval:.1f} s "
                f"longer than the video (more than 5 % or 2 s), download it again"
            )
        return int((self._numbers < there).sum())

    def _count_notes(self, there: int) -> Iterable[str]:
        if there < self._expected:
            yield (
                f"{self._path.name}: {there} frames for {self._expected} timestamps; "
                f"the last {self._expected - there} timestamps dropped"
            )
        elif there > self._expected:
            yield f"{self._path.name}: {there} frames for {self._expected} timestamps; rest unused"


def _video(path: Path, log: str, subject: str) -> Path:
    """The world video that belongs beside a recording's HDF5 file."""
    return path.with_name(f"{log}_{subject}_eye-tracking-video-world_frame.mp4")


def _entry(path: Path, log: str, subject: str) -> Entry:
    video = _video(path, log, subject)
    about = {"cameras": 1, "rate": DEFAULT_RATE}
    return Entry(f"{log}_{subject}", subject, (path, video), _about_frames(path), about)


def _about_frames(path: Path) -> int:
    """Frames at 10 Hz, from the first and last stamps; 0 where they cannot be read."""
    try:
        with open_file(path) as file:
            stamps, _, _ = frame_stamps(file, path, [])
    except UserError:
        return 0
    return len(clock_times(float(stamps[0]), float(stamps[-1]), DEFAULT_RATE))


def _check_unique(entries: list[Entry]) -> None:
    seen: dict[str, Path] = {}
    for entry in entries:
        other = seen.setdefault(entry.id, entry.files[0])
        if other != entry.files[0]:
            raise UserError(
                f"{entry.files[0]}: the same recording is also in {other.parent}; remove one"
            )
