"""ActionSense's stamps: strays, jumps, silences, and an eye tracker whose clock is off."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.actionsense_load import ALL, clock, load, stamps, write
from helpers.actionsense_writer import LABELS, read_barcode, video_path

from data_modules.recording import Recording
from data_modules.resample import clock_times, frozen_frames, last_at_or_before
from data_modules.sources.actionsense import ActionSenseSource
from data_modules.sources.actionsense_clock import longest_rise, time_order
from data_modules.sources.actionsense_signals import emg_envelope, sample_rate
from mssim.errors import UserError
from mssim.senses import SenseSet

FRAMES = "eye-tracking-video-world/frame_timestamp"
HOUR = 3600.0
MONTH = 30 * 24 * HOUR
Restamp = Callable[[np.ndarray], None]


def restamp(hdf5: Path, name: str, change: Restamp, taken: bool = False) -> None:
    """Change a stream's stamps in place: (n,) epoch seconds; `taken` those of capture, too."""
    with h5py.File(hdf5, "r+") as file:
        for key in ("time_s", "data") if taken else ("time_s",):
            column = file[name][key][:, 0]
            change(column)
            file[name][key][:, 0] = column


def ahead(rows: slice, seconds: float) -> Restamp:
    def change(column: np.ndarray) -> None:
        column[rows] += seconds

    return change


def shown(recording: Recording) -> list[int]:
    return [read_barcode(frame) for frame in recording.cameras["world"]]


# ---- the video's clock


@pytest.mark.parametrize("seconds", [HOUR, MONTH, -HOUR])
@pytest.mark.parametrize("rows", [slice(0, 1), slice(20, 22), slice(-2, None)])
def test_a_frame_stamp_far_off_freezes_nothing_and_needs_no_room(
    tmp_path: Path, seconds: float, rows: slice
) -> None:
    plain = write(tmp_path / "plain", 3.0, barcode=True)
    hdf5 = write(tmp_path / "spiked", 3.0, barcode=True)
    with h5py.File(hdf5) as file:
        taken = np.delete(file[FRAMES]["data"][:, 0], rows)
        numbers = np.delete(np.arange(len(taken) + rows.indices(99)[1] - rows.indices(99)[0]), rows)
    restamp(hdf5, FRAMES, ahead(rows, seconds), taken=True)
    (entry,) = ActionSenseSource(hdf5.parent).entries()
    recording = load(hdf5)
    assert entry.frames == recording.frames == pytest.approx(load(plain).frames, abs=1)
    tau = clock_times(taken[0], taken[-1], 10.0)
    expected = numbers[np.searchsorted(taken, tau + 1e-6, side="right") - 1]
    np.testing.assert_array_equal(shown(recording), expected[: recording.frames])
    assert any("skipped" in n and f"{seconds:+.0f}"[:4] in n for n in recording.notes)


def test_a_frame_clock_that_jumps_and_stays_is_refused_in_one_line(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 3.0)
    restamp(hdf5, FRAMES, ahead(slice(40, None), HOUR), taken=True)
    with pytest.raises(UserError, match=r"jumps by 3600\.. s at row 40; leave the recording out"):
        load(hdf5)
    restamp(hdf5, FRAMES, ahead(slice(40, None), -2 * HOUR), taken=True)
    with pytest.raises(UserError, match=r"jumps by -3600\.. s at row 40"):
        load(hdf5)
    (entry,) = ActionSenseSource(hdf5.parent).entries()
    assert entry.frames == 0


def test_a_jump_of_the_eye_tracker_alone_is_mended_by_the_times_of_reception(
    tmp_path: Path,
) -> None:
    plain = load(write(tmp_path / "plain", 3.0, barcode=True))
    hdf5 = write(tmp_path / "jumped", 3.0, barcode=True)
    with h5py.File(hdf5, "r+") as file:
        file[FRAMES]["data"][40:] += HOUR
    recording = load(hdf5)
    assert np.abs(np.array(shown(recording)) - shown(plain)).max() <= 1
    assert any("from row 40 on; shifted" in note for note in recording.notes)


