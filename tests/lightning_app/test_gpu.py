"""`make gpu`: calls that go on from each other, here and elsewhere, and what they leave."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest
import torch
import yaml
from helpers.tiny import checkpoint, differences, environment, write_config
from test_resume import assert_same

from lightning_app import gpu, parts
from lightning_app.cli import main
from lightning_app.jobs import Job, Plan, read_plan
from lightning_app.parts import Manifest, Packing, choose, join, packings, read_manifest, split
from mssim.errors import UserError

ROOT = Path(__file__).parents[2]


class Ended:
    """A process that is over."""

    def __init__(self, returncode: int) -> None:
        self.returncode = returncode

    def poll(self) -> int:
        return self.returncode


@pytest.fixture
def here(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Commands of `mssim` run in this process; the list says which. The data are prepared."""
    main(["prepare", str(toy), "--config", str(write_config(tmp_path, toy)), "--out", store(toy)])
    ran: list[str] = []

    def launch(words: list[str], log: IO[bytes], lock: int) -> Any:
        ran.append(words[0])
        main(words)
        return Ended(0)

    monkeypatch.setattr(gpu, "launch", launch)
    monkeypatch.setattr(gpu, "make", lambda words, seconds: main(words))
    return ran


def store(toy: Path) -> str:
    return str(toy.parent / "store")


def plan_of(toy: Path, folder: Path, steps: int = 100_000) -> Plan:
    overrides = {"trainer.val_check_interval": 1000, "data.store": store(toy)}
    return Plan([Job("toy", write_config(folder, toy), steps, overrides)])


def call(plan: Plan, state: Path, runs: Path, minutes: float, **more: Any) -> None:
    settings = {"out": state, "jobs": 1, "room": 60.0, **more}
    gpu.gpu(plan, state, runs=runs, minutes=minutes, **settings)


