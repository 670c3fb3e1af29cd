"""ActionSense: what comes out, alignment in closed form, each gotcha of the reference by number."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.actionsense_load import ALL, SECONDS, TEN_HZ, clock, load, stamps, write
from helpers.actionsense_person import Person
from helpers.actionsense_writer import LABELS, read_barcode, video_path, write_actionsense

from data_modules.recording import Recording
from data_modules.sources.actionsense import ActionSenseSource
from mssim.errors import UserError
from mssim.senses import Sense, SenseSet


def make_tell_time(hdf5: Path) -> float:
    """Let senses say when they were sensed: their value is their stamp, seconds from the origin."""
    origin = float(stamps(hdf5, "xsens-segments/position_cm")[0]) - 1.0
    with h5py.File(hdf5, "r+") as file:
        for name in ("xsens-segments/position_cm", "xsens-CoM/position_cm"):
            said = file[name]["time_s"][:, 0] - origin
            file[name]["data"][...] = 0.0
            if "CoM" not in name:
                # The head and the second point of each hand; x only.
                for point in (6, 24, 44):
                    file[name]["data"][:, point, 0] = said
        for side in ("left", "right"):
            group = file[f"tactile-glove-{side}/tactile_data"]
            group["data"][...] = (group["time_s"][:, 0] - origin)[:, None, None] + 600
        taken = file["eye-tracking-gaze/timestamp/data"][:, 0]
        file["eye-tracking-gaze/position/data"][:, 1] = 1 - (taken - origin) / 100
    return origin


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recording]:
    """A recording without quirks, its frames numbered."""
    hdf5 = write(tmp_path_factory.mktemp("plain"), barcode=True)
    return hdf5, load(hdf5)


# ---- what there is


def test_every_sense_is_there_in_its_shape_and_finite(plain: tuple[Path, Recording]) -> None:
    _, recording = plain
    assert list(recording.senses) == ALL.names
    assert sum(np.prod(recording.senses[n].shape[2:]) for n in ALL.names[:7]) == 2292
    for sense in ALL:
        values = recording.senses[sense.name]
        assert values.shape == (recording.frames, 1, *sense.shape)
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        assert recording.present[sense.name].all()
    assert recording.frames == pytest.approx(SECONDS * 10, abs=1)
    assert recording.interval == TEN_HZ
    assert recording.cameras["world"].shape == (recording.frames, 48, 48, 3)
    # In six seconds the person may well hold on for more than three.
    assert [n for n in recording.notes if "long contact" not in n] == []


@pytest.mark.parametrize("up", [0, 1, 2])
def test_found_from_the_download_the_experiment_or_the_recording(tmp_path: Path, up: int) -> None:
    hdf5 = write(tmp_path, 1.0)
    (entry,) = ActionSenseSource(hdf5.parents[up]).entries()
    assert entry.files == (hdf5, video_path(hdf5))
    # The name is of the log's start, not of the folder's launch.
    assert entry.id == hdf5.name[:19] + "_S04"
    assert entry.frames == pytest.approx(10, abs=1)
    assert ActionSenseSource.matches(hdf5.parents[up])


def test_two_recordings_under_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", 1.0)
    write(tmp_path / "b", 1.0)
    with pytest.raises(UserError, match=r"same recording.*remove one"):
        ActionSenseSource(tmp_path).entries()
    assert not ActionSenseSource.matches(tmp_path / "nothing")


def test_the_signature_tells_every_argument_but_the_path(tmp_path: Path) -> None:
    plain = ActionSenseSource(tmp_path).signature()
    assert json.loads(json.dumps(plain)) == plain
    assert ActionSenseSource(tmp_path / "other").signature() == plain
    changes: list[dict[str, Any]] = [
        {"subjects": ["S04"]},
        {"tare": False},
        {"tactile_range": (530.0, 600.0)},
        {"emg_cutoff": 4.0},
        {"stale": 1.0},
        {"missing_video": "error"},
        {"foreign_senses": ["left_arm"]},
    ]
    for change in changes:
        assert ActionSenseSource(tmp_path, **change).signature() != plain


# ---- alignment, in closed form


def test_each_held_sample_was_sensed_before_its_frame_and_is_the_latest(tmp_path: Path) -> None:
    hdf5 = write(tmp_path)
    origin = make_tell_time(hdf5)
    # 7 Hz beats against every stream's rate, so a frame falls anywhere between two samples.
    recording = load(hdf5, rate=7.0, tare=False)
    tau = clock(hdf5, recording.frames, 7.0)
    said = {
        "left_hand_pose": recording.senses["left_hand_pose"][:, 0, 1, 0],
        "right_hand_pose": recording.senses["right_hand_pose"][:, 0, 1, 0],
        "body_pose": recording.senses["body_pose"][:, 0, 14, 0],
        "head": recording.senses["head"][:, 0, 0],
        "left_tactile": recording.senses["left_tactile"][:, 0, 7, 9] - 600,
        "gaze": recording.senses["gaze"][:, 0, 1] * 100,
    }
    streams = {
        "left_hand_pose": "xsens-segments/position_cm",
        "right_hand_pose": "xsens-segments/position_cm",
        "body_pose": "xsens-segments/position_cm",
        "head": "xsens-segments/position_cm",
        "left_tactile": "tactile-glove-left/tactile_data",
    }
    for name, values in said.items():
        when = values.astype(np.float64) + origin
        if name == "gaze":
            with h5py.File(hdf5) as file:
                sensed = file["eye-tracking-gaze/timestamp/data"][:, 0]
        else:
            sensed = stamps(hdf5, streams[name])
        if name in ("body_pose", "head"):
            # Known only when the message of the centre of mass is in, 2 ms later.
            latest = sensed[np.searchsorted(sensed + 0.002, tau, side="right") - 1]
        else:
            latest = sensed[np.searchsorted(sensed, tau, side="right") - 1]
        assert (when <= tau + 1e-3).all(), name
        np.testing.assert_allclose(when, latest, rtol=0, atol=1e-3, err_msg=name)


def test_k_samples_a_frame_are_held_at_even_times_in_the_interval(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 3.0)
    origin = make_tell_time(hdf5)
    hands = SenseSet([Sense("right_hand_pose", [24, 3], "cm", samples_per_frame=3)])
    recording = load(hdf5, hands, rate=5.0)
    when = recording.senses["right_hand_pose"][:, :, 1, 0].astype(np.float64) + origin
    tau = clock(hdf5, recording.frames, 5.0)[:, None] + np.array([-2, -1, 0]) / 3 * 0.2
    sensed = stamps(hdf5, "xsens-segments/position_cm")
    latest = sensed[np.searchsorted(sensed, tau, side="right") - 1]
    np.testing.assert_allclose(when, latest, rtol=0, atol=1e-3)
    assert (when > tau - 0.05).all()
    assert recording.interval == 0.2


def test_hands_are_five_chains_from_the_carpus_and_bodies_seven_from_the_centre(
    plain: tuple[Path, Recording],
) -> None:
    hdf5, recording = plain
    name = "xsens-segments/position_cm"
    row = int(np.searchsorted(stamps(hdf5, name), clock(hdf5, 20)[-1] + 1e-7, side="right")) - 1
    with h5py.File(hdf5) as file:
        points = file[name]["data"][row]
        centre = file["xsens-CoM/position_cm/data"][row]
    left = recording.senses["left_hand_pose"][19, 0]
    np.testing.assert_array_equal(left[[0, 4, 9, 14, 19]], np.zeros((5, 3)))
    np.testing.assert_allclose(left[1:4], points[24:27] - points[23], atol=1e-4)
    np.testing.assert_allclose(left[20:], points[39:43] - points[23], atol=1e-4)
    right = recording.senses["right_hand_pose"][19, 0]
    np.testing.assert_allclose(right[5:9], points[47:51] - points[43], atol=1e-4)
    body = recording.senses["body_pose"][19, 0]
    assert len(np.unique(body.round(3), axis=0)) == 23
    # One Xsens frame back at most: the centre's message comes 2 ms after the segments'.
    np.testing.assert_allclose(body[8], points[0] - centre, atol=1.0)


def test_root_steps_add_up_to_the_path_walked(plain: tuple[Path, Recording]) -> None:
    hdf5, recording = plain
    root = recording.senses["root"][:, 0].astype(np.float64)
    name = "xsens-segments/position_cm"
    tau = clock(hdf5, recording.frames)
    held = np.searchsorted(stamps(hdf5, name), tau, side="right") - 1
    with h5py.File(hdf5) as file:
        pelvis = file[name]["data"][:][held, 0]
        turn = file["xsens-segments/orientation_quaternion/data"][:][held, 0]
    yaw = 2 * np.arctan2(turn[:, 3], turn[:, 0])
    place, angle = pelvis[0, :2].copy(), yaw[0]
    for forward, left, turned in root[1:]:
        place += forward * np.array([np.cos(angle), np.sin(angle)])
        place += left * np.array([-np.sin(angle), np.cos(angle)])
        angle += turned
    np.testing.assert_allclose(place, pelvis[-1, :2], atol=1e-3)
    assert angle == pytest.approx(yaw[-1], abs=1e-4)
    assert np.abs(root[:, :2]).max() > 0.3


def test_gaze_is_told_in_the_stored_picture_from_its_top_left_corner(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 1.0)
    with h5py.File(hdf5, "r+") as file:
        # At the left edge and a quarter up from the bottom of the whole 320 x 180 picture.
        file["eye-tracking-gaze/position/data"][...] = [0.0, 0.25]
    gaze = load(hdf5, ALL.select(["gaze"])).senses["gaze"]
    np.testing.assert_allclose(gaze[3, 0], [-70 / 180, 0.75], atol=1e-6)
    whole = load(hdf5, ALL.select(["gaze"]), crop="none")
    np.testing.assert_allclose(whole.senses["gaze"][3, 0], [0, (135 + 70) / 320], atol=1e-6)
    bars = whole.cameras["world"][3].mean(axis=(1, 2))  # 48 rows, 27 of which are the picture
    assert (bars[:10] == 0).all() and (bars[-10:] == 0).all() and (bars[12:-12] > 0).all()


# ---- gotchas, by their numbers in the reference

OF_DEVICE = {
    "tactile-glove-left": {"left_tactile"},
    "myo-right": {"right_emg"},
    "eye-tracking-gaze": {"gaze"},
    "xsens-CoM": {"body_pose", "head"},
    "xsens-segments": {"left_hand_pose", "right_hand_pose", "body_pose", "head", "root"},
    "fingers": {"left_hand_pose", "right_hand_pose"},
}


@pytest.mark.parametrize("device", OF_DEVICE)
def test_gotcha_1_a_missing_device_leaves_its_senses_out(tmp_path: Path, device: str) -> None:
    hdf5 = write(tmp_path, 1.0, missing=(device,), fingers=device != "fingers")
    recording = load(hdf5)
    assert set(ALL.names) - set(recording.senses) == OF_DEVICE[device]
    for name in OF_DEVICE[device]:
        assert f"sense {name}: its device is missing or silent" in recording.notes


def test_gotcha_1_a_device_that_falls_silent_is_absent_from_then_on(tmp_path: Path) -> None:
    hdf5 = write(tmp_path)
    name = "tactile-glove-right/tactile_data"
    when = stamps(hdf5, name)
    with h5py.File(hdf5, "r+") as file:
        for key in ("data", "time_s", "time_str"):
            file[name][key].resize(18, axis=0)
    recording = load(hdf5)
    age = clock(hdf5, recording.frames) - when[17]
    np.testing.assert_array_equal(recording.present["right_tactile"], age <= 0.5)
    assert not recording.senses["right_tactile"][age > 0.5].any()


def test_gotcha_2_touch_is_tared_taxel_by_taxel(tmp_path: Path) -> None:
    hdf5 = write(tmp_path)
    touch = ALL.select(["right_tactile"])
    tared = load(hdf5, touch).senses["right_tactile"][:, 0]
    raw = load(hdf5, touch, tare=False).senses["right_tactile"][:, 0]
    # A corner that nothing presses: flat at its own 555-580 before, at zero after.
    assert raw[:, 30, 30].mean() > 550
    assert abs(np.median(tared[:, 28:, 28:])) < 1
    # Untared, the sum is all but constant; tared, it is the force.
    assert tared.max() > 200
    assert np.ptp(raw.sum((1, 2))) / raw.sum((1, 2)).mean() < 0.05
    assert np.ptp(tared.sum((1, 2))) / tared.sum((1, 2)).mean() > 0.5
    truth = Person(np.random.default_rng(0), 0.0, True).taxels[1]
    baseline = (raw - tared)[0]
    np.testing.assert_allclose(raw - tared, baseline[None].repeat(len(raw), 0), atol=1e-3)
    np.testing.assert_allclose(baseline, truth, atol=3.5)


def test_gotcha_2_outliers_are_held_and_the_range_is_kept(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, outliers=True)
    touch = ALL.select(["left_tactile"])
    raw = load(hdf5, touch, tare=False)
    assert raw.senses["left_tactile"].max() < 1024
    assert raw.senses["left_tactile"][:, 0, 3, 4].max() < 600
    assert any("readings of 1024 or more" in note for note in raw.notes)
    paper = load(hdf5, touch, tare=False, tactile_range=(530.0, 560.0)).senses["left_tactile"]
    assert (paper.min(), paper.max()) == (
        pytest.approx(max(530, raw.senses["left_tactile"].min())),
        560,
    )


def test_gotcha_3_slow_touch_is_held_and_present_throughout(tmp_path: Path) -> None:
    hdf5 = write(tmp_path)
    origin = make_tell_time(hdf5)
    recording = load(hdf5, ALL.select(["right_tactile"]), rate=25.0, tare=False)
    assert recording.present["right_tactile"].all()
    when = recording.senses["right_tactile"][:, 0, 0, 0].astype(np.float64) - 600 + origin
    # Held: only stamps of real samples occur, each for about 25 / 5.5 frames.
    sensed = stamps(hdf5, "tactile-glove-right/tactile_data")
    assert np.abs(when[:, None] - sensed[None]).min(axis=1).max() < 1e-3
    assert recording.frames / len(np.unique(when)) == pytest.approx(25 / 5.5, rel=0.2)


def test_gotcha_4_emg_is_rectified_and_smoothed_at_its_true_rate(tmp_path: Path) -> None:
    hdf5 = write(tmp_path)
    with h5py.File(hdf5, "r+") as file:
        data = file["myo-left/emg/data"]
        # Zero mean, steady effort 20: only rectifying shows it.
        data[...] = np.where(np.arange(len(data)) % 2, 20, -20)[:, None]
    emg = load(hdf5, ALL.select(["left_emg"])).senses["left_emg"]
    np.testing.assert_allclose(emg, 20.0, rtol=1e-5)


def test_gotcha_5_video_is_aligned_by_its_stamps_not_by_its_frame_rate(
    plain: tuple[Path, Recording],
) -> None:
    hdf5, recording = plain
    with h5py.File(hdf5) as file:
        taken = file["eye-tracking-video-world/frame_timestamp/data"][:, 0]
    tau = clock(hdf5, recording.frames)
    latest = np.searchsorted(taken, tau + 1e-6, side="right") - 1
    shown = np.array([read_barcode(frame) for frame in recording.cameras["world"]])
    np.testing.assert_array_equal(shown, latest)
    by_rate = np.arange(recording.frames) * 3
    assert (shown != by_rate).any()


def test_gotcha_5_a_faster_clock_shows_a_frame_twice(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 2.0, barcode=True)
    recording = load(hdf5, SenseSet([]), rate=60.0)
    with h5py.File(hdf5) as file:
        taken = file["eye-tracking-video-world/frame_timestamp/data"][:, 0]
    latest = np.searchsorted(taken, clock(hdf5, recording.frames, 60.0) + 1e-6, side="right") - 1
    shown = np.array([read_barcode(frame) for frame in recording.cameras["world"]])
    np.testing.assert_array_equal(shown, latest)


def test_gotcha_5_an_eye_tracker_on_its_own_clock_is_shifted_to_ours(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 2.0, pupil_offset=5000.0)
    recording = load(hdf5)
    assert recording.present["right_hand_pose"].all()
    assert recording.present["gaze"].all()
    assert sum("s off; shifted" in note for note in recording.notes) == 2
    assert [s.text for s in recording.spans] == list(LABELS)


def test_gotcha_6_rows_left_by_a_crash_change_nothing(tmp_path: Path) -> None:
    whole = load(write(tmp_path / "whole", 2.0))
    crashed = load(write(tmp_path / "crashed", 2.0, zero_tail=50))
    assert crashed.frames == whole.frames
    assert crashed.spans == whole.spans
    for name in ALL.names:
        np.testing.assert_array_equal(crashed.senses[name], whole.senses[name], err_msg=name)
        np.testing.assert_array_equal(crashed.present[name], whole.present[name])
    np.testing.assert_array_equal(crashed.cameras["world"], whole.cameras["world"])
    assert any("rows without a stamp trimmed" in note for note in crashed.notes)


def test_gotcha_7_frames_of_720_rows_are_cropped_and_area_resized(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 0.3, height=720, barcode=True)
    recording = load(hdf5, SenseSet([]), size=64)
    first = recording.cameras["world"][0]
    assert first.shape == (64, 64, 3)
    # The strip of bits spans exactly the crop: frame 0 is black there, edge to edge.
    assert first[1:9].max() < 24
    assert first[16:].mean() > 40


def test_gotcha_8_subjects_are_told_so_that_one_can_be_held_out(tmp_path: Path) -> None:
    for subject, number in (("S05", 0), ("S02", 0), ("S02", 1)):
        write_actionsense(tmp_path, subject, 0.5, number=number)
    entries = ActionSenseSource(tmp_path).entries()
    assert [e.subject for e in entries] == ["S02", "S02", "S05"]
    assert len({e.id for e in entries}) == 3
    only = ActionSenseSource(tmp_path, subjects=["S05"]).entries()
    assert [e.id for e in only] == [entries[2].id]
    with pytest.raises(UserError, match=r"S09.*there are S02, S05"):
        ActionSenseSource(tmp_path, subjects=["S09"]).entries()


def test_gotcha_9_no_value_changes_when_the_future_does(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 4.0)
    # The tare is a constant of the glove, taken over the recording; all else is causal.
    before = load(hdf5, tare=False)
    tau = clock(hdf5, before.frames)
    cut = tau[20]
    with h5py.File(hdf5, "r+") as file:
        for name in (
            "xsens-segments/position_cm",
            "xsens-segments/orientation_quaternion",
            "xsens-CoM/position_cm",
            "myo-left/emg",
            "myo-right/emg",
            "tactile-glove-left/tactile_data",
            "tactile-glove-right/tactile_data",
            "eye-tracking-gaze/position",
        ):
            group = file[name]
            when = group["time_s"][:, 0]
            if "gaze" in name:
                when = file["eye-tracking-gaze/timestamp/data"][:, 0]
            late = when > cut
            data = group["data"][:]
            data[late] = data[late][::-1] // 2 + 5
            group["data"][...] = data
    after = load(hdf5, tare=False)
    for name in ALL.names:
        np.testing.assert_array_equal(
            after.senses[name][:21], before.senses[name][:21], err_msg=name
        )
        assert (after.senses[name][21:] != before.senses[name][21:]).any(), name
