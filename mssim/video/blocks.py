"""Building blocks of the space-time network. Frames are folded into the batch: 2-D convolutions.

Letters: B batch, P frames, C channels, E embedding width, N tokens; n = B * P folded frames.
"""

from math import log, pi

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F

from mssim.attention import attend

_HEAD = 32  # channels a head


def norm(channels: int) -> nn.GroupNorm:
    """A norm over all channels and places of a frame.

    One group: with eight, torch's channels-last kernel is ten times slower on a CPU, and a fifth
    of a training step.
    """
    return nn.GroupNorm(1, channels)


def level_embedding(level: Tensor, width: int) -> Tensor:
    """Sinusoids of the noise level c_noise (B, P), of frequencies 1 to 1000: (B, P, width)."""
    half = width // 2
    frequency = torch.exp(torch.linspace(0, log(1000.0), half, device=level.device))
    angle = rearrange(level.float(), "b p -> b p 1") * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def position_basis(size: int, waves: int, device: torch.device) -> Tensor:
    """Cosines over a picture: cos(pi i x) cos(pi j y), i and j below `waves`: (waves^2, S, S)."""
    grid = (torch.arange(size, device=device) + 0.5) / size
    wave = torch.cos(pi * rearrange(torch.arange(waves, device=device), "w -> w 1") * grid)
    basis = rearrange(wave, "i y -> i 1 y 1") * rearrange(wave, "j x -> 1 j 1 x")
    return rearrange(basis, "i j y x -> (i j) y x")


class Place(nn.Module):
    """Position features under the action's hand: maps over the picture whose shape it sets.

    The embedding gives each of R maps its coefficients in a small cosine basis, so that "where" can
    follow from "what the body does" without travelling through convolutions.
    """

    def __init__(self, width: int, channels: int, maps: int, waves: int = 4) -> None:
        super().__init__()
        self.maps, self.waves = maps, waves
        self.coefficients = nn.Linear(width, maps * waves**2)
        self.out = nn.Conv2d(maps, channels, 1)

    def forward(self, embedding: Tensor, size: int) -> Tensor:
        """Embedding (n, E) to (n, C, size, size)."""
        basis = position_basis(size, self.waves, embedding.device).to(embedding.dtype)
        basis = rearrange(basis, "w y x -> w (y x)")
        c = rearrange(self.coefficients(F.silu(embedding)), "n (r w) -> n r w", r=self.maps)
        maps = rearrange(c @ basis, "n r (y x) -> n r y x", y=size)
        out: Tensor = self.out(maps.contiguous(memory_format=torch.channels_last))
        return out


class ResBlock(nn.Module):
    """Two convolutions; the embedding scales and shifts the middle and draws position features."""

    def __init__(self, c_in: int, c_out: int, width: int, maps: int) -> None:
        super().__init__()
        self.norm_in = norm(c_in)
        self.conv_in = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.place = Place(width, c_out, maps)
        self.modulation = nn.Linear(width, 2 * c_out)
        self.norm_out = norm(c_out)
        self.conv_out = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        nn.init.normal_(self.conv_out.weight, std=1e-3)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Mix x (n, C, S, S), embedding (n, E)."""
        h = self.conv_in(F.silu(self.norm_in(x)))
        h = self.norm_out(h + self.place(embedding, h.shape[-1]))
        scale, shift = rearrange(
            self.modulation(F.silu(embedding)), "n (two c) -> two n c 1 1", two=2
        )
        h = torch.addcmul(shift, h, 1 + scale)
        out: Tensor = self.skip(x) + self.conv_out(F.silu(h))
        return out


class SpaceAttention(nn.Module):
    """Self-attention over the places of each frame, then cross-attention to the frame's tokens.

    Args:
        channels: C.
        width: E.
        cross: Is there cross-attention?
    """

    def __init__(self, channels: int, width: int, cross: bool = True) -> None:
        super().__init__()
        self.cross = cross
        self.heads = max(1, channels // _HEAD)
        self.norm = norm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        small = [self.out]
        if cross:
            self.norm_cross = nn.LayerNorm(channels)
            self.query = nn.Linear(channels, channels)
            self.norm_tokens = nn.LayerNorm(width)
            self.key_value = nn.Linear(width, 2 * channels)
            self.out_cross = nn.Linear(channels, channels)
            small.append(self.out_cross)
        for layer in small:
            nn.init.normal_(layer.weight, std=1e-3)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Mix x (n, C, S, S), tokens (n, N, E)."""
        size = x.shape[-1]
        flat = rearrange(x, "n c y x -> n (y x) c")
        normed = rearrange(self.norm(x), "n c y x -> n (y x) c")
        q, k, v = rearrange(
            self.qkv(normed), "n s (three g c) -> three n g s c", three=3, g=self.heads
        )
        mixed = rearrange(attend(q, k, v), "n g s c -> n s (g c)")
        flat = flat + self.out(mixed)
        if self.cross:
            flat = flat + self._read(flat, tokens)
        folded: Tensor = rearrange(flat, "n (y x) c -> n c y x", y=size)
        return folded

    def _read(self, flat: Tensor, tokens: Tensor) -> Tensor:
        q = rearrange(self.query(self.norm_cross(flat)), "n s (g c) -> n g s c", g=self.heads)
        k, v = rearrange(
            self.key_value(self.norm_tokens(tokens)),
            "n s (two g c) -> two n g s c",
            two=2,
            g=self.heads,
        )
        read: Tensor = self.out_cross(rearrange(attend(q, k, v), "n g s c -> n s (g c)"))
        return read


class TimeAttention(nn.Module):
    """Self-attention over the frames at each place, with a learned bias for the distance in time.

    Args:
        channels: C.
        frames: Most frames a prediction may have.
        causal: A frame sees itself and those before it.
    """

    def __init__(self, channels: int, frames: int, causal: bool) -> None:
        super().__init__()
        self.heads = max(1, channels // _HEAD)
        self.frames, self.causal = frames, causal
        self.norm = norm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.distance = nn.Parameter(0.02 * torch.randn(self.heads, 2 * frames - 1))
        nn.init.normal_(self.out.weight, std=1e-3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Mix x (n, C, S, S) over time; mask bool (B, P), which frames are real."""
        b, size = mask.shape[0], x.shape[-1]
        flat = rearrange(self.norm(x), "(b p) c y x -> (b y x) p c", b=b)
        q, k, v = rearrange(
            self.qkv(flat), "n p (three g c) -> three n g p c", three=3, g=self.heads
        )
        bias = repeat(self.bias(mask), "b g q k -> (b s) g q k", s=size**2).to(q.dtype)
        mixed = attend(q, k, v, bias)
        out = self.out(rearrange(mixed, "n g p c -> n p (g c)"))
        added: Tensor = rearrange(out, "(b y x) p c -> (b p) c y x", b=b, y=size)
        return x + added

    def bias(self, mask: Tensor) -> Tensor:
        """Distance bias, minus infinity where a frame may not look: (B, heads, P, P)."""
        p = mask.shape[1]
        step = torch.arange(p, device=mask.device)
        away = rearrange(step, "q -> q 1") - step
        bias = self.distance[:, away + self.frames - 1]
        # A masked frame still sees itself: a row without keys would be not a number.
        allowed = rearrange(mask, "b k -> b 1 1 k") | torch.eye(
            p, dtype=torch.bool, device=mask.device
        )
        if self.causal:
            allowed = allowed & (away >= 0)
        return bias.masked_fill(~allowed, float("-inf"))
