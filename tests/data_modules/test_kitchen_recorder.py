"""Recordings of the kitchen: the files hold what happened, and ActionSense's reader agrees."""

import dataclasses
import io
import itertools
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from data_modules.kitchen.command.activities import ACTIVITIES
from data_modules.kitchen.command.performer import Tick, perform
from data_modules.kitchen.recorder import capture as capture_module
from data_modules.kitchen.recorder.capture import capture
from data_modules.kitchen.recorder.plan import RecordingPlan
from data_modules.kitchen.recorder.record import Captured, save
from data_modules.kitchen.recorder.streams import MemoryFile, StreamFile
from data_modules.kitchen.recorder.truth import (
    Instance,
    TruthFile,
    flat_state,
    read_truth,
    state_from,
    truth_path,
)
from data_modules.kitchen.recorder.video import encode_video
from data_modules.kitchen.sensing.camera import Camera
from data_modules.kitchen.sensing.pose import segments
from data_modules.kitchen.world.names import Command
from data_modules.kitchen.world.physics import KitchenWorld
from data_modules.kitchen.world.scene import Placed, Scene
from data_modules.kitchen.world.subject import SUBJECTS, Subject
from data_modules.prepare import prepare
from data_modules.recording import Clock, Recording
from data_modules.sources.actionsense import ActionSenseSource
from data_modules.sources.detect import SENSES, read_senses
from mssim.errors import UserError

FPS, SIZE = 10.0, 16
PLAN = RecordingPlan("S03", 0, seconds=1.0, least=1, seed=5, fps=FPS, size=SIZE)


@dataclasses.dataclass(frozen=True)
class Made:
    """One short recording, its folder and what `mssim prepare` makes of it."""

    captured: Captured
    told: float
    log: Path
    truth: list[Instance]
    read: Recording


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    out = tmp_path_factory.mktemp("kitchen")
    told: list[float] = []
    captured = capture(PLAN, told.append)
    save(out, PLAN, captured)
    (log,) = out.rglob("*_streamLog_*.hdf5")
    clock = Clock(read_senses(SENSES / "actionsense.yaml"), SIZE, FPS)
    store = prepare("kitchen", ActionSenseSource(out), clock, out / "stores")
    (id,) = store.ids()
    return Made(captured, sum(told), log, read_truth(truth_path(log)), store.open(id))


def decoded(video: bytes) -> list[NDArray[np.uint8]]:
    with av.open(io.BytesIO(video)) as container:
        return [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]


def test_another_colour_changes_what_is_seen_and_nothing_else(made: Made) -> None:
    """The domain shift of the paper's section 7.8.8: the same food in a colour never seen."""
    colours = (("cucumber", (0.8, 0.2, 0.1)), ("counter", (0.8, 0.2, 0.1)))
    shifted = capture(dataclasses.replace(PLAN, recolour=colours), lambda _: None)
    assert shifted.log == made.captured.log and shifted.truth == made.captured.truth
    before, after = (np.stack(decoded(c.video)).astype(float) for c in (made.captured, shifted))
    change = (after - before).mean(axis=(0, 1, 2))
    assert change[0] > 3 and change[1] < 0 and change[2] < 0


def test_only_the_activities_asked_for_are_done() -> None:
    plan = dataclasses.replace(PLAN, activities=("Slice bread",), least=2)
    performed = list(itertools.islice(plan.instances(plan.activities), 3))
    assert {i.label for i in performed} == {"Slice bread"} and len({i.seed for i in performed}) == 3


def test_same_seed_same_bytes(made: Made) -> None:
    assert capture(PLAN, lambda _: None) == made.captured


def test_progress_and_length_are_those_of_the_performance(made: Made) -> None:
    ticks = sum(len(i.commands) for i in made.truth)
    assert made.captured.seconds == ticks / 60
    assert made.told == ticks // 60


def test_the_reader_finds_every_sense_all_of_the_time(made: Made) -> None:
    assert set(made.read.senses) == {s.name for s in read_senses(SENSES / "actionsense.yaml")}
    for name, present in made.read.present.items():
        assert present.all(), name
    assert [n for n in made.read.notes if "held at the last" not in n] == []
    assert made.read.subject == "S03"


def test_the_reader_finds_each_frame_once_as_it_was_rendered(made: Made) -> None:
    frames = decoded(made.captured.video)
    # The clock starts at the latest moment of a first frame, so it ends before a last one.
    np.testing.assert_array_equal(made.read.cameras["world"], frames[:-1])
    assert len(np.unique(np.stack(frames), axis=0)) > 0.8 * len(frames)


