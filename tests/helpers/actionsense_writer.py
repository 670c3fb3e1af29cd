"""Writes recordings as ActionSense's recorder does: HDF5 and world video, every quirk switchable.

Its own code on purpose: nothing of the reader is used, so a shared misunderstanding cannot hide.
The person is `actionsense_person.Person`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
from numpy.typing import NDArray

from helpers.actionsense_person import Person, picture_width

Array = NDArray[Any]

EASTERN = timezone(timedelta(hours=-4))
FIRST_DAY = datetime(2022, 6, 7, 16, 38, 43, tzinfo=EASTERN)
EMG_HZ, TACTILE_HZ, XSENS_HZ, GAZE_HZ, VIDEO_HZ = 162.0, 5.5, 60.0, 116.0, 29.6
BARCODE_BITS = 12
LABELS = (
    "Slice a cucumber",
    "Clean a plate with a sponge",
    "Pour water from a pitcher into a glass",
)


@dataclass(frozen=True)
class Quirks:
    """What is odd about a recording.

    Attributes:
        missing: Devices, or `device/stream`s, that were not recorded.
        fingers: Were the finger gloves worn? Without them Xsens has 23 segments.
        video: Is there an mp4?
        frames_missing: Frames that the mp4 lacks at its end.
        zero_tail: Rows of zeros at the end of every dataset, as a crash leaves them.
        backwards: Swap stamps here and there, so that time runs backwards.
        nan_rows: Rows of NaN in the middle of each float stream.
        outliers: Taxel readings of 1024 and more.
        contacts: Do the hands press anything?
        messy_labels: Unsorted, Bad, Maybe, repeated, unpaired and renamed labels.
        pupil_offset: Seconds that the eye tracker's clock is behind the computer's.
        height: Pixels of the picture's height; its width is 16/9 of that.
        barcode: Draw each frame's number into it (`read_barcode`).
    """

    missing: tuple[str, ...] = ()
    fingers: bool = True
    video: bool = True
    frames_missing: int = 0
    zero_tail: int = 0
    backwards: bool = False
    nan_rows: int = 0
    outliers: bool = False
    contacts: bool = True
    messy_labels: bool = False
    pupil_offset: float = 0.0
    height: int = 180
    barcode: bool = False


def write_actionsense(
    root: Path,
    subject: str = "S04",
    seconds: float = 20,
    seed: int = 0,
    quirks: Quirks = Quirks(),
    number: int = 0,
) -> Path:
    """Write one recording into the tree below `root` as it would be downloaded.

    Args:
        root: The download's folder.
        subject: `S` and two digits; also decides the day.
        seconds: Length.
        seed: Of all that varies.
        quirks: What is odd.
        number: Which recording of the day.

    Returns:
        The HDF5 file; `video_path` gives the mp4 beside it.
    """
    log = FIRST_DAY + timedelta(days=int(subject[1:]), hours=number)
    launch = log - timedelta(seconds=25)
    folder = (
        root
        / f"{log:%Y-%m-%d}_experiment_{subject}"
        / f"{_name(launch)}_actionNet-wearables_{subject}"
    )
    folder.mkdir(parents=True)
    path = folder / f"{_name(log)}_streamLog_actionNet-wearables_{subject}.hdf5"
    person = Person(np.random.default_rng(seed), log.timestamp(), quirks.contacts)
    rng = np.random.default_rng([seed, 1])
    # The eye tracker starts a little late, so the sensors already run at the first frame.
    frames = _jittered(rng, log.timestamp() + 0.8, seconds, VIDEO_HZ, 0.08)
    frames = frames[rng.random(len(frames)) > 0.01]
    with h5py.File(path, "w") as file:
        writer = _Writer(file, quirks)
        _write_sensors(writer, rng, person, log.timestamp(), seconds + 1.2)
        _write_eyes(writer, rng, person, frames)
        _write_labels(writer, log.timestamp() + 0.8, seconds, quirks.messy_labels)
    if quirks.video:
        shown = frames[: len(frames) - quirks.frames_missing]
        write_video(video_path(path), _pictures(person, shown, quirks), quirks.height)
    return path


def video_path(hdf5: Path) -> Path:
    """The world video beside a recording's HDF5 file."""
    log, rest = hdf5.name.split("_streamLog_")
    subject = rest.removesuffix(".hdf5").split("_")[-1]
    return hdf5.with_name(f"{log}_{subject}_eye-tracking-video-world_frame.mp4")


