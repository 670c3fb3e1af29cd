"""ActionSense's HDF5 as it really comes: what is not as it should be is named, with its remedy."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.actionsense_load import ALL, load, write
from helpers.actionsense_writer import video_path

from data_modules.sources.actionsense import ActionSenseSource
from data_modules.sources.actionsense_file import open_file
from mssim.errors import UserError
from mssim.senses import SenseSet

EMG = "myo-left/emg"
FRAMES = "eye-tracking-video-world/frame_timestamp"
ACTIVITIES = "experiment-activities/activities"
TEXTS = np.array([["one"], ["two"]], "S9")


def put(hdf5: Path, name: str, content: Any) -> None:
    """Replace a stream, or a dataset of it, by something else; None removes it."""
    with h5py.File(hdf5, "r+") as file:
        del file[name]
        if content is not None:
            file.create_dataset(name, data=content)


# ---- structure


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (EMG, np.zeros((9, 8)), "myo-left/emg is no group"),
        (f"{EMG}/data", None, "myo-left/emg has no data, only time_s"),
        (f"{EMG}/data", TEXTS, "myo-left/emg/data holds |S9, expected numbers"),
        (f"{EMG}/data", np.zeros((9, 7)), "myo-left/emg/data has samples of [7], expected [8]"),
        (f"{EMG}/data", np.zeros(9), "myo-left/emg/data has samples of [], expected [8]"),
        (f"{EMG}/data", 3.0, "myo-left/emg/data is no table of rows"),
        (f"{EMG}/data", h5py.Empty("f"), "myo-left/emg/data is no table of rows"),
        (f"{EMG}/time_s", TEXTS, "myo-left/emg/time_s holds |S9 [2, 1], expected one number"),
        (f"{EMG}/time_s", np.ones((9, 2)), "time_s holds float64 [9, 2], expected one number"),
    ],
)
def test_a_malformed_stream_costs_its_sense_and_is_named(
    tmp_path: Path, name: str, content: Any, words: str
) -> None:
    hdf5 = write(tmp_path, 1.0)
    put(hdf5, name, content)
    recording = load(hdf5)
    assert set(ALL.names) - set(recording.senses) == {"left_emg"}
    (note,) = [n for n in recording.notes if n.startswith("sense left_emg")]
    assert words in note
    assert "missing or silent" not in note


def test_ragged_samples_are_named(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 1.0)
    with h5py.File(hdf5, "r+") as file:
        del file[f"{EMG}/data"]
        file.create_dataset(f"{EMG}/data", (9,), dtype=h5py.vlen_dtype(np.float64))
    assert any("holds object, expected numbers" in note for note in load(hdf5).notes)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (FRAMES, np.zeros((9, 1)), "frame_timestamp is no group"),
        (f"{FRAMES}/data", np.zeros((9, 3)), "frame_timestamp/data has samples of [3]"),
        (f"{FRAMES}/time_s", TEXTS, "frame_timestamp/time_s holds |S9"),
    ],
)
def test_malformed_frame_stamps_refuse_the_recording_in_one_line(
    tmp_path: Path, name: str, content: Any, words: str
) -> None:
    hdf5 = write(tmp_path, 1.0)
    put(hdf5, name, content)
    with pytest.raises(UserError) as caught:
        load(hdf5)
    message = str(caught.value)
    assert hdf5.name in message and words in message and "leave the recording out" in message
    (entry,) = ActionSenseSource(hdf5.parent).entries()
    assert entry.frames == 0


@pytest.mark.parametrize("content", [np.zeros((6, 4)), TEXTS, np.array([b"a", b"b"])])
def test_malformed_activities_leave_the_recording_without_labels(
    tmp_path: Path, content: Any
) -> None:
    hdf5 = write(tmp_path, 1.0)
    put(hdf5, f"{ACTIVITIES}/data", content)
    recording = load(hdf5, SenseSet([]))
    assert recording.spans == ()
    assert any(
        "expected rows of at least 3 texts; the recording has no" in n for n in recording.notes
    )


def test_activities_in_texts_of_any_length_are_read(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 1.0)
    plain = load(hdf5, SenseSet([])).spans
    with h5py.File(hdf5, "r+") as file:
        table = file[f"{ACTIVITIES}/data"][()].astype("U")
        del file[f"{ACTIVITIES}/data"]
        file[ACTIVITIES].create_dataset(
            "data", data=table.astype(object), dtype=h5py.string_dtype()
        )
    assert load(hdf5, SenseSet([])).spans == plain != ()


# ---- time_s and time_str


@pytest.mark.parametrize("zeros", [True, False])
def test_times_are_read_from_time_str_where_time_s_is_missing(tmp_path: Path, zeros: bool) -> None:
    hdf5 = write(tmp_path, 2.0)
    plain = load(hdf5)
    with h5py.File(hdf5, "r+") as file:
        for name in ("xsens-segments/position_cm", EMG, FRAMES, ACTIVITIES):
            if zeros:
                file[name]["time_s"][...] = 0
            else:
                del file[name]["time_s"]
    recording = load(hdf5)
    assert recording.spans == plain.spans
    for name in ("left_emg", "body_pose", "left_hand_pose"):
        # Written to the microsecond.
        np.testing.assert_allclose(recording.senses[name], plain.senses[name], atol=0.5)
        assert recording.present[name].all()
    assert f"{EMG}: time_s is missing; times read from time_str" in recording.notes


def test_rows_that_lack_time_s_have_it_from_time_str(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 3.0, zero_tail=20)
    plain = load(hdf5)
    with h5py.File(hdf5, "r+") as file:
        file[EMG]["time_s"][100:300] = 0
    recording = load(hdf5)
    np.testing.assert_allclose(recording.senses["left_emg"], plain.senses["left_emg"], atol=0.5)
    assert recording.present["left_emg"].all()
    words = f"{EMG}: time_s is missing in 200 rows; times read from time_str"
    assert words in recording.notes
    # Where both are there, times are those of time_s, whatever the text says.
    put(hdf5, f"{EMG}/time_str", np.full((9, 1), b"noon"))
    assert load(hdf5).present["left_emg"].mean() > 0.4


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_stamps_in_too_coarse_a_type_are_not_used(tmp_path: Path, dtype: type) -> None:
    """Single precision tells epoch seconds to 128 s."""
    hdf5 = write(tmp_path, 2.0)
    plain = load(hdf5)
    for name in (f"{EMG}/time_s", "xsens-segments/position_cm/time_s", f"{FRAMES}/data"):
        with h5py.File(hdf5) as file:
            coarse = file[name][()].astype(dtype)
        put(hdf5, name, coarse)
    recording = load(hdf5)
    count = min(recording.frames, plain.frames)
    for name in ("left_emg", "left_hand_pose"):
        assert recording.present[name].all()
        step = np.abs(recording.senses[name][:count] - plain.senses[name][:count])
        # Frames are timed by when they arrived, 30 to 60 ms after they were taken.
        assert np.median(step) < 2.0
    assert any(f"{EMG}: time_s holds {np.dtype(dtype)}, too coarse" in n for n in recording.notes)
    assert any(f"{FRAMES}: data holds" in n for n in recording.notes)


def test_without_any_time_s_the_zone_is_that_of_the_recordings(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 2.0)
    plain = load(hdf5)
    with h5py.File(hdf5, "r+") as file:
        for group in [g for device in file.values() for g in device.values()]:
            del group["time_s"]
    recording = load(hdf5)
    assert recording.present["body_pose"].all()
    assert recording.spans == plain.spans


def test_no_times_at_all_and_times_that_are_none_are_named(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 1.0)
    put(hdf5, f"{EMG}/time_s", None)
    put(hdf5, f"{EMG}/time_str", None)
    put(hdf5, "myo-right/emg/time_s", None)
    put(hdf5, "myo-right/emg/time_str", np.array([[b"noon"]] * 9))
    notes = load(hdf5).notes
    assert any(
        "left_emg: left out, myo-left/emg has neither a fit time_s nor time_str" in n for n in notes
    )
    assert any("time_str holds 'noon', which is no time" in n for n in notes)


# ---- the right remedy


@contextmanager
def another_program(hdf5: Path) -> Iterator[None]:
    """Somebody else has the file open for writing."""
    code = f"import h5py; h5py.File({str(hdf5)!r}, 'r+'); print('open', flush=True); input()"
    held = subprocess.Popen(
        [sys.executable, "-c", code.replace("; h5py", "; f = h5py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert held.stdout is not None and held.stdin is not None
    held.stdout.readline()
    try:
        yield
    finally:
        held.communicate(b"\n")


def test_a_file_that_another_program_has_open_is_not_called_damaged(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 0.5)
    with another_program(hdf5), pytest.raises(UserError, match="another program has it open") as e:
        load(hdf5)
    assert "download" not in str(e.value)
    assert load(hdf5).frames > 0


def test_a_filter_that_is_not_installed_is_not_called_damage(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 0.5)
    zstd = 32015
    with h5py.File(hdf5, "r+") as file:
        rows = len(file[EMG]["data"])
        del file[EMG]["data"]
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk((rows, 8))
        how.set_filter(zstd, h5py.h5z.FLAG_OPTIONAL, (3,))
        space = h5py.h5s.create_simple((rows, 8))
        made = h5py.h5d.create(file[EMG].id, b"data", h5py.h5t.NATIVE_INT32, space, how)
        made.write_direct_chunk((0, 0), b"x" * 40, 0)
    with pytest.raises(
        UserError, match="filter that is not installed: pip install hdf5plugin"
    ) as e:
        load(hdf5)
    assert EMG in str(e.value) and "download" not in str(e.value)


def test_a_folder_where_the_file_should_be_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder, an HDF5 file should be there"):
        open_file(tmp_path)


def test_a_video_that_may_not_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 0.5, video=False)
    video_path(hdf5).mkdir()
    with pytest.raises(UserError, match="it is a folder, put the video in its place"):
        load(hdf5)
