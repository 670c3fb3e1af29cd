"""Fusion: many senses to one feature, whatever their order, over those present (section 2.1)."""

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

FusionKind = Literal["softmax", "mean", "max", "concat"]
_ABSENT = -1e4  # far below any feature, yet finite in bfloat16


class Fusion(nn.Module):
    """y_t from z_{t,m}, m = 1..M.

    `softmax` is the paper's: w_m = exp(z_m) / sum_m' exp(z_m') a channel, y = sum_m w_m z_m.
    `concat` is not permutation-invariant; it is there as a row of Table 3b.

    Args:
        kind: Which function.
        senses: M, needed by `concat`.
        feature: D.
    """

    def __init__(self, kind: FusionKind, senses: int, feature: int) -> None:
        super().__init__()
        self.kind = kind
        self.mix = nn.Linear(senses * feature, feature) if kind == "concat" else None

    def forward(self, features: Tensor, presence: Tensor) -> Tensor:
        """Features (B, T, M, D) and presence bool (B, T, M) to (B, T, D); zeros if none is."""
        here = rearrange(presence, "b t m -> b t m 1")
        known = features.masked_fill(~here, 0.0)
        if self.mix is not None:
            out: Tensor = self.mix(rearrange(known, "b t m d -> b t (m d)"))
        elif self.kind == "softmax":
            weights = features.masked_fill(~here, _ABSENT).softmax(dim=2)
            out = (weights * known).sum(2)
        elif self.kind == "mean":
            out = mean_of(features, presence)
        else:
            out = features.masked_fill(~here, _ABSENT).amax(2)
        return torch.where(here.any(2), out, torch.zeros_like(out))


def mean_of(features: Tensor, presence: Tensor) -> Tensor:
    """Mean of features (B, T, M, D) over the senses in presence (B, T, M); zeros if none is."""
    here = rearrange(presence, "b t m -> b t m 1")
    return features.masked_fill(~here, 0.0).sum(2) / here.sum(2).clamp(min=1)