def write_video(path: Path, pictures: Iterator[Array], height: int) -> None:
    """MPEG-4 at a nominal 30 frames a second, whatever the stamps say, as the recorder does."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height = picture_width(height), height
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        stream.codec_context.time_base = Fraction(1, 30)
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def read_barcode(frame: Array) -> int:
    """The number that `Quirks.barcode` drew into a frame, from its stored (S, S, 3) form."""
    size = len(frame)
    bits = [
        frame[size // 12, int((bit + 0.5) * size / BARCODE_BITS)].mean() > 127
        for bit in range(BARCODE_BITS)
    ]
    return sum(1 << bit for bit, on in enumerate(bits) if on)


class _Writer:
    """Adds streams to a file in the recorder's layout, quirks included."""

    def __init__(self, file: Any, quirks: Quirks) -> None:
        self._file = file
        self.quirks = quirks

    def add(self, name: str, data: Array, times: Array, **attrs: str) -> Any:
        """One `device/stream`: data (N, *sample), epoch seconds (N,); None if it is missing."""
        quirks = self.quirks
        device = name.split("/")[0]
        if name in quirks.missing or device in quirks.missing:
            return None
        times = times.copy()
        if device.startswith("experiment"):
            return self._write(name, data, times, attrs)
        if quirks.backwards and not device.startswith("eye"):
            swap = np.arange(5, len(times) - 1, 40)
            times[swap], times[swap + 1] = times[swap + 1].copy(), times[swap].copy()
        if quirks.nan_rows and device.startswith(("xsens", "tactile")):
            middle = len(data) // 2
            data[middle : middle + quirks.nan_rows] = np.nan
        return self._write(name, data, times, attrs)

    def _write(self, name: str, data: Array, times: Array, attrs: dict[str, str]) -> Any:
        group = self._file.create_group(name)
        text = [datetime.fromtimestamp(t, EASTERN).strftime("%Y-%m-%d %H:%M:%S.%f") for t in times]
        stamps = np.array(text, dtype="S26")[:, None]
        for key, array in (("data", data), ("time_s", times[:, None]), ("time_str", stamps)):
            tail = np.zeros((self.quirks.zero_tail, *array.shape[1:]), array.dtype)
            whole = np.concatenate([array, tail])
            group.create_dataset(key, data=whole, maxshape=(None, *array.shape[1:]), chunks=True)
        group.attrs.update(attrs)
        return group


def _write_sensors(
    writer: _Writer, rng: np.random.Generator, person: Person, start: float, seconds: float
) -> None:
    fingers = writer.quirks.fingers
    for side, name in enumerate(("left", "right")):
        times = _jittered(rng, start, seconds, EMG_HZ, 0.3)
        # Two samples may come in one radio packet, with one stamp.
        twins = np.arange(1, len(times), 17)
        original = times.copy()
        times[twins] = times[twins - 1]
        headings = str([f"Channel {c}" for c in range(8)])
        group = writer.add(
            f"myo-{name}/emg",
            person.emg(rng, times, side),
            times,
            Range="[-128, 127]",
            **{"Data headings": headings},
        )
        if group is not None:
            group.create_dataset("time_s_original", data=original[:, None], maxshape=(None, 1))
        times = _jittered(rng, start, seconds, TACTILE_HZ, 0.1)
        touch = person.tactile(rng, times, side)
        if writer.quirks.outliers:
            touch[2::9, 3, 4] = rng.uniform(1024, 4095, len(touch[2::9]))
        writer.add(f"tactile-glove-{name}/tactile_data", touch, times, Range="[0, 4095]")
    times = _jittered(rng, start, seconds, XSENS_HZ, 0.05)
    names = str([f"Segment {i} {axis}" for i in range(63 if fingers else 23) for axis in "xyz"])
    attrs = {"Units": "cm", "Data headings": names}
    writer.add("xsens-segments/position_cm", person.segments(times, fingers), times, **attrs)
    writer.add("xsens-segments/orientation_quaternion", person.turns(times, fingers), times)
    # The centre of mass comes in its own message, a moment later.
    writer.add("xsens-CoM/position_cm", person.centre(times), times + 0.002, Units="cm")


