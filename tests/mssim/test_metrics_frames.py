"""Scores of frames and their gathering, against independent references."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from scipy.ndimage import gaussian_filter
from torch import Tensor, distributed
from torchmetrics.image import PeakSignalNoiseRatio

from mssim.errors import UserError
from mssim.metrics.collect import PerWindow, Scores, WindowScores
from mssim.metrics.frames import NAMES, score_windows, unit_frames


def windows(b: int = 3, p: int = 4, size: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    true, noise = torch.rand(b, p, 3, size, size), torch.randn(b, p, 3, size, size)
    return (true + 0.1 * noise).clamp(0, 1), true, torch.rand(b, 3, size, size)


def reference_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004 with scipy's Gaussian (radius 5), borders mirrored, channel by channel."""

    def blur(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, radius=5, mode="mirror")

    values = []
    for a, b in zip(x.astype(np.float64), y.astype(np.float64), strict=True):
        ma, mb = blur(a), blur(b)
        va, vb, cov = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
        top = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4)
        bottom = (ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)
        values.append((top / bottom).mean())
    return float(np.mean(values))


def test_scores_match_numpy_and_torchmetrics() -> None:
    predicted, true, last = windows()
    scores = score_windows(predicted, true, last)
    assert set(scores) == set(NAMES)
    p, t, start = predicted.numpy(), true.numpy(), last.numpy()
    for b in range(3):
        for f in range(4):
            before = (start[b], start[b]) if f == 0 else (p[b, f - 1], t[b, f - 1])
            down, across = np.diff(p[b, f], axis=1), np.diff(p[b, f], axis=2)
            want = {
                "mse": ((p[b, f] - t[b, f]) ** 2).mean(),
                "mae": np.abs(p[b, f] - t[b, f]).mean(),
                "ssim": reference_ssim(p[b, f], t[b, f]),
                "motion_predicted": np.abs(p[b, f] - before[0]).mean(),
                "motion_true": np.abs(t[b, f] - before[1]).mean(),
                "gradient_predicted": (down**2).mean() + (across**2).mean(),
                "gradient_shared": (down * np.diff(t[b, f], axis=1)).mean()
                + (across * np.diff(t[b, f], axis=2)).mean(),
            }
            for name, value in want.items():
                assert scores[name][b, f].item() == pytest.approx(value, rel=2e-4), name
    pooled = PeakSignalNoiseRatio(data_range=1.0)(predicted, true)
    assert -10 * scores["mse"].mean().log10().item() == pytest.approx(pooled.item(), rel=1e-5)


def test_blur_lowers_gradient_and_freezing_lowers_motion() -> None:
    _, true, last = windows()
    blurred = torch.from_numpy(gaussian_filter(true.numpy(), (0, 0, 0, 1, 1)))
    frozen = last[:, None].expand_as(true)
    assert score_windows(blurred, true, last)["gradient_predicted"].mean() < 0.5 * (
        score_windows(true, true, last)["gradient_true"].mean()
    )
    assert score_windows(frozen, true, last)["motion_predicted"].abs().max() == 0


def test_ssim_of_frames_smaller_than_its_window_is_nan_not_a_number_of_another_metric() -> None:
    scores = score_windows(*windows(size=8))
    assert scores["ssim"].isnan().all()
    assert scores["mse"].isfinite().all()


def test_shapes_must_agree() -> None:
    predicted, true, last = windows()
    with pytest.raises(ValueError, match="disagree"):
        score_windows(predicted[:, :2], true, last)


def test_unit_frames_are_what_a_video_file_would_hold() -> None:
    video = torch.linspace(-1.2, 1.2, 1001)
    frames = unit_frames(video)
    assert frames.min() == 0 and frames.max() == 1
    assert torch.equal((frames * 255).round() / 255, frames)
    assert (frames - (video.clamp(-1, 1) + 1) / 2).abs().max() <= 0.5 / 255 + 1e-6


def rows_of(index: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor]:
    """Windows whose numbers can be told from their index."""
    scores = {n: index[:, None] * 10.0 + torch.arange(4) + i for i, n in enumerate(NAMES)}
    return index, index // 3, scores, torch.arange(4)[None] <= (index[:, None] % 4)


def check(scores: Scores, count: int) -> None:
    index = torch.arange(count)
    window, unit, values, mask = rows_of(index)
    assert torch.equal(scores.window, window)
    assert torch.equal(scores.unit, unit)
    assert torch.equal(scores.mask, mask)
    assert set(scores.values) == set(NAMES)
    for name, value in values.items():
        assert torch.equal(scores.values[name], value)


def test_windows_are_sorted_and_counted_once() -> None:
    metric = WindowScores()
    for index in ([4, 1], [0, 3, 1], [2], [4, 0]):
        metric.update(*rows_of(torch.tensor(index)))
    check(metric.compute(), 5)


def test_one_window_keeps_its_axes() -> None:
    metric = WindowScores()
    metric.update(*rows_of(torch.tensor([0])))
    check(metric.compute(), 1)


def test_pickles_clones_and_resets() -> None:
    metric = WindowScores()
    metric.update(*rows_of(torch.arange(3)))
    metric.compute()
    for other in (pickle.loads(pickle.dumps(metric)), metric.clone(), copy.deepcopy(metric)):
        other.update(*rows_of(torch.tensor([3])))
        check(other.compute(), 4)
    check(metric.compute(), 3)
    metric.reset()
    metric.update(*rows_of(torch.arange(2)))
    check(metric.compute(), 2)


def test_nothing_scored_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match="no window was scored"), pytest.warns(UserWarning):
        WindowScores().compute()


def test_names_must_match() -> None:
    with pytest.raises(ValueError, match="expected"):
        PerWindow(("a",)).update(torch.tensor([0]), torch.tensor([0]), {"b": torch.zeros(1, 2)})


def _rank(rank: int, shares: list[list[list[int]]], folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    metric = WindowScores()
    for index in shares[rank]:
        metric.update(*rows_of(torch.tensor(index)))
    scores = metric.compute()
    # Gathering leaves this rank's own windows as they were, so it can go on and gather again.
    metric.update(*rows_of(torch.tensor([5] if rank else [6, 2])))
    torch.save([scores, metric.compute()], f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize(
    "shares", [[[[0, 2], [4]], [[1, 3], [0]]], [[[0, 1, 2], [3, 4]], []]], ids=["uneven", "empty"]
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_two_ranks_equal_one(shares: list[list[list[int]]], tmp_path: Path) -> None:
    mp.start_processes(_rank, (shares, str(tmp_path)), nprocs=2, start_method="fork")
    for rank in range(2):
        before, after = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        check(before, 5)
        check(after, 7)