def test_a_hanging_computer_is_no_jump(tmp_path: Path) -> None:
    plain = load(write(tmp_path / "plain", 6.0, barcode=True))
    hdf5 = write(tmp_path / "hung", 6.0, barcode=True)
    with h5py.File(hdf5, "r+") as file:
        received = file[FRAMES]["time_s"][:, 0]
        file[FRAMES]["time_s"][100:160, 0] = received[160]
    assert shown(load(hdf5)) == shown(plain)


@pytest.mark.parametrize("off", [3.0, 0.2, -0.2, -3.0])
def test_an_eye_tracker_seconds_off_is_set_right_and_told(tmp_path: Path, off: float) -> None:
    """Pictures came `off` late against the body, with no word."""
    straight = load(write(tmp_path / "straight", 3.0, barcode=True))
    recording = load(write(tmp_path / "off", 3.0, barcode=True, pupil_offset=off))
    told = [n for n in recording.notes if "s off; shifted" in n]
    assert len(told) == 2
    for note in told:
        assert float(note.split("clock was ")[1].split()[0]) == pytest.approx(off, abs=0.02)
    # By what a frame travels, 30 ms at least, no more can be told.
    difference = np.abs(recording.senses["body_pose"] - straight.senses["body_pose"])
    assert difference.max() < 3.0
    assert recording.present["gaze"].all()
    assert all(
        abs(a.start - b.start) <= 1 for a, b in zip(recording.spans, straight.spans, strict=True)
    )


def fall_out(hdf5: Path, at: float, seconds: float) -> None:
    """The camera falls out at a share of the recording: all that follows comes later, no frames."""
    with h5py.File(hdf5, "r+") as file:
        taken = file[FRAMES]["data"][:, 0]
        when = taken[int(at * len(taken))]
        for stream in [s for device in file.values() for s in device.values()]:
            stream["time_s"][...] += np.where(stream["time_s"][...] > when, seconds, 0)
        for name in (FRAMES, "eye-tracking-gaze/timestamp"):
            file[name]["data"][...] += np.where(file[name]["data"][...] > when, seconds, 0)


def test_frames_in_which_the_video_stands_still_are_in_no_activity(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 9.0, barcode=True)
    # In the middle of the second activity, four seconds.
    fall_out(hdf5, 0.49, 4.0)
    recording = load(hdf5, SenseSet([]))
    numbers = np.array(shown(recording))
    assert [s.text for s in recording.spans].count(recording.spans[1].text) == 2
    for span in recording.spans:
        assert (np.diff(numbers[span.start : span.stop]) > 0).all()
    notes = " | ".join(recording.notes)
    assert "stands still for 39 frames" in notes or "stands still for 40 frames" in notes
    assert "left out of them" in notes


def test_a_frame_clock_that_jumps_by_seconds_alone_is_refused(tmp_path: Path) -> None:
    """All pictures after it would stand seconds late against the body."""
    hdf5 = write(tmp_path, 9.0)
    restamp(hdf5, FRAMES, ahead(slice(120, None), 4.0), taken=True)
    with pytest.raises(UserError, match=r"jumps by 4\.. s at row 120 and ends .* after all other"):
        load(hdf5)


def test_stamps_that_are_no_seconds_are_refused(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 1.0)
    with h5py.File(hdf5, "r+") as file:
        for key in ("data", "time_s"):
            file[FRAMES][key][...] *= 1000
    with pytest.raises(UserError, match=r"frames are \d+\.\d s apart.* no seconds"):
        load(hdf5)
    (entry,) = ActionSenseSource(hdf5.parent).entries()
    assert entry.frames == 0


@pytest.mark.parametrize("scale", [1.02, 1000.0])
def test_an_eye_tracker_whose_clock_runs_otherwise_is_set_right_and_told(
    tmp_path: Path, scale: float
) -> None:
    """2 % fast, or in milliseconds."""
    straight = load(write(tmp_path / "straight", 9.0, barcode=True))
    hdf5 = write(tmp_path / "fast", 9.0, barcode=True)
    with h5py.File(hdf5, "r+") as file:
        taken = file[FRAMES]["data"]
        taken[...] = taken[0] + scale * (taken[...] - taken[0])
    recording = load(hdf5)
    assert abs(recording.frames - straight.frames) <= 1
    count = min(recording.frames, straight.frames)
    difference = recording.senses["body_pose"][:count] - straight.senses["body_pose"][:count]
    assert np.abs(difference).max() < 4.0
    late = np.array(shown(recording))[:count] - shown(straight)[:count]
    assert np.abs(late).max() <= 1
    words = "drifts by -0.18 s; set right" if scale < 2 else "used the times of reception"
    assert any(f"{FRAMES}: the eye tracker's clock" in n and words in n for n in recording.notes)


