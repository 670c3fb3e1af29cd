"""The paper's tables: from a spec to trainings, tests and a file, killed and gone on with."""

import csv
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from helpers.tables import write_spec
from helpers.tiny import checkpoint, differences, environment
from test_gpu import Ended

from lightning_app.cli import main
from lightning_app.jobs import read_plan
from lightning_app.modules.simulator import Simulator
from lightning_app.tables import work
from lightning_app.tables.__main__ import main as tables
from lightning_app.tables.runs import Setting, cells
from lightning_app.tables.spec import read_spec
from mssim.batch import Batch

STATE = ("state_dict", "raw_state", "ema_updates", "optimizer_states", "lr_schedulers")


class Killed(BaseException):
    """What ends a process in the middle, as far as this process can."""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Commands of `mssim` run in this process; the list says which."""
    ran: list[str] = []

    def launch(words: list[str], log: IO[bytes], lock: int, threads: int) -> Any:
        ran.append(words[0])
        main(words)
        return Ended(0)

    monkeypatch.setattr(work, "launch", launch)
    monkeypatch.setattr(work, "make", lambda words: main(words))
    return ran


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Ends everything at a training step, counted from now; None lets it run."""
    step = Simulator.training_step

    def arrange(after: int | None) -> None:
        calls = itertools.count()

        def training_step(self: Simulator, batch: Batch, batch_idx: int) -> torch.Tensor:
            if next(calls) == after:
                raise Killed
            return step(self, batch, batch_idx)

        monkeypatch.setattr(Simulator, "training_step", training_step)

    yield arrange


def words(spec: Path, toy: Path, home: Path, *more: str) -> list[str]:
    where = ["--runs", str(home / "runs"), "--out", str(home / "out"), "--seeds", "2"]
    return [str(spec), *where, "--set", f"data.store={toy.parent / 'store'}", *more]


def lines(home: Path) -> dict[str, dict[str, str]]:
    with (home / "out" / "table-0.csv").open() as file:
        return {line["row"]: line for line in csv.DictReader(file)}