def test_labels_and_failures_are_the_instances(made: Made) -> None:
    (instance,) = made.truth
    (span,) = made.read.spans
    assert span.text == instance.label in ACTIVITIES
    clock = instance.frame_times[0] + np.arange(made.read.frames) / FPS
    inside = np.flatnonzero((instance.start <= clock) & (clock <= instance.stop))
    assert (span.start, span.stop) == (inside[0], inside[-1] + 1)
    with h5py.File(made.log) as file:
        rows = file["experiment-activities/activities/data"][()]
    note = b"" if instance.success else b"failed"
    assert rows[:, 1:].tolist() == [[b"Start", b"Good", b""], [b"Stop", b"Good", note]]


def test_devices_keep_their_own_pace(made: Made) -> None:
    expected = {
        "myo-left/emg": 162,
        "tactile-glove-right/tactile_data": 5.5,
        "xsens-segments/position_cm": 60,
        "xsens-joints/rotation_xzy_deg": 60,
        "eye-tracking-gaze/position": 116,
        "eye-tracking-video-world/frame_timestamp": FPS,
    }
    with h5py.File(made.log) as file:
        for name, rate in expected.items():
            count, times = len(file[name]["data"]), file[name]["time_s"]
            assert times.shape == (count, 1) and file[name]["time_str"].dtype == "S26"
            assert count / made.captured.seconds == pytest.approx(rate, rel=0.1), name
            assert (np.diff(times[:, 0]) >= 0).all()
        assert file["myo-left/emg/time_s_original"].shape == file["myo-left/emg/time_s"].shape


def test_the_truth_of_a_frame_renders_that_frame_and_feels_like_it(made: Made) -> None:
    (instance,) = made.truth
    world = KitchenWorld(SUBJECTS[instance.subject], instance.scene)
    camera = Camera(world.model, SIZE)
    frames = decoded(made.captured.video)
    with h5py.File(made.log) as file:
        places = file["xsens-segments/position_cm/data"][()]
    for row in (0, len(instance.frame_rows) // 2, len(instance.frame_rows) - 1):
        world.reset(state_from(world.state(), instance.state, row))
        np.testing.assert_array_equal(camera.render(world), frames[instance.frame_rows[row]])
        felt = places[instance.frame_ticks[row] - 1]
        np.testing.assert_allclose(segments(world), felt, atol=1e-3)
        for name, pose in instance.objects.items():
            np.testing.assert_array_equal(world.data.body(name).xpos, pose[row, :3])


def test_commands_replayed_from_a_recorded_state_repeat_it_to_the_bit(made: Made) -> None:
    (instance,) = made.truth
    world = KitchenWorld(SUBJECTS[instance.subject], instance.scene)
    template = world.state()
    middle = len(instance.frame_rows) // 2
    begin, end = instance.frame_ticks[[middle, middle + 20]]
    for arrays, row, first in (
        (instance.state, middle, begin),
        (instance.first, 0, 0),
    ):
        world.reset(state_from(template, arrays, row))
        for numbers in instance.commands[first:end]:
            world.step(Command.of(numbers))
        assert_same(flat_state(world.state()), instance.state, middle + 20)


def assert_same(state: dict[str, Any], arrays: dict[str, Any], row: int) -> None:
    assert state.keys() == arrays.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(value, arrays[name][row], err_msg=name)


def test_commands_fill_the_clock_without_gaps(made: Made) -> None:
    begin = PLAN.start.timestamp()
    times = np.concatenate([i.command_times for i in made.truth])
    np.testing.assert_allclose(times, begin + np.arange(len(times)) / 60, atol=1e-6)
    for instance in made.truth:
        shown = instance.command_times[instance.frame_ticks - 1] + 1 / 60
        assert (instance.frame_times >= shown).all()
        assert (instance.frame_times < shown + 0.0031).all()


def test_physics_that_diverges_ends_the_instance_and_it_comes_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, int]] = []

    def perform_once_broken(subject: Subject, label: str, seed: int) -> Iterator[Tick]:
        asked.append((label, seed))
        for number, tick in enumerate(islice(perform(subject, label, seed), 120)):
            if number == 70 and len(asked) == 1:
                tick.world.data.qvel[0] = np.inf
            yield tick

    monkeypatch.setattr(capture_module, "perform", perform_once_broken)
    monkeypatch.chdir(tmp_path)
    made = capture(PLAN, lambda _: None)
    (label, seed), again = asked
    assert again == (label, seed + 1)
    with h5py.File(io.BytesIO(made.truth)) as file:
        first, second = file["instances"].values()
        assert not first.attrs["whole"] and not first.attrs["success"] and second.attrs["whole"]
        assert len(first["commands"]) == 70 and len(second["commands"]) == 120
        assert np.isfinite(first["state/physics"]).all()
    with h5py.File(io.BytesIO(made.log)) as file:
        valid = file["experiment-activities/activities/data"][:, 2].tolist()
        assert valid == [b"Bad", b"Bad", b"Good", b"Good"]
    assert not list(tmp_path.iterdir())  # MuJoCo likes to leave a log behind


