"""Bad input and bad luck, as real processes: one line, exit code 2, nothing half-written, and the
next run goes on.
"""

import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import lerobot_writer as writer
from helpers.tiny import (
    MSSIM,
    checkpoint,
    complaint,
    differences,
    environment,
    mssim,
    write_config,
    write_toy,
)

from data_modules.files import locked
from lightning_app.cli import main
from lightning_app.modules.simulator import Simulator


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Any]:
    """Mounts a file system of so many kilobytes at `tmp_path`/disk."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(kilobytes: int) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(disk)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting is not permitted here")
        return disk

    yield mount
    if os.path.ismount(disk):
        subprocess.run(["umount", str(disk)], check=True)


def limit(size: int) -> Any:
    """What makes a child's writes beyond `size` bytes a file fail, as a full disk does."""

    def starve() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return starve


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The line that `mssim WORDS`, in this process, stops with."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(w) for w in words])
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert sum(line.startswith("mssim: ") for line in said) == 1
    return said[-1].removeprefix("mssim: ")


def recordings(stores: Path) -> dict[str, int]:
    """When each whole recording of the stores was written; fails on anything half-written."""
    assert not list(stores.glob("*/recordings/.*")) and not list(stores.glob("*/.*"))
    return {p.parent.name: p.stat().st_mtime_ns for p in stores.glob("*/recordings/*/meta.json")}


