"""ActionSense: untidy labels, and bad input in one line with nothing half-written."""

import itertools
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.actionsense_load import ALL, TEN_HZ, clock, load, write
from helpers.actionsense_writer import (
    LABELS,
    read_barcode,
    video_path,
    write_actionsense,
)

from data_modules.sources.actionsense import ActionSenseSource
from data_modules.sources.actionsense_hdf5 import frame_stamps
from mssim.errors import UserError
from mssim.senses import Sense, SenseSet

# ---- labels


def test_labels_are_paired_sorted_renamed_and_the_doubtful_ones_dropped(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 9.0, messy_labels=True)
    recording = load(hdf5, SenseSet([]), size=8)
    texts = [s.text for s in recording.spans]
    assert texts == [LABELS[0], "Open/close a jar of almond butter", *LABELS[1:]]
    assert [s.start for s in recording.spans] == sorted(s.start for s in recording.spans)
    notes = " | ".join(recording.notes)
    assert "1 repeated rows left out" in notes
    assert "'Peel a cucumber' has a Start without its partner" in notes
    assert "2 instances marked Bad or Maybe left out" in notes


def test_spans_hold_the_frames_between_start_and_stop(tmp_path: Path) -> None:
    hdf5 = write(tmp_path)
    recording = load(hdf5, SenseSet([]))
    tau = clock(hdf5, recording.frames)
    with h5py.File(hdf5) as file:
        when = file["experiment-activities/activities/time_s"][:, 0]
    assert [s.text for s in recording.spans] == list(LABELS)
    for span, start, stop in zip(recording.spans, when[::2], when[1::2], strict=True):
        assert (tau[span.start : span.stop] >= start).all()
        assert (tau[span.start : span.stop] <= stop).all()
        assert tau[span.start - 1] < start
        assert tau[span.stop] > stop


def test_a_recording_without_labels_has_no_spans(tmp_path: Path) -> None:
    recording = load(write(tmp_path, 0.5, missing=("experiment-activities",)), SenseSet([]))
    assert recording.spans == ()
    assert any("has no labels" in note for note in recording.notes)


# ---- bad input


