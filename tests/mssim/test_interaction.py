"""Interaction: hard projection, relaxed hyperplane, and the norm loss, against closed forms."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mssim.action.interaction import interact, norm_loss

SEEDS = range(4)


def pair(seed: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(3, 6, 8, generator=g), 3 * torch.randn(3, 6, 8, generator=g)


@pytest.mark.parametrize("seed", SEEDS)
def test_hard_projection_is_orthogonal_to_the_context(seed: int) -> None:
    y, z = pair(seed)
    out = interact(y, z, "projection")
    assert (out * z).sum(-1).abs().max() < 1e-4
    expected = y - ((y * z).sum(-1) / (z * z).sum(-1)).unsqueeze(-1) * z
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_relaxed_hyperplane_in_closed_form(seed: int) -> None:
    y, z = pair(seed)
    out = interact(y, z, "relaxed")
    dot = (y * z).sum(-1, keepdim=True)
    hard = y - dot / (z * z).sum(-1, keepdim=True) * z
    torch.testing.assert_close(out, torch.where(dot >= 0, y, hard))
    kept = (dot >= 0).squeeze(-1)
    assert 0 < kept.sum() < kept.numel()  # both sides of the plane were met
    assert torch.equal(out[kept], y[kept])


@pytest.mark.parametrize("kind", ["relaxed", "projection"])
@pytest.mark.parametrize("seed", SEEDS)
def test_twice_is_as_good_as_once(kind: str, seed: int) -> None:
    y, z = pair(seed)
    once = interact(y, z, kind)  # type: ignore[arg-type]
    torch.testing.assert_close(interact(once, z, kind), once)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_length_of_the_context_does_not_matter(seed: int) -> None:
    y, z = pair(seed)
    torch.testing.assert_close(interact(y, z, "relaxed"), interact(y, 7 * z, "relaxed"))
    assert (interact(y, z, "relaxed") * z).sum(-1).min() > -1e-4


@pytest.mark.parametrize("kind", ["relaxed", "projection", "none"])
def test_without_context_the_action_stays(kind: str) -> None:
    y, z = pair(0)
    assert torch.equal(interact(y, torch.zeros_like(z), kind), y)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", SEEDS)
def test_norm_loss_against_a_loop(seed: int) -> None:
    y, z = pair(seed)
    seen = F.normalize(z, dim=-1)
    mask = torch.rand(3, 6, generator=torch.Generator().manual_seed(seed)) < 0.8
    terms = []
    for b in range(3):
        for t in range(1, 6):
            if mask[b, t] and mask[b, t - 1]:
                change = np.linalg.norm(seen[b, t].numpy() - seen[b, t - 1].numpy())
                terms.append((np.linalg.norm(y[b, t].numpy()) - change) ** 2)
    assert norm_loss(y, seen, mask).item() == pytest.approx(np.mean(terms), rel=1e-4)


def test_norm_loss_is_zero_without_two_frames_in_a_row() -> None:
    y, z = pair(0)
    mask = torch.tensor([[True, False] * 3] * 3)
    assert norm_loss(y, z, mask).item() == 0
    assert norm_loss(y[:, :1], z[:, :1], mask[:, :1]).item() == 0


def test_norm_loss_trains_the_action_and_never_its_targets() -> None:
    y, z = pair(0)
    y[0] = 0.0  # an absent action: its norm has no slope, yet its gradient must be finite
    y.requires_grad_()
    z.requires_grad_()
    norm_loss(y, z, torch.ones(3, 6, dtype=torch.bool)).backward()
    assert y.grad is not None and z.grad is None
    assert y.grad.isfinite().all() and (y.grad[1:, 1:] != 0).all()
