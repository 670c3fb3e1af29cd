"""From frames to a table's numbers, and intervals over units."""

import numpy as np
import pytest
import torch
from scipy import stats

from mssim.errors import UserError
from mssim.metrics.collect import Scores
from mssim.metrics.frames import NAMES, score_windows
from mssim.metrics.intervals import (
    mean_interval,
    paired_interval,
    ratio_interval,
    spread_interval,
)
from mssim.metrics.summary import UnitTable, compare, drift, per_unit, summarise


def scores_of(
    unit: list[int], mse: list[list[float]], mask: list[list[bool]] | None = None, **other: float
) -> Scores:
    error = torch.tensor(mse)
    values = {n: torch.full_like(error, other.get(n, 1.0)) for n in NAMES} | {"mse": error}
    there = torch.ones_like(error, dtype=torch.bool) if mask is None else torch.tensor(mask)
    return Scores(torch.arange(len(unit)), torch.tensor(unit), values, there)


def test_psnr_pools_the_error_of_a_unit_and_averages_units() -> None:
    table = per_unit(scores_of([7, 3, 7], [[0.1, 0.1], [0.01, 0.03], [0.2, 0.4]]))
    assert table.unit.tolist() == [3, 7]
    assert table.means["mse"] == pytest.approx([0.02, 0.2])
    assert table.means["psnr"] == pytest.approx(-10 * np.log10([0.02, 0.2]))
    frames = -10 * np.log10([[0.01, 0.03, np.nan, np.nan], [0.1, 0.1, 0.2, 0.4]])
    assert table.means["psnr_frame"] == pytest.approx(np.nanmean(frames, axis=1), rel=1e-5)
    row = summarise(table)
    assert row.intervals["psnr"].value == pytest.approx(-10 * np.log10([0.02, 0.2]).mean())
    assert (row.n_windows, row.n_units) == (3, 2)


def test_frames_without_error_are_capped_and_told() -> None:
    table = per_unit(scores_of([0, 0], [[0.0, 0.01], [1e-7, 0.01]]))
    assert table.means["psnr_frame"] == pytest.approx([(50 + 20 + 50 + 20) / 4])
    assert table.capped == 0.5
    still = per_unit(scores_of([0], [[0.0, 0.0]]))
    assert still.means["psnr"] == pytest.approx([100.0])


def test_masked_frames_count_nowhere() -> None:
    whole = per_unit(scores_of([0, 1], [[0.1], [0.2]], ssim=0.5))
    huge = [[0.1, 9e9], [0.2, 9e9], [9e9, 9e9]]
    mask = [[True, False], [True, False], [False, False]]
    masked_scores = scores_of([0, 1, 2], huge, mask, ssim=0.5)
    for name in NAMES:
        masked_scores.values[name][~masked_scores.mask] = 9e9
    masked = per_unit(masked_scores)
    assert masked.n_windows == 2
    assert masked.unit.tolist() == [0, 1]
    for name, value in whole.means.items():
        assert masked.means[name] == pytest.approx(value)
    for name, value in whole.sums.items():
        assert masked.sums[name] == pytest.approx(value)
    assert drift(masked_scores).value == pytest.approx(
        [(10 - 10 * np.log10(0.2)) / 2, np.nan], nan_ok=True
    )
    with pytest.raises(UserError, match="all are masked"):
        per_unit(scores_of([0], [[0.1]], [[False]]))


def test_motion_out_of_a_masked_frame_is_none() -> None:
    table = per_unit(scores_of([0], [[0.1] * 4], [[True, False, True, True]], motion_true=3.0))
    assert table.sums["motion_true"].tolist() == [6.0]
    assert table.sums["gradient_true"].tolist() == [3.0]


def test_ratios_are_pooled_over_all_windows() -> None:
    scores = scores_of([0, 1, 1], [[0.1] * 2] * 3)
    scores.values["motion_predicted"] = torch.tensor([[1.0, 0.0], [2.0, 2.0], [1.0, 1.0]])
    scores.values["motion_true"] = torch.tensor([[5.0, 5.0], [1.0, 1.0], [1.0, 1.0]])
    assert summarise(per_unit(scores)).intervals["motion"].value == pytest.approx(7 / 14)


