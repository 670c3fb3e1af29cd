import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import lerobot_writer as writer

from data_modules.files import files_below
from data_modules.prepare import prepare, required_bytes, store_path
from data_modules.recording import Clock, Entry
from data_modules.store import Draft, Store
from mssim.errors import UserError

ROOT = Path(__file__).parents[2]
CLOCK = Clock(writer.senses(), 16)

# A process of its own: what the tests below kill and starve.
SCRIPT = """
import sys, time
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from helpers import lerobot_writer as writer
from data_modules import prepare as module
from data_modules.recording import Clock
from mssim.errors import UserError
convert = writer.LeRobotSource.convert
def slowly(self, entry, clock, draft):
    convert(self, entry, clock, draft)
    time.sleep({pause})
writer.LeRobotSource.convert = slowly
try:
    clock = Clock(writer.senses(), {size})
    module.prepare("toy", writer.source(Path({data!r})), clock, Path({stores!r}))
except UserError as error:
    print(error)
    sys.exit(2)
print(sorted(m for m in ("av", "h5py", "pyarrow", "torch", "open_clip") if m in sys.modules))
"""


class Faulty(writer.LeRobotSource):
    """Fails on episode 1 as no reader foresees, and on 2 for a file that went meanwhile."""

    def convert(self, entry: Entry, clock: Clock, draft: Draft) -> None:
        if entry.id == "episode_000001":
            raise ZeroDivisionError("division by zero")
        if entry.id == "episode_000002":
            (self.path / "gone").read_bytes()
        super().convert(entry, clock, draft)


class Killed(writer.LeRobotSource):
    """Its process is killed, as where memory runs out."""

    def convert(self, entry: Entry, clock: Clock, draft: Draft) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return writer.write_lerobot(tmp_path_factory.mktemp("data") / "toy", episodes=5, frames=12)


def script(data: Path, stores: Path, pause: float = 0, size: int = 16) -> list[str]:
    text = SCRIPT.format(
        root=str(ROOT),
        tests=str(ROOT / "tests"),
        data=str(data),
        stores=str(stores),
        pause=pause,
        size=size,
    )
    return [sys.executable, "-c", text]


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def test_same_settings_find_the_same_store_and_others_another(toy: Path, tmp_path: Path) -> None:
    source = writer.source(toy)
    path = store_path("toy", source, CLOCK, tmp_path)
    assert path.name.startswith("toy-") and len(path.name) == len("toy-") + 8
    assert store_path("toy", writer.source(toy), Clock(writer.senses(), 16), tmp_path) == path
    relative = writer.source(Path(os.path.relpath(toy)))
    assert store_path("toy", relative, CLOCK, tmp_path) == path
    others = [
        store_path("toy", source, Clock(writer.senses(), 32), tmp_path),
        store_path("toy", source, Clock(writer.senses(), 16, 5.0), tmp_path),
        store_path("toy", source, Clock(writer.senses().select(["arm"]), 16), tmp_path),
        store_path("toy", writer.LeRobotSource(toy, writer.COLUMNS, subject="x"), CLOCK, tmp_path),
    ]
    assert len({path, *others}) == 5


