"""Signal-agnostic neural field: all senses of a step are one latent, which a field decodes.

Published (Du et al., NeurIPS 2021, "Learning Signal-Agnostic Manifolds of Neural Fields"; the terms
as in the released code), for signals Phi_i, latents z_i and a field phi(c; z) at coordinates c:

    L_Rec = ||phi(c; z_i) - Phi_i(c)||^2
    L_LLE = ||phi(c; sum_j w_ij z_j) - Phi_i(c)||^2    z_j the neighbours of z_i, w least squares
                                                       with sum_j w_ij = 1: locally linear
    L_Iso = |alpha ||z_i - z_j||^2 - ||Phi_i - Phi_j||^2|    alpha learned, for nearby pairs

and their sum is minimised over the field, a hypernetwork's, and over a latent for each signal. One
latent serves several modalities.

The paper (section 3.2): "extracts cross-modal feature using signal-agnostic neural field", which is
"letting gradients from different modalities optimize a shared latent manifold". Silent on all else.

Here: a signal is what all senses feel at one step. Its latent is the mean of the projected senses
present, encoded and not optimised: what is acted in a test must be encoded at once. It is what the
video model is given, whose loss takes the place of a field for images. One field serves all
senses: its input is Fourier features of a number's place in its sense and a learned vector
by sense, and the latent scales and shifts its hidden layers (instead of a hypernetwork). A sense of
more than 64 numbers is compared at 64 of them, drawn anew at each training step. Neighbours are the
five steps of the batch whose signals are nearest, over the senses that both have; the weights w
have the usual ridge and carry no gradient. L_Rec sums over senses, as our L_ssl does.

Letters: B batch, T frames, M senses, N steps of the batch, C coordinates, k neighbours, W width.
"""

from math import ceil, log2, pi

import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.nn import functional as F

from mssim.action.baselines.base import Bound, Felt, masked_average, steps
from mssim.action.experts import reconstruction_loss
from mssim.action.fusion import mean_of
from mssim.senses import Sense, SenseSet

POINTS = 64
NEIGHBOURS = 5
_LAYERS = 2
_RIDGE = 1e-3


class NeuralField(nn.Module):
    """A shared latent by step, and the field that decodes every sense from it.

    Args:
        senses: What the field decodes.
        code: W, width of the field's hidden layers.
        feature: D, width of the latent.
    """

    def __init__(self, senses: SenseSet, code: int, feature: int) -> None:
        super().__init__()
        rank = max(len(s.shape) for s in senses) + 1
        octaves = ceil(log2(max(2, *(n for s in senses for n in axes(s)))))
        for sense in senses:
            places = fourier(grid(axes(sense), rank), octaves)
            self.register_buffer(f"at_{sense.name}", places, persistent=False)
        self.which = nn.ParameterDict({s.name: nn.Parameter(torch.randn(code)) for s in senses})
        self.enter = nn.Linear(rank * (2 * octaves + 1), code)
        self.modulate = nn.Linear(feature, 2 * _LAYERS * code)
        self.layers = nn.ModuleList([nn.Linear(code, code) for _ in range(_LAYERS)])
        self.leave = nn.Linear(code, 1)
        self.log_alpha = nn.Parameter(torch.zeros(()))

    def forward(self, felt: Felt) -> Bound:
        """See `Binding`."""
        latents = mean_of(felt.features, felt.presence)
        rows = steps(felt.presence.any(-1))
        shown = steps(felt.presence)[rows]
        signals = {name: steps(value)[rows] for name, value in felt.actions.items()}
        return Bound(latents, self.loss(steps(latents)[rows].float(), signals, shown))

    def loss(self, z: Tensor, signals: dict[str, Tensor], shown: Tensor) -> Tensor:
        """L_Rec + L_LLE + L_Iso.

        Args:
            z: Latents (N, D).
            signals: By sense (N, width).
            shown: bool (N, M), which senses a step has.
        """
        points = {name: self._points(value.shape[1], z.device) for name, value in signals.items()}
        loss = self._error(z, signals, shown, points)
        apart = distances(signals, shown)
        k = min(NEIGHBOURS, len(z) - 1)
        if k < 1:
            return loss + 0.0 * self.log_alpha
        away, near = apart.topk(k, largest=False)
        known = away.isfinite()
        linear = local_combination(z, near)
        loss = loss + self._error(linear, signals, shown & known.all(1, keepdim=True), points)
        gap = self.log_alpha.exp() * reduce((z.unsqueeze(1) - z[near]) ** 2, "n k d -> n k", "mean")
        return loss + masked_average((gap - away.masked_fill(~known, 0.0)).abs(), known)

    def decode(self, z: Tensor, name: str, points: Tensor) -> Tensor:
        """phi(c; z) for latents (N, D) at the places `points` (C,) of a sense: (N, C)."""
        hidden = self.enter(self.get_buffer(f"at_{name}")[points]) + self.which[name]
        turns = rearrange(
            self.modulate(z), "n (layer two w) -> layer two n 1 w", layer=_LAYERS, two=2
        )
        for layer, (scale, shift) in zip(self.layers, turns, strict=True):
            hidden = F.gelu(layer(hidden) * (1 + scale) + shift)
        out: Tensor = self.leave(hidden)
        return rearrange(out, "n c 1 -> n c")

    def _error(
        self, z: Tensor, signals: dict[str, Tensor], shown: Tensor, points: dict[str, Tensor]
    ) -> Tensor:
        """Mean square error of what latents (N, D) decode to, summed over senses."""
        decoded = {n: self.decode(z, n, points[n]).unsqueeze(0) for n in signals}
        true = {n: value[:, points[n]].unsqueeze(0) for n, value in signals.items()}
        return reconstruction_loss(decoded, true, shown.unsqueeze(0))

    def _points(self, width: int, device: torch.device) -> Tensor:
        """Which of a sense's numbers are compared: all, or in training a few of many."""
        if not self.training or width <= POINTS:
            return torch.arange(width, device=device)
        return torch.randperm(width, device=device)[:POINTS]


