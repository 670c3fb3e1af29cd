"""The paper's tables: what is trained, tested and written, with trainings that are made up."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.actionsense_writer import Quirks, write_actionsense
from helpers.tables import Pretence, lightly, write_spec
from helpers.tiny import write_config

from data_modules.files import locked
from lightning_app.tables import runs, work
from lightning_app.tables.__main__ import main as tables
from lightning_app.tables.runs import Setting, cells
from lightning_app.tables.spec import Spec, read_spec
from lightning_app.tables.work import Clock
from mssim.errors import UserError

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "tables" / "kitchen.yaml"


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    lightly(monkeypatch)


@pytest.fixture
def pretence(monkeypatch: pytest.MonkeyPatch) -> Pretence:
    made_up = Pretence()
    monkeypatch.setattr(work, "launch", made_up.launch)
    monkeypatch.setattr(work, "make", made_up.make)
    return made_up


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With a folder that is named as data, and is never read here."""
    (tmp_path / "toy").mkdir()
    return tmp_path


def spec_in(home: Path, **more: Any) -> Path:
    return write_spec(home, home / "toy", **more)


def make(home: Path, spec: Path, *more: str) -> None:
    tables([str(spec), "--runs", str(home / "runs"), "--out", str(home / "out"), *more])


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        tables([str(w) for w in words])
    said = capsys.readouterr().err.strip()
    assert stopped.value.code == 2 and "\n" not in said and said.startswith("tables: ")
    return said.removeprefix("tables: ")


def lines(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "table-0.csv").open() as file:
        return {line["row"]: line for line in csv.DictReader(file)}


