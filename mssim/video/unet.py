"""The space-time UNet, in the line of I2VGen and the video UNets that both papers use.

Context frames stand on channels beside every noisy frame (both papers); each predicted frame has
its own embedding (noise level, place in time, action) and its own tokens.

Letters: B batch, H context, P predicted frames, C channels, S pixels a side, E embedding width.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mssim.action.experts import mlp
from mssim.errors import UserError
from mssim.video.blocks import (
    ResBlock,
    SpaceAttention,
    TimeAttention,
    level_embedding,
    norm,
)
from mssim.video.warp import Warp


@dataclass(frozen=True)
class UNetConfig:
    """Sizes and variants of the network.

    Args:
        width: Channels at the first level.
        multipliers: Channels of each level, in units of `width`; each level halves the picture.
        blocks: Residual blocks a level.
        patch: Pixels a side that the stem folds into channels; 1 works at full resolution.
        attention: Levels (0 is the finest) with attention over places and tokens.
        time_attention: Levels with attention over frames.
        embedding: E.
        maps: Pictures that the embedding draws in every block, see `Place`.
        own_tokens: Cross-attention tokens made of a frame's own action.
        warp: Guess frames by moving pixels of the context, see `Warp`.
        injection: How actions come in: by scales and shifts in every block, by cross-attention at
            the levels of `attention` as in the paper, or both.
        context_noise: Training adds noise to the context that the network looks at, its standard
            deviation in [-1, 1] drawn from 0 to this and told: what a rollout feeds back is not
            flawless either (Ho et al. 2022; Valevski et al. 2024). `Warp` moves clean pixels.
        temporal: `full`, or `causal`: action t changes no frame before t.
        checkpoint: Recompute activations in the backward pass, to save memory.
    """

    width: int = 64
    multipliers: list[int] = field(default_factory=lambda: [1, 2, 4, 4])
    blocks: int = 2
    patch: int = 1
    attention: list[int] = field(default_factory=lambda: [2, 3])
    time_attention: list[int] = field(default_factory=lambda: [1, 2, 3])
    embedding: int = 512
    maps: int = 8
    own_tokens: int = 4
    warp: bool = False
    injection: Literal["both", "modulation", "attention"] = "both"
    context_noise: float = 0.0
    temporal: Literal["full", "causal"] = "full"
    checkpoint: bool = False

    def __post_init__(self) -> None:
        levels = range(len(self.multipliers))
        for name, chosen in (
            ("attention", self.attention),
            ("time_attention", self.time_attention),
        ):
            if not set(chosen) <= set(levels):
                raise UserError(f"unet.{name}: {chosen} names levels outside 0..{len(levels) - 1}")
        if (
            min(self.width, self.blocks, self.patch, self.maps, self.own_tokens, *self.multipliers)
            < 1
        ):
            raise UserError("unet: width, multipliers, blocks, patch and own_tokens must be >= 1")
        if self.injection == "attention" and not self.attention:
            raise UserError("unet.injection: attention, but unet.attention names no level")
        if self.context_noise < 0:
            raise UserError(f"unet.context_noise: {self.context_noise} must not be below 0")

    @property
    def divisor(self) -> int:
        """What the picture's side must be a multiple of."""
        return int(self.patch * 2 ** (len(self.multipliers) - 1))