def axes(sense: Sense) -> list[int]:
    """Lengths of a sense's axes in a frame interval: samples, then its shape."""
    return [sense.samples_per_frame, *sense.shape]


def grid(lengths: list[int], rank: int) -> Tensor:
    """Places of the numbers of an array, in [-1, 1], as (numbers, rank); 0 on axes it lacks."""
    lines = [torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1) for n in lengths]
    lines += [torch.zeros(1)] * (rank - len(lengths))
    places = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1)
    return rearrange(places, "... r -> (...) r")


def fourier(places: Tensor, octaves: int) -> Tensor:
    """Places (C, r) beside sine and cosine of pi 2^l times them: (C, r (2 octaves + 1))."""
    turns = places.unsqueeze(-1) * pi * 2.0 ** torch.arange(octaves) / 2
    waves = rearrange([turns.sin(), turns.cos()], "two c r l -> c (two r l)")
    return torch.cat([places, waves], dim=-1)


@torch.no_grad()
def distances(signals: dict[str, Tensor], shown: Tensor) -> Tensor:
    """Mean squared difference of each two of N signals (N, N) over the senses that both have.

    Infinite where they share none, and from a signal to itself.
    """
    total = shown.new_zeros(len(shown), len(shown), dtype=torch.float32)
    count = torch.zeros_like(total)
    for m, value in enumerate(signals.values()):
        both = (shown[:, m].unsqueeze(0) & shown[:, m].unsqueeze(1)).float()
        # Summed by differences: the quicker way by products loses what is near.
        value = value.float()
        apart = torch.cdist(value, value, compute_mode="donot_use_mm_for_euclid_dist")
        total, count = total + both * apart**2 / value.shape[1], count + both
    mean = torch.where(count > 0, total / count.clamp(min=1), torch.inf)
    return mean.fill_diagonal_(torch.inf)


def local_combination(z: Tensor, near: Tensor) -> Tensor:
    """sum_j w_ij z_j, the point nearest to z_i (N, D) in the plane of its neighbours (N, k)."""
    around = z[near]
    with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
        arms = (around - z.unsqueeze(1)).float()
        gram = arms @ rearrange(arms, "n k d -> n d k")
        trace = gram.diagonal(dim1=1, dim2=2).sum(-1)
        ridge = rearrange(_RIDGE * trace + 1e-8, "n -> n 1 1")
        ones = torch.ones_like(gram[:, :, :1])
        weights = torch.linalg.solve(gram + ridge * torch.eye(near.shape[1], device=z.device), ones)
        weights = weights / weights.sum(1, keepdim=True)
    out: Tensor = (weights * around).sum(1)
    return out
