"""What is handed to the metrics, and what a training step draws from."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.tiny import build, write_config
from helpers.worlds import make_batch

from lightning_app.rows import copy_last
from lightning_app.scoring import Scoring
from mssim.metrics.summary import drift, per_unit, summarise
from mssim.noise import seed_of


def test_masked_frames_are_not_scored() -> None:
    """A window at the end of a unit has frames that never were; what stands there is no truth."""
    batch, scoring = make_batch(px=16), Scoring(("model",))
    batch.target_mask[0, 5:] = False
    batch.target_mask[1, 0] = False
    right = (batch.frames["ego"][:, 4:].int() // 2).to(torch.uint8)
    wrong = right.clone()
    wrong[0, 5:], wrong[1, 0] = 255, 255
    found = []
    for frames in (right, wrong):
        scoring.update("model", batch, frames)
        scores = scoring.compute()["model"]
        assert torch.equal(scores.mask, batch.target_mask)
        found.append((summarise(per_unit(scores)).intervals, drift(scores).value))
        scoring.reset()
    for name in ("psnr", "mse", "mae", "ssim", "gradient", "gradient_correlation"):
        assert found[0][0][name] == found[1][0][name], name
    assert (found[0][1] == found[1][1]).all()


def test_motion_begins_at_the_last_context_frame() -> None:
    batch, scoring = make_batch(px=16), Scoring(("copy-last-frame",))
    scoring.update("copy-last-frame", batch, copy_last(batch))
    scores = scoring.compute()["copy-last-frame"].values
    assert (scores["motion_predicted"] == 0).all()
    video = batch.frames["ego"].float() / 255
    first = (video[:, 4] - video[:, 3]).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(scores["motion_true"][:, 0], first)


@pytest.mark.parametrize(("seed", "rank", "step"), [(0, 0, 0), (3, 0, 5), (3, 1, 5), (3, 1, 6)])
def test_dropout_is_a_function_of_seed_rank_and_step(
    seed: int, rank: int, step: int, toy: Path, tmp_path: Path
) -> None:
    module = build(write_config(tmp_path, toy)).model
    module.seed = seed
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        global_rank=rank, global_step=step, strategy=SimpleNamespace(global_step=step)
    )
    torch.manual_seed(99)
    module.on_train_batch_start(None, 0)
    drawn = torch.rand(3)
    assert torch.equal(
        drawn, torch.rand(3, generator=torch.Generator().manual_seed(seed_of(seed, rank, step)))
    )