@pytest.mark.parametrize("size", [8, 33, 64])
def test_video_survives_to_the_bit(size: int) -> None:
    frames = list(np.random.default_rng(0).integers(0, 256, (30, size, size, 3), np.uint8))
    np.testing.assert_array_equal(decoded(encode_video(frames, size)), frames)


def test_files_made_at_another_time_have_the_same_bytes() -> None:
    def file() -> bytes:
        log = StreamFile()
        times = 1.7e9 + np.arange(5000) / 60
        log.add("a/b", np.ones((5000, 3)), times, {"Units": "cm"})
        log.add_events("e/f", ("x", "y"), [(1.7e9, ("long ago", "1"))])
        return log.close()

    first = file()
    time.sleep(1.1)
    assert file() == first


def test_times_as_text_are_eastern_and_to_the_microsecond() -> None:
    log = StreamFile()
    log.add("a/b", np.zeros((1, 1)), np.array([1767621600.25]))
    with h5py.File(io.BytesIO(log.close())) as file:
        assert file["a/b/time_str"][0, 0] == b"2026-01-05 09:00:00.250000"


def test_truth_comes_back_as_it_was_written(tmp_path: Path) -> None:
    scene = Scene((Placed("plate", 0.5, 0.1), Placed("cup", 0.5, -0.2)), dirt={"plate": 0.5})
    frames = np.arange(3)
    instance = Instance(
        label="Slice bread",
        seed=7,
        subject="S01",
        scene=scene,
        whole=True,
        success=False,
        start=1.0,
        stop=2.0,
        commands=np.arange(132.0).reshape(2, 66),
        command_times=np.arange(2.0),
        frame_times=frames / 10,
        frame_rows=frames + 4,
        frame_ticks=frames * 6,
        state={"physics": np.eye(3, 9), "effects/dirt/plate": np.eye(3), "slack": np.ones((3, 0))},
        first={"physics": np.ones((1, 9))},
        objects={"cup": np.ones((3, 7))},
    )
    truth = TruthFile()
    truth.add(instance)
    truth.add(dataclasses.replace(instance, label="Slice a cucumber", success=True))
    path = tmp_path / "truth.hdf5"
    path.write_bytes(truth.close())
    first, second = read_truth(path)
    assert (first.scene, first.success, first.seed) == (scene, False, 7)
    assert (second.label, second.success) == ("Slice a cucumber", True)
    for name in ("commands", "frame_rows", "frame_ticks"):
        np.testing.assert_array_equal(getattr(first, name), getattr(instance, name))
    for name in ("state", "first", "objects"):
        mine, theirs = getattr(first, name), getattr(instance, name)
        assert mine.keys() == theirs.keys()
        for key in mine:
            np.testing.assert_array_equal(mine[key], theirs[key])


def test_a_missing_or_broken_truth_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x_truth.hdf5"
    with pytest.raises(UserError, match=r"x_truth\.hdf5: is not there; record it again"):
        read_truth(path)
    path.write_bytes(b"half")
    with pytest.raises(UserError, match=r"x_truth\.hdf5: no truth of a recording \(.*record it"):
        read_truth(path)
    path.write_bytes(MemoryFile().close())
    with pytest.raises(UserError, match=r"x_truth\.hdf5: no truth of a recording \(.*instances"):
        read_truth(path)


def test_a_state_is_filled_from_its_arrays_at_any_depth() -> None:
    @dataclasses.dataclass(frozen=True)
    class Inner:
        dirt: dict[str, Any]
        stream: float

    @dataclasses.dataclass(frozen=True)
    class Outer:
        physics: NDArray[np.float64]
        inner: Inner

    state = Outer(np.arange(3.0), Inner({"plate": np.eye(2)}, 0.5))
    flat = flat_state(state)
    assert set(flat) == {"physics", "inner/dirt/plate", "inner/stream"}
    rows = {name: np.stack([0 * value, value]) for name, value in flat.items()}
    blank = Outer(np.zeros(3), Inner({"plate": np.zeros((2, 2))}, 0.0))
    back = state_from(blank, rows, 1)
    assert back.inner.stream == 0.5 and isinstance(back.inner.stream, float)
    np.testing.assert_array_equal(back.inner.dirt["plate"], np.eye(2))
    np.testing.assert_array_equal(back.physics, state.physics)
    assert blank.physics.sum() == 0
