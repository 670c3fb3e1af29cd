"""ActionSense's devices on another clock, or worn by two people: mended, or named as what it is."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.actionsense_load import ALL, clock, load, stamps, write
from helpers.actionsense_writer import write_actionsense

from data_modules.recording import Recording
from data_modules.sources.actionsense_clock import hours_off
from mssim.senses import SenseSet

EMG = "myo-right/emg"
SUIT = (
    "xsens-segments/position_cm",
    "xsens-segments/orientation_quaternion",
    "xsens-CoM/position_cm",
)
ACTIVITIES = "experiment-activities/activities"
HOUR = 3600.0
OF_SUIT = ("left_hand_pose", "right_hand_pose", "body_pose", "head", "root")


def shift(hdf5: Path, seconds: float, *names: str) -> None:
    with h5py.File(hdf5, "r+") as file:
        for name in names:
            file[name]["time_s"][...] += seconds


def about(recording: Recording, *words: str) -> list[str]:
    return [n for n in recording.notes if all(w in n for w in words)]


# ---- another clock


@pytest.mark.parametrize("seconds", [HOUR, -HOUR, 5 * HOUR])
@pytest.mark.parametrize("names", [(EMG,), SUIT])
def test_a_device_whole_hours_off_is_shifted_and_told(
    tmp_path: Path, seconds: float, names: tuple[str, ...]
) -> None:
    hdf5 = write(tmp_path, 2.0)
    plain = load(hdf5)
    shift(hdf5, seconds, *names)
    recording = load(hdf5)
    for name in ALL.names:
        np.testing.assert_allclose(recording.senses[name], plain.senses[name], atol=0.5)
        assert recording.present[name].all()
    assert len(
        about(recording, f"its clock was {seconds / HOUR:+.0f} h off the video's; shifted")
    ) == len(names)


def test_an_eye_tracker_on_a_computer_an_hour_off_is_no_loss(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 2.0)
    plain = load(hdf5)
    eyes = ("eye-tracking-video-world/frame_timestamp", "eye-tracking-gaze/timestamp")
    shift(hdf5, HOUR, *eyes, "eye-tracking-gaze/position")
    with h5py.File(hdf5, "r+") as file:
        for name in eyes:
            file[name]["data"][...] += HOUR
    recording = load(hdf5)
    assert recording.spans == plain.spans
    for name in ALL.names:
        np.testing.assert_allclose(recording.senses[name], plain.senses[name], atol=0.5)
        assert recording.present[name].all()


def test_a_device_from_another_time_is_named_as_that(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 2.0)
    shift(hdf5, 1500.0, EMG)
    recording = load(hdf5)
    assert "right_emg" not in recording.senses
    (note,) = about(recording, "sense right_emg")
    assert f"{EMG} begins after the video ends, by 149" in note and "its clock is off" in note
    assert "silent" not in note


def test_a_device_that_starts_late_is_not_off() -> None:
    video = (0.0, 2 * HOUR)
    # An hour late in a recording of two, and to the end of it: that is a device switched on late.
    assert hours_off(np.array([HOUR, 2 * HOUR]), *video) == 0
    assert hours_off(np.array([HOUR, 3 * HOUR]), *video) == HOUR
    assert hours_off(np.array([3 * HOUR, 3.1 * HOUR]), *video) == 3 * HOUR


def test_activities_whole_hours_off_are_shifted_and_told(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 2.0)
    plain = load(hdf5, SenseSet([])).spans
    shift(hdf5, -HOUR, ACTIVITIES)
    recording = load(hdf5, SenseSet([]))
    assert recording.spans == plain != ()
    assert about(recording, "activities: their clock was -1 h off the video's; shifted")
    shift(hdf5, -1500.0, ACTIVITIES)
    recording = load(hdf5, SenseSet([]))
    assert recording.spans == ()
    assert len(about(recording, "lies outside the video")) == len(plain)


# ---- two people


def second_person(hdf5: Path, name: str, from_: float, to: float, rng: np.random.Generator) -> None:
    """Rows of somebody else, under the same stamps, between two shares of the recording."""
    with h5py.File(hdf5, "r+") as file:
        group = file[name]
        data, times = group["data"][()], group["time_s"][()]
        first, last = int(from_ * len(data)), int(to * len(data))
        other = data[::-1].copy()
        if "position" in name:
            other += np.array([80.0, -120.0, 4.0])
        if "tactile" in name:
            other += rng.normal(0, 6, (1, *data.shape[1:])).astype(data.dtype)
        order = np.arange(len(data))
        order = np.sort(np.concatenate([order, order[first:last]]), kind="stable")
        twin = np.concatenate([[False], np.diff(order) == 0])
        mixed = np.where(twin.reshape(-1, *[1] * (data.ndim - 1)), other[order], data[order])
        for key, rows in (("data", mixed), ("time_s", times[order])):
            group[key].resize(len(rows), axis=0)
            group[key][...] = rows
        del group["time_str"]


@pytest.mark.parametrize(
    ("names", "senses"),
    [
        (SUIT, OF_SUIT),
        ((EMG,), ("right_emg",)),
        (("tactile-glove-left/tactile_data",), ("left_tactile",)),
    ],
)
def test_two_people_s_rows_with_equal_stamps_are_named(
    tmp_path: Path, names: tuple[str, ...], senses: tuple[str, ...]
) -> None:
    hdf5 = write(tmp_path, 8.0)
    for name in names:
        second_person(hdf5, name, 0.0, 1.0, np.random.default_rng(0))
    recording = load(hdf5)
    assert set(ALL.names) - set(recording.senses) == set(senses)
    for sense in senses:
        (note,) = about(recording, f"sense {sense}: left out")
        assert "rows of two people between each other" in note


def test_two_people_for_a_stretch_cost_that_stretch(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 8.0)
    plain = load(hdf5)
    when = stamps(hdf5, SUIT[0])
    for name in SUIT:
        second_person(hdf5, name, 0.4, 0.6, np.random.default_rng(0))
    recording = load(hdf5)
    tau = clock(hdf5, recording.frames)
    start, stop = when[int(0.4 * len(when))], when[int(0.6 * len(when))]
    for sense in OF_SUIT:
        present = recording.present[sense]
        assert not present[(tau > start + 0.1) & (tau < stop - 0.1)].any()
        outside = (tau < start - 0.3) | (tau > stop + 0.3)
        assert present[outside].all()
        np.testing.assert_allclose(
            recording.senses[sense][outside], plain.senses[sense][outside], atol=2.0
        )
    assert about(recording, SUIT[0], "rows of two people", "absent there")


def test_one_person_is_not_taken_for_two(tmp_path: Path) -> None:
    for seed in range(3):
        hdf5 = write_actionsense(tmp_path / str(seed), "S04", 12, seed)
        assert not about(load(hdf5), "two people")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_absent_without_a_warning(
    tmp_path: Path, value: float
) -> None:
    hdf5 = write(tmp_path, 2.0)
    with h5py.File(hdf5, "r+") as file:
        for name in (*SUIT, "tactile-glove-left/tactile_data", "eye-tracking-gaze/position"):
            data = file[name]["data"]
            data[len(data) // 2 :] = value
    recording = load(hdf5)
    for sense in (*OF_SUIT, "left_tactile", "gaze"):
        assert 0.2 < recording.present[sense].mean() < 0.8
    assert recording.present["right_tactile"].all()


def test_messages_of_a_glove_that_are_mostly_errors_are_absent(tmp_path: Path) -> None:
    """They were held at the last good one: a hand that stands still for seconds."""
    hdf5 = write(tmp_path, 4.0)
    with h5py.File(hdf5, "r+") as file:
        file["tactile-glove-left/tactile_data/data"][10:16, 5:] = 4095
    present = load(hdf5).present["left_tactile"]
    assert 8 <= (~present).sum() <= 13


def test_an_eye_tracker_whose_clock_stands_still_is_timed_by_reception(tmp_path: Path) -> None:
    straight = load(write(tmp_path / "straight", 8.0))
    hdf5 = write(tmp_path / "stuck", 8.0)
    with h5py.File(hdf5, "r+") as file:
        data = file["eye-tracking-video-world/frame_timestamp/data"]
        data[...] = data[0]
    recording = load(hdf5)
    assert abs(recording.frames - straight.frames) <= 1
    assert about(recording, "stands still; used the times of reception")
