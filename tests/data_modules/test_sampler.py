from collections.abc import Iterable
from itertools import chain, islice

import numpy as np
import pytest

from data_modules.sampler import EvalPlan, TrainPlan
from data_modules.windows import Ask
from mssim.errors import UserError


def seen(plan: TrainPlan | EvalPlan, epoch: int = 0) -> list[list[int]]:
    return [ask.windows.tolist() for ask in asks(plan, epoch)]


def asks(plan: TrainPlan | EvalPlan, epoch: int = 0) -> list[Ask]:
    run = plan.asks(epoch * len(plan)) if isinstance(plan, TrainPlan) else plan.asks()
    return list(islice(run, len(plan)))


def flat(batches: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(batches))


def plan(n: int = 50, **more: object) -> TrainPlan:
    return TrainPlan(np.zeros(n, np.int64), [1.0], 4, 8, **more)  # type: ignore[arg-type]


def test_an_epoch_is_a_permutation_without_its_ragged_end() -> None:
    batches = seen(plan())
    drawn = flat(batches)
    assert len(batches) == len(plan()) == 12 and len(set(drawn)) == 48
    assert seen(plan()) == batches
    assert seen(plan(), epoch=1) != batches and seen(plan(seed=1)) != batches
    both = [a.windows.tolist() for a in islice(plan().asks(7), 12)]
    assert both == batches[7:] + seen(plan(), epoch=1)[:7]


def test_ranks_share_what_one_rank_would_see() -> None:
    ranks = [seen(plan(rank=r, world=3)) for r in range(3)]
    assert [len(r) for r in ranks] == [4, 4, 4]
    together = [flat(parts) for parts in zip(*ranks, strict=True)]
    alone = TrainPlan(np.zeros(50, np.int64), [1.0], 12, 8)
    assert together == seen(alone)
    assert len(set(flat(together))) == 48


def test_weights_say_how_often_a_source_is_seen() -> None:
    source = np.array([0] * 40 + [1] * 20)
    weighted = TrainPlan(source, [0.5, 3.0], 1, 8)
    counts = np.bincount(flat(seen(weighted)), minlength=60)
    assert counts[:40].sum() == 20 and counts[:40].max() == 1
    assert counts[40:].tolist() == [3] * 20
    other = np.bincount(flat(seen(weighted, 1)), minlength=60)
    assert not np.array_equal(other[:40], counts[:40])


def test_epochs_of_a_given_length_walk_through_whole_passes() -> None:
    short = [flat(seen(plan(epoch_batches=5), e)) for e in range(5)]
    assert [len(e) for e in short] == [20] * 5
    counts = np.bincount(flat(short), minlength=50)
    assert counts.tolist() == [2] * 50
    long = flat(seen(plan(epoch_batches=25)))
    assert np.bincount(long, minlength=50).tolist() == [2] * 50


def test_predicted_lengths_vary_alike_on_all_ranks() -> None:
    lengths = [
        [a.predict for a in asks(plan(400, predict_min=3, rank=r, world=2))] for r in range(2)
    ]
    assert lengths[0] == lengths[1] and set(lengths[0]) == {3, 4, 5, 6, 7, 8}
    assert [a.predict for a in asks(plan(400, predict_min=3, world=2), 1)] != lengths[0]
    assert {a.predict for a in asks(plan())} == {8}


def test_evaluation_sees_every_window_once_in_order() -> None:
    assert seen(EvalPlan(10, 4, 8)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    ranks = [flat(seen(EvalPlan(10, 4, 8, r, 3))) for r in range(3)]
    assert sorted(flat(ranks)) == list(range(10))
    assert all(r == sorted(r) for r in ranks)


def test_too_few_windows_are_told() -> None:
    with pytest.raises(UserError, match=r"3 training windows for batches of 4; lower"):
        plan(3)


def test_fewer_windows_than_processes_are_refused() -> None:
    with pytest.raises(UserError, match=r"lower trainer\.devices"):
        EvalPlan(windows=1, batch_size=4, predict=8, rank=0, world=2)
