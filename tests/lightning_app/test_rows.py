"""The rows of a table: what each may look at, and that all meet the same noise."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny import LONG, build, checkpoint, write_config
from helpers.worlds import make_batch, make_simulator

from data_modules.partners import partners
from data_modules.text import caption
from lightning_app.cli import main
from lightning_app.modules.simulator import Simulator
from lightning_app.report.scores import read_scores
from lightning_app.rows import GUIDED, ROWS, hold_action, predict_row, take_actions
from lightning_app.scoring import Scoring
from mssim.batch import to_uint8
from mssim.errors import UserError
from mssim.metrics.frames import score_windows, unit_frames
from mssim.metrics.summary import per_unit
from mssim.noise import generators
from mssim.video.diffusion import SamplerConfig
from mssim.video.rollout import Rollout

SAMPLER = SamplerConfig(kind="dpm++", steps=2)


def test_held_action_repeats_the_last_context_action() -> None:
    batch = make_batch(presence=0.7)
    held = hold_action(batch)
    for name, values in held.senses.items():
        assert torch.equal(values[:, :4], batch.senses[name][:, :4])
        assert all(torch.equal(values[:, t], batch.senses[name][:, 3]) for t in range(4, 12))
    assert torch.equal(held.presence[:, :4], batch.presence[:, :4])
    assert all(torch.equal(held.presence[:, t], batch.presence[:, 3]) for t in range(4, 12))
    assert held.frames is batch.frames and batch.senses is not held.senses


def test_held_action_is_not_told_how_hard_the_hand_will_grip() -> None:
    said = [caption("Slice a cucumber", "sentence", 1, grip) for grip in (-1, 0, 1)]
    assert len(set(said)) == 3
    held = hold_action(make_batch(text=[*said, "pour"]))
    # What is done, and how quickly, stays: it is known before any frame to predict.
    assert held.text == ["slice a cucumber slowly"] * 3 + ["pour"]


def test_shuffled_actions_are_the_partner_s_in_all_steps_to_predict() -> None:
    mine = make_batch(seed=0, text=list("abcd"))
    yours = make_batch(seed=1, text=list("efgh"), presence=0.5)
    swapped = take_actions(mine, yours)
    for name, values in swapped.senses.items():
        assert torch.equal(values[:, :4], mine.senses[name][:, :4])
        assert torch.equal(values[:, 4:], yours.senses[name][:, 4:])
    assert torch.equal(swapped.presence[:, :4], mine.presence[:, :4])
    assert torch.equal(swapped.presence[:, 4:], yours.presence[:, 4:])
    assert swapped.text == yours.text
    for name in ("frames", "source", "context_mask", "target_mask", "interval", "window", "unit"):
        assert getattr(swapped, name) is getattr(mine, name)


def test_partners_are_of_the_same_source() -> None:
    unit = np.repeat([0, 1, 2, 3, 4], 3)
    source = np.repeat([0, 0, 1, 1, 1], 3)
    theirs = partners(unit, source, seed=0)
    assert (source[theirs] == source).all() and (unit[theirs] != unit).all()
    with pytest.raises(UserError, match="two units of each source"):
        partners(unit, np.repeat([0, 0, 1, 1, 2], 3), seed=0)


def test_nobody_keeps_his_own_actions() -> None:
    unit = np.repeat([3, 5, 8, 9, 12], [4, 1, 7, 2, 3])
    source = np.zeros(len(unit), np.int64)
    theirs = partners(unit, source, seed=0)
    assert (unit[theirs] != unit).all()
    # A derangement of units: each unit's windows go to one other unit, and no two to the same.
    goes = {u: set(unit[theirs][unit == u].tolist()) for u in set(unit.tolist())}
    assert all(len(g) == 1 for g in goes.values())
    assert {g for part in goes.values() for g in part} == set(unit.tolist())
    # The first window of a unit gets a first window, and so on while there are any.
    first = {u: np.flatnonzero(unit == u)[0] for u in set(unit.tolist())}
    assert all(theirs[i] == first[unit[theirs[i]]] for i in first.values())
    assert (partners(unit, source, seed=0) == theirs).all()
    assert any((partners(unit, source, seed=s) != theirs).any() for s in range(1, 5))


def test_no_action_is_the_null_condition_whatever_the_actions() -> None:
    simulator = make_simulator().eval()
    one = make_batch(seed=0)
    other = make_batch(seed=1)
    two = replace(one, senses=other.senses, presence=~other.presence)
    rows = [predict_row("no-action", simulator, b, b, SAMPLER, 0) for b in (one, two)]
    assert torch.equal(*rows)
    sources = generators(0, 0, one.window)
    null = to_uint8(simulator.sample(one, SAMPLER, sources, condition=False))
    assert torch.equal(rows[0], null)


def test_all_rows_meet_the_same_noise() -> None:
    """Under the same actions, the rows of the model are the same frames."""
    simulator = make_simulator().eval()
    batch = make_batch()
    still = hold_action(batch)
    rows = {row: predict_row(row, simulator, still, still, SAMPLER, 0) for row in ROWS}
    assert torch.equal(rows["model"], rows["held-action"])
    assert torch.equal(rows["model"], rows["shuffled-actions"])
    assert torch.equal(rows["model"], predict_row("model", simulator, still, still, SAMPLER, 0))
    assert not torch.equal(rows["model"], predict_row("model", simulator, still, still, SAMPLER, 1))
    last = batch.frames["ego"][:, 3:4].expand(-1, 8, -1, -1, -1)
    assert torch.equal(rows["copy-last-frame"], last)


def test_guidance_reaches_the_row_guided_and_no_other() -> None:
    """Or error would sharpen the model and flatter its margin over shuffled actions."""
    simulator = make_simulator().eval()
    batch, partner = make_batch(seed=0), make_batch(seed=1)
    strong = replace(SAMPLER, guidance=3.0)
    for row in ROWS:
        plain, asked = (
            predict_row(row, simulator, batch, partner, s, 0) for s in (SAMPLER, strong)
        )
        assert torch.equal(plain, asked), row
    guided = predict_row(GUIDED, simulator, batch, partner, strong, 0)
    drawn = simulator.sample(batch, strong, generators(0, 0, batch.window))
    assert torch.equal(guided, to_uint8(drawn))
    assert not torch.equal(guided, predict_row("model", simulator, batch, partner, strong, 0))


def test_guided_is_a_row_of_its_own_after_the_model(trained: Path, tmp_path: Path) -> None:
    words = ["test", "--config", str(trained / "config.yaml"), "--run", str(tmp_path)]
    weights = ["--ckpt_path", str(trained / "checkpoints" / "best.ckpt")]
    main([*words, *weights, "--model.sampler.guidance", "2.0"])
    plain, guided = (json.loads((p / "metrics.json").read_text()) for p in (trained, tmp_path))
    assert [row["row"] for row in guided] == ["model", "guided", *ROWS[1:], *LONG]
    rows = {row["row"]: row for row in guided}
    assert all(rows[name]["psnr"] == row["psnr"] for name, row in zip(ROWS, plain, strict=False))
    assert rows["guided"]["psnr"] != rows["model"]["psnr"]
    assert "guidance 0 (row guided: 2), rollouts 2" in (tmp_path / "metrics.md").read_text()


def test_a_window_s_noise_is_its_own() -> None:
    """Rows are drawn alike in a batch and alone, in any order."""
    simulator = make_simulator().eval()
    batch = make_batch(size=4)
    whole = predict_row("model", simulator, batch, batch, SAMPLER, 0).float()
    order = torch.tensor([2, 0])
    part = predict_row("model", simulator, batch.rows(order), batch, SAMPLER, 0).float()
    assert (part - whole[order]).abs().max() <= 1


def test_metrics_do_not_depend_on_the_batch_size(trained: Path, tmp_path: Path) -> None:
    words = ["test", "--config", str(trained / "config.yaml"), "--run", str(tmp_path / "again")]
    best = ["--ckpt_path", str(trained / "checkpoints" / "best.ckpt")]
    main([*words, *best, "--data.eval_batch_size", "3"])
    one, two = (read_scores(p / "scores.npz") for p in (trained, tmp_path / "again"))
    assert list(one) == list(two) == [*ROWS, *LONG]
    for row in one:
        assert torch.equal(one[row].window, two[row].window)
        for name, value in one[row].values.items():
            # One grey level in one pixel may tip over.
            torch.testing.assert_close(two[row].values[name], value, atol=1e-5, rtol=1e-4)
    tables = [json.loads((p / "metrics.json").read_text()) for p in (trained, tmp_path / "again")]
    for mine, yours in zip(*tables, strict=True):
        assert mine["psnr"] == pytest.approx(yours["psnr"], abs=1e-3)
        assert mine["n_windows"] == yours["n_windows"]


def test_rollouts_are_scored_as_far_as_they_are_shown(trained: Path) -> None:
    """Row `long` is what `predict` shows; `long one by one` steps the same world by the frame."""
    cli = build(trained.parent / "run.yaml")
    cli.model.load_state_dict(checkpoint(trained, "best")["state_dict"])
    module, data = cli.model.eval(), cli.datamodule
    cli.trainer.datamodule = data  # type: ignore[attr-defined]
    module.trainer = cli.trainer
    assert isinstance(module, Simulator) and data.horizon == 32
    scores = read_scores(trained / "scores.npz")
    with torch.no_grad():
        for batch in data.predict_dataloader():
            shown = module.predict_step(batch, 0)
            rollout = Rollout(module.simulator, module.sampler)
            state, single = rollout.start(batch, module.seed), []
            for t in range(batch.context, batch.length):
                now = {name: values[:, t : t + 1] for name, values in batch.senses.items()}
                frames, state = rollout.step(state, now, batch.presence[:, t : t + 1])
                single.append(frames)
            video = unit_frames(batch.video())
            true, last = video[:, batch.context :], video[:, batch.context - 1]
            assert true.shape[1] == 32
            ways = {"long": shown, "long one by one": torch.cat(single, dim=1)}
            ways["long copy-last-frame"] = to_uint8(batch.video()[:, 3:4]).expand_as(shown)
            for row, frames in ways.items():
                wanted = score_windows(frames / 255.0, true, last)["mse"]
                at = scores[row].window == batch.window
                assert scores[row].values["mse"][at].shape == (1, 32)
                assert scores[row].mask.all()
                torch.testing.assert_close(scores[row].values["mse"][at], wanted)
    assert scores["long"].window.tolist() == [0, 4]
    assert "Rollouts of 32 frames" in (trained / "metrics.md").read_text()
    assert "Rollouts of 32 frames" in (trained / "index.html").read_text()


def test_a_unit_that_ends_before_the_rollout_does_is_masked_there() -> None:
    batch = make_batch(px=16)
    scoring = Scoring(("long",), length=11)
    scoring.update(
        "long", batch, predict_row("copy-last-frame", make_simulator(), batch, batch, SAMPLER, 0)
    )
    found = scoring.compute()["long"]
    assert found.mask.tolist() == [[True] * 8 + [False] * 3] * 4
    whole = Scoring(("long",))
    whole.update(
        "long", batch, predict_row("copy-last-frame", make_simulator(), batch, batch, SAMPLER, 0)
    )
    short = per_unit(whole.compute()["long"])
    assert all((per_unit(found).means[k] == short.means[k]).all() for k in ("mse", "psnr"))


def test_scores_do_not_depend_on_the_run_s_precision() -> None:
    batch = make_batch(px=16)
    frames = predict_row("copy-last-frame", make_simulator(), batch, batch, SAMPLER, 0)
    plain, mixed = Scoring(("model",)), Scoring(("model",))
    plain.update("model", batch, frames)
    with torch.autocast("cpu", torch.bfloat16):
        mixed.update("model", batch, frames)
    one, two = (s.compute()["model"].values for s in (plain, mixed))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert one["ssim"].isfinite().all()


def test_shuffled_windows_come_from_the_same_split(toy: Path, tmp_path: Path) -> None:
    cli = build(write_config(tmp_path, toy))
    cli.model.trainer = cli.trainer
    cli.trainer.datamodule = cli.datamodule  # type: ignore[attr-defined]
    cli.model.setup("test")
    unit = cli.datamodule.datasets["test"].index.unit
    assert (unit[cli.model.partner_of] != unit).all()
    assert cli.model.scoring.rows == ROWS