def test_a_table_that_was_killed_goes_on_and_a_second_call_does_nothing(
    toy: Path, tmp_path: Path, here: list[str], kill: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, whole, cut = write_spec(tmp_path, toy), tmp_path / "whole", tmp_path / "cut"
    tables(words(spec, toy, whole))
    assert here == ["fit", "test"] * 4
    kill(4 + 3)  # in the second training, a step after its checkpoint
    with pytest.raises(Killed):
        tables(words(spec, toy, cut))
    kill(None)
    tables(words(spec, toy, cut))
    assert "train 2 steps" in capsys.readouterr().out
    for name in ("table-0.csv", "table-0.md"):
        assert (cut / "out" / name).read_bytes() == (whole / "out" / name).read_bytes()
    for run in (whole / "runs").glob("*/what.json"):
        mine, theirs = run.parent, cut / "runs" / run.parent.name
        assert differences(*({k: checkpoint(r)[k] for k in STATE} for r in (mine, theirs))) == []
    here.clear()
    times = {p: p.stat().st_mtime_ns for p in cut.rglob("*.npz")}
    tables(words(spec, toy, cut))
    assert here == [] and {p: p.stat().st_mtime_ns for p in cut.rglob("*.npz")} == times
    found = lines(cut)
    assert list(found) == [
        *("Mean", "Softmax", "copy-last-frame", "held-action", "shuffled-actions", "no-action")
    ]
    assert found["Mean"]["paper MSE"] == "0.126" and found["Mean"]["budget"] == "4"
    assert found["Mean"]["seeds"] == "2" and found["Mean"]["n_units"] == "2"
    assert "torch cache" in found["Mean"]["fvd"] or "I3D" in found["Mean"]["fvd"]


def test_a_larger_budget_goes_on_from_the_checkpoint(
    toy: Path, tmp_path: Path, here: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    spec, home, long = write_spec(tmp_path, toy), tmp_path / "home", tmp_path / "long"
    tables(words(spec, toy, home, "--seeds", "1"))
    tables(words(spec, toy, home, "--seeds", "1", "--budget", "6"))
    said = capsys.readouterr().out
    assert "train 4 steps" in said and "train 2 steps" in said
    tables(words(spec, toy, long, "--seeds", "1", "--budget", "6"))
    assert lines(home) == lines(long) and lines(long)["Mean"]["budget"] == "6"
    # What is trained for longer cannot be tested at less, but what was tested then is kept.
    tables(words(spec, toy, home, "--seeds", "1"))
    assert lines(home)["Mean"]["budget"] == "6"
    said = capsys.readouterr().out
    assert "not published" in said and "not replaced by less" in said
    with pytest.raises(SystemExit):
        tables(words(spec, toy, long, "--seeds", "1"))
    assert "ask for 6 or more, or remove that folder" in capsys.readouterr().err


def test_a_row_below_the_stated_budget_is_not_published(
    toy: Path, tmp_path: Path, here: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    spec, home = write_spec(tmp_path, toy), tmp_path / "home"
    tables(words(spec, toy, home, "--seeds", "1", "--budget", "2"))
    assert not (home / "out").exists() and (home / "runs" / "table-0.md").exists()
    assert "2 steps are fewer than the table's 4" in capsys.readouterr().out


def test_rows_that_test_alone_and_tables_that_train_alike_share_a_training(
    toy: Path, tmp_path: Path, here: list[str]
) -> None:
    rows = [
        {"row": "Softmax"},
        {"row": "Few windows", "test": {"data.eval_every": 16}},
        {"row": "One step", "test": {"model.sampler.steps": 1}},
    ]
    spec = write_spec(tmp_path, toy, rows=rows, reference=None)
    tables(words(spec, toy, tmp_path, "--seeds", "1"))
    assert here == ["fit", "test", "test", "test"]
    assert len(list((tmp_path / "runs").glob("*/what.json"))) == 1
    found = lines(tmp_path)
    assert int(found["Few windows"]["n_windows"]) < int(found["Softmax"]["n_windows"])
    assert found["One step"]["psnr"] != found["Softmax"]["psnr"]


def test_a_need_is_trained_once_and_named_to_the_rows(
    toy: Path, tmp_path: Path, here: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from helpers.tiny import write_config

    need = write_config(tmp_path, toy, "need", "ActionEncoder")
    rows = [
        {"row": "From an encoder", "train": {"model.init_encoder": "{start}"}},
        {"row": "From another's", "train": {"model.init_encoder": "{start}", "data.batch_size": 4}},
    ]
    needs = {"start": {"config": str(need), "run": str(tmp_path / "need")}}
    spec = write_spec(tmp_path, toy, rows=rows, reference=None, needs=needs)
    tables(words(spec, toy, tmp_path, "--seeds", "1"))
    assert here == ["fit", "fit", "test", "fit", "test"]
    assert checkpoint(tmp_path / "need")["global_step"] == 6
    assert len(lines(tmp_path)) == 2
    with pytest.raises(SystemExit):
        tables(["no-such-table"])
    assert "no-such-table.yaml is not there" in capsys.readouterr().err


def test_a_run_that_fails_does_not_stop_the_others(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def launch(words: list[str], log: IO[bytes], lock: int, threads: int) -> Any:
        if "mean" in words:
            log.write(b"mssim: no such fusion\n")
            return Ended(2)
        main(words)
        return Ended(0)

    monkeypatch.setattr(work, "launch", launch)
    monkeypatch.setattr(work, "make", lambda words: main(words))
    spec = write_spec(tmp_path, toy)
    with pytest.raises(SystemExit) as stopped:
        tables(words(spec, toy, tmp_path, "--seeds", "1"))
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and "Mean, seed 0 failed: mssim: no such fusion (see" in said
    assert "Softmax" in lines(tmp_path) and "Mean" not in lines(tmp_path)
    text = (tmp_path / "out" / "table-0.md").read_text()
    assert "Not finished yet: Mean." in text


def test_runs_are_jobs_of_make_gpu(toy: Path, tmp_path: Path) -> None:
    spec = write_spec(tmp_path, toy)
    tables(words(spec, toy, tmp_path, "--plan", str(tmp_path / "plan.yaml")))
    plan = read_plan(tmp_path / "plan.yaml")
    rows = cells(read_spec(spec), Setting(seeds=2, runs=tmp_path / "runs"))
    expected = {cell.run.folder.name for row in rows.values() for cell in row}
    assert {job.name for job in plan.jobs} == expected and len(expected) == 4
    assert {job.overrides.get("model.encoder.fusion") for job in plan.jobs} == {"mean", None}


@pytest.mark.slow
def test_kill_9_loses_no_more_than_the_steps_since_the_checkpoint(
    toy: Path, tmp_path: Path
) -> None:
    spec = write_spec(tmp_path, toy, budget=40)
    options = {"env": environment(), "cwd": Path(__file__).parents[2], "stdout": subprocess.DEVNULL}
    command = [sys.executable, "-m", "lightning_app.tables"]
    killed = [*command, *words(spec, toy, tmp_path / "cut", "--seeds", "1")]
    process = subprocess.Popen(killed, start_new_session=True, **options)
    last = "runs/*/checkpoints/last.ckpt"
    while process.poll() is None and not list((tmp_path / "cut").glob(last)):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    run = next((tmp_path / "cut").glob(last)).parents[1]
    assert 0 < checkpoint(run)["global_step"] < 40
    assert not (tmp_path / "cut" / "out").exists()
    for home in ("cut", "whole"):
        done = [*command, *words(spec, toy, tmp_path / home, "--seeds", "1")]
        subprocess.run(done, check=True, **options)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