def refused(hdf5: Path, *words: str, senses: SenseSet = ALL, **arguments: Any) -> None:
    """One line with all the words, and nothing left in the store."""
    with pytest.raises(UserError) as caught:
        load(hdf5, senses, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert not list((hdf5.parents[2] / "stores").glob("*/recordings/*"))
    assert not list((hdf5.parents[2] / "stores").glob("*/recordings/.*"))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_hdf5_is_refused(tmp_path: Path, share: float) -> None:
    hdf5 = write(tmp_path, 1.0)
    hdf5.write_bytes(hdf5.read_bytes()[: int(hdf5.stat().st_size * share)])
    (entry,) = ActionSenseSource(tmp_path).entries()
    assert entry.frames == 0
    refused(hdf5, hdf5.name, "truncated or damaged", "download it again")


def test_a_missing_video_is_skipped_and_told_or_refused(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 1.0, video=False)
    refused(hdf5, video_path(hdf5).name, "missing", "missing_video", missing_video="error")
    with pytest.raises(UserError, match=r"none of the 1 recordings has its world video"):
        ActionSenseSource(tmp_path).entries()
    write_actionsense(tmp_path, "S05", 0.5)
    source = ActionSenseSource(tmp_path)
    assert [e.subject for e in source.entries()] == ["S05"]
    (line,) = source.skipped()
    assert line.startswith(hdf5.name) and video_path(hdf5).name in line
    assert ActionSenseSource(tmp_path, subjects=["S05"]).skipped() == []
    assert ActionSenseSource(tmp_path, missing_video="error").skipped() == []


@pytest.mark.parametrize("content", [b"", b"no video at all" * 99])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    hdf5 = write(tmp_path, 0.5)
    video_path(hdf5).write_bytes(content)
    refused(hdf5, video_path(hdf5).name, "cannot be decoded", "download it again")


def test_a_few_frames_too_few_drop_the_tail(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 4.0, frames_missing=5, barcode=True)
    recording = load(hdf5)
    with h5py.File(hdf5) as file:
        taken = file["eye-tracking-video-world/frame_timestamp/data"][:, 0]
    end = clock(hdf5, recording.frames)[-1]
    assert end <= taken[-6] < end + TEN_HZ
    assert read_barcode(recording.cameras["world"][-1]) <= len(taken) - 6
    assert any("the last 5 timestamps dropped" in note for note in recording.notes)


def test_many_frames_too_few_are_refused(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 4.0, frames_missing=12)
    refused(hdf5, video_path(hdf5).name, "more than 5 %", "download it again")


@pytest.mark.parametrize(("share", "accepted"), [(0.98, True), (0.6, False)])
def test_a_video_cut_short_behind_a_whole_header(
    tmp_path: Path, share: float, accepted: bool
) -> None:
    hdf5 = write(tmp_path, 4.0, barcode=True)
    _header_first(video_path(hdf5))
    whole = video_path(hdf5).read_bytes()
    video_path(hdf5).write_bytes(whole[: int(len(whole) * share)])
    if not accepted:
        refused(hdf5, video_path(hdf5).name, "can be decoded", "more than 5 %")
        return
    recording = load(hdf5)
    assert any("timestamps dropped" in note for note in recording.notes)
    shown = [read_barcode(frame) for frame in recording.cameras["world"]]
    assert all(a < b for a, b in itertools.pairwise(shown))


def _header_first(path: Path) -> None:
    """Rewrite an mp4 so that its index precedes its frames, as for streaming."""
    import av

    other = path.with_name("moved.mp4")
    with (
        av.open(str(path)) as old,
        av.open(str(other), "w", options={"movflags": "faststart"}) as new,
    ):
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    other.replace(path)


def test_rows_of_nan_are_absent_and_noted(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, nan_rows=20)
    recording = load(hdf5)
    for name in ("left_hand_pose", "body_pose", "head", "root", "left_tactile"):
        present = recording.present[name]
        assert 0 < (~present).sum() < len(present) / 1.1, name
        assert np.isfinite(recording.senses[name]).all()
        assert any(note.startswith(f"sense {name}: absent in") for note in recording.notes)
    assert recording.present["left_emg"].all()


def test_stamps_that_run_backwards_are_sorted(tmp_path: Path) -> None:
    straight = load(write(tmp_path / "straight", 3.0))
    hdf5 = write(tmp_path / "backwards", 3.0, backwards=True)
    recording = load(hdf5)
    assert any("run backwards" in note for note in recording.notes)
    for name in ALL.names:
        assert recording.present[name].all()
    difference = np.abs(recording.senses["body_pose"] - straight.senses["body_pose"])
    assert difference.max() < 3.0


def test_frame_stamps_out_of_order_keep_their_frame_numbers(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 2.0, barcode=True)
    with h5py.File(hdf5, "r+") as file:
        data = file["eye-tracking-video-world/frame_timestamp/data"]
        data[20] = data[10]
        data[30] = np.nan
    with h5py.File(hdf5) as file:
        when, numbers, _ = frame_stamps(file, hdf5, [])
    assert {20, 30}.isdisjoint(numbers.tolist())
    recording = load(hdf5)
    tau = clock(hdf5, recording.frames)
    latest = numbers[np.searchsorted(when, tau + 1e-6, side="right") - 1]
    shown = [read_barcode(frame) for frame in recording.cameras["world"]]
    np.testing.assert_array_equal(shown, latest)
    assert any("not after the one before" in note for note in recording.notes)


def test_a_recording_without_frame_stamps_is_refused(tmp_path: Path) -> None:
    hdf5 = write(tmp_path, 0.5, missing=("eye-tracking-video-world",))
    refused(hdf5, hdf5.name, "frame_timestamp", "leave the recording out")


@pytest.mark.parametrize(
    ("sense", "words"),
    [
        (Sense("right_hand", [24, 3], "cm"), ("sense right_hand", "left_hand_pose, right_hand")),
        (Sense("head", [7], "cm"), ("sense head", "[7]", "[6]")),
    ],
)
def test_a_wrong_sense_is_refused(tmp_path: Path, sense: Sense, words: tuple[str, ...]) -> None:
    refused(write(tmp_path, 0.5), *words, senses=SenseSet([sense]))


def test_senses_of_other_sources_are_left_to_them(tmp_path: Path) -> None:
    union = SenseSet([Sense("left_arm", [7], "rad"), ALL["gaze"]])
    hdf5 = write(tmp_path, 0.5)
    refused(hdf5, "sense left_arm", "foreign_senses", senses=union)
    assert list(load(hdf5, union, foreign_senses=["left_arm"]).senses) == ["gaze"]


def test_arguments_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tactile_range"):
        ActionSenseSource(tmp_path, tactile_range=(600.0, 530.0))
    with pytest.raises(UserError, match="emg_cutoff"):
        ActionSenseSource(tmp_path, emg_cutoff=0.0)
    with pytest.raises(UserError, match="holds no ActionSense"):
        ActionSenseSource(tmp_path).entries()
    with pytest.raises(UserError, match="is no folder"):
        ActionSenseSource(tmp_path / "nowhere").entries()
    refused(write(tmp_path, 0.5), "emg_cutoff", "half the EMG's rate", emg_cutoff=100.0)
