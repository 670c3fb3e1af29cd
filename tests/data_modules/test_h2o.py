"""H2O's files, as its download holds them, become recordings."""

from pathlib import Path

import numpy as np
import pytest
from helpers.h2o_writer import joints, shade, write_h2o, write_take

from data_modules.module import DataModule
from data_modules.recording import Clock, Recording
from data_modules.sources.detect import SENSES, detect, read_senses
from data_modules.sources.h2o import ACTIONS, H2OSource
from data_modules.splits import SourceConfig, Split
from data_modules.store import Store
from mssim.errors import UserError
from mssim.senses import Sense, SenseSet

HANDS = read_senses(SENSES / "h2o.yaml")


@pytest.fixture(scope="module")
def h2o(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_h2o(tmp_path_factory.mktemp("h2o"))


def read(
    root: Path, tmp_path: Path, place: str, rate: float | None = 10.0, senses: SenseSet = HANDS
) -> Recording:
    source, store = H2OSource(root), Store.create(tmp_path / "store", "h2o", {})
    entry = next(e for e in source.entries() if e.id == place.replace("/", "_"))
    store.add(entry, source.convert, Clock(senses, 16, rate))
    return store.open(entry.id)


def test_takes_subjects_and_the_declared_split_are_listed(h2o: Path) -> None:
    source = H2OSource(h2o)
    entries = source.entries()
    assert [(e.id, e.subject, e.frames) for e in entries] == [
        ("subject1_h1_0", "subject1", 60),
        ("subject1_k2_1", "subject1", 60),
        ("subject3_o1_0", "subject3", 60),
        ("subject4_h1_0", "subject4", 60),
    ]
    # subject2's take is in a list, and was not downloaded.
    assert source.splits() == {
        "train": ["subject1_h1_0", "subject1_k2_1"],
        "val": ["subject3_o1_0"],
        "test": ["subject4_h1_0"],
    }
    found, senses = detect(h2o)
    assert isinstance(found, H2OSource) and senses == HANDS


def test_the_label_table_is_whole() -> None:
    assert len(ACTIONS) == 37 and len(set(ACTIONS)) == 37
    known = {0: "background", 1: "grab book", 8: "grab cappuccino", 9: "place book"}
    known |= {16: "place cappuccino", 17: "open lotion", 22: "close chips", 23: "pour milk"}
    known |= {24: "take out espresso", 30: "put in cappuccino", 33: "read book"}
    assert {i: ACTIONS[i] for i in known} == known and ACTIONS[36] == "squeeze lotion"


@pytest.mark.parametrize(("rate", "step"), [(10.0, 3), (15.0, 2), (None, 1)])
def test_frames_and_hands_are_those_of_their_time(
    h2o: Path, tmp_path: Path, rate: float | None, step: int
) -> None:
    recording = read(h2o, tmp_path, "subject1/h1/0", rate)
    rows = np.arange(0, 60, step)
    assert recording.frames == len(rows) and recording.interval == pytest.approx(step / 30)
    grey = recording.cameras["cam4"][:, 8, 8].astype(int)
    assert np.abs(grey - [[shade(r)] for r in rows.tolist()]).max() <= 1
    for hand, name in enumerate(HANDS.names):
        known = np.array([hand == 1 or r not in (3, 30) for r in rows.tolist()])
        np.testing.assert_array_equal(recording.present[name], known)
        for i, row in enumerate(rows.tolist()):
            value = joints("subject1/h1/0", row, hand) if known[i] else np.zeros((21, 3))
            np.testing.assert_allclose(recording.senses[name][i, 0], value, atol=1e-6)


def test_actions_are_spans_of_the_clock(h2o: Path, tmp_path: Path) -> None:
    """Frames 0 to 29 at 30 Hz are ticks 0 to 9 at 10 Hz; 31 to 59 are 11 to 19."""
    spans = read(h2o, tmp_path / "a", "subject1/h1/0").spans
    assert [(s.start, s.stop, s.text) for s in spans] == [
        (0, 10, "place cappuccino"),
        (11, 20, "grab cappuccino"),
    ]
    unlabelled = read(h2o, tmp_path / "b", "subject4/h1/0").spans
    assert [(s.start, s.stop, s.text) for s in unlabelled] == [(2, 20, "")]


def test_a_hand_that_is_never_annotated_is_absent(h2o: Path, tmp_path: Path) -> None:
    recording = read(h2o, tmp_path, "subject1/k2/1")
    assert recording.present["left_hand_pose"].all()
    assert not recording.present["right_hand_pose"].any()
    assert not np.asarray(recording.senses["right_hand_pose"]).any()


def test_several_samples_a_frame_are_those_on_the_way_to_it(h2o: Path, tmp_path: Path) -> None:
    senses = SenseSet([Sense("right_hand_pose", [21, 3], "m", samples_per_frame=3)])
    recording = read(h2o, tmp_path, "subject3/o1/0", senses=senses)
    assert not recording.present["right_hand_pose"][0]  # before the first frame
    for k in range(3):
        value = joints("subject3/o1/0", 3 * 5 - 2 + k, 1)
        np.testing.assert_allclose(recording.senses["right_hand_pose"][5, k], value, atol=1e-6)


def test_what_is_missing_or_broken_is_told(tmp_path: Path) -> None:
    root = write_h2o(tmp_path / "h2o", frames=12)
    folder = root / "subject1/h1/0/cam4"
    (folder / "hand_pose/000005.txt").unlink()
    recording = read(root, tmp_path / "a", "subject1/h1/0", None)
    assert not recording.present["right_hand_pose"][5] and recording.present["right_hand_pose"][4]
    assert "1 of 12 frames have no hand pose and count as absent" in recording.notes
    assert "frames 31 to 59 are not there; left out" in recording.notes
    (folder / "hand_pose/000004.txt").write_text("1 2 3")
    with pytest.raises(UserError, match=r"000004\.txt: not 128 numbers"):
        read(root, tmp_path / "b", "subject1/h1/0")
    (folder / "rgb256/000003.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"000003\.jpg: not readable as a picture"):
        read(root, tmp_path / "c", "subject1/h1/0", None)
    (folder / "rgb256/000002.jpg").unlink()
    with pytest.raises(UserError, match=r"000002\.jpg is not there; download the take again"):
        read(root, tmp_path / "d", "subject1/h1/0")
    with pytest.raises(UserError, match=r"rate: 60 must lie above 0 and up to 30"):
        read(root, tmp_path / "e", "subject3/o1/0", 60.0)
    senses = SenseSet([Sense("left_hand_pose", [24, 3], "cm")])
    with pytest.raises(UserError, match=r"left_hand_pose: shape \[24, 3\] must be \[21, 3\]"):
        read(root, tmp_path / "f", "subject3/o1/0", senses=senses)


def test_lists_that_are_not_as_they_should_be_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"label_split: holds no action_train\.txt"):
        H2OSource(tmp_path).entries()
    write_take(tmp_path, "subject1/h1/0", 3)
    file = tmp_path / "label_split/action_train.txt"
    file.parent.mkdir()
    head = "id path action_label start_act end_act start_frame end_frame"
    for line in ("1 ../x 8 0 1 0 2", "1"):
        file.write_text(f"{head}\n{line}\n")
        with pytest.raises(UserError, match=r"action_train\.txt: line 2 is "):
            H2OSource(tmp_path).entries()
    file.write_text("id path action_label start_act end_act\n1 subject2/h1/0 8 0 1\n")
    with pytest.raises(UserError, match=r"no take .* that label_split/action_\*\.txt name"):
        H2OSource(tmp_path).entries()
    with pytest.raises(UserError, match="fps: 0 frames"):
        H2OSource(tmp_path, 0)


def test_texts_in_another_encoding_are_read_or_told(tmp_path: Path) -> None:
    root = write_h2o(tmp_path / "h2o", frames=12)
    listed = [e.id for e in H2OSource(root).entries()]
    for file in (*root.rglob("action_*.txt"), root / "subject1/h1/0/cam4/hand_pose/000002.txt"):
        file.write_bytes(file.read_text().encode("utf-16"))
    assert [e.id for e in H2OSource(root).entries()] == listed
    assert read(root, tmp_path / "a", "subject1/h1/0", None).present["left_hand_pose"][2]
    pose = root / "subject1/h1/0/cam4/hand_pose/000002.txt"
    pose.write_bytes(b"\xe9 1 2")
    with pytest.raises(UserError, match=r"000002\.txt: not UTF-8 text .*; save it as UTF-8"):
        read(root, tmp_path / "b", "subject1/h1/0")
    pose.unlink()
    pose.mkdir()
    with pytest.raises(UserError, match=r"000002\.txt: is a folder, a file is needed"):
        read(root, tmp_path / "c", "subject1/h1/0")
    file = root / "label_split/action_train.txt"
    file.unlink()
    file.mkdir()
    with pytest.raises(UserError, match=r"action_train\.txt: is a folder"):
        H2OSource(root).entries()


def test_poses_that_are_not_finite_are_absent_and_told(tmp_path: Path) -> None:
    root = write_h2o(tmp_path / "h2o", frames=12)
    file = root / "subject1/h1/0/cam4/hand_pose/000002.txt"
    words = file.read_text().split()
    file.write_text(" ".join([words[0], "nan", *words[2:]]))
    recording = read(root, tmp_path / "a", "subject1/h1/0", None)
    assert not recording.present["left_hand_pose"][2]
    assert "1 hand poses are not finite and count as absent" in recording.notes


@pytest.mark.parametrize("line", ["37 0 2 0 2", "-1 0 2 0 2", "8 2 1 0 2", "8 x 2 0 2", "8"])
def test_a_broken_line_costs_its_take_alone(tmp_path: Path, line: str) -> None:
    root = write_h2o(tmp_path / "h2o", frames=12)
    for split, encoding in (("train", "utf-8"), ("val", "utf-16")):
        file = root / f"label_split/action_{split}.txt"
        file.write_text(file.read_text(), encoding=encoding)
    file = root / "label_split/action_train.txt"
    file.write_text(file.read_text().replace("8 31 59 0 11", line).replace("9 11 0 11", "9 9 0 9"))
    with pytest.raises(UserError, match=r"action_train\.txt: line 3 is '2 subject1/h1/0 "):
        read(root, tmp_path / "a", "subject1/h1/0")
    other = read(root, tmp_path / "b", "subject1/k2/1", None)
    assert other.spans == () and "frames 9 to 9 are one frame; left out" in other.notes
    assert len(read(root, tmp_path / "c", "subject3/o1/0").spans) == 1


def test_a_flag_that_is_none_is_told(tmp_path: Path) -> None:
    root = write_h2o(tmp_path / "h2o", frames=12)
    file = root / "subject1/h1/0/cam4/hand_pose/000004.txt"
    file.write_text("0.5" + file.read_text()[1:])
    with pytest.raises(UserError, match=r"000004\.txt: a hand's flag is 0\.5 or 1, expected 0 or"):
        read(root, tmp_path / "a", "subject1/h1/0")


def test_it_feeds_the_data_module_by_its_own_split(h2o: Path, tmp_path: Path) -> None:
    split = Split("dataset", ["train"], ["val"], ["test"])
    sources = {"h2o": SourceConfig(H2OSource(h2o), split)}
    data = DataModule(
        sources, HANDS, size=16, rate=15.0, store=tmp_path / "stores", batch_size=2, eval_every=1
    )
    data.prepare_data()
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch.senses["left_hand_pose"].shape == (2, 12, 1, 21, 3)
    assert set(batch.text) <= {"place cappuccino", "grab cappuccino", "spray spray"}
    assert data.subject_names == ["subject1", "subject3", "subject4"]
    assert {t for b in data.test_dataloader() for t in b.text} == {""}
