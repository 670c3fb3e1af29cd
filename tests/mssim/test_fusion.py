"""Fusion: the formulas, permutation invariance, and the silence of absent senses."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
from helpers.worlds import BODY, ENCODER, make_batch
from torch import Tensor
from torch.nn import functional as F

from mssim.action.encoder import ActionEncoder
from mssim.action.fusion import Fusion, FusionKind

KINDS = get_args(FusionKind)
INVARIANT = [k for k in KINDS if k != "concat"]


def random_senses(seed: int, m: int = 4, d: int = 6) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(3, 5, m, d, generator=g), torch.rand(3, 5, m, generator=g) < 0.6


@pytest.mark.parametrize("kind", INVARIANT)
def test_the_formula_over_those_present(kind: FusionKind) -> None:
    features, presence = random_senses(0)
    out = Fusion(kind, 4, 6)(features, presence)
    for b in range(3):
        for t in range(5):
            z = features[b, t][presence[b, t]]
            if len(z) == 0:
                expected = torch.zeros(6)
            elif kind == "softmax":
                expected = (z.exp() / z.exp().sum(0) * z).sum(0)
            else:
                expected = z.mean(0) if kind == "mean" else z.amax(0)
            torch.testing.assert_close(out[b, t], expected)


@pytest.mark.parametrize("kind", INVARIANT)
def test_fusion_is_permutation_invariant(kind: FusionKind) -> None:
    for seed in range(5):
        features, presence = random_senses(seed)
        order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
        fusion = Fusion(kind, 4, 6)
        torch.testing.assert_close(
            fusion(features, presence), fusion(features[:, :, order], presence[:, :, order])
        )


def test_concatenation_is_not_permutation_invariant() -> None:
    features, presence = random_senses(0)
    fusion = Fusion("concat", 4, 6)
    turned = fusion(features.roll(1, 2), presence.roll(1, 2))
    assert (fusion(features, presence) - turned).abs().max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_fusion_ignores_absent_senses(kind: FusionKind) -> None:
    fusion = Fusion(kind, 4, 6)
    for seed in range(3):
        features, presence = random_senses(seed)
        out = fusion(features, presence)
        for value in (1e6, -1e6, float("nan")):
            other = features.masked_fill(~presence[..., None], value)
            assert torch.equal(fusion(other, presence), out)


@pytest.mark.parametrize("kind", KINDS)
def test_absent_senses_get_no_gradient(kind: FusionKind) -> None:
    features, presence = random_senses(0)
    features.requires_grad_()
    Fusion(kind, 4, 6)(features, presence).square().sum().backward()
    assert features.grad is not None
    assert (features.grad[~presence] == 0).all()
    assert (features.grad[presence] != 0).any()


@pytest.mark.parametrize("kind", KINDS)
def test_no_sense_at_all_gives_zeros(kind: FusionKind) -> None:
    features, presence = random_senses(0)
    assert (Fusion(kind, 4, 6)(features, torch.zeros_like(presence)) == 0).all()


def test_a_single_sense_passes_the_softmax_unchanged() -> None:
    features, _ = random_senses(0, m=1)
    here = torch.ones(3, 5, 1, dtype=torch.bool)
    torch.testing.assert_close(Fusion("softmax", 1, 6)(features, here), features[:, :, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_encoder_ignores_the_values_of_absent_senses(kind: FusionKind) -> None:
    torch.manual_seed(0)
    encoder = ActionEncoder(BODY, 1, replace(ENCODER, fusion=kind)).eval()
    batch = make_batch(BODY, presence=0.6)
    wild = {}
    for m, (name, value) in enumerate(batch.senses.items()):
        wild[name] = value.clone()
        wild[name][~batch.presence[:, :, m]] = 1e6
    seen = F.normalize(torch.randn(4, 12, 32), dim=-1)
    one = encoder(batch, seen)
    two = encoder(batch.with_senses(wild, batch.presence), seen)
    assert torch.equal(one.features, two.features)
    assert torch.equal(one.ssl, two.ssl)
    assert torch.equal(one.norm, two.norm)