def test_the_limit_is_kept_and_the_rest_comes_later(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = prepare("toy", writer.source(toy), CLOCK, tmp_path, limit=2)
    assert store.ids() == ["episode_000000", "episode_000001"]
    first = contents(store.path / "recordings")
    told = capsys.readouterr().err
    assert (
        "toy: 2 recordings to convert, 0.0 minutes recorded, 0.0 MB in" in told and "free" in told
    )
    prepare("toy", writer.source(toy), CLOCK, tmp_path)
    assert "3 recordings to convert" in capsys.readouterr().err
    assert len(store.ids()) == 5
    assert first.items() <= contents(store.path / "recordings").items()
    prepare("toy", writer.source(toy), CLOCK, tmp_path)
    assert capsys.readouterr().err == ""


def test_sizes_told_are_sizes_taken(toy: Path, tmp_path: Path) -> None:
    store = prepare("toy", writer.source(toy), CLOCK, tmp_path)
    told = required_bytes(writer.source(toy).entries(), CLOCK)
    arrays = sum(p.stat().st_size for p in store.path.rglob("*.npy"))
    headers = 128 * len(list(store.path.rglob("*.npy")))
    assert told == arrays - headers


def test_a_changed_recording_is_converted_again(tmp_path: Path) -> None:
    data = writer.write_lerobot(tmp_path / "toy", episodes=2, frames=12)
    store = prepare("toy", writer.source(data), CLOCK, tmp_path / "stores")
    times = {
        i: (store.path / "recordings" / i / "meta.json").stat().st_mtime_ns for i in store.ids()
    }
    video = data / f"videos/chunk-000/{writer.CAMERA}/episode_000001.mp4"
    writer.write_video(video, [np.zeros((32, 32, 3), np.uint8)] * 12)
    prepare("toy", writer.source(data), CLOCK, tmp_path / "stores")
    again = {
        i: (store.path / "recordings" / i / "meta.json").stat().st_mtime_ns for i in store.ids()
    }
    assert again["episode_000000"] == times["episode_000000"]
    assert again["episode_000001"] > times["episode_000001"]
    assert store.open("episode_000001").cameras["top"].max() < 20


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_changed_metadata_convert_what_they_tell_of_again(tmp_path: Path, version: str) -> None:
    """A mended fps or text left the store as it was, with the old rate and the old words."""
    data = writer.write_lerobot(tmp_path / "toy", version, episodes=2, frames=12)
    store = prepare("toy", writer.source(data), CLOCK, tmp_path / "stores")
    file = data / "meta/episodes.jsonl"
    if version == "v3.0":
        file = data / "meta/episodes/chunk-000/file-000.parquet"
        writer.edit_rows(file, tasks=[["Push."], ["Squeeze the square."]])
    else:
        file.write_text(file.read_text().replace("Slide the square.", "Push."))
    metas = {i: store.path / "recordings" / i / "meta.json" for i in store.ids()}
    before = {i: meta.stat().st_mtime_ns for i, meta in metas.items()}
    prepare("toy", writer.source(data), CLOCK, tmp_path / "stores")
    assert store.open("episode_000000").spans[0].text == "Push."
    assert metas["episode_000001"].stat().st_mtime_ns == before["episode_000001"]
    writer.edit_info(data, fps=9)
    prepare("toy", writer.source(data), CLOCK, tmp_path / "stores")
    assert {store.open(i).interval for i in store.ids()} == {1 / 9}


def test_one_broken_recording_does_not_stop_the_others(tmp_path: Path) -> None:
    data = writer.write_lerobot(tmp_path / "toy", episodes=3, frames=12)
    (data / f"videos/chunk-000/{writer.CAMERA}/episode_000001.mp4").unlink()
    with pytest.raises(UserError, match=r"^episode_000001: .*mp4 is not there.*1 of 3 recordings"):
        prepare("toy", writer.source(data), CLOCK, tmp_path / "stores")
    store = Store(store_path("toy", writer.source(data), CLOCK, tmp_path / "stores"))
    assert store.ids() == ["episode_000000", "episode_000002"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_no_reader_foresaw_stops_no_other_recording(
    tmp_path: Path, jobs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    data = writer.write_lerobot(tmp_path / "toy", episodes=4, frames=12)
    source = Faulty(data, writer.COLUMNS)
    message = (
        r"^episode_000001: ZeroDivisionError: division by zero \(test_prepare\.py, line \d+\); "
        r"please report this line, and leave the recording out \(2 of 4 recordings failed; the oth"
    )
    with pytest.raises(UserError, match=message):
        prepare("toy", source, CLOCK, tmp_path / "stores", jobs=jobs)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("episode")]
    gone = f"{data / 'gone'}: cannot be read (No such file or directory); see that it is there"
    assert told == [f"episode_000002: {gone} to read"]
    store = Store(store_path("toy", source, CLOCK, tmp_path / "stores"))
    assert store.ids() == ["episode_000000", "episode_000003"]


def test_one_fault_of_many_recordings_is_told_once(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(writer.senses(), 16, rate=50)
    with pytest.raises(UserError, match=r"^episode_000000 and 4 more: rate 50: .*\(5 of 5 rec"):
        prepare("toy", writer.source(toy), clock, tmp_path)
    assert "episode" not in capsys.readouterr().err


def test_a_killed_worker_ends_in_one_line(tmp_path: Path) -> None:
    data = writer.write_lerobot(tmp_path / "toy", episodes=2, frames=12)
    with pytest.raises(UserError, match=r"was killed, .* run again with less than --jobs 2"):
        prepare("toy", Killed(data, writer.COLUMNS), CLOCK, tmp_path / "stores", jobs=2)


def test_an_index_that_is_no_index_is_made_anew(toy: Path, tmp_path: Path) -> None:
    store = prepare("toy", writer.source(toy), CLOCK, tmp_path)
    whole = (store.path / "index.json").read_text()
    for content in ("", "[]", '{"entries": []}', "\xff"):
        (store.path / "index.json").write_text(content, encoding="latin-1")
        prepare("toy", writer.source(toy), CLOCK, tmp_path)
        assert (store.path / "index.json").read_text() == whole


def test_linked_folders_are_followed_and_a_link_to_nothing_does_no_harm(tmp_path: Path) -> None:
    data = writer.write_lerobot(tmp_path / "toy", episodes=2, frames=12)
    (data / "videos").rename(tmp_path / "elsewhere")
    (data / "videos").symlink_to(tmp_path / "elsewhere")
    (data / "videos" / "again").symlink_to(data)
    (data / "videos" / "gone").symlink_to(tmp_path / "nothing")
    store = prepare("toy", writer.source(data), CLOCK, tmp_path / "stores")
    listing = json.loads((store.path / "index.json").read_text())["listing"]
    video = tmp_path / f"elsewhere/chunk-000/{writer.CAMERA}/episode_000001.mp4"
    writer.write_video(video, [np.zeros((32, 32, 3), np.uint8)] * 12)
    prepare("toy", writer.source(data), CLOCK, tmp_path / "stores")
    assert json.loads((store.path / "index.json").read_text())["listing"] != listing
    assert store.open("episode_000001").cameras["top"].max() < 20
    assert len([f for f in files_below(data) if f.suffix == ".mp4"]) == 2


def test_processes_in_a_pool_write_what_one_writes(toy: Path, tmp_path: Path) -> None:
    one = prepare("toy", writer.source(toy), CLOCK, tmp_path / "one")
    two = prepare("toy", writer.source(toy), CLOCK, tmp_path / "two", jobs=2)
    assert contents(one.path / "recordings") == contents(two.path / "recordings")


def test_two_processes_at_once_make_one_whole_store(toy: Path, tmp_path: Path) -> None:
    running = [subprocess.Popen(script(toy, tmp_path / "both", pause=0.1)) for _ in range(2)]
    assert [p.wait(timeout=60) for p in running] == [0, 0]
    both = store_path("toy", writer.source(toy), CLOCK, tmp_path / "both")
    alone = prepare("toy", writer.source(toy), CLOCK, tmp_path / "alone")
    assert contents(both / "recordings") == contents(alone.path / "recordings")


def test_kill_minus_nine_leaves_whole_recordings_and_the_next_run_goes_on(
    toy: Path, tmp_path: Path
) -> None:
    path = store_path("toy", writer.source(toy), CLOCK, tmp_path / "killed")
    process = subprocess.Popen(
        script(toy, tmp_path / "killed", pause=0.5), stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        whole = list(path.glob("recordings/[!.]*"))
        if len(whole) >= 2 and list(path.glob("recordings/.*/camera.*")):
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = Store(path).ids()
    assert 2 <= len(kept) < 5 and list(path.glob("recordings/.*"))
    times = [(path / "recordings" / i / "meta.json").stat().st_mtime_ns for i in kept]
    prepare("toy", writer.source(toy), CLOCK, tmp_path / "killed")
    assert not list(path.glob("recordings/.*"))
    assert [(path / "recordings" / i / "meta.json").stat().st_mtime_ns for i in kept] == times
    alone = prepare("toy", writer.source(toy), CLOCK, tmp_path / "alone")
    assert contents(path / "recordings") == contents(alone.path / "recordings")


def test_a_write_limit_ends_in_one_line_and_keeps_what_is_done(toy: Path, tmp_path: Path) -> None:
    def starve() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    arguments = script(toy, tmp_path / "full", size=32)
    starved = subprocess.run(arguments, preexec_fn=starve, capture_output=True, text=True)
    path = store_path("toy", writer.source(toy), Clock(writer.senses(), 32), tmp_path / "full")
    assert starved.returncode == 2
    line = starved.stdout.strip()
    assert "\n" not in line and line.startswith(f"{path}: no room to write (File too large)")
    assert "0.2 MB are needed in all; make room or choose another folder" in line
    assert not list(path.glob("recordings/*")) and not list(path.glob("recordings/.*"))
    fed = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert "av" in fed.stdout and len(Store(path).ids()) == 5


def test_a_full_disk_is_told_before_starting(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"0\.0 MB needed, 0\.0 MB free; make room, or choose"):
        prepare("toy", writer.source(toy), CLOCK, tmp_path / "stores")


def test_a_recording_that_is_told_to_be_endless_is_named(tmp_path: Path) -> None:
    """A wrong length ended in "make room"."""
    data = writer.write_lerobot(tmp_path / "toy", episodes=3, frames=12)
    file = data / "meta/episodes.jsonl"
    lines = file.read_text().splitlines()
    lines[1] = lines[1].replace('"length": 12', '"length": 12000000000')
    file.write_text("\n".join(lines))
    told = r"GB needed, .* GB free, \d+\.\d GB for episode_000001 alone: see that its length and"
    with pytest.raises(UserError, match=told):
        prepare("toy", writer.source(data), CLOCK, tmp_path / "stores")


def test_a_prepared_store_imports_no_reader_and_outlives_its_source(
    toy: Path, tmp_path: Path
) -> None:
    light = """
import json, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from data_modules.prepare import prepare
from data_modules.recording import Clock
from data_modules.sources.lerobot import Columns, LeRobotSource
from mssim.senses import Sense, SenseSet
columns = {{n: Columns("observation.state", i, i + 2) for n, i in (("arm", 0), ("hand", 2))}}
senses = SenseSet([Sense("arm", [2], "rad"), Sense("hand", [2], "rad")])
store = prepare("toy", LeRobotSource(Path({data!r}), columns), Clock(senses, 16), Path({stores!r}))
heavy = ("av", "h5py", "pyarrow", "pandas", "torch", "open_clip", "lightning")
print(json.dumps([len(store.ids()), [m for m in heavy if m in sys.modules]]))
"""
    for version in ("v2.1", "v3.0"):
        data = writer.write_lerobot(tmp_path / version, version, episodes=2, frames=12)
        prepare("toy", writer.source(data), CLOCK, tmp_path)
        text = light.format(root=str(ROOT), data=str(data), stores=str(tmp_path))
        for gone in (False, True):
            if gone:
                shutil.rmtree(data)
            done = subprocess.run(
                [sys.executable, "-c", text], capture_output=True, text=True, check=True
            )
            assert json.loads(done.stdout) == [2, []]
    with pytest.raises(UserError, match=r"info\.json is not there"):
        prepare("toy", writer.source(data), Clock(writer.senses(), 8), tmp_path)