class Stage(nn.Module):
    """A residual block with the attentions of its level."""

    def __init__(self, config: UNetConfig, level: int, c_in: int, c_out: int, frames: int) -> None:
        super().__init__()
        self.recompute = config.checkpoint
        self.block = ResBlock(c_in, c_out, config.embedding, config.maps)
        cross = config.injection != "modulation"
        self.space = (
            SpaceAttention(c_out, config.embedding, cross) if level in config.attention else None
        )
        self.time = (
            TimeAttention(c_out, frames, config.temporal == "causal")
            if level in config.time_attention
            else None
        )

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """X (B P, C, S, S), embedding (B P, E), tokens (B P, N, E), mask (B, P)."""
        if self.recompute and self.training and torch.is_grad_enabled():
            out: Tensor = checkpoint(self._run, x, embedding, tokens, mask, use_reentrant=False)
            return out
        return self._run(x, embedding, tokens, mask)

    def _run(self, x: Tensor, embedding: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.block(x, embedding)
        if self.space is not None:
            x = self.space(x, tokens)
        if self.time is not None:
            x = self.time(x, mask)
        return x


class SpaceTimeUNet(nn.Module):
    """F(c_in x_n, c_noise, context, action).

    Args:
        config: Sizes and variants.
        context: H.
        frames: Most frames that a prediction may have.
    """

    def __init__(self, config: UNetConfig, context: int, frames: int) -> None:
        super().__init__()
        self.config = config
        e, patch = config.embedding, config.patch
        sizes = [config.width * m for m in config.multipliers]
        c_in = (3 + 4 * context) * patch**2  # noisy frame; context frames, each with its mask
        self.noise = mlp([e, e, e])
        self.when = nn.Embedding(frames, e)
        self.pace = nn.Linear(1, e)
        self.haze = nn.Linear(1, e) if config.context_noise else None
        self.stem = nn.Conv2d(c_in, sizes[0], 3, padding=1)
        self.down, skips, c = self._descend(sizes, frames)
        last = len(sizes) - 1
        self.middle = nn.ModuleList([Stage(config, last, c, c, frames) for _ in range(2)])
        self.up = self._ascend(sizes, skips, c, frames)
        self.norm = norm(sizes[0])
        self.head = nn.Conv2d(sizes[0], 3 * patch**2, 3, padding=1)
        nn.init.normal_(self.head.weight, std=1e-3)
        self.warp = Warp(sizes[::-1], context, e) if config.warp else None

    def forward(
        self,
        noisy: Tensor,
        level: Tensor,
        context: Tensor,
        context_mask: Tensor,
        target_mask: Tensor,
        interval: Tensor,
        modulation: Tensor,
        tokens: Tensor,
        haze: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """F, float32 (B, P, 3, S, S), and of the same shape what the warp guesses, if there is one.

        Args:
            noisy: c_in x_n, (B, P, 3, S, S).
            level: c_noise, (B, P).
            context: (B, H, 3, S, S) in [-1, 1].
            context_mask: bool (B, H).
            target_mask: bool (B, P).
            interval: Seconds between frames, (B,).
            modulation: (B, P, E).
            tokens: (B, P, N, E).
            haze: What `context_noise` adds to the context, unit noise (B, H, 3, S, S) and its
                standard deviation (B,); nothing outside training.
        """
        b, p = level.shape
        thick, looked_at = level.new_zeros(b), context
        if haze is not None:
            thick = haze[1]
            looked_at = context + rearrange(thick, "b -> b 1 1 1 1") * haze[0]
        x = self._inputs(noisy, looked_at, context_mask)
        embedding = self.noise(level_embedding(level, self.config.embedding).to(modulation.dtype))
        pace = self.pace(
            rearrange(interval.clamp(min=1e-3).log(), "b -> b 1 1").to(embedding.dtype)
        )
        embedding = embedding + self.when.weight[:p] + pace + modulation
        if self.haze is not None:
            embedding = embedding + self.haze(rearrange(thick, "b -> b 1 1").to(embedding.dtype))
        embedding = rearrange(embedding, "b p e -> (b p) e")
        tokens = rearrange(tokens, "b p n e -> (b p) n e")
        levels = self._walk(self.stem(x), embedding, tokens, target_mask)
        x = F.silu(self.norm(levels[-1]))
        q = self.config.patch
        frames = rearrange(self.head(x), "(b p) (c i j) y x -> b p c (y i) (x j)", b=b, i=q, j=q)
        guess = None
        if self.warp is not None:
            guess = self.warp(levels, embedding, context, context_mask)
        return frames.float(), guess

    def _walk(self, x: Tensor, embedding: Tensor, tokens: Tensor, mask: Tensor) -> list[Tensor]:
        """What each level ends with on the way up, the coarsest first."""
        levels, kept = [], [x]
        for layer in self.down:
            x = layer(x, embedding, tokens, mask) if isinstance(layer, Stage) else layer(x)
            kept.append(x)
        for layer in self.middle:
            x = layer(x, embedding, tokens, mask)
        for layer in self.up:
            if isinstance(layer, Stage):
                x = layer(torch.cat([x, kept.pop()], dim=1), embedding, tokens, mask)
            else:
                levels.append(x)
                # Sub-pixel: convolving before the picture grows is a third of the work.
                x = F.pixel_shuffle(layer(x), 2).contiguous(memory_format=torch.channels_last)
        return [*levels, x]

    def _inputs(self, noisy: Tensor, context: Tensor, context_mask: Tensor) -> Tensor:
        p, q = noisy.shape[1], self.config.patch
        if noisy.shape[-1] % self.config.divisor:
            raise UserError(
                f"frames of {noisy.shape[-1]} px: the network needs a multiple of "
                f"{self.config.divisor} (patch times 2 per level); set data.size or unet.patch"
            )
        if p > self.when.num_embeddings:
            raise UserError(
                f"{p} frames to predict: the network was made for at most "
                f"{self.when.num_embeddings}; predict fewer at a time"
            )
        real = rearrange(context_mask.to(context.dtype), "b h -> b h 1 1 1")
        past = torch.cat(
            [context * real, real.expand(*context.shape[:2], 1, *context.shape[3:])], 2
        )
        past = repeat(past, "b h c y x -> b p (h c) y x", p=p)
        x = torch.cat([noisy, past.to(noisy.dtype)], dim=2)
        folded: Tensor = rearrange(x, "b p c (y i) (x j) -> (b p) (c i j) y x", i=q, j=q)
        return folded.contiguous(memory_format=torch.channels_last)

    def _descend(self, sizes: list[int], frames: int) -> tuple[nn.ModuleList, list[int], int]:
        layers, skips, c = nn.ModuleList(), [sizes[0]], sizes[0]
        for level, size in enumerate(sizes):
            for _ in range(self.config.blocks):
                layers.append(Stage(self.config, level, c, size, frames))
                c = size
                skips.append(c)
            if level < len(sizes) - 1:
                layers.append(nn.Conv2d(c, c, 3, stride=2, padding=1))
                skips.append(c)
        return layers, skips, c

    def _ascend(self, sizes: list[int], skips: list[int], c: int, frames: int) -> nn.ModuleList:
        layers, left = nn.ModuleList(), list(skips)
        for level in reversed(range(len(sizes))):
            for _ in range(self.config.blocks + 1):
                layers.append(Stage(self.config, level, c + left.pop(), sizes[level], frames))
                c = sizes[level]
            if level:
                c = sizes[level - 1]
                layers.append(nn.Conv2d(sizes[level], 4 * c, 3, padding=1))
        return layers
