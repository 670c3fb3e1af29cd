"""Condition: action features to what the network reads, frame by frame (sections 2.3 and 7.4).

Frame t gets a modulation vector and a few tokens: its own action (several), its neighbours in
time, and the context frames. With one token only, softmax over one key is 1 and cross-attention
cannot learn anything [method.md 10].

Letters: B batch, H context, P predicted, D feature width, E embedding width, N tokens.
"""

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F

from mssim.action.experts import mlp

_MOTION = 4.0


class Condition(nn.Module):
    """Action features to modulation (B, P, E) and tokens (B, P, N, E).

    Args:
        feature: D.
        width: E.
        own_tokens: Tokens made of a frame's own action.
        causal: Look at no action after the frame's own.
        modulate: Make modulation; it is zeros without.
        attend: Make tokens; there are none, N = 0, without.
    """

    def __init__(
        self,
        feature: int,
        width: int,
        own_tokens: int,
        causal: bool,
        modulate: bool = True,
        attend: bool = True,
    ) -> None:
        super().__init__()
        self.causal, self.width = causal, width
        self.own_tokens, self.attend = own_tokens, attend
        self.null = nn.Parameter(0.02 * torch.randn(feature))
        self.modulation = mlp([3 * feature + 1, width, width]) if modulate else None
        if attend:
            self.own = nn.Linear(feature, own_tokens * width)
            self.near = nn.Linear(feature, width)
            self.context = nn.Linear(2 * feature, width)
            self.kind = nn.Parameter(0.02 * torch.randn(4, width))

    def forward(
        self, features: Tensor, seen: Tensor, context_mask: Tensor, drop: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features (B, T, D), context image features (B, H, D), mask (B, H); drop bool (B,).

        Where `drop` is set the action is replaced by the learned null condition: what
        classifier-free guidance (UniSim eq. 1) and the row `no-action` use.
        """
        h = seen.shape[1]
        if drop is not None:
            gone = rearrange(drop, "b -> b 1 1")
            features = torch.where(gone, self.null.to(features.dtype), features)
        # Directions are normalised; the norm, which L_norm ties to the size of the change, is kept.
        size = features.float().norm(dim=-1, keepdim=True)
        unit = F.layer_norm(features, features.shape[-1:])
        now, before = unit[:, h:], unit[:, h - 1 : -1]
        start = unit[:, h - 1 : h]
        # Motion within a window is small beside the spread of postures: brought to their size.
        motion = _MOTION * torch.cat([now - before, now - start], dim=-1)
        if self.modulation is None:
            modulation = unit.new_zeros(*now.shape[:2], self.width)
        else:
            read = torch.cat([now, motion, size[:, h:].to(unit.dtype)], dim=-1)
            modulation = self.modulation(read)
        if not self.attend:
            return modulation, unit.new_zeros(*now.shape[:2], 0, self.width)
        return modulation, self._tokens(unit, seen, context_mask)

    def _tokens(self, unit: Tensor, seen: Tensor, context_mask: Tensor) -> Tensor:
        h, p = seen.shape[1], unit.shape[1] - seen.shape[1]
        own = rearrange(self.own(unit[:, h:]), "b p (n e) -> b p n e", n=self.own_tokens)
        near = self.near(unit)
        before = near[:, h - 1 : -1]
        # The other neighbour: the next action, or in a causal network the one before the last;
        # with one context frame the first frame has none, and reads the last twice.
        if self.causal:
            after = torch.cat([near[:, :1], near], 1)[:, h - 1 : -2]
        else:
            after = torch.cat([near[:, h + 1 :], near[:, -1:]], 1)
        real = rearrange(context_mask, "b h -> b h 1").to(unit.dtype)
        past = self.context(torch.cat([seen.to(unit.dtype), unit[:, :h]], dim=-1)) * real
        tokens = [
            own + self.kind[0],
            rearrange(before + self.kind[1], "b p e -> b p 1 e"),
            rearrange(after + self.kind[2], "b p e -> b p 1 e"),
            repeat(past + self.kind[3], "b h e -> b p h e", p=p),
        ]
        return torch.cat(tokens, dim=2)
