"""Warp: frames made of context pixels that moved, the guess that diffusion starts from.

What is seen next is mostly what was seen, elsewhere: the head turns, a hand goes by. A network
that draws every pixel anew must learn to copy; one that says *from where* each pixel comes keeps
it sharp (Zhou et al. 2016, "View Synthesis by Appearance Flow"; Finn et al. 2016, pixel advection).

Letters: B batch, H context, P predicted frames, C channels, S pixels a side.
"""

import torch
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from mssim.video.blocks import norm, position_basis

_REACH = 0.25  # of half a picture: how far an output of 1 moves a pixel
_LAST = 3.0  # log odds by which the last context frame is believed before anything is learned
_WAVES = 4  # of the cosines that a flow of the whole picture is made of


class Warp(nn.Module):
    """For each pixel to predict: where to look in each context frame, and which one to believe.

    Both are sums from coarse to fine: a few cosines over the picture that the action sets alone,
    as a turning head moves everything at once, then what each level of the network adds.

    Args:
        channels: C of each level of features that it reads.
        context: H.
        width: E.
    """

    def __init__(self, channels: list[int], context: int, width: int) -> None:
        super().__init__()
        self.context = context
        self.whole = nn.Linear(width, 3 * context * _WAVES**2)
        self.norms = nn.ModuleList(norm(c) for c in channels)
        self.heads = nn.ModuleList(nn.Conv2d(c, 3 * context, 3, padding=1) for c in channels)
        for layer in (self.whole, *self.heads):
            nn.init.normal_(layer.weight, std=1e-3)
            nn.init.zeros_(layer.bias)

    def forward(
        self, features: list[Tensor], embedding: Tensor, context: Tensor, mask: Tensor
    ) -> Tensor:
        """The guess (B, P, 3, S, S); zeros where a window has no context frame at all.

        Args:
            features: Of each level, (B P, C, s, s).
            embedding: (B P, E).
            context: (B, H, 3, S, S).
            mask: bool (B, H).
        """
        b, size = context.shape[0], context.shape[-1]
        basis = position_basis(size, _WAVES, context.device)
        drawn = rearrange(self.whole(F.silu(embedding)).float(), "n (k w) -> n k w", w=len(basis))
        total = einsum(drawn, basis, "n k w, w y x -> n k y x")
        for prepare, head, level in zip(self.norms, self.heads, features, strict=True):
            added = head(F.silu(prepare(level))).float()
            total = total + F.interpolate(added, size, mode="bilinear")
        total = rearrange(total, "(b p) (k h) y x -> k b p h y x", b=b, k=3)
        flow, odds = total[:2], total[2]
        odds = torch.cat([odds[:, :, :-1], odds[:, :, -1:] + _LAST], dim=2)
        real = rearrange(mask, "b h -> b 1 h 1 1")
        share = odds.masked_fill(~real, -1e4).softmax(dim=2) * real
        moved = look(context.float(), _REACH * flow)
        return einsum(moved, share, "b p h c y x, b p h y x -> b p c y x")


def look(pictures: Tensor, flow: Tensor) -> Tensor:
    """Pictures (B, H, 3, S, S) read bilinearly where the flow points: (B, P, H, 3, S, S).

    Flow (2, B, P, H, S, S) is right and down, in halves of a picture; past an edge, the edge's.
    """
    b, p = flow.shape[1:3]
    size = pictures.shape[-1]
    line = (torch.arange(size, device=flow.device) + 0.5) * 2 / size - 1
    here = torch.stack(torch.meshgrid(line, line, indexing="xy"))
    grid = rearrange(here, "k y x -> k 1 1 1 y x") + flow
    read = F.grid_sample(
        rearrange(pictures, "b h c y x -> (b h) c y x"),
        rearrange(grid, "k b p h y x -> (b h) (p y) x k"),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    frames: Tensor = rearrange(read, "(b h) c (p y) x -> b p h c y x", b=b, p=p)
    return frames