def test_a_table_is_made_once(
    home: Path, pretence: Pretence, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = spec_in(home)
    make(home, spec, "--jobs", "2")
    # The data first; of each training its test, and the reference before all others.
    assert pretence.commands()[0] == "prepare"
    assert sorted(pretence.commands()[1:]) == ["fit"] * 6 + ["test"] * 6
    assert not any("mean" in words for words in pretence.ran[1:3])
    said = capsys.readouterr().out
    assert "1 of 2 rows" in said and "2 of 2 rows" in said and "min" in said
    before = (home / "out" / "table-0.csv").read_bytes()
    pretence.ran.clear()
    make(home, spec, "--jobs", "2")
    assert pretence.ran == [] and (home / "out" / "table-0.csv").read_bytes() == before
    make(home, spec, "--seeds", "4")
    assert pretence.commands() == ["prepare", "fit", "test", "fit", "test"]
    assert lines(home / "out")["Mean"]["seeds"] == "4"


def test_what_is_written(home: Path, pretence: Pretence) -> None:
    make(home, spec_in(home), "--seeds", "2")
    found = lines(home / "out")
    assert list(found) == [
        *("Mean", "Softmax", "copy-last-frame", "held-action", "shuffled-actions", "no-action")
    ]
    mean, ours, copied = (found[n] for n in ("Mean", "Softmax", "copy-last-frame"))
    assert next(iter(mean)) == "row"
    assert (mean["paper MSE"], mean["paper PSNR"], mean["paper FVD"]) == ("0.126", "14.4", "")
    assert (mean["seeds"], mean["budget"], mean["n_units"]) == ("2", "4", "6")
    assert mean["hardware"] == "CPU, 1 threads" and copied["paper MSE"] == ""
    # Twice the error is 3.01 dB; both rows' scores scatter alike, so pairs have no spread.
    gap = float(mean["reference_minus_row_psnr"])
    assert (
        gap == pytest.approx(3.0103, abs=1e-3) and mean["reference_minus_row_psnr_agree"] == "2/2"
    )
    assert float(mean["reference_minus_row_psnr_low"]) == pytest.approx(gap, abs=1e-3)
    assert float(ours["over_copy_psnr"]) == pytest.approx(3.0103, abs=1e-3)
    assert float(ours["over_none_psnr"]) == pytest.approx(4.7712, abs=1e-3)  # thrice the error
    assert ours["reference_minus_row_psnr"] == "" and copied["over_copy_psnr"] == ""
    assert float(copied["reference_minus_row_psnr"]) == float(ours["over_copy_psnr"])
    assert float(ours["psnr_low"]) < float(ours["psnr"]) < float(ours["psnr_high"])
    assert (mean["predicted, dB"], ours["predicted, dB"]) == ("1.5", "")
    text = (home / "out" / "table-0.md").read_text()
    assert "| predicted, dB |" in text
    assert "| row | PSNR, dB ↑ |" in text and "| paper MSE |" in text
    assert "mean absolute error with copied context frames" in text and "## Missing" in text
    assert "- drawn frames: one step: conditional mean\n" in text


def test_less_never_replaces_more(
    home: Path, pretence: Pretence, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = spec_in(home)
    make(home, spec, "--seeds", "1", "--budget", "3")
    assert not (home / "out").exists() and lines(home / "runs")["Mean"]["budget"] == "3"
    assert "3 steps are fewer than the table's 4" in capsys.readouterr().out
    make(home, spec, "--seeds", "2", "--budget", "6")
    make(home, spec, "--seeds", "1", "--budget", "6")
    assert lines(home / "out")["Mean"]["seeds"] == "2"
    assert "has 2 seeds of 6 steps, which is not replaced by less" in capsys.readouterr().out
    pretence.ran.clear()
    said = refused(capsys, spec, "--runs", home / "runs", "--out", home / "out", "--budget", "5")
    assert "is trained for 6 steps already" in said and "ask for a budget of 6 or more" in said
    # The third seed knows of none of that.
    assert pretence.commands() == ["prepare", "fit", "test", "fit", "test"]
    # A larger budget takes the table's place once all of its rows are there.
    pretence.fails = "mean"
    with pytest.raises(SystemExit):
        make(home, spec, "--seeds", "2", "--budget", "8")
    assert lines(home / "out")["Mean"]["budget"] == "6" and "Mean" not in lines(home / "runs")
    pretence.fails = ""
    make(home, spec, "--seeds", "2", "--budget", "8")
    assert lines(home / "out")["Mean"]["budget"] == "8"


def test_a_run_that_fails_does_not_stop_the_others(
    home: Path, pretence: Pretence, capsys: pytest.CaptureFixture[str]
) -> None:
    pretence.fails = "mean"
    said = refused(capsys, spec_in(home), "--runs", home / "runs", "--out", home / "out")
    assert said.startswith("Mean, seed 0 failed: mssim: model.encoder.fusion: no such fusion (see ")
    assert "Mean, seed 2 failed" in said
    assert "Softmax" in lines(home / "out") and "Mean" not in lines(home / "out")
    assert "Not finished yet: Mean." in (home / "out" / "table-0.md").read_text()
    pretence.fails, pretence.ran = "", []
    make(home, spec_in(home))
    assert pretence.commands() == ["prepare", *("fit", "test") * 3]


def test_rows_that_test_alone_share_one_training(home: Path, pretence: Pretence) -> None:
    rows = [{"row": "All"}, {"row": "Fewer windows", "test": {"data.eval_every": 16}}]
    spec = spec_in(home, rows=rows, reference="All")
    make(home, spec, "--seeds", "1")
    assert pretence.commands() == ["prepare", "fit", "test", "test"]
    first, second = pretence.ran[2:]
    assert "--data.eval_every" not in first
    # What all rows must beat is scored with the reference.
    assert "--model.controls" not in first
    said = json.loads(second[second.index("--model.controls") + 1])
    assert said == ["copy-last-frame", "shuffled-actions"]
    assert second[second.index("--data.eval_every") + 1] == "16"
    weights = [words[words.index("--ckpt_path") + 1] for words in (first, second)]
    assert weights[0] == weights[1] and Path(weights[0]).name == "last.ckpt"
    # A sampler is read in testing alone: to change it trains nothing anew.
    pretence.ran.clear()
    make(home, spec, "--seeds", "1", "--set", "model.sampler.steps=1")
    assert pretence.commands() == ["prepare", "test", "test"]


def names(spec: Spec, **more: Any) -> set[str]:
    rows = cells(spec, Setting(seeds=1, **more))
    return {cell.run.folder.name for row in rows.values() for cell in row}


def test_a_training_is_named_after_what_it_depends_on(home: Path) -> None:
    rows: list[dict[str, Any]] = [{"row": "All"}]
    spec = read_spec(spec_in(home, rows=rows, reference=None))
    name = names(spec)
    assert len(name) == 1
    assert name == names(spec, budget=99) == names(spec, overrides={"data.store": "elsewhere"})
    assert name == names(spec, overrides={"model.sampler.steps": 3})
    assert name.isdisjoint(names(spec, overrides={"data.batch_size": 4}))
    (home / "other").mkdir()
    assert name.isdisjoint(names(spec, data=str(home / "other")))
    for old, new, same in (
        ("eval_every: 8", "eval_every: 4", True),
        ("      steps: 2", "      steps: 1", True),
        ("max_steps: 6", "max_steps: 9", True),
        ("width: 8", "width: 16", False),
        ("lr: 0.001", "lr: 0.002", False),
    ):
        text = spec.config.read_text()
        assert text.count(old) == 1
        spec.config.write_text(text.replace(old, new))
        assert (names(spec) == name) == same, old
        spec.config.write_text(text)


def test_a_config_s_files_are_part_of_what_it_says(home: Path) -> None:
    (home / "senses.yaml").write_text("senses: [a]")
    (home / "data.yaml").write_text("senses: senses.yaml\nsize: 16")
    base = home / "base.yaml"
    spec = read_spec(spec_in(home, rows=[{"row": "All"}], reference=None))
    base.write_text("data: data.yaml\nmodel: {init_args: {sampler: {steps: 1}}}")
    before = names(spec)
    (home / "senses.yaml").write_text("senses: [b]")
    assert names(spec).isdisjoint(before)


def test_what_rows_build_upon_is_trained_once_and_before_them(
    home: Path, pretence: Pretence
) -> None:
    need = write_config(home, home / "toy", "need", "ActionEncoder")
    rows = [
        {"row": "Its", "train": {"model.init_encoder": "{start}"}},
        {"row": "Another", "train": {"model.init_encoder": "{start}", "data.batch_size": 4}},
        {"row": "None"},
    ]
    needs = {"start": {"config": str(need), "run": str(home / "need")}}
    spec = spec_in(home, rows=rows, reference=None, needs=needs)
    make(home, spec, "--seeds", "1")
    assert pretence.commands()[:3] == ["prepare", "prepare", "fit"]
    first, second = pretence.ran[2], pretence.ran[3]
    assert first[first.index("--run") + 1] == str(home / "need")
    assert first[first.index("--trainer.max_steps") + 1] == "6"
    weights = str(home / "need" / "checkpoints" / "last.ckpt")
    assert second[second.index("--model.init_encoder") + 1] == weights
    pretence.ran.clear()
    make(home, spec, "--seeds", "1", "--budget", "5")
    assert pretence.commands().count("fit") == 3
    # Of other data, it is another one.
    rows_of = cells(read_spec(spec), Setting(data=str(home / "toy"), seeds=1))
    moved = rows_of["Its"][0].run.needs[0]
    assert moved.folder.parent == home and moved.folder.name.startswith("need-")


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """ActionSense as it comes: S01 without its video, S02 and S04 whole, and nobody else."""
    folder = tmp_path / "action.sense"
    for subject in ("S01", "S02", "S04"):
        write_actionsense(folder, subject, 1.0, quirks=Quirks(video=subject != "S01"))
    return folder


def test_a_table_of_a_download_works_with_whoever_is_there(
    home: Path,
    download: Path,
    pretence: Pretence,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    path = "data.sources.kitchen.split"
    rows: list[dict[str, Any]] = [
        {"row": "All"},
        {"row": "S02", "test": {f"{path}.val": [], f"{path}.test": ["S02"]}},
        {"row": "S03", "test": {f"{path}.test": ["S03"]}},
    ]
    spec = spec_in(home, config=str(CONFIG), rows=rows, reference=None)
    make(home, spec, "--seeds", "1", "--data", str(download))
    said = capsys.readouterr().out
    assert "action.sense: 2 recordings, 0.00 hours, " in said and " GB in the store" in said
    assert "train: S02; val: nobody; test: S04" in said
    assert "S03: left out, " in said
    # What is not the kitchen is neither recorded nor called so.
    assert pretence.commands() == ["prepare", "fit", "test", "test"]
    fit = pretence.ran[1]
    config = Path(fit[fit.index("--config") + 1])
    assert config.name == "action_sense.yaml"
    (name, source), *others = yaml.safe_load(config.read_text())["data"]["sources"].items()
    assert (name, others) == ("action_sense", [])
    assert source["source"]["init_args"]["path"] == str(download)
    assert "--data.sources.action_sense.split.test" in pretence.ran[3]
    assert not any(".kitchen." in word for words in pretence.ran for word in words)


def test_one_person_is_no_table(
    home: Path, download: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    shutil.rmtree(next(download.glob("*S04")))
    spec = spec_in(home, config=str(CONFIG), rows=[{"row": "All"}], reference=None)
    said = refused(capsys, spec, "--runs", home / "runs", "--data", download)
    assert "has usable recordings of S02 of S00, S01, S02, S03, S04, S05" in said


def test_the_kitchen_is_recorded(
    home: Path, pretence: Pretence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    spec = spec_in(home, config=str(CONFIG), rows=[{"row": "All"}], reference=None)
    make(home, spec, "--seeds", "1")
    assert pretence.commands() == ["record", "prepare", "fit", "test"]
    assert pretence.ran[0][:3] == ["record", "--out", "runs/kitchen/recordings"]
    # Of another size, it is another kitchen: a small picture made large shows nothing more.
    pretence.ran.clear()
    make(home, spec, "--seeds", "1", "--size", "64")
    assert pretence.commands() == ["record", "prepare", "fit", "test"]
    record, prepare, fit, _ = pretence.ran
    assert record[:5] == ["record", "--out", "runs/kitchen/recordings-64", "--size", "64"]
    assert prepare[1] == "runs/kitchen/recordings-64" and "--size" in prepare
    assert fit[fit.index("--data.size") + 1] == "64"


def test_weights_that_come_later_are_another_test(
    home: Path, pretence: Pretence, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_in(home)
    make(home, spec, "--seeds", "1")
    pretence.ran.clear()
    monkeypatch.setattr(runs, "cached_weights", lambda: ["alexnet-owt-7be5be79.pth"])
    make(home, spec, "--seeds", "1")
    assert pretence.commands() == ["prepare", "test", "test"]


def test_finished_rows_travel_without_their_weights(home: Path, pretence: Pretence) -> None:
    spec = spec_in(home)
    make(home, spec, "--set", "trainer.accelerator=auto")
    assert pretence.ran[1][pretence.ran[1].index("--trainer.accelerator") + 1] == "auto"
    written = (home / "out" / "table-0.csv").read_text()
    # As they are copied from another machine.
    for folder in [*home.glob("runs/*/checkpoints"), home / "out"]:
        shutil.rmtree(folder)
    pretence.ran.clear()
    make(home, spec)
    assert pretence.ran == [] and (home / "out" / "table-0.csv").read_text() == written


def test_one_call_at_a_time(
    home: Path, pretence: Pretence, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(home / "runs", "test"):
        said = refused(capsys, spec_in(home), "--runs", home / "runs")
    assert "runs: another call, or a run that one left behind, works there; wait" in said


def test_the_time_that_is_left() -> None:
    clock = Clock(jobs=2)
    assert clock.left(10, 1) == "time left not known yet"
    clock.fits += [0.5, 1.5]
    clock.tests.append(60.0)
    assert clock.left(400, 4) == "about 5 min left" and clock.left(4, 0) == "under a minute left"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["table-99"], "table-99.yaml is not there; configs/tables has figure-4, recipe-sweep"),
        (["table-1", "--seeds", 0], "seeds: 0 must be at least 1"),
        (["table-1", "--budget", 0], "budget: 0 must be at least 1"),
        (["table-1", "--size", 0], "size: 0 must be at least 1"),
        (["table-3a", "--jobs", 0], "jobs: 0 must be at least 1"),
        (["table-1", "--data", "nowhere"], "data: nowhere is no folder; give kitchen or"),
        (["table-1", "--set", "x"], "--set x: must be FLAG=VALUE"),
    ],
)
def test_a_wrong_argument_is_told(
    words: list[object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, *words)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"colour": 1}, "the file: 'colour' is not known; it may have budget, config"),
        ({"budget": 0}, "budget: 0 must be a number of steps above 0"),
        ({"rows": []}, "rows: must be a list of at least one row"),
        ({"curve": "yes please"}, "curve: 'yes please' must be true or false"),
        ({"config": "no.yaml"}, "config: no.yaml is not there"),
        ({"reference": "Median"}, "reference: 'Median' is no row; there are Mean, Softmax"),
        ({"rows": [{"row": "a"}, {"row": "a"}]}, "rows: two are named 'a'"),
        ({"rows": [{"row": "a", "fit": {}}]}, "'fit' is not known; it may have paper, pre"),
        ({"rows": [{"row": "a", "train": 3}]}, "row 'a': train is 3; it must be pairs"),
        ({"rows": [{"row": "a", "predicted": "much"}]}, "row 'a': predicted: 'much' must be"),
        ({"rows": [{"row": "a", "paper": {"SSIM": 1}}]}, "row 'a': paper SSIM: 1; numbers of MSE"),
        ({"rows": [{"row": "a", "train": {"x": "{b}"}}]}, "row 'a': {b} is not among `needs`"),
        ({"rows": [{"row": "a", "train": {"run": "x"}}]}, "row 'a': run is set for every run"),
        (
            {"rows": [{"row": "Mean", "test": {"data.sources.a.split.test": []}}]},
            "tests on other recordings, which cannot be paired",
        ),
    ],
)
def test_a_spec_s_faults_are_named(more: dict[str, Any], said: str, home: Path) -> None:
    rows = more.get("rows")
    alone = {"reference": rows[0]["row"]} if rows and "reference" not in more else {}
    path = spec_in(home, **{**alone, **more})
    with pytest.raises(UserError) as caught:
        read_spec(path)
    assert said in str(caught.value) and str(path) in str(caught.value)
