"""Normalizer: statistics by source and sense, there and back, limits and refusals."""

import pytest
import torch
from helpers.worlds import BODY, make_batch
from torch import Tensor

from mssim.errors import UserError
from mssim.normalize import Normalizer


def statistics(sources: int, seed: int = 0) -> dict[str, tuple[Tensor, Tensor]]:
    g = torch.Generator().manual_seed(seed)
    return {
        s.name: (
            torch.randn(sources, *s.shape, generator=g),
            1 + torch.rand(sources, *s.shape, generator=g),
        )
        for s in BODY
    }


@pytest.mark.parametrize("seed", range(3))
def test_there_and_back_again(seed: int) -> None:
    batch = make_batch(BODY, size=4, sources=2, seed=seed)
    normalizer = Normalizer(BODY, 2)
    normalizer.set_statistics(statistics(2, seed))
    back = normalizer.inverse(normalizer(batch.senses, batch.source), batch.source)
    for name, value in batch.senses.items():
        assert back[name].shape == value.shape
        torch.testing.assert_close(back[name], value, atol=1e-5, rtol=1e-5)


def test_each_window_is_normalised_by_its_own_source() -> None:
    batch = make_batch(BODY, size=3, sources=2)  # sources 0, 1, 0
    normalizer = Normalizer(BODY, 2)
    given = statistics(2)
    normalizer.set_statistics(given)
    out = normalizer(batch.senses, batch.source)
    for name, value in batch.senses.items():
        mean, std = given[name]
        for row, source in enumerate([0, 1, 0]):
            for k in range(value.shape[2]):
                expected = (value[row, :, k] - mean[source]) / std[source]
                size = expected[0].numel()
                torch.testing.assert_close(
                    out[name][row, :, k * size : (k + 1) * size], expected.flatten(1)
                )


def test_a_transmission_error_is_clipped_at_ten_deviations() -> None:
    batch = make_batch(BODY, size=1)
    batch.senses["touch"][0, 0] = 1e6
    batch.senses["touch"][0, 1] = -1e6
    out = Normalizer(BODY, 1)(batch.senses, batch.source)["touch"]
    assert (out[0, 0] == 10).all() and (out[0, 1] == -10).all()
    assert out[0, 2].abs().max() < 10


def test_statistics_travel_in_the_state_dict() -> None:
    one, two = Normalizer(BODY, 2), Normalizer(BODY, 2)
    one.set_statistics(statistics(2))
    two.load_state_dict(one.state_dict())
    batch = make_batch(BODY, size=2, sources=2)
    for name, value in one(batch.senses, batch.source).items():
        assert torch.equal(value, two(batch.senses, batch.source)[name])


def test_missing_statistics_are_named() -> None:
    given = statistics(1)
    del given["emg"]
    with pytest.raises(UserError, match="statistics: none for sense emg"):
        Normalizer(BODY, 1).set_statistics(given)


def test_statistics_of_another_shape_are_named() -> None:
    with pytest.raises(UserError, match=r"sense pose has shape \(2, 4, 3\).* expects \(1, 4, 3\)"):
        Normalizer(BODY, 1).set_statistics(statistics(2))