def test_drift_is_psnr_by_frame() -> None:
    result = drift(scores_of([0, 0, 1], [[0.1, 0.2], [0.3, 0.4], [0.01, 0.05]]))
    first, second = -10 * np.log10([[0.2, 0.01], [0.3, 0.05]])
    assert result.value == pytest.approx([first.mean(), second.mean()], rel=1e-5)
    assert (result.low < result.value).all() and (result.value < result.high).all()


def test_comparison_is_paired_by_unit() -> None:
    a = per_unit(scores_of([0, 1, 2], [[0.01], [0.1], [0.4]]))
    b = per_unit(scores_of([0, 1, 2], [[0.02], [0.2], [0.8]]))
    difference = compare(a, b)["psnr"]
    assert difference.value == pytest.approx(10 * np.log10(2), rel=1e-5)
    # Units differ by 16 dB, the difference hardly: what pairing is for.
    assert difference.high - difference.low < 1e-3 < np.ptp(a.means["psnr"])
    with pytest.raises(UserError, match="other units"):
        compare(a, per_unit(scores_of([0, 1, 5], [[0.01], [0.1], [0.4]])))


def test_few_units_get_students_t() -> None:
    values = np.random.default_rng(0).normal(size=10)
    ours = mean_interval(values)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    other = values + np.linspace(-1, 1, 10) ** 2
    paired = paired_interval(values, other)
    theirs = stats.ttest_rel(values, other).confidence_interval(0.95)
    assert (paired.low, paired.high) == pytest.approx((theirs.low, theirs.high))


def test_t_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    intervals = [mean_interval(rng.normal(2.0, 3.0, size=6)) for _ in range(2000)]
    covered = np.mean([i.low <= 2.0 <= i.high for i in intervals])
    assert covered == pytest.approx(0.95, abs=0.015)  # three standard errors


def test_many_units_get_bca() -> None:
    values = np.random.default_rng(2).exponential(size=60)
    ours = mean_interval(values)
    assert ours == mean_interval(values)
    assert ours.low < ours.value < ours.high
    # An independent BCa: 20,000 resamples of its own, Efron 1987, eqs. 2.3 and 6.6.
    rng = np.random.default_rng(9)
    means = np.sort(values[rng.integers(60, size=(20_000, 60))].mean(axis=1))
    z0 = stats.norm.ppf((means < values.mean()).mean())
    jack = np.array([np.delete(values, i).mean() for i in range(60)])
    centred = jack.mean() - jack
    acceleration = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    for end, level in ((ours.low, 0.025), (ours.high, 0.975)):
        z = z0 + stats.norm.ppf(level)
        at = stats.norm.cdf(z0 + z / (1 - acceleration * z))
        assert end == pytest.approx(np.quantile(means, at), abs=0.012)
    # A skewed sample has a skewed interval, which neither t nor a symmetric one would have.
    assert ours.high - ours.value > 1.1 * (ours.value - ours.low)


@pytest.mark.filterwarnings("error")
def test_degenerate_units_are_told_honestly() -> None:
    one = mean_interval(np.array([3.0]))
    assert one.value == 3.0 and np.isnan([one.low, one.high]).all()
    for units in (5, 50):
        same = paired_interval(np.arange(units), np.arange(units) - 2.0)
        assert (same.value, same.low, same.high) == (2.0, 2.0, 2.0)
    absent = mean_interval(np.array([1.0, np.nan, 2.0]))
    assert np.isnan([absent.value, absent.low, absent.high]).all()
    with pytest.raises(ValueError, match="at least one"):
        mean_interval(np.array([]))
    with pytest.raises(ValueError, match="same units"):
        paired_interval(np.zeros(3), np.zeros(4))


