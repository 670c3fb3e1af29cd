"""The paper's claims and curves: from finished rows to a page, and the specs of the house."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.tables import lightly, pretend, scores, write_spec
from jsonargparse import ArgumentError
from lightning.pytorch.cli import LightningArgumentParser

from data_modules.module import DataModule
from lightning_app.modules.base import MssimModule
from lightning_app.tables import __main__ as command
from lightning_app.tables.claims import METRICS, judge, less, read_claims, report
from lightning_app.tables.collect import RowResult, difference, finished, measure
from lightning_app.tables.job import as_words
from lightning_app.tables.runs import Setting, cells, reached
from lightning_app.tables.spec import Spec, read_spec
from lightning_app.tables.write import read_lines, write_results
from lightning_app.trainer import MssimCLI
from mssim.errors import UserError
from mssim.metrics.summary import drift, per_unit

ROOT = Path(__file__).parents[2]
SPECS = sorted((ROOT / "configs" / "tables").glob("*-*.yaml"))
CLAIMS = ROOT / "configs" / "claims.yaml"
ERRORS = {"Mean": 0.02, "Softmax": 0.01}


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    lightly(monkeypatch)


@pytest.fixture
def toy_spec(tmp_path: Path) -> Spec:
    (tmp_path / "toy").mkdir()
    return read_spec(write_spec(tmp_path, tmp_path / "toy"))


def results(spec: Spec, setting: Setting, **errors: float) -> dict[str, RowResult]:
    rows = cells(spec, setting)
    for name, row in rows.items():
        for seed, cell in enumerate(row):
            pretend(cell.folder, errors.get(name, ERRORS[name]), seed)
    return finished(rows)


def claims_file(folder: Path, *tests: dict[str, Any], seeds: int = 3) -> Path:
    claims = [
        {"name": f"claim-{i}", "says": "so it is", "table": "table-0", "tests": [test]}
        for i, test in enumerate(tests)
    ]
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump({"seeds": seeds, "claims": claims}))
    return path


def test_seeds_are_stacked_over_units() -> None:
    some = [scores(0.01, seed=s) for s in range(3)]
    found = measure(some)
    assert found.seeds == 3 and found.means["psnr"].shape == (3, 6) and found.n_windows == 12
    for s, one in enumerate(some):
        assert found.means["mse"][s] == pytest.approx(per_unit(one).means["mse"])
        mean = drift(one).value
        assert found.curves["psnr"][s].mean(axis=0) == pytest.approx(mean)
        assert found.means["last"][s].mean() == pytest.approx(mean[-1])
        assert found.means["fall"][s].mean() == pytest.approx(mean[0] - mean[-1])
    other = scores(0.01, units=5)
    with pytest.raises(UserError, match="seeds were scored on other units"):
        measure([some[0], other])
    with pytest.raises(UserError, match="rows were scored on other units"):
        difference(measure([some[0]]), measure([other]), "psnr")
    with pytest.raises(UserError, match="'fvd' was not measured"):
        difference(found, found, "fvd")


def test_claims_are_held_against_the_rows(toy_spec: Spec, tmp_path: Path) -> None:
    file = claims_file(
        tmp_path,
        {"metric": "psnr", "a": "Softmax", "b": ["Mean"], "above": 0.0},
        {"metric": "psnr", "a": "Softmax", "b": "Mean", "below": 0.5},
        {"metric": "psnr", "a": "Softmax", "b": "Mean", "below": 4.0},
        {"metric": "fall", "a": "Softmax", "b": "Mean", "below": 0.5},
    )
    claims = read_claims(file, lambda name: toy_spec)
    setting = Setting(runs=tmp_path / "runs")
    judged = judge(claims, {"table-0": results(toy_spec, setting)})
    # 3 dB between them, the same for every unit and seed; their falls are the same.
    assert [j.outcome for j in judged] == ["holds", "does not hold", "holds", "holds"]
    assert judged[0].comparisons[0].spread.value == pytest.approx(3.01, abs=0.01)
    text = report(judged, {"table-0": 4}, {"data": "toy"})
    line = next(line for line in text.splitlines() if line.startswith("| claim-1"))
    assert line.startswith("| claim-1: so it is | **does not hold** | ")
    assert line.endswith(" | 4 | 3 | 6 |")
    assert "psnr: Softmax - Mean > 0" in text and "+3.01 [+3.01, +3.01]" in text
    none = judge(claims, {})
    assert {j.outcome for j in none} == {"not run"} and none[0].missing == ("Softmax", "Mean")
    assert "Not run: Softmax, Mean." in report(none, {}, {})


def test_a_margin_is_a_share_of_what_the_senses_bring(toy_spec: Spec, tmp_path: Path) -> None:
    """3.01 dB are lost of the 4.77 that the row has over no action: 63 %."""
    one = {"metric": "psnr", "a": "Softmax", "b": "Mean"}
    file = claims_file(
        tmp_path, *({**one, key: value} for key, value in MARGINS), {**one, "above": 0.0}
    )
    claims = read_claims(file, lambda name: toy_spec)
    found = results(toy_spec, Setting(runs=tmp_path / "runs"))
    judged = judge(claims, {"table-0": found})
    said = ["does not hold", "holds", "cannot fail", "holds", "holds"]
    assert [j.verdict for j in judged] == said
    text = report(judged, {"table-0": 4}, {})
    assert "psnr: (Softmax - Mean) - 0.6 (Softmax - no-action) < 0" in text
    assert "It cannot fail: 5 is more than all that the senses bring" in text
    assert "Softmax - no-action = +4.77 [+4.77, +4.77]." in text
    assert "| claim-2: so it is | **cannot fail** | " in text


MARGINS = (("below_share", 0.6), ("below_share", 0.7), ("below", 5.0), ("below", 4.0))


def test_too_few_seeds_decide_nothing(toy_spec: Spec, tmp_path: Path) -> None:
    file = claims_file(tmp_path, {"metric": "psnr", "a": "Softmax", "b": "Mean", "above": 0.0})
    claims = read_claims(file, lambda name: toy_spec)
    setting = Setting(seeds=2, runs=tmp_path / "runs")
    judged = judge(claims, {"table-0": results(toy_spec, setting)})
    assert judged[0].outcome == "undecided"


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ({"metric": "psnr", "a": "Softmax", "b": "Median", "above": 0}, "has no row 'Median'"),
        ({"metric": "fvd", "a": "Softmax", "b": "Mean", "above": 0}, "metric 'fvd' is not of mse"),
        ({"metric": "psnr", "a": "Softmax", "b": "Mean", "below_share": 1}, "1 must lie between"),
        ({"metric": "psnr", "a": "Mean", "b": "Softmax", "below_share": 0.5}, "Softmax, the table"),
        ({"metric": "psnr", "a": "Softmax", "b": "Mean"}, "needs metric, a, b and one of above"),
    ],
)
def test_a_claim_s_faults_are_named(
    test: dict[str, Any], said: str, toy_spec: Spec, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        read_claims(claims_file(tmp_path, test), lambda name: toy_spec)
    assert said in str(caught.value)


def test_the_command_writes_the_page(
    toy_spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "table-0.yaml").rename(tmp_path / "specs" / "table-0.yaml")
    monkeypatch.setattr(command, "SPECS", tmp_path / "specs")
    monkeypatch.setattr(command, "PUBLISHED_CLAIMS", tmp_path / "published" / "claims.md")
    test = {"metric": "psnr", "a": "Softmax", "b": "Mean", "above": 0.0}
    monkeypatch.setattr(command, "CLAIMS", claims_file(tmp_path, test))
    results(toy_spec, Setting(runs=tmp_path / "runs"))
    command.main(["claims", "--runs", str(tmp_path / "runs")])
    assert "**holds**" in (tmp_path / "published" / "claims.md").read_text()
    command.main(["claims", "--runs", str(tmp_path / "runs"), "--budget", "3"])
    assert "**not run**" in (tmp_path / "runs" / "claims.md").read_text()
    # Neither may a clone without runs, nor one with fewer seeds, take away what is published.
    for more in (
        ["--runs", str(tmp_path / "none")],
        ["--runs", str(tmp_path / "runs"), "--seeds", "2"],
    ):
        command.main(["claims", *more])
        assert "**holds**" in (tmp_path / "published" / "claims.md").read_text()
    assert "**not run**" in (tmp_path / "none" / "claims.md").read_text()


def test_a_page_that_knows_less_is_seen() -> None:
    line = "| {}: they say | **{}** | 0.0100 | {} | {} | 28 |\n"
    page = line.format("a-b", "undecided", 300, 3) + line.format("c", "does not hold", 600, 3)
    assert not less(page, page) and not less(page, "")
    assert less("", page) and less(line.format("a-b", "holds", 300, 3), page)
    for steps, seeds, said in ((900, 5, False), (300, 3, True), (600, 2, True)):
        other = line.format("a-b", "holds", 300, 3) + line.format("c", "holds", steps, seeds)
        assert less(other, page) is said


def test_claims_are_judged_at_the_largest_budget_that_their_rows_reached(
    toy_spec: Spec, tmp_path: Path
) -> None:
    setting, names = Setting(runs=tmp_path / "runs"), {"Softmax", "Mean"}
    assert reached(toy_spec, setting, names) is setting
    results(toy_spec, setting)
    results(toy_spec, replace(setting, budget=2))
    assert reached(toy_spec, setting, names).budget is None  # less than the table's own 4
    results(toy_spec, replace(setting, budget=30))
    results(toy_spec, replace(setting, budget=9))
    assert reached(toy_spec, setting, names).budget == 30
    cells(toy_spec, replace(setting, budget=30))["Mean"][2].folder.joinpath("scores.npz").unlink()
    assert reached(toy_spec, setting, names).budget == 9
    assert reached(toy_spec, setting, {"Softmax"}).budget == 30
    assert reached(toy_spec, replace(setting, budget=4), names).budget == 4


def test_a_curve_is_written_and_drawn(toy_spec: Spec, tmp_path: Path) -> None:
    spec = Spec(**{**vars(toy_spec), "curve": True})
    setting = Setting(runs=tmp_path / "runs")
    found = results(spec, setting)
    write_results(tmp_path / "out", spec, setting, found)
    lines = read_lines(tmp_path / "out" / "table-0.csv")
    assert [line["row"] for line in lines] == [
        n for n in ("Mean", "Softmax", "copy-last-frame") for _ in range(3)
    ]
    assert [line["frame"] for line in lines[:3]] == ["1", "2", "3"]
    ours = [float(line["psnr"]) for line in lines[3:6]]
    one = [drift(scores(0.01, seed=s)).value for s in range(3)]
    assert ours == pytest.approx(np.mean(one, axis=0).tolist())
    assert all(float(x["psnr_low"]) < float(x["psnr"]) < float(x["psnr_high"]) for x in lines)
    picture = (tmp_path / "out" / "table-0.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000
    assert "| frame |" in (tmp_path / "out" / "table-0.md").read_text()


@pytest.mark.parametrize("file", SPECS, ids=lambda p: p.stem)
def test_the_specs_of_the_house(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    spec = read_spec(file.relative_to(ROOT))
    assert spec.budget == 300 and spec.config == Path("configs/tables/kitchen.yaml")
    assert spec.reference is not None or file.stem == "table-12"
    ours = file.stem == "recipe-sweep"
    assert all((row.predicted is not None) == ours for row in spec.rows if row.name != "Ours")
    for row in spec.rows:
        # A number that is not plausible was read wrongly.
        for name, (low, high) in {"MSE": (0.1, 0.2), "PSNR": (12, 16.1), "FVD": (200, 700)}.items():
            assert low <= row.paper.get(name, low) <= high


def test_all_tables_train_their_full_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    folders = set()
    for file in SPECS:
        spec = read_spec(file)
        last = spec.rows[-1].name if spec.reference is None else spec.reference
        folders |= {cells(spec, Setting(seeds=1))[last][0].run.folder}
    assert len(SPECS) == 11 and len(folders) == 1


def test_the_claims_of_the_house(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    claims = read_claims(CLAIMS, lambda name: read_spec(ROOT / f"configs/tables/{name}.yaml"))
    assert claims.seeds == 3 and [c.name for c in claims.claims] == [
        *("senses-beat-text", "all-beat-any-one", "robust-to-a-missing-sense"),
        *("softmax-beats-other-fusions", "interaction-helps", "relaxed-beats-hard"),
        *("less-drift", "four-frames-beat-one"),
    ]
    robust = claims.claims[2].tests
    assert len(robust) == 4 and {(t.share, t.above) for t in robust} == {(0.5, False)}
    # A margin in dB may be more than there is to lose.
    assert all(t.margin <= 0 for c in claims.claims for t in c.tests if not t.above)
    assert {t.metric for c in claims.claims for t in c.tests} <= set(METRICS)


def test_published_tables_of_one_step_say_that_it_draws_the_mean() -> None:
    trained = [p.read_text() for p in (ROOT / "configs" / "published" / "tables").glob("*.md")]
    trained = [text for text in trained if "optimizer steps a row" in text]
    assert len(trained) >= 10
    for text in trained:
        one = "1 steps" in text.split("- sampler: ")[1].splitlines()[0]
        assert one == ("- drawn frames: one step: conditional mean" in text)
        assert ("predicted frames included" in text) == ("| UniSim sentence |" in text)


class Parsed(MssimCLI):
    """Stops once flags are understood."""

    def instantiate_classes(self) -> None:
        pass


@cache
def parser() -> LightningArgumentParser:
    return Parsed(
        MssimModule,
        DataModule,
        subclass_mode_model=True,
        auto_configure_optimizers=False,
        save_config_callback=None,
        parser_kwargs={"exit_on_error": False},
        run=False,
        args=["--config", "configs/tables/kitchen.yaml"],
    ).parser


@cache
def parse(*words: str) -> Any:
    return parser().parse_args(list(words))


@pytest.mark.parametrize("file", SPECS, ids=lambda p: p.stem)
def test_flags_of_the_house_are_flags_of_mssim(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    spec = read_spec(file)
    for row in spec.rows:
        cell = cells(spec, Setting(seeds=1))[row.name][0]
        known, run = {**row.train, **cell.flags}, cell.run
        words = [*run.job.words(Path("runs/x")), *as_words(cell.flags)]
        config = parse(*words)
        assert config.trainer.max_steps == spec.budget
        for flag, value in known.items():
            found: Any = config
            for part in flag.replace("model.", "model.init_args.").split("."):
                found = found[part]
            for name, need in spec.needs.items():
                value = f"{need.run}/checkpoints/last.ckpt" if value == f"{{{name}}}" else value
            assert found == value or str(found) == str(value), flag


@pytest.mark.parametrize("file", SPECS, ids=lambda p: p.stem)
def test_nobody_has_seen_whom_a_row_tests_on(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the row's own training nor the tower that it takes."""
    monkeypatch.chdir(ROOT)
    split = "data.sources.kitchen.split"
    for row in cells(read_spec(file), Setting(seeds=1)).values():
        run = row[0].run
        tested = {**run.job.overrides, **row[0].flags}.get(f"{split}.test", ["S05"])
        assert run.needs
        for job in (run.job, *(need.job for need in run.needs)):
            seen = job.overrides.get(f"{split}.train", ["S00", "S01", "S02", "S03"])
            assert len(seen) == 4 and not set(seen) & set(tested)


def test_a_flag_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ArgumentError):
        parse("--config", "configs/tables/kitchen.yaml", "--model.encoder.fusion", "median")
