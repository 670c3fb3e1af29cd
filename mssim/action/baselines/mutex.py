"""MUTEX: some senses are hidden and guessed from the others, and all are matched to what is seen.

Published (Shah, Martin-Martin and Zhu, CoRL 2023; terms as in the released code), in two stages:

    masked modelling       tokens of random modalities are masked, a transformer over the rest
                           predicts them; for continuous features by L1, |a-hat - a|
    cross-modal matching   each modality's representation f_m is drawn to that of the most
                           informative one, the video: ||f_m - sg(f_video)||^2

The paper (section 3.2): "proposes to randomly mask out and project some of the input modalities and
directly align and match the remaining modalities to future frames", by "L2 regression against
pretrained CLIP features". Silent on: the share that is masked, the transformer, the weights.

Here: a token is a sense at a step. Whole senses are hidden for a window, each with chance 0.3 and
never all that a step has. A transformer of two blocks lets the remaining tokens of a step look at
each other; a hidden sense becomes a learned token of its name, which looks at them and is looked at
by none, so that to the others hidden in training and missing in a test are the same thing.
L = L_mask + L_match, both stages at once: L_mask in normalised units; L_match over the remaining
senses at the steps to predict, to the unit image feature of the step's frame. The remaining tokens
are averaged. Nothing is hidden outside of training, where L_mask is zero.
"""

from math import gcd

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from mssim.action.baselines.base import Bound, Felt, masked_average
from mssim.action.experts import mlp
from mssim.action.fusion import mean_of
from mssim.attention import attend
from mssim.errors import UserError
from mssim.senses import SenseSet

HIDDEN = 0.3
_BLOCKS = 2
_ABSENT = -1e4  # far below any score, yet finite where nothing at all is there


class Mutex(nn.Module):
    """Masked modelling and cross-modal matching.

    Args:
        senses: Two at least.
        code: Width of the hidden layers that guess a sense.
        feature: D.

    Raises:
        UserError: There is one sense only, which nothing is left to guess from.
    """

    def __init__(self, senses: SenseSet, code: int, feature: int) -> None:
        super().__init__()
        if len(senses) < 2:
            raise UserError(
                f"encoder.binding: mutex guesses senses from each other, but there is only "
                f"{', '.join(senses.names) or 'none'}; give data.use_senses two or more"
            )
        self.hidden = nn.ParameterDict(
            {s.name: nn.Parameter(0.02 * torch.randn(feature)) for s in senses}
        )
        self.blocks = nn.ModuleList([Block(feature) for _ in range(_BLOCKS)])
        self.guess = nn.ModuleDict({s.name: mlp([feature, code, s.width]) for s in senses})

    def forward(self, felt: Felt) -> Bound:
        """See `Binding`."""
        kept = self.keep(felt.presence) if self.training else felt.presence
        hidden = felt.presence & ~kept
        stand_in = torch.stack([self.hidden[name] for name in felt.actions])
        tokens = torch.where(rearrange(kept, "b t m -> b t m 1"), felt.features, stand_in)
        for block in self.blocks:
            tokens = block(tokens, kept)
        guesses = {n: self.guess[n](tokens[:, :, m]) for m, n in enumerate(felt.actions)}
        loss = masked_loss(guesses, felt.actions, hidden) + match_loss(tokens, felt, kept)
        return Bound(mean_of(tokens, kept), loss)

    def keep(self, presence: Tensor) -> Tensor:
        """Which of the senses present (B, T, M) are not hidden, bool of that shape."""
        b, _, m = presence.shape
        kept = presence & (torch.rand(b, 1, m, device=presence.device) >= HIDDEN)
        return torch.where(kept.any(-1, keepdim=True), kept, presence)


class Block(nn.Module):
    """Attention over the senses of a step, then a hidden layer, both added to what came in."""

    def __init__(self, feature: int) -> None:
        super().__init__()
        self.heads = gcd(feature, 4)
        self.before = nn.LayerNorm(feature)
        self.qkv = nn.Linear(feature, 3 * feature)
        self.out = nn.Linear(feature, feature)
        self.then = nn.Sequential(nn.LayerNorm(feature), mlp([feature, 4 * feature, feature]))

    def forward(self, tokens: Tensor, kept: Tensor) -> Tensor:
        """Tokens (B, T, M, D) look at those in kept (B, T, M); a tensor like tokens."""
        b = tokens.shape[0]
        q, k, v = rearrange(
            self.qkv(self.before(tokens)),
            "b t m (three g c) -> three (b t) g m c",
            three=3,
            g=self.heads,
        )
        bias = torch.zeros(kept.shape, dtype=q.dtype, device=q.device)
        bias = rearrange(bias.masked_fill(~kept, _ABSENT), "b t m -> (b t) 1 1 m")
        looked = rearrange(attend(q, k, v, bias), "(b t) g m c -> b t m (g c)", b=b)
        tokens = tokens + self.out(looked)
        out: Tensor = tokens + self.then(tokens)
        return out


def masked_loss(guesses: dict[str, Tensor], actions: dict[str, Tensor], hidden: Tensor) -> Tensor:
    """L_mask = mean |a-hat - a| over the hidden (B, T, M), each sense's numbers averaged first."""
    errors = [
        reduce((guesses[name] - actions[name]).float().abs(), "b t n -> b t", "mean")
        for name in actions
    ]
    return masked_average(torch.stack(errors, dim=-1), hidden)


def match_loss(tokens: Tensor, felt: Felt, kept: Tensor) -> Tensor:
    """L_match = mean ||z_{t,m} - z_{x_t}||^2 over what is kept of the steps to predict.

    Args:
        tokens: (B, T, M, D).
        felt: Its frames are the targets; there are none where the future is not given.
        kept: bool (B, T, M).
    """
    h, length = felt.context, felt.seen.shape[1]
    frames = rearrange(felt.seen[:, h:].detach().float(), "b t d -> b t 1 d")
    away = reduce((tokens[:, h:length].float() - frames) ** 2, "b t m d -> b t m", "sum")
    return masked_average(away, kept[:, h:length] & felt.real[:, h:length].unsqueeze(-1))