def test_a_broken_checkpoint_is_not_gone_on_from(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`fit` stops rather than fall back to older weights unasked; it says how to ask."""
    config = write_config(tmp_path, toy)
    main(["fit", "--config", str(config), "--trainer.max_steps", "4"])
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    told = refused(capsys, "fit", "--config", config)
    assert told.startswith(f"{last}: not a readable checkpoint")
    assert told.endswith("with --ckpt_path best or last, or remove it")
    assert len(last.read_bytes()) == len(whole) // 2
    main(["fit", "--config", str(config), "--ckpt_path", "best", "--trainer.max_steps", "4"])
    assert differences(checkpoint(tmp_path / "run")["state_dict"], _weights(whole, tmp_path)) == []


def _weights(content: bytes, folder: Path) -> Any:
    (folder / "kept" / "checkpoints").mkdir(parents=True)
    (folder / "kept" / "checkpoints" / "last.ckpt").write_bytes(content)
    return checkpoint(folder / "kept")["state_dict"]


@pytest.mark.slow
def test_a_broken_checkpoint_is_told_by_real_processes(trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    best, last = (run / "checkpoints" / f"{n}.ckpt" for n in ("best", "last"))
    best.write_bytes(best.read_bytes()[:1000])
    last.write_bytes(b"\0" * 5000)
    before = sorted(p.name for p in run.rglob("*"))
    told = complaint(mssim("test", "--config", run / "config.yaml"))
    assert f"{best}: not a readable checkpoint" in told
    told = complaint(mssim("fit", "--config", run / "config.yaml", "--run", run))
    assert f"{last}: not a readable checkpoint" in told
    assert sorted(p.name for p in run.rglob("*")) == before


def test_a_second_fit_in_one_folder_is_refused_at_once(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, step, seen = write_config(tmp_path, toy), Simulator.training_step, []
    run = tmp_path / "run"

    def nested(self: Simulator, batch: Any, batch_idx: int) -> Any:
        if not seen:
            seen.append((run / "config.yaml").read_bytes())
            words = ("fit", "--config", config, "--trainer.max_steps", "3", "--data.seed", "1")
            seen.append(refused(capsys, *words))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Simulator, "training_step", nested)
    main(["fit", "--config", str(config), "--trainer.max_steps", "2"])
    remedy = "wait for it, or choose another folder"
    assert seen[1] == f"{run}: another `mssim fit` works there; {remedy}"
    assert (run / "config.yaml").read_bytes() == seen[0]
    main(["fit", "--config", str(config), "--trainer.max_steps", "3"])
    assert checkpoint(run)["global_step"] == 3


def test_a_store_of_another_version_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = write_toy(tmp_path)
    config = write_config(tmp_path, toy)
    main(["prepare", str(toy), "--config", str(config), "--out", str(tmp_path / "store")])
    file = next((tmp_path / "store").glob("*/store.json"))
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": 99}))
    words = ("prepare", toy, "--config", config, "--out", tmp_path / "store")
    for told in (refused(capsys, *words), refused(capsys, "fit", "--config", config)):
        assert told.startswith(f"{file}: version 99, this mssim reads 1; remove the folder and run")
    assert not (tmp_path / "run").exists()


def test_a_store_cut_short_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, write_toy(tmp_path))
    main(["fit", "--config", str(config), "--trainer.fast_dev_run", "1"])
    file = next((tmp_path / "store").glob("*/recordings/episode_000002/camera.*.npy"))
    file.write_bytes(file.read_bytes()[:5000])
    told = refused(capsys, "fit", "--config", config)
    assert told.startswith(f"{file}: ") and "run `mssim prepare` again" in told


def test_damaged_recordings_are_named_and_the_others_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = write_toy(tmp_path)
    video = toy / f"videos/chunk-000/{writer.CAMERA}/episode_000001.mp4"
    table = toy / "data/chunk-000/episode_000003.parquet"
    whole = {file: file.read_bytes() for file in (video, table)}
    for file, content in whole.items():
        file.write_bytes(content[: len(content) // 2])
    words = ("prepare", toy, "--config", write_config(tmp_path, toy), "--out", tmp_path / "store")
    told = refused(capsys, *words)
    assert told.startswith("episode_000001: ") and "episode_000001.mp4" in told
    others = "the others are in the store: to go on without, name them in split"
    assert told.endswith(f"(2 of 8 recordings failed; {others})")
    before = recordings(tmp_path / "store")
    assert len(before) == 6
    for file, content in whole.items():
        file.write_bytes(content)
    main([str(w) for w in words])
    after = recordings(tmp_path / "store")
    assert len(after) == 8 and before.items() <= after.items()


@pytest.mark.slow
def test_rows_that_are_not_numbers_are_absent_and_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = write_toy(tmp_path)
    file = toy / "data/chunk-000/episode_000000.parquet"
    table = pq.read_table(file)
    state = np.stack(table["observation.state"].to_pylist()).astype(np.float32)
    state[10:14] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(state.ravel()), 4)
    index = table.column_names.index("observation.state")
    pq.write_table(table.set_column(index, "observation.state", column), file)
    main(["fit", "--config", str(write_config(tmp_path, toy)), "--trainer.max_steps", "4"])
    state_dict = checkpoint(tmp_path / "run")["state_dict"]
    assert all(bool(v.isfinite().all()) for v in state_dict.values())
    present = next((tmp_path / "store").glob("*/recordings/episode_000000/present.place.npy"))
    assert np.flatnonzero(~np.load(present)).tolist() == [10, 11, 12, 13]


@pytest.mark.slow
def test_a_full_disk_in_prepare(tmp_path: Path, small_disk: Any) -> None:
    toy = write_toy(tmp_path)
    disk = small_disk(200)
    words = ["prepare", toy, "--size", 32, "--out", disk / "stores"]
    told = complaint(mssim(*words))
    # 8 recordings of 40 frames of 32 x 32 pixels: told before anything is written.
    assert "1.0 MB needed, 0.2 MB free; make room" in told
    assert recordings(disk / "stores") == {}
    told = complaint(mssim(*words, preexec_fn=limit(50_000)))
    assert "make room" in told
    done = mssim(*words[:-1], tmp_path / "stores")
    assert done.returncode == 0 and len(recordings(tmp_path / "stores")) == 8


@pytest.mark.slow
def test_a_write_limit_in_prepare_keeps_what_is_done(tmp_path: Path) -> None:
    toy = writer.write_lerobot(tmp_path / "toy", episodes=3, frames=20)
    words = ["prepare", toy, "--size", 32, "--out", tmp_path / "stores"]
    assert mssim(*words, "--limit", 1).returncode == 0
    before = recordings(tmp_path / "stores")
    told = complaint(mssim(*words, preexec_fn=limit(30_000)))
    assert "no room to write (File too large)" in told and str(tmp_path / "stores") in told
    assert recordings(tmp_path / "stores") == before and len(before) == 1
    assert mssim(*words).returncode == 0
    after = recordings(tmp_path / "stores")
    assert len(after) == 3 and before.items() <= after.items()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_prepare_and_its_processes_within_seconds(
    number: signal.Signals, tmp_path: Path
) -> None:
    """As Ctrl-C in a terminal, to the whole group; SIGTERM as `kill`, to the command alone."""
    toy = writer.write_lerobot(tmp_path / "toy", episodes=40, frames=300, size=64)
    words = [str(MSSIM), "prepare", str(toy), "--size", "64", "--out", str(tmp_path / "stores")]
    process = subprocess.Popen(
        [*words, "--jobs", "2"],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if list(tmp_path.glob("stores/*/recordings/*/meta.json")):
            break
        time.sleep(0.01)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 128 + number
    name = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}[number]
    last = said.strip().splitlines()[-1]
    assert last == f"mssim: stopped by {name}; run the same command again to go on"
    assert "Traceback" not in said
    with pytest.raises(ProcessLookupError):  # none of its processes works on
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.05)


@pytest.mark.slow
def test_kill_minus_nine_in_prepare_redoes_nothing(tmp_path: Path) -> None:
    toy = writer.write_lerobot(tmp_path / "toy", episodes=10, frames=150, size=64)
    words = [str(MSSIM), "prepare", str(toy), "--size", "64", "--out", str(tmp_path / "stores")]
    process = subprocess.Popen(words, env=environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if len(list(tmp_path.glob("stores/*/recordings/[!.]*/meta.json"))) >= 2:
            break
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    metas = list(tmp_path.glob("stores/*/recordings/[!.]*/meta.json"))
    kept = {p.parent.name: p.stat().st_mtime_ns for p in metas}
    assert 2 <= len(kept) < 10
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True)
    assert f"{10 - len(kept)} recordings to convert" in done.stderr
    after = recordings(tmp_path / "stores")
    assert len(after) == 10 and kept.items() <= after.items()


def test_a_full_disk_while_a_checkpoint_is_written(
    toy: Path,
    trained: Path,
    tmp_path: Path,
    small_disk: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = write_config(tmp_path, toy)
    main(["fit", "--config", str(config), "--trainer.max_steps", "2"])
    content = (tmp_path / "run" / "checkpoints" / "last.ckpt").read_bytes()
    # Room for the checkpoint that is there, and for no second one beside it.
    disk = small_disk(int(1.6 * len(content)) // 1024)
    run = shutil.copytree(tmp_path / "run", disk / "run")
    told = refused(capsys, "fit", "--config", config, "--run", run)
    last = run / "checkpoints" / "last.ckpt"
    # At step 3, before validation.
    reason = "the checkpoint could not be written ([Errno 28] No space left on device)"
    assert told == f"{last}: {reason}; make room, then run the same command again to resume"
    assert last.read_bytes() == content
    assert [p.name for p in last.parent.iterdir()] == ["last.ckpt"]
    assert subprocess.run(["mount", "-o", "remount,size=100m", str(disk)]).returncode == 0
    main(["fit", "--config", str(config), "--run", str(run)])
    one, two = (checkpoint(r)["state_dict"] for r in (run, trained))
    assert differences(one, two) == []


@pytest.mark.slow
def test_a_write_limit_while_a_checkpoint_is_written(toy: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, toy)
    main(["fit", "--config", str(config), "--trainer.max_steps", "2"])
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = last.read_bytes()
    told = complaint(mssim("fit", "--config", config, preexec_fn=limit(len(content) // 2)))
    assert "last.ckpt: the checkpoint could not be written ([Errno 27] File too large)" in told
    assert last.read_bytes() == content
    assert [p.name for p in last.parent.iterdir()] == ["last.ckpt"]
    main(["fit", "--config", str(config)])
    assert checkpoint(tmp_path / "run")["global_step"] == 6


def test_a_full_disk_while_a_report_is_written(
    trained: Path, tmp_path: Path, small_disk: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = small_disk(8)
    words = ["test", "--config", trained / "config.yaml", "--run", disk / "run"]
    best = trained / "checkpoints" / "best.ckpt"
    told = refused(capsys, *words, "--ckpt_path", best)
    assert str(disk / "run") in told and "No space left on device; make room" in told
    assert not list((disk / "run").rglob(".*"))


def test_the_death_of_a_worker_is_told_in_one_line(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, before = write_config(tmp_path, toy), set(multiprocessing.active_children())
    step = Simulator.training_step

    def killing(self: Simulator, batch: Any, batch_idx: int) -> Any:
        (worker,) = set(multiprocessing.active_children()) - before
        worker.kill()
        worker.join()
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Simulator, "training_step", killing)
    words = ("fit", "--config", config, "--trainer.max_steps", "2", "--data.workers", "1")
    said = refused(capsys, *words)
    assert said.startswith("data.workers: DataLoader worker (pid")
    assert said.endswith("likely for want of memory; lower data.workers or data.batch_size")


def test_a_worker_that_ends_late_does_not_hold_the_folder_of_its_run(tmp_path: Path) -> None:
    """A forked process has its parent's lock, too: the next `fit` was now and then refused."""
    with locked(tmp_path, "fit"):
        late = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        late.start()
    try:
        with locked(tmp_path, "fit"):
            assert late.is_alive()
    finally:
        late.kill()
        late.join()