def test_a_call_goes_on_from_another_s_parts_bitwise(
    toy: Path,
    tmp_path: Path,
    here: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    limit = gpu._max_time
    # However slow this machine is just now, a fit trains for a second.
    monkeypatch.setattr(gpu, "_max_time", lambda run, seconds: limit(run, min(seconds, 1)))
    plan, state = plan_of(toy, tmp_path), tmp_path / "state"
    call(plan, state, tmp_path / "one", minutes=10)
    first = read_manifest(state, "toy")
    assert first.form == "exact" and first.step > 0 and "psnr" in first.scores
    call(plan, state, tmp_path / "two", minutes=10)
    second = read_manifest(state, "toy")
    assert second.step > first.step
    said = capsys.readouterr().out
    assert f"taken up at step {first.step}" in said and f"{second.step} / 100000" in said
    words = plan.jobs[0].words(tmp_path / "whole")
    main(["fit", *words, "--trainer.max_steps", str(second.step)])
    assert_same(tmp_path / "whole", tmp_path / "two" / "toy")


def test_a_finished_job_is_tested_once_and_then_left_alone(
    toy: Path, tmp_path: Path, here: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    plan, state = plan_of(toy, tmp_path, steps=3), tmp_path / "state"
    call(plan, state, tmp_path / "one", minutes=1)
    assert here == ["fit", "test"] and read_manifest(state, "toy").tested
    assert {p.name for p in state.iterdir()} == {
        *("toy.json", "toy.best.ckpt.00", "toy.metrics.json", "toy.metrics.md")
    }
    # Here again, and on a machine that knows nothing but the manifest.
    (state / "toy.best.ckpt.00").unlink()
    for runs in ("one", "two"):
        call(plan, state, tmp_path / runs, minutes=1)
    assert here == ["fit", "test"]
    assert "3 / 3" in capsys.readouterr().out


def test_half_precision_goes_on_where_it_was(
    toy: Path, trained: Path, tmp_path: Path, here: list[str]
) -> None:
    plan = plan_of(toy, tmp_path)
    offers = packings(trained, tested=False)
    assert [p.form for p in offers] == ["weights", "half", "exact"]
    assert [p.size for p in offers] == sorted(p.size for p in offers)
    split(tmp_path / "state", "toy", offers[1], Manifest(6))
    call(plan, tmp_path / "state", tmp_path / "runs", minutes=1e-4)
    run = tmp_path / "runs" / "toy"
    exact, half = checkpoint(trained), checkpoint(run)
    for key in ("raw_state", "loops", "lr_schedulers", "ema_updates"):
        assert differences(exact[key], half[key]) == []
    for key in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(half[key], exact[key], rtol=2**-8, atol=0)
    buffers = half["state_dict"].keys() - half["raw_state"].keys()
    assert buffers and all(
        torch.equal(half["state_dict"][n], exact["state_dict"][n]) for n in buffers
    )
    main(["fit", *plan.jobs[0].words(run), "--trainer.max_steps", "7"])
    assert checkpoint(run)["global_step"] == 7
    assert all(t.dtype == torch.float32 for t in checkpoint(run)["raw_state"].values())


def test_a_state_without_training_state_starts_anew(
    toy: Path, trained: Path, tmp_path: Path, here: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    plan, state = plan_of(toy, tmp_path), tmp_path / "state"
    shutil.copytree(trained, tmp_path / "one" / "toy")
    call(plan, state, tmp_path / "one", minutes=1e-4, room=0.01)
    assert read_manifest(state, "toy").form == "weights"
    call(plan, state, tmp_path / "two", minutes=1e-4)
    said = capsys.readouterr().out
    assert "do not fit in --room 0.01: only its best weights are kept" in said
    assert "has no training state of it, so it starts anew" in said and here == []


def test_parts_are_small_and_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART", 1000)
    content = torch.randint(256, (2500,), dtype=torch.uint8).numpy().tobytes()
    state, run = tmp_path / "state", tmp_path / "run"
    split(state, "a", Packing("exact", {"last.ckpt": content * 2}), Manifest(7))
    manifest = split(state, "a", Packing("exact", {"last.ckpt": content}), Manifest(9))
    files = [f"a.last.ckpt.{i:02}" for i in range(3)]
    assert sorted(p.name for p in state.iterdir()) == ["a.json", *files]
    assert max(p.stat().st_size for p in state.iterdir()) <= 1000
    assert manifest == read_manifest(state, "a") and manifest.size == 2500
    join(state, manifest, run)
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == content


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.last.ckpt.01", None, "a.last.ckpt.01: this part is missing; copy the state"),
        ("a.last.ckpt.01", b"x", "a.last.ckpt.01: this part is torn (1 bytes of 1000)"),
        ("a.json", b"{", "a.json: not a whole manifest"),
    ],
)
def test_a_torn_or_missing_part_is_refused(
    name: str, content: bytes | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART", 1000)
    split(tmp_path, "a", Packing("exact", {"last.ckpt": bytes(2500)}), Manifest(9))
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        join(tmp_path, read_manifest(tmp_path, "a"), tmp_path / "run")
    assert said in str(caught.value) and not (tmp_path / "run").exists()


def test_all_can_go_on_before_the_first_goes_on_bitwise() -> None:
    def offer(*sizes: int) -> list[Packing]:
        forms = ("weights", "half", "exact")
        return [Packing(f, {"x": bytes(s)}) for f, s in zip(forms, sizes, strict=True)]

    offers = {"a": offer(1, 5, 9), "b": offer(1, 5, 9)}
    for room, forms in ((18, "exact exact"), (15, "exact half"), (10, "half half")):
        assert " ".join(p.form for p in choose(offers, room).values()) == forms
    assert [p.form for p in choose(offers, 7).values()] == ["half", "weights"]


def test_two_calls_in_one_folder_are_refused(toy: Path, tmp_path: Path) -> None:
    plan = plan_of(toy, tmp_path)
    held = parts.locked(tmp_path / "state", "`make gpu`")
    with held, pytest.raises(UserError, match="another `make gpu`"):
        call(plan, tmp_path / "state", tmp_path / "runs", minutes=1e-4)
    call(plan, tmp_path / "state", tmp_path / "runs", minutes=1e-4)


def test_a_job_without_its_data_is_skipped(
    toy: Path, tmp_path: Path, here: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    job = plan_of(toy, tmp_path).jobs[0].moved("toy", tmp_path / "nowhere")
    call(Plan([job]), tmp_path / "state", tmp_path / "runs", minutes=0.01)
    assert "nowhere is not there; name the folder with" in capsys.readouterr().out and here == []


def test_the_plan_of_the_house_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    plan = read_plan(Path("configs/gpu.yaml"))
    assert [j.name for j in plan.jobs] == ["kitchen-64", "g1-64", "g1-32"]
    kitchen = plan.jobs[0]
    record, prepare = kitchen.preparations(plan.record, 4)
    assert record[:3] == ["record", "--out", "runs/kitchen/recordings"]
    assert prepare[-4:] == ["--size", "64", "--jobs", "4"]
    for job in plan.jobs:
        assert job.overrides["model.lr_scheduler.total_steps"] == job.steps
    moved = plan.jobs[1].moved("g1", Path("elsewhere"))
    assert moved.sources() == {"g1": Path("elsewhere")} and kitchen.moved("g1", ROOT) is kitchen


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs: 3", "has no list `jobs`"),
        ("jobs: [{name: a}]", "needs name, config, steps"),
        ("jobs: [{name: a, config: no.yaml, steps: 1}]", "no.yaml is not there"),
        ("jobs: [{name: a/b, config: PLAN, steps: 1}]", "letters, digits"),
        ("jobs: [{name: a, config: PLAN, steps: 0}]", "must be a number above 0"),
        ("jobs: [&j {name: a, config: PLAN, steps: 1}, *j]", "two jobs are named a"),
    ],
)
def test_a_plan_s_faults_are_named(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text.replace("PLAN", str(path)))
    with pytest.raises(UserError) as caught:
        read_plan(path)
    assert said in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.slow
def test_the_command_trains_and_names_what_failed(toy: Path, tmp_path: Path) -> None:
    good = plan_of(toy, tmp_path, steps=3).jobs[0]
    rows = [
        {"name": name, "config": str(good.config), "steps": 3, "overrides": overrides}
        for name, overrides in (
            ("good", good.overrides),
            ("bad", {**good.overrides, "model.unet.width": 0}),
        )
    ]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({"jobs": rows}))
    words = ["--minutes", "10", "--jobs", "2", "--plan", "plan.yaml", "--runs", "runs"]
    done = subprocess.run(
        [sys.executable, "-m", "lightning_app.gpu", *words],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=tmp_path,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and last.startswith("gpu: bad: fit failed: mssim: "), done.stderr
    assert "good: test from step 3 of 3" in done.stdout
    assert (tmp_path / "runs" / "state" / "good.metrics.json").exists()