@pytest.mark.filterwarnings("error")
def test_ratio_interval() -> None:
    rng = np.random.default_rng(3)
    bottom = rng.uniform(1, 2, size=40)
    top = 0.8 * bottom + rng.normal(0, 0.1, size=40)
    ours = ratio_interval(top, bottom)
    assert ours.value == pytest.approx(top.sum() / bottom.sum())
    # Delta method: the standard error of a ratio of sums.
    error = np.sqrt(40) * (top - ours.value * bottom).std(ddof=1) / bottom.sum()
    assert ours.high - ours.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert np.isnan(ratio_interval(np.ones(3), np.zeros(3)).value)
    assert np.isnan(ratio_interval(np.ones(1), np.ones(1)).low)
    assert ratio_interval(2 * bottom, bottom).high == pytest.approx(2.0)
    assert np.isnan(ratio_interval(np.array([1.0, 1.0]), np.array([1.0, 0.0])).high)
    mostly_still = ratio_interval(np.full(6, 0.1), np.array([1.0, 1.0, 0, 0, 0, 0]))
    assert mostly_still.value == pytest.approx(0.3)
    assert not mostly_still.high < np.inf


def test_spread_is_centred_on_the_value() -> None:
    replicates = np.random.default_rng(4).normal(500.0, 10.0, size=4000)
    interval = spread_interval(100.0, replicates)
    assert (interval.low, interval.high) == pytest.approx((80.4, 119.6), abs=1.5)


def test_seed_and_level_reach_the_interval() -> None:
    table = UnitTable(
        np.arange(30),
        {"mse": np.random.default_rng(5).exponential(size=30)},
        {f"{n}_{k}": np.ones(30) for n in ("motion", "gradient") for k in ("predicted", "true")},
        0.0,
        30,
    )
    base, seeded, narrow = (
        summarise(table, level, seed).intervals["mse"]
        for level, seed in ((0.95, 0), (0.95, 1), (0.5, 0))
    )
    assert base.low != seeded.low
    assert base.low < narrow.low < narrow.high < base.high


def test_gradient_ratio_is_bought_with_noise_and_correlation_is_not() -> None:
    torch.manual_seed(0)
    true = torch.rand(4, 3, 3, 16, 16)
    last, mask = true[:, 0], torch.ones(4, 3, dtype=torch.bool)

    def numbers(predicted: torch.Tensor) -> dict[str, float]:
        scores = score_windows(predicted, true, last)
        table = per_unit(Scores(torch.arange(4), torch.tensor([0, 0, 1, 1]), scores, mask))
        return {name: i.value for name, i in summarise(table).intervals.items()}

    flat = true.mean(dim=(3, 4), keepdim=True)
    blurred, perfect = flat + 0.5 * (true - flat), numbers(true)
    noisy = numbers(blurred + 0.3 * torch.randn_like(true))
    assert perfect["gradient_correlation"] == pytest.approx(1, abs=1e-6)
    assert numbers(1 - true)["gradient_correlation"] == pytest.approx(-1, abs=1e-6)
    half = numbers(blurred)
    assert half["gradient"] == pytest.approx(0.25, abs=1e-4)
    assert half["gradient_correlation"] == pytest.approx(1, abs=1e-6)
    assert abs(noisy["gradient"] - 1) < abs(half["gradient"] - 1)
    assert noisy["gradient_correlation"] < 0.7


def test_gradient_correlation_is_numpys_over_a_unit_s_frames() -> None:
    rng = np.random.default_rng(0)
    predicted, true = (rng.random((2, 3, 3, 16, 16), np.float32) for _ in range(2))
    scores = score_windows(
        torch.from_numpy(predicted), torch.from_numpy(true), torch.from_numpy(true[:, 0])
    )
    one = Scores(torch.arange(2), torch.zeros(2).long(), scores, torch.ones(2, 3).bool())
    ours = per_unit(one).means["gradient_correlation"]
    gradients = [
        np.concatenate([np.diff(v, axis=-2).ravel(), np.diff(v, axis=-1).ravel()])
        for v in (predicted, true)
    ]
    a, b = gradients
    assert ours == pytest.approx([(a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())], abs=1e-5)
    for name, wanted in (("gradient_predicted", 0.0), ("gradient_true", np.nan)):
        flat = {**scores, name: 0 * scores["mse"], "gradient_shared": 0 * scores["mse"]}
        found = per_unit(Scores(one.window, one.unit, flat, one.mask))
        assert found.means["gradient_correlation"] == pytest.approx([wanted], nan_ok=True)
