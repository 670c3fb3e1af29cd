"""Anchor: channel-wise cross-attention between the seen context and each sense (section 2.1)."""

from math import sqrt

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from mssim.attention import attend


class Anchor(nn.Module):
    """z <- z + g * softmax_channel(q k^T) v with q = z-bar_x, k = v = z.

    Taken literally (`residual=False`) the paper's formula depends on the action's channels only as
    a multiset and loses nearly all of the action; the residual form keeps it. The literal form
    is a row of the ablation table.

    Args:
        feature: D.
        residual: Add the attention to z with a learned gain g a channel, at first 0.1.
    """

    def __init__(self, feature: int, residual: bool = True) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((feature,), 0.1)) if residual else None

    def forward(self, features: Tensor, anchor: Tensor) -> Tensor:
        """Features (B, T, M, D) and unit anchor (B, D) to features of the same shape."""
        b, t, m, d = features.shape
        # The anchor has unit norm; times sqrt(D) its channels have the size that logits need.
        query = repeat(anchor * sqrt(d), "b d -> (b t m) 1 d 1", t=t, m=m).to(features.dtype)
        keys = rearrange(features, "b t m d -> (b t m) 1 d 1")
        # Head width 1; on a GPU the D x D map is never built.
        mixed = attend(query, keys, keys)
        mixed = rearrange(mixed, "(b t m) 1 d 1 -> b t m d", b=b, t=t, m=m)
        return mixed if self.gain is None else features + self.gain * mixed
