"""Anchor: the D x D map written out, what the literal form loses, what the residual form keeps."""

from dataclasses import replace
from math import sqrt

import pytest
import torch
from helpers.worlds import ENCODER, HANDS, make_batch
from torch import Tensor
from torch.nn import functional as F

from mssim.action.anchor import Anchor
from mssim.action.encoder import ActionEncoder
from mssim.attention import attend


@pytest.mark.parametrize("queries, keys", [(5, 5), (3, 7), (1, 1)])
@pytest.mark.parametrize("bias", ["none", "shared", "per row"])
def test_attend_equals_the_fused_kernel(queries: int, keys: int, bias: str) -> None:
    g = torch.Generator().manual_seed(queries + keys)
    q = torch.randn(4, 2, queries, 6, generator=g)
    k, v = torch.randn(2, 4, 2, keys, 6, generator=g)
    shapes = {"none": None, "shared": (1, 2, queries, keys), "per row": (4, 1, queries, keys)}
    shape = shapes[bias]
    added = None if shape is None else torch.randn(shape, generator=g)
    if added is not None and keys > 1:
        added[..., -1] = float("-inf")
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=added)
    torch.testing.assert_close(attend(q, k, v, added), expected)


def by_loops(z: Tensor, anchor: Tensor) -> Tensor:
    """softmax_channel(q k^T) v for one action z (D,) and q = sqrt(D) anchor (D,)."""
    d = len(z)
    out = torch.zeros(d)
    for j in range(d):
        weight = torch.softmax(sqrt(d) * anchor[j] * z, dim=0)
        out[j] = (weight * z).sum()
    return out


def test_the_channel_map_written_out() -> None:
    g = torch.Generator().manual_seed(0)
    z = torch.randn(2, 3, 2, 8, generator=g)
    anchor = F.normalize(torch.randn(2, 8, generator=g), dim=-1)
    residual, literal = Anchor(8), Anchor(8, residual=False)
    with torch.no_grad():
        assert residual.gain is not None
        residual.gain.copy_(torch.linspace(-1, 1, 8))
        added, alone = residual(z, anchor), literal(z, anchor)
    for b in range(2):
        for t in range(3):
            for m in range(2):
                mixed = by_loops(z[b, t, m], anchor[b])
                torch.testing.assert_close(alone[b, t, m], mixed)
                expected = z[b, t, m] + torch.linspace(-1, 1, 8) * mixed
                torch.testing.assert_close(added[b, t, m], expected)


def test_the_literal_form_sees_the_action_as_a_multiset() -> None:
    g = torch.Generator().manual_seed(1)
    z = torch.randn(1, 4, 1, 16, generator=g)
    anchor = F.normalize(torch.randn(1, 16, generator=g), dim=-1)
    shuffled = z[..., torch.randperm(16, generator=g)]
    literal, residual = Anchor(16, residual=False), Anchor(16)
    torch.testing.assert_close(literal(z, anchor), literal(shuffled, anchor))
    assert (residual(z, anchor) - residual(shuffled, anchor)).abs().max() > 0.5


def test_without_context_the_map_is_a_mean() -> None:
    z = torch.randn(1, 2, 1, 8, generator=torch.Generator().manual_seed(2))
    out = Anchor(8, residual=False)(z, torch.zeros(1, 8))
    torch.testing.assert_close(out, z.mean(-1, keepdim=True).expand_as(z))


def held_out_r2(features: Tensor, codes: Tensor, ridge: float = 1e-3) -> float:
    """R^2 of closed-form ridge regression, fitted on three quarters, scored on the last one."""
    n = len(features) * 3 // 4
    x, y = features.double(), codes.double()
    mean_x, std_x, mean_y = x[:n].mean(0), x[:n].std(0).clamp(min=1e-9), y[:n].mean(0)
    x, y = (x - mean_x) / std_x, y - mean_y
    gram = x[:n].T @ x[:n] + ridge * n * torch.eye(x.shape[1])
    weights = torch.linalg.solve(gram, x[:n].T @ y[:n])
    rest = y[n:] - x[n:] @ weights
    return float(1 - (rest**2).sum() / ((y[n:] - y[n:].mean(0)) ** 2).sum())


def probe(anchor: str, seed: int) -> list[float]:
    """R^2 of each sense's code from its anchored feature before training; 1200 steps, D = 128."""
    torch.manual_seed(seed)
    config = replace(ENCODER, code=32, projection=[256], feature=128, anchor=anchor)
    encoder = ActionEncoder(HANDS, 1, config).eval()
    features, codes = [], []
    with torch.no_grad():
        for part in range(5):
            batch = make_batch(HANDS, size=20, px=2, seed=10 * seed + part)
            codes.append(encoder.codes(batch))
            context = F.normalize(torch.randn(20, 128), dim=-1)
            features.append(encoder.align(codes[-1], context))
    x, y = (torch.cat(v).flatten(0, 1) for v in (features, codes))
    return [held_out_r2(x[:, m], y[:, m]) for m in range(len(HANDS))]


@pytest.mark.parametrize("seed", range(2))
def test_ridge_probe_recovers_codes_after_the_anchor(seed: int) -> None:
    assert min(probe("residual", seed)) >= 0.9


def test_ridge_probe_fails_after_the_literal_anchor() -> None:
    """The paper's formula as printed, the documented ablation: most of the action is gone."""
    assert max(probe("literal", 0)) < 0.5
