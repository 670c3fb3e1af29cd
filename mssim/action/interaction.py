"""Interaction: what an action can do to the context it meets (sections 2.2 and 7.4)."""

from typing import Literal

import torch
from einops import reduce
from torch import Tensor
from torch.nn import functional as F

InteractionKind = Literal["relaxed", "projection", "none"]


def interact(features: Tensor, context: Tensor, kind: InteractionKind) -> Tensor:
    """Action features y (B, T, D) against context vectors z (B, T, D): y-o of the same shape.

    projection:  y - (<y, z> / ||z||^2) z, the part of the action that changes the context.
    relaxed:     y where <y, z> >= 0, else its projection: y - min(0, <y, z-hat>) z-hat.
    """
    if kind == "none":
        return features
    direction = F.normalize(context, dim=-1).to(features.dtype)
    along = (features * direction).sum(-1, keepdim=True)
    if kind == "relaxed":
        along = along.clamp(max=0.0)
    return features - along * direction


def norm_loss(features: Tensor, seen: Tensor, mask: Tensor) -> Tensor:
    """L_norm = mean (||y-o_t|| - ||z_{x_t} - z_{x_{t-1}}||)^2 (section 2.2).

    Args:
        features: y-o, (B, T, D).
        seen: Unit image features z_x (B, T, D); taken as targets, no gradient.
        mask: bool (B, T), which frames are real.
    """
    change = (seen[:, 1:] - seen[:, :-1]).detach().float().norm(dim=-1)
    both = (mask[:, 1:] & mask[:, :-1]).float()
    # The root of a sum of squares has no gradient at zero, where an absent action lies.
    size = (reduce(features[:, 1:].float() ** 2, "b t d -> b t", "sum") + 1e-8).sqrt()
    total = ((size - change) ** 2 * both).sum()
    return total / both.sum().clamp(min=1) if both.numel() else torch.zeros_like(total)
