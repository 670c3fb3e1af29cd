"""Intervals over seeds and units: against loops, and on made-up data whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from mssim.metrics.hierarchy import RESAMPLES, ratio_spread, spread
from mssim.metrics.intervals import Floats
from mssim.metrics.verdict import ALPHA, Comparison, claim_p, holm, verdicts


def made(
    rng: np.random.Generator,
    shape: tuple[int, int],
    truth: float = 0.0,
    by_seed: float = 0.2,
    by_unit: float = 0.5,
    noise: float = 0.1,
) -> Floats:
    """(S, U): a truth, what a seed and what a unit adds to it, and noise."""
    seeds, units = shape
    out = truth + by_seed * rng.normal(size=(seeds, 1)) + by_unit * rng.normal(size=(1, units))
    return np.asarray(out + noise * rng.normal(size=shape))


def test_against_loops() -> None:
    """The same resampling word by word, with another generator: it must end at the same place."""
    values = made(np.random.default_rng(1), (3, 8), truth=1.0)
    rng, (s, u) = np.random.default_rng(2), values.shape
    mean = values.mean()
    found = []
    for _ in range(20_000):
        seeds, units = rng.integers(s, size=s), rng.integers(u, size=u)
        drawn = np.array([[values[i, j] for j in units] for i in seeds]).mean()
        only_seeds = np.array([values[i].mean() for i in seeds]).mean() - mean
        only_units = np.array([values[:, j].mean() for j in units]).mean() - mean
        more_seeds = (np.sqrt(s / (s - 1)) - 1) * only_seeds
        more_units = (np.sqrt(u / (u - 1)) - 1) * only_units
        found.append(drawn - mean + more_seeds + more_units)
    mine = spread(values)
    scale = np.std(found)
    ends = [0.025, 0.1, 0.5, 0.9, 0.975]
    assert np.quantile(mine.deviations, ends) == pytest.approx(
        np.quantile(found, ends), abs=0.05 * scale
    )
    a, b = values.mean(axis=1).var(ddof=1) / s, values.mean(axis=0).var(ddof=1) / u
    freedom = (a + b) ** 2 / (a**2 / (s - 1) + b**2 / (u - 1))
    assert mine.freedom == pytest.approx(freedom)
    wider = stats.t.ppf(0.975, freedom) / stats.norm.ppf(0.975)
    low, high = np.quantile(found, [0.025, 0.975])
    interval = mine.interval()
    assert interval.value == pytest.approx(mean)
    assert interval.low == pytest.approx(mean + wider * low, abs=0.07 * scale * wider)
    assert interval.high == pytest.approx(mean + wider * high, abs=0.07 * scale * wider)


@pytest.mark.parametrize(
    ("by_seed", "by_unit"),
    [(0.3, 0.1), (0.1, 0.5), (0.0, 0.5)],  # what seeds do rules, what units do rules, is all
)
def test_intervals_of_three_seeds_cover_the_truth(by_seed: float, by_unit: float) -> None:
    rng, times = np.random.default_rng(0), 200
    inside = falls = 0
    for i in range(times):
        values = made(rng, (3, 28), 1.0, by_seed, by_unit)
        found = spread(values, seed=i, resamples=1000)
        inside += found.interval().low <= 1.0 <= found.interval().high
        falls += min(found.p_value(1.0), found.p_value(1.0, above=False)) <= 0.05
    # Over 1,500 trials these are .94 to .95, and .81 where Student's t is left out of the first.
    assert 0.9 <= inside / times <= 0.99
    # At the edge, Student's own tail is now and then the longer one.
    assert times - inside - 0.02 * times <= falls <= times - inside


def test_units_are_the_same_for_all_seeds() -> None:
    """What makes units differ does not average out over seeds, however many there are."""
    unit = np.random.default_rng(0).normal(size=(1, 12))
    few, many = (spread(np.repeat(unit, n, axis=0)).interval() for n in (1, 50))
    assert many.high - many.low == pytest.approx(few.high - few.low, rel=0.05)
    t = stats.t.ppf(0.975, 11) * stats.sem(unit[0])
    assert few.high - few.low == pytest.approx(2 * t, rel=0.1)


def test_p_values_are_those_of_the_interval() -> None:
    found = spread(made(np.random.default_rng(3), (3, 20), truth=0.4))
    p = found.p_value()
    assert found.interval(1 - p - 0.002).low > 0 > found.interval(1 - p + 0.002).low
    assert found.p_value(above=False) == 1.0 or found.p_value(above=False) > 0.5
    assert spread(made(np.random.default_rng(3), (3, 20), truth=50.0)).p_value() <= 4 / RESAMPLES


@pytest.mark.parametrize("distance", [1.0, 5.0, 20.0])
def test_far_out_seeds_alone_have_student_s_tail(distance: float) -> None:
    """Three seeds that units hardly blur: no surer than a t-test of three numbers can be."""
    seeds = np.array([[-0.02], [0.01], [0.01]]) + 0.01 * np.sqrt(3) * distance
    found = spread(seeds + 1e-4 * np.random.default_rng(0).normal(size=(3, 20)))
    expected = stats.ttest_1samp(seeds[:, 0], 0.0).pvalue
    assert found.p_value() == pytest.approx(expected, rel=0.1) or found.p_value() > expected
    assert found.p_value() >= 0.9 * expected and found.p_value(above=False) == 1.0
    if distance == 20:
        assert expected < 0.005 and found.p_value() == pytest.approx(expected, rel=0.1)


def test_edges() -> None:
    one = spread(np.array([[1.0]]))
    assert np.isnan(one.interval().low) and one.p_value() == 1.0
    alike = spread(np.full((3, 5), 0.7))
    ends = (alike.interval().low, alike.interval().high)
    assert ends == pytest.approx((0.7, 0.7)) and ends[0] == ends[1] == alike.value
    for wrong in (np.array([1.0]), np.zeros((0, 3)), np.array([[np.nan, 1.0]])):
        with pytest.raises(ValueError, match="finite, seeds by units"):
            spread(wrong)


def test_ratios() -> None:
    rng = np.random.default_rng(5)
    bottom = rng.uniform(1, 2, size=(3, 40))
    top = 0.8 * bottom * (1 + 0.1 * rng.normal(size=bottom.shape))
    found = ratio_spread(top, bottom)
    assert found.value == pytest.approx(top.sum() / bottom.sum())
    assert found.low < 0.8 < found.high and found.high - found.low < 0.1
    assert np.isnan(ratio_spread(top, 0 * bottom).value)


def comparison(
    shift: float, bound: float = 0.0, above: bool = True, seeds: int = 3, scatter: float = 0.2
) -> Comparison:
    rng = np.random.default_rng(7)
    values = made(rng, (seeds, 28), 0.0, 0.05, scatter, 0.05)
    return Comparison(spread(values - values.mean() + shift), bound, above)


def test_a_comparison_is_decided_by_its_interval_and_all_seeds() -> None:
    assert comparison(1.0).outcome == "holds"
    assert comparison(-1.0).outcome == "does not hold"
    assert comparison(0.02).outcome == "undecided"
    assert comparison(1.0, seeds=1).outcome == "undecided"
    # Far from 0 over all, but one seed says otherwise.
    values = np.array([[1.0], [1.0], [-0.1]]) + 0.001 * np.arange(50) * np.ones((3, 1))
    odd = spread(np.vstack([values] + [values[:2]] * 20))
    assert odd.interval().low > 0
    assert Comparison(odd, 0.0, True).outcome == "undecided"


def test_equivalence_needs_a_narrow_interval() -> None:
    """A loss of nothing, told narrowly, is robust; told widely it is not, nor is it refuted."""
    assert comparison(0.0, 0.5, above=False).outcome == "holds"
    wide = comparison(0.0, 0.5, above=False, scatter=3.0)
    assert wide.spread.interval().high > 0.5 and wide.outcome == "undecided"
    # A loss that is decided, and yet small enough; and one that is not.
    assert comparison(0.3, 0.5, above=False).outcome == "holds"
    assert comparison(0.3).outcome == "holds"
    assert comparison(0.9, 0.5, above=False).outcome == "does not hold"


def test_an_equivalence_that_is_false_is_seldom_claimed() -> None:
    """A loss of exactly the margin is called robust in at most 2.5 % of the cases."""
    rng, times, claimed = np.random.default_rng(11), 200, 0
    for i in range(times):
        found = spread(made(rng, (3, 28), 0.5, 0.1, 0.4), seed=i, resamples=1000)
        claimed += Comparison(found, 0.5, above=False).outcome == "holds"
    assert claimed / times <= 0.05


def test_holm_against_its_definition() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.uniform(size=rng.integers(1, 9)) ** 3
        adjusted = holm(p.tolist())
        order = sorted(range(len(p)), key=lambda i: p[i])
        # Step down: reject the smallest while p <= alpha / (how many are left), then stop.
        for alpha in (0.01, 0.05, 0.3, 1.0):
            rejected = set()
            for rank, i in enumerate(order):
                if p[i] > alpha / (len(p) - rank):
                    break
                rejected.add(i)
            assert {i for i, a in enumerate(adjusted) if a <= alpha} - rejected <= {
                i for i in range(len(p)) if alpha == 1.0
            }
            assert rejected <= {i for i, a in enumerate(adjusted) if a <= alpha}
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_a_claim_is_a_conjunction() -> None:
    good, weak, bad = comparison(1.0), comparison(0.02), comparison(-1.0)
    assert claim_p([good, good])[0] == "holds"
    assert claim_p([good, weak]) == ("undecided", 1.0)
    outcome, p = claim_p([good, weak, bad])
    assert outcome == "does not hold" and p == pytest.approx(3 * bad.p_against)
    assert claim_p([]) == ("not run", 1.0)


def test_a_conjunction_is_as_sure_as_its_weakest_part() -> None:
    """All must speak for a claim: the largest p-value. Any may speak against it."""
    steps = map(comparison, np.arange(0.05, 0.4, 0.005))
    faint, sure = next(c for c in steps if c.outcome == "holds"), comparison(1.0)
    assert faint.p_for > 2 * sure.p_for
    for order in ([faint, sure], [sure, faint]):
        assert claim_p(order) == ("holds", faint.p_for)
    steps = map(comparison, -np.arange(0.05, 0.4, 0.005))
    worse, bad = next(c for c in steps if c.outcome == "does not hold"), comparison(-1.0)
    assert worse.outcome == "does not hold" and worse.p_against > bad.p_against
    for order in ([worse, bad, sure], [sure, bad, worse]):
        outcome, p = claim_p(order)
        assert outcome == "does not hold" and p == pytest.approx(3 * bad.p_against)


def test_holm_can_undo_what_stood_alone() -> None:
    faint = next(c for c in map(comparison, np.arange(0.05, 0.4, 0.005)) if c.outcome == "holds")
    assert ALPHA / 8 < faint.p_for <= ALPHA
    assert verdicts([[faint]])[0][0] == "holds"
    # Claims that were not run count, too: what is published first must not be decided more easily.
    many = verdicts([[faint], *[[]] * 7])
    assert many[0][0] == "undecided" and {o for o, _ in many[1:]} == {"not run"}
    strong = verdicts([[comparison(1.0)], *[[]] * 7])[0]
    assert strong[0] == "holds" and strong[1] < 0.01
