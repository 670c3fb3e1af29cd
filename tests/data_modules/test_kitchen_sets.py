"""Sets of recordings: what is planned, and that nothing on the disk is ever half."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest
from helpers import slow_capture

from data_modules.kitchen.command.activities import ACTIVITIES
from data_modules.kitchen.recorder.plan import (
    HELD_OUT,
    RecordingPlan,
    parse_activities,
    parse_recolour,
    plan_recordings,
)
from data_modules.kitchen.recorder.record import open_set, record_set, recorded
from mssim.errors import UserError

ROOT = Path(__file__).parents[2]
LABELS = ("a", "b", "c", "d", "e", "f", "g")
SHAPE = {"fps": 10.0, "size": 16, "seed": 0}


def plans(**minutes: float | None) -> list[RecordingPlan]:
    return plan_recordings(minutes, LABELS, fps=10.0, size=16, seed=0)


def run(out: Path, jobs: int = 1, pause: float = 0, **options: object) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    env = {**os.environ, "PYTHONPATH": paths, "PAUSE": str(pause), "OMP_NUM_THREADS": "2"}
    words = [sys.executable, slow_capture.__file__, str(out), str(jobs)]
    return subprocess.Popen(words, env=env, text=True, **options)  # type: ignore[call-overload, no-any-return]


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.mark.parametrize("labels", [LABELS, tuple(ACTIVITIES), LABELS[:5]])
def test_the_default_trains_an_hour_and_holds_out_every_activity_often(
    labels: tuple[str, ...],
) -> None:
    training = plans(S00=None, S01=None, S02=None, S03=None, S04=None)
    assert sum(p.seconds for p in training) >= 3600
    assert all(120 <= p.seconds <= 240 for p in training)
    held = plan_recordings({"S05": None}, labels, fps=10.0, size=16, seed=0)
    assert {p.subject for p in held} == {HELD_OUT}
    performed = [i.label for p in held for i in islice(p.instances(labels), p.least)]
    assert len(performed) >= 24 and min(Counter(performed).values()) >= 3
    assert set(performed) == set(labels)


def test_a_plan_is_a_pure_function_and_every_recording_another_balanced_sequence() -> None:
    assert plans(S00=9.0, S03=1.5) == plans(S00=9.0, S03=1.5)
    first, second, third, other = plans(S00=9.0, S03=1.5)
    assert (first.seconds, other.seconds) == (180.0, 90.0)
    sequences = [list(islice(p.instances(LABELS), 15)) for p in (first, second, third, other)]
    assert sequences[0] == list(islice(first.instances(LABELS), 15))
    assert len({tuple(s) for s in sequences}) == 4
    for sequence in sequences:
        for deck in (sequence[:7], sequence[7:14]):
            assert {i.label for i in deck} == set(LABELS)
    assert len({i.seed for s in sequences for i in s}) == 60
    reseeded = plan_recordings({"S00": 3.0}, LABELS, fps=10.0, size=16, seed=1)[0]
    assert list(islice(reseeded.instances(LABELS), 7)) != sequences[0][:7]


def test_activities_are_chosen_by_their_beginnings() -> None:
    known = tuple(ACTIVITIES)
    assert parse_activities(None, known) == known
    said = parse_activities("POUR, slice a cucumber", known)
    assert said == ("Slice a cucumber", "Pour water from a pitcher into a glass")
    for wrong, why in (("Slice", "begins several"), ("juggle", "is none of"), ("", "is none of")):
        with pytest.raises(UserError, match=f"activities: '{wrong}' {why}"):
            parse_activities(wrong, known)


def test_colours_are_read_as_the_web_writes_them() -> None:
    known = ("bread", "cucumber")
    assert parse_recolour(None, known) == ()
    said = parse_recolour("cucumber=#ff0033, bread=000000", known)
    assert said == (("bread", (0.0, 0.0, 0.0)), ("cucumber", (1.0, 0.0, 0.2)))
    for wrong in ("cucumber", "cucumber=red", "cucumber=#ff00", "=#ff0033", ""):
        with pytest.raises(UserError, match=r"is not like cucumber=#c83020"):
            parse_recolour(wrong, known)
    with pytest.raises(UserError, match=r"no material 'potato'; there are bread, cucumber"):
        parse_recolour("potato=#c83020", known)


def test_names_are_actionsense_s_own() -> None:
    plan = plans(S04=9.0)[1]
    assert plan.id == "2026-01-09_08-10-00_S04"
    assert plan.folder == (
        "2026-01-09_experiment_S04",
        "2026-01-09_08-09-35_actionNet-wearables_S04",
    )
    assert plan.start.timestamp() == 1767964200.0


def test_processes_share_the_work_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    two, one = run(tmp_path / "two", jobs=2), run(tmp_path / "one")
    assert (two.wait(60), one.wait(60)) == (0, 0)
    made = contents(tmp_path / "two")
    assert made == contents(tmp_path / "one") and len(made) == 1 + 6 * 3
    logs = [p for p in made if "_streamLog_actionNet-wearables_" in p]
    assert len(logs) == 6 and len({made[p] for p in logs}) == 6
    assert all(made[p].endswith(b"on 1 thread") for p in logs)
    times = {p: p.stat().st_mtime_ns for p in tmp_path.glob("two/*/*/*")}
    assert run(tmp_path / "two", jobs=2, pause=1).wait(20) == 0
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("two/*/*/*")} == times


def test_another_set_is_refused_by_the_field_and_more_subjects_are_welcome(tmp_path: Path) -> None:
    open_set(tmp_path, {"S00": 2.0}, SHAPE)
    for field, value in (("fps", 5.0), ("size", 32), ("seed", 3)):
        said = (
            rf"^{field}: .* was recorded with {SHAPE[field]}, not {value}; ask for {SHAPE[field]}, "
        )
        with pytest.raises(UserError, match=said):
            open_set(tmp_path, {"S00": 2.0}, {**SHAPE, field: value})
    with pytest.raises(UserError, match=r"minutes of S00: .* recorded with 2.0, not the default"):
        open_set(tmp_path, {"S00": None}, SHAPE)
    open_set(tmp_path, {"S05": None}, SHAPE)
    open_set(tmp_path, {"S00": 2.0, "S05": None}, SHAPE)
    with pytest.raises(UserError, match=r"minutes of S05: .* recorded with the default, not 2.0"):
        open_set(tmp_path, {"S05": 2.0}, SHAPE)


def test_a_folder_of_something_else_and_a_broken_plan_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(UserError, match=r"holds thesis\.doc and no plan\.json; choose a new"):
        open_set(tmp_path, {"S00": 2.0}, SHAPE)
    (tmp_path / "plan.json").write_text("[1]")
    with pytest.raises(UserError, match=r"plan\.json: is no plan of recordings; remove it"):
        open_set(tmp_path, {"S00": 2.0}, SHAPE)


@pytest.mark.parametrize("jobs", [1, 2])
def test_kill_minus_nine_loses_no_recording_and_leaves_no_half_one(
    tmp_path: Path, jobs: int
) -> None:
    process = run(tmp_path / "killed", jobs, pause=0.4, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(tmp_path.glob("killed/*/[!.]*"))) < 2:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # What a process leaves that is killed while it writes.
    left = tmp_path / f"killed/2026-01-05_experiment_S00/.x.{process.pid}.0a"
    left.mkdir()
    (left / "x_streamLog_actionNet-wearables_S00.hdf5.part").write_bytes(b"half")
    time.sleep(1.5)  # the workers see that their parent is gone
    kept = {p: p.stat().st_mtime_ns for p in tmp_path.glob("killed/*/[!.]*/*")}
    assert len(kept) % 3 == 0 and 2 <= len(kept) // 3 < 6
    assert run(tmp_path / "killed", jobs).wait(60) == 0
    assert not left.exists()
    assert all(p.stat().st_mtime_ns == t for p, t in kept.items())
    assert run(tmp_path / "whole").wait(60) == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_write_limit_ends_at_once_and_leaves_nothing_half(tmp_path: Path, jobs: int) -> None:
    def starve() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    out = tmp_path / "full"
    starved = run(out, jobs, stdout=subprocess.PIPE, preexec_fn=starve)
    said, _ = starved.communicate(timeout=60)
    assert starved.returncode == 2 and said.split() == [str(out), str(errno.EFBIG)]
    assert [p.name for p in out.rglob("*") if p.is_file()] == ["plan.json"]
    assert run(out, jobs).wait(60) == 0
    assert len(list(out.glob("*/*/*"))) == 18


def test_two_runs_at_once_make_one_whole_set(tmp_path: Path) -> None:
    running = [run(tmp_path / "both", pause=0.05) for _ in range(2)]
    assert [p.wait(60) for p in running] == [0, 0]
    assert run(tmp_path / "alone").wait(60) == 0
    assert contents(tmp_path / "both") == contents(tmp_path / "alone")


def test_calls_at_once_all_find_their_subjects_in_the_plan(tmp_path: Path) -> None:
    names = [f"S{n:02d}" for n in range(6)]
    for attempt in range(20):
        out = tmp_path / str(attempt)
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(lambda name, out=out: open_set(out, {name: 1.0}, SHAPE), names))
        assert json.loads((out / "plan.json").read_text())["minutes"] == dict.fromkeys(names, 1.0)


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    (plan,) = plans(S00=1.0)
    folder = tmp_path / plan.folder[0] / f".{plan.id}.{os.getpid()}.0a"
    folder.mkdir(parents=True)
    record_set(tmp_path, [plan], 1, slow_capture.slow)
    assert folder.exists() and recorded(tmp_path, plan)
