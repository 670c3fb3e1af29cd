"""One expert a sense: encode, reconstruct, and bring to the width of image features.

Paper sections 2.1 and 7.4. Letters: B batch, T frames, M senses, Z code width, D feature width.
"""

from itertools import pairwise

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from mssim.senses import SenseSet


def mlp(sizes: list[int], dropout: float = 0.0, norms: int = 0) -> nn.Sequential:
    """Linear layers with GELU between them; the first `norms` are followed by a LayerNorm.

    The paper has batch norm there. Its running statistics are corrupted by missing senses and it
    ties the windows of a batch (and the ranks of a run) together, so layer norm stands in.
    """
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(a, b))
        if i < len(sizes) - 2:
            if i < norms:
                layers.append(nn.LayerNorm(b))
            layers.append(nn.GELU())
            if dropout:
                layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


class Experts(nn.Module):
    """z_m = f_m(a_m), a-hat_m = d_m(z_m), and a projection of each z_m to width D.

    Args:
        senses: One expert each.
        code: Z, width of hidden layers and code (128 in the paper).
        projection: Hidden widths of the projection head (512 and 768 in the paper).
        feature: D (1024 in the paper).
        dropout: Inside the encoders.
        decode: Whether there are decoders at all; the bindings of Table 2 need none.
    """

    def __init__(
        self,
        senses: SenseSet,
        code: int,
        projection: list[int],
        feature: int,
        dropout: float,
        decode: bool = True,
    ) -> None:
        super().__init__()
        self.names = senses.names
        self.encoders = nn.ModuleDict(
            {s.name: mlp([s.width, code, code, code, code], dropout, norms=2) for s in senses}
        )
        if decode:
            self.decoders = nn.ModuleDict(
                {s.name: mlp([code, code, code, s.width]) for s in senses}
            )
        self.heads = nn.ModuleDict(
            {s.name: mlp([code, *projection, feature], norms=1) for s in senses}
        )

    def encode(self, actions: dict[str, Tensor]) -> Tensor:
        """Normalised actions, (B, T, width) by sense, as codes (B, T, M, Z)."""
        return torch.stack([self.encoders[n](actions[n]) for n in self.names], dim=2)

    def decode(self, codes: Tensor) -> dict[str, Tensor]:
        """Codes (B, T, M, Z) as normalised actions, (B, T, width) by sense."""
        return {n: self.decoders[n](codes[:, :, m]) for m, n in enumerate(self.names)}

    def project(self, codes: Tensor) -> Tensor:
        """Codes (B, T, M, Z) as features (B, T, M, D)."""
        return torch.stack([self.heads[n](codes[:, :, m]) for m, n in enumerate(self.names)], dim=2)


def reconstruction_loss(
    decoded: dict[str, Tensor], actions: dict[str, Tensor], presence: Tensor
) -> Tensor:
    """L_ssl = sum_m mean ||a-hat_m - a_m||^2 over the steps where sense m is present (section 2.1).

    The mean runs over a sense's numbers too, so that 1024 taxels weigh as much as 8 electrodes.
    """
    total = presence.new_zeros((), dtype=torch.float32)
    for m, name in enumerate(actions):
        error = reduce((decoded[name] - actions[name]).float() ** 2, "b t n -> b t", "mean")
        here = presence[:, :, m].float()
        total = total + (error * here).sum() / here.sum().clamp(min=1)
    return total


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (B, H, D) over the steps in mask (B, H): (B, D), zeros where there is none."""
    weight = rearrange(mask.to(values.dtype), "b h -> b h 1")
    return (values * weight).sum(1) / weight.sum(1).clamp(min=1)