def test_an_activity_with_a_stamp_an_hour_ahead_is_left_out_and_told(tmp_path: Path) -> None:
    """Its stop an hour late, it held all that came after."""
    hdf5 = write(tmp_path, 6.0)
    restamp(hdf5, "experiment-activities/activities", ahead(slice(1, 2), HOUR))
    recording = load(hdf5, SenseSet([]))
    assert [s.text for s in recording.spans] == list(LABELS[1:])
    assert any(f"{LABELS[0]!r} lasts 3602 s" in n for n in recording.notes)


def test_the_first_time_a_frame_is_shown_it_is_not_frozen() -> None:
    taken = np.array([0.0, 0.1, 0.2, 2.0, 2.1])
    times = clock_times(0.0, 2.1, 10.0)
    frozen = frozen_frames(taken, last_at_or_before(taken, times), times, 0.5, 0.1)
    np.testing.assert_array_equal(np.flatnonzero(frozen), np.arange(4, 20))


def test_a_clock_seconds_longer_than_the_video_is_refused(tmp_path: Path) -> None:
    """Which of the frames are missing cannot be told, so none is known to be at its time."""
    hdf5 = write(tmp_path, 52.0, frames_missing=70, height=32)
    with pytest.raises(UserError, match=r"2\.4 s longer than the video") as caught:
        load(hdf5, SenseSet([]), size=8)
    assert video_path(hdf5).name in str(caught.value)


# ---- the senses' clocks


