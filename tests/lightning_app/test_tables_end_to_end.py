"""The paper's tables with real trainings: killed and gone on with, and made longer."""

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
import yaml
from helpers.actionsense_writer import write_actionsense
from helpers.tables import Ended, write_spec
from helpers.tiny import checkpoint, differences, environment

from lightning_app.cli import main
from lightning_app.modules.simulator import Simulator
from lightning_app.tables import work
from lightning_app.tables.__main__ import main as tables
from lightning_app.tables.elsewhere import content
from lightning_app.tables.spec import read_spec
from mssim.batch import Batch

ROOT = Path(__file__).parents[2]
NAMES = sorted(p.stem for p in (ROOT / "configs" / "tables").glob("*-*.yaml"))
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


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One short recording of each subject, in ActionSense's format."""
    folder = tmp_path_factory.mktemp("people") / "recordings"
    for number in range(6):
        write_actionsense(folder, f"S{number:02d}", seconds=8, seed=number, number=number)
    return folder


def words(spec: Path, toy: Path, home: Path, *more: str) -> list[str]:
    where = ["--runs", str(home / "runs"), "--out", str(home / "out"), "--seeds", "2"]
    return [str(spec), *where, "--set", f"data.store={toy.parent / 'store'}", *more]


def lines(home: Path) -> dict[str, dict[str, str]]:
    with (home / "out" / "table-0.csv").open() as file:
        return {line["row"]: line for line in csv.DictReader(file)}


@pytest.mark.slow
def test_a_table_that_was_killed_goes_on_and_a_second_call_does_nothing(
    toy: Path, tmp_path: Path, here: list[str], kill: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, whole, cut = write_spec(tmp_path, toy), tmp_path / "whole", tmp_path / "cut"
    tables(words(spec, toy, whole))
    assert here == ["fit", "test"] * 4
    kill(4 + 3)  # in the second training, in its last step
    with pytest.raises(Killed):
        tables(words(spec, toy, cut))
    kill(None)
    tables(words(spec, toy, cut))
    # What stood before the validation at step 3 is kept.
    said = capsys.readouterr().out
    assert "train 1 steps" in said and " steps in all: roughly 1 minutes" in said
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


def test_recordings_that_are_not_there_are_told(
    tmp_path: Path, here: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(SystemExit):
        tables(words(write_spec(tmp_path, gone), gone, tmp_path))
    said = capsys.readouterr().err.strip()
    assert said == f"tables: {gone} is not there; name the folder of recordings with --data"
    assert here == []


@pytest.mark.slow
def test_a_larger_budget_goes_on_from_the_checkpoint(
    toy: Path, tmp_path: Path, here: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(tmp_path, toy, rows=[{"row": "Softmax"}])
    home, long = tmp_path / "home", tmp_path / "long"
    tables(words(spec, toy, home, "--seeds", "1"))
    tables(words(spec, toy, home, "--seeds", "1", "--budget", "6"))
    said = capsys.readouterr().out
    assert "train 4 steps" in said and "train 2 steps" in said
    tables(words(spec, toy, long, "--seeds", "1", "--budget", "6"))
    assert lines(home) == lines(long) and lines(long)["Softmax"]["budget"] == "6"


@pytest.mark.slow
def test_kill_9_loses_no_more_than_the_steps_since_the_checkpoint(
    toy: Path, tmp_path: Path
) -> None:
    spec = write_spec(tmp_path, toy, budget=40, rows=[{"row": "Softmax"}])
    options = {"env": environment(), "cwd": ROOT, "stdout": subprocess.DEVNULL}
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


def small_spec(name: str, folder: Path, steps: int = 2) -> Path:
    """A spec of the house, but that what it builds upon is trained for a moment only."""
    table = yaml.safe_load((ROOT / "configs" / "tables" / f"{name}.yaml").read_text())
    for need in (table.get("needs") or {}).values():
        config = content(ROOT / need["config"])
        config["trainer"] |= {"max_steps": steps, "val_check_interval": steps}
        config["data"] |= {"batch_size": 4, "eval_batch_size": 2, "eval_every": 50}
        need |= {"config": str(folder / "need.yaml"), "run": str(folder / "need")}
        Path(need["config"]).write_text(yaml.safe_dump(config))
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(table, sort_keys=False, allow_unicode=True))
    return path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the trainings of all tables lie, so that they share them."""
    return tmp_path_factory.mktemp("shared")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_table_of_the_house_runs(
    name: str,
    people: Path,
    shared: Path,
    here: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    spec = read_spec(small_spec(name, shared))
    flags = ["data.batch_size=1", "data.eval_batch_size=2", "data.eval_every=30"]
    flags += ["model.unet.width=8", f"data.store={shared / 'stores'}"]
    more = [word for flag in flags for word in ("--set", flag)]
    where = ["--runs", str(shared / "runs"), "--seeds", "1", "--budget", "2"]
    tables([str(shared / f"{name}.yaml"), "--data", str(people), *where, *more])
    with (shared / "runs" / people.name / f"{name}.csv").open() as file:
        found = {line["row"]: float(line["psnr"]) for line in csv.DictReader(file)}
    assert {row.name for row in spec.rows} <= found.keys()
    assert all(0 < psnr < 60 for psnr in found.values())
    # Preparing, and trainings and tests that no table before this one has made.
    assert here.count("test") <= len(spec.rows)
    assert here.count("fit") <= len(spec.rows) + len(spec.needs)
