"""Towers: frames and words to unit features of one width. Small and trainable or frozen, or
open_clip's.

A frozen tower is no part of the model's parameters: it is neither averaged, nor sharded, nor saved.
"""

import zlib
from itertools import pairwise
from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from mssim.errors import UserError

_BUCKETS = 2048
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class Tower(Protocol):
    """Frames or strings to unit features."""

    width: int

    def images(self, video: Tensor) -> Tensor:
        """Frames (B, T, 3, S, S) in [-1, 1] to unit features (B, T, D)."""

    def texts(self, texts: list[str]) -> Tensor:
        """B strings to unit features (B, D)."""


class SmallTower(nn.Module):
    """A small convolutional net for frames and hashed words for text, trained with the model.

    Args:
        width: D.
        channels: Channels of the first of four stride-2 layers; they double up to four times this.
        text: Whether words are encoded at all.
    """

    def __init__(self, width: int, channels: int = 24, text: bool = False) -> None:
        super().__init__()
        self.width = width
        sizes = [3, channels, 2 * channels, 4 * channels, 4 * channels]
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(8, b), nn.SiLU()]
        self.convs = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1] * 4, width)
        self.words = nn.EmbeddingBag(_BUCKETS, width, mode="mean") if text else None

    def images(self, video: Tensor) -> Tensor:
        """Frames (B, T, 3, S, S) in [-1, 1] to unit features (B, T, D)."""
        b = video.shape[0]
        x = rearrange(video, "b t c h w -> (b t) c h w").contiguous(
            memory_format=torch.channels_last
        )
        x = F.adaptive_avg_pool2d(self.convs(x), 2)
        x = self.head(rearrange(x, "n c h w -> n (c h w)"))
        return F.normalize(rearrange(x.float(), "(b t) d -> b t d", b=b), dim=-1)

    def texts(self, texts: list[str]) -> Tensor:
        """B strings to unit features (B, D)."""
        if self.words is None:
            raise UserError("tower: made without text; set encoder.text to `expert` or `alone`")
        ids = [[zlib.crc32(w.encode()) % _BUCKETS for w in t.lower().split()] or [0] for t in texts]
        device = self.words.weight.device
        flat = torch.tensor([i for row in ids for i in row], device=device)
        starts = torch.tensor([0, *(len(r) for r in ids[:-1])], device=device).cumsum(0)
        return F.normalize(self.words(flat, starts).float(), dim=-1)


class FrozenTower:
    """A small tower that was trained before, with captions.

    Not a module on purpose: see the head of this file. It follows its input's device.

    Args:
        net: Trained; from here on it stays as it is.
    """

    def __init__(self, net: SmallTower) -> None:
        self._net = net.eval().requires_grad_(False)
        self.width = net.width

    @torch.no_grad()
    def images(self, video: Tensor) -> Tensor:
        """Frames (B, T, 3, S, S) in [-1, 1] to unit features (B, T, D)."""
        return self._net.to(video.device).images(video)

    @torch.no_grad()
    def texts(self, texts: list[str]) -> Tensor:
        """B strings to unit features (B, D)."""
        return self._net.texts(texts)


class OpenClipTower:
    """A frozen open_clip model, e.g. the paper's ViT-H-14 (section 7.4).

    Not a module on purpose: see the head of this file. It follows its input's device.

    Args:
        model: open_clip architecture.
        pretrained: Weights tag, or the path of a checkpoint file.

    Raises:
        UserError: The weights are not there and cannot be downloaded.
    """

    def __init__(self, model: str = "ViT-H-14", pretrained: str = "laion2b_s32b_b79k") -> None:
        import open_clip

        try:
            net, _, _ = open_clip.create_model_and_transforms(model, pretrained=pretrained)
        except Exception as error:
            raise UserError(
                f"tower: open_clip {model} ({pretrained}) could not be loaded: "
                f"{str(error).splitlines()[0]}; give `pretrained` the path of a checkpoint"
            ) from None
        self._net = net.eval().requires_grad_(False)
        self._tokens = open_clip.get_tokenizer(model)
        self.width = int(net.text_projection.shape[1])
        self._size = int(net.visual.image_size[0])

    @torch.no_grad()
    def images(self, video: Tensor) -> Tensor:
        """Frames (B, T, 3, S, S) in [-1, 1] to unit features (B, T, D)."""
        self._net.to(video.device)
        flat = rearrange(video, "b t c h w -> (b t) c h w") * 0.5 + 0.5
        flat = F.interpolate(flat, self._size, mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (rearrange(flat.new_tensor(s), "c -> 1 c 1 1") for s in (_CLIP_MEAN, _CLIP_STD))
        out = self._net.encode_image((flat - mean) / std)
        return F.normalize(rearrange(out.float(), "(b t) d -> b t d", b=video.shape[0]), dim=-1)

    @torch.no_grad()
    def texts(self, texts: list[str]) -> Tensor:
        """B strings to unit features (B, D), read at the end-of-text token."""
        device = next(self._net.parameters()).device
        return F.normalize(self._net.encode_text(self._tokens(texts).to(device)).float(), dim=-1)
