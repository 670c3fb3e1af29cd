"""Warp: frames made of context pixels that moved, the guess that diffusion starts from.

What is seen next is mostly what was seen, elsewhere: the head turns, a hand goes by. A network
that draws every pixel anew must learn to copy; one that says *from where* each pixel comes keeps
it sharp (Zhou et al. 2016, "View Synthesis by Appearance Flow"; Finn et al. 2016, pixel advection).

Letters: B batch, H context, P predicted frames, C channels, S pixels a side.
"""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

_REACH = 0.25  # of half a picture: how far an output of 1 moves a pixel
_LAST = 3.0  # log odds by which the last context frame is believed before anything is learned


class Warp(nn.Module):
    """For each pixel to predict: where to look in each context frame, and which one to believe.

    Args:
        channels: C of the features it reads.
        context: H.
        patch: Pixels a side that one place of the features stands for.
    """

    def __init__(self, channels: int, context: int, patch: int) -> None:
        super().__init__()
        self.context, self.patch = context, patch
        self.head = nn.Conv2d(channels, 3 * context * patch**2, 3, padding=1)
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Features (B P, C, s, s) and context (B, H, 3, S, S), mask bool (B, H): (B, P, 3, S, S).

        Zeros where a window has no context frame at all.
        """
        b, q = context.shape[0], self.patch
        drawn = rearrange(
            self.head(features).float(),
            "(b p) (k h i j) y x -> k b p h (y i) (x j)",
            b=b,
            k=3,
            i=q,
            j=q,
        )
        flow, odds = drawn[:2], drawn[2]
        odds = odds + _LAST * F.one_hot(
            torch.tensor(self.context - 1, device=odds.device), self.context
        ).view(1, 1, -1, 1, 1)
        real = rearrange(mask, "b h -> b 1 h 1 1")
        share = odds.masked_fill(~real, -1e4).softmax(dim=2) * real
        moved = look(context.float(), _REACH * flow)
        guess: Tensor = (moved * rearrange(share, "b p h y x -> b p h 1 y x")).sum(dim=2)
        return guess


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