def _write_eyes(writer: _Writer, rng: np.random.Generator, person: Person, frames: Array) -> None:
    behind = writer.quirks.pupil_offset
    taken = _jittered(rng, frames[0] - 0.3, frames[-1] - frames[0] + 0.3, GAZE_HZ, 0.1)
    # Gaze comes in bursts: what was taken within 50 ms is received together.
    received = np.ceil(taken / 0.05) * 0.05 + 0.02
    s = taken - person.start
    position = np.stack([0.5 + 0.2 * np.sin(0.9 * s), 0.5 + 0.3 * np.cos(0.5 * s)], axis=-1)
    writer.add("eye-tracking-gaze/position", position, received, Units="normalized")
    writer.add("eye-tracking-gaze/timestamp", (taken - behind)[:, None], received)
    latency = rng.uniform(0.03, 0.06, len(frames))
    writer.add(
        "eye-tracking-video-world/frame_timestamp",
        (frames - behind)[:, None],
        np.maximum.accumulate(frames + latency),
        Units="s",
    )


def _write_labels(writer: _Writer, start: float, seconds: float, messy: bool) -> None:
    """Three Good instances over the recording, and the mess where it is asked for."""
    rows: list[tuple[float, str, str, str, str]] = []
    for part, label in enumerate(LABELS):
        begin = start + seconds * (part + 0.1) / 3
        rows.append((begin, label, "Start", "Good", ""))
        rows.append((begin + seconds * 0.25, label, "Stop", "Good", ""))
    if messy:
        rows = _messy(rows, start, seconds)
    table = np.array([row[1:] for row in rows], dtype="S500")
    headings = str(["Activity", "Start/Stop", "Valid", "Notes"])
    times = np.array([row[0] for row in rows])
    writer.add("experiment-activities/activities", table, times, **{"Data headings": headings})
    notes = np.array([["calibrated again"]], dtype="S500")
    writer.add("experiment-notes/notes", notes, np.array([start]))


def _messy(
    rows: list[tuple[float, str, str, str, str]], start: float, seconds: float
) -> list[tuple[float, str, str, str, str]]:
    at: Callable[[float], float] = lambda part: start + seconds * part  # noqa: E731
    old = "Open a jar of almond butter"
    return [
        *rows[2:],
        (at(0.10), "Peel a potato", "Start", "Bad", "dropped it"),
        (at(0.15), "Peel a potato", "Stop", "Bad", "dropped it"),
        (at(0.20), "Slice bread", "Start", "Maybe", ""),
        (at(0.25), "Slice bread", "Stop", "Maybe", ""),
        (at(0.28), old, "Start", "Good", ""),
        (at(0.33), old, "Stop", "Good", ""),
        (at(0.90), "Peel a cucumber", "Start", "", "never stopped"),
        rows[-1],
        # Added by hand after the recording:
        *rows[:2],
    ]


def _pictures(person: Person, times: Array, quirks: Quirks) -> Iterator[Array]:
    for number, t in enumerate(times):
        frame = person.picture(float(t), quirks.height)
        if quirks.barcode:
            side, left = quirks.height, (frame.shape[1] - quirks.height) // 2
            for bit in range(BARCODE_BITS):
                low, high = (left + side * b // BARCODE_BITS for b in (bit, bit + 1))
                frame[: side // 6, low:high] = 255 if number >> bit & 1 else 0
        yield frame


def _jittered(
    rng: np.random.Generator, start: float, seconds: float, rate: float, jitter: float
) -> Array:
    """Stamps (n,) about 1 / rate apart, ascending; `jitter` in sample intervals."""
    count = int(seconds * rate)
    return np.sort(start + (np.arange(count) + rng.normal(0, jitter, count)) / rate)


def _name(when: datetime) -> str:
    return f"{when:%Y-%m-%d_%H-%M-%S}"