@pytest.mark.parametrize("seconds", [HOUR, MONTH, -HOUR])
@pytest.mark.parametrize("row", [0, 300, -1])
def test_one_stray_stamp_of_a_sense_costs_one_row(tmp_path: Path, seconds: float, row: int) -> None:
    plain = load(write(tmp_path / "plain", 3.0))
    hdf5 = write(tmp_path / "spiked", 3.0)
    rows = slice(row, row + 1 or None)
    restamp(hdf5, "myo-left/emg", ahead(rows, seconds))
    restamp(hdf5, "xsens-segments/position_cm", ahead(slice(row // 3, row // 3 + 1), seconds))
    recording = load(hdf5)
    for name in ("left_emg", "body_pose", "head", "root", "left_hand_pose"):
        assert recording.present[name].mean() > 0.95, name
    both = recording.present["left_emg"] & plain.present["left_emg"]
    difference = np.abs(recording.senses["left_emg"] - plain.senses["left_emg"])[both]
    assert difference.mean() < 1.0
    assert np.abs(recording.senses["body_pose"] - plain.senses["body_pose"]).max() < 3.0


def test_strays_are_told_by_row_and_size_and_small_disorder_is_sorted() -> None:
    times = 1e9 + np.arange(50) / 60
    times[30] += HOUR
    times[[10, 11]] = times[[11, 10]]
    rows, notes = time_order(times)
    assert 30 not in rows and len(rows) == 49
    assert (np.diff(times[rows]) > 0).all()
    assert any("1 row far from their neighbours" in n and "row 30: +3600.0 s" in n for n in notes)
    assert any("run backwards 1 times" in note for note in notes)


def test_a_sense_whose_clock_jumps_back_keeps_its_longer_side() -> None:
    times = 1e9 + np.arange(100) / 60
    times[70:] -= 60.0
    rows, notes = time_order(times)
    np.testing.assert_array_equal(rows, np.arange(70))
    assert any("stays there; 30 rows left out" in note for note in notes)


def test_the_longest_rise_keeps_all_but_what_is_out_of_line() -> None:
    stamps_ = np.array([5.0, 1.0, 2.0, 9.0, 3.0, 3.0, 4.0])
    np.testing.assert_array_equal(
        np.flatnonzero(longest_rise(stamps_, strict=False)), [1, 2, 4, 5, 6]
    )
    assert longest_rise(stamps_, strict=True).sum() == 4


def test_a_sense_that_falls_silent_for_seconds_is_told(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 9.0)
    when = stamps(hdf5, "myo-right/emg")
    keep = (when < when[0] + 2) | (when > when[0] + 8)
    with h5py.File(hdf5, "r+") as file:
        for key in ("data", "time_s", "time_str"):
            kept = file["myo-right/emg"][key][:][keep]
            file["myo-right/emg"][key].resize(len(kept), axis=0)
            file["myo-right/emg"][key][...] = kept
    recording = load(hdf5)
    assert any("myo-right/emg: silent 1 times for 6 s" in note for note in recording.notes)
    assert 0.3 < recording.present["right_emg"].mean() < 0.6


def test_a_sense_whose_clock_jumps_and_stays_is_absent_from_there_on(tmp_path: Path) -> None:
    """What came after stood six seconds late against the video."""
    hdf5 = write(tmp_path, 12.0)
    restamp(hdf5, "myo-right/emg", ahead(slice(300, None), 6.0))
    recording = load(hdf5)
    tau = clock(hdf5, recording.frames)
    jump = stamps(hdf5, "myo-right/emg")[299]
    np.testing.assert_array_equal(recording.present["right_emg"], tau <= jump + 0.5)
    assert any("myo-right/emg: silent before row 300" in note for note in recording.notes)


# ---- rates


def test_a_rate_with_gaps_and_a_stray_is_that_of_its_intervals() -> None:
    """(n - 1) / T gives 97 Hz here, and one stamp an hour ahead .1 Hz."""
    stamps_ = np.concatenate([np.arange(0, 3, 1 / 162), np.arange(5, 8, 1 / 162), [HOUR]])
    assert sample_rate(stamps_) == pytest.approx(162, rel=0.01)


def test_a_silence_does_not_bend_the_filter() -> None:
    before, after = np.arange(0, 3, 1 / 162), np.arange(5, 8, 1 / 162)
    effort = np.concatenate([np.full(len(before), 40.0), np.full(len(after), 10.0)])[:, None]
    envelope, _ = emg_envelope(effort, np.concatenate([before, after]), 5.0)
    np.testing.assert_allclose(envelope, effort)


def test_a_weak_armband_costs_its_sense_for_that_stretch(tmp_path: Path) -> None:
    """9 Hz for two seconds refused the whole recording."""
    plain = load(write(tmp_path / "plain", 9.0))
    hdf5 = write(tmp_path / "weak", 9.0)
    when = stamps(hdf5, "myo-left/emg")
    weak = (when > when[0] + 4) & (when < when[0] + 6)
    keep = ~weak | (np.arange(len(when)) % 18 == 0)
    with h5py.File(hdf5, "r+") as file:
        for key in ("data", "time_s", "time_str"):
            kept = file["myo-left/emg"][key][:][keep]
            file["myo-left/emg"][key].resize(len(kept), axis=0)
            file["myo-left/emg"][key][...] = kept
    recording = load(hdf5)
    tau = clock(hdf5, recording.frames) - when[0]
    present = recording.present["left_emg"]
    assert present[(tau < 4) | (tau > 7)].all()
    assert not present[(tau > 5) & (tau < 6)].any()
    assert recording.present["right_emg"].all()
    assert any("myo-left/emg: weak radio" in note for note in recording.notes)
    np.testing.assert_allclose(
        recording.senses["left_emg"][tau > 7], plain.senses["left_emg"][tau > 7], atol=2.0
    )


def test_an_armband_that_is_weak_throughout_is_left_out_and_named(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 6.0)
    with h5py.File(hdf5, "r+") as file:
        for key in ("data", "time_s", "time_str"):
            kept = file["myo-left/emg"][key][::18]
            file["myo-left/emg"][key].resize(len(kept), axis=0)
            file["myo-left/emg"][key][...] = kept
    recording = load(hdf5)
    assert set(ALL.names) - set(recording.senses) == {"left_emg"}
    assert any(
        "left_emg: left out, myo-left/emg has 9.0 rows a second" in note for note in recording.notes
    )


def test_a_cutoff_beyond_a_good_armband_names_file_and_stream(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 0.5)
    with pytest.raises(UserError, match=r"emg_cutoff: 100\.0 Hz.*half.*rate in myo-left/emg") as e:
        load(hdf5, emg_cutoff=100.0)
    assert hdf5.name in str(e.value)
