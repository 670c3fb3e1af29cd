"""ActionEncoder: experts, anchor, fusion, interaction, in a row (paper sections 2.1 and 2.2).

The image tower learns from the video loss alone: the anchor and L_norm see it detached, or L_norm
would be met by features that never change. With a `binding`, a baseline of Table 2 stands in the
place of anchor, fusion and interaction, and its loss in that of L_ssl.

Letters: B batch, T frames (H context, then P), M senses, D feature width.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from mssim.action.anchor import Anchor
from mssim.action.baselines import Binding, BindingKind, Felt, make_binding
from mssim.action.experts import Experts, masked_mean, mlp, reconstruction_loss
from mssim.action.fusion import Fusion, FusionKind
from mssim.action.interaction import InteractionKind, interact, norm_loss
from mssim.batch import Batch
from mssim.errors import UserError
from mssim.normalize import Normalizer
from mssim.senses import SenseSet

TextUse = Literal["off", "expert", "alone"]


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes and variants of the action encoder.

    Args:
        code: Width of an expert's hidden layers and code (paper: 128).
        projection: Hidden widths of the projection (paper: 512, 768).
        feature: D; the image tower has the same width (paper: 1024).
        dropout: Inside the experts (paper: 0.1).
        anchor: `residual` (default), `literal` (the paper's formula as printed) or `none`.
        fusion: How senses become one feature.
        interaction: How the context shapes it.
        text: `off`; `expert`, one more sense; `alone`, UniSim's way, one prompt for all frames.
        binding: `none` (ours), or a baseline of Table 2, which replaces anchor, fusion, interaction
            and L_norm.
    """

    code: int = 128
    projection: list[int] = field(default_factory=lambda: [512, 768])
    feature: int = 1024
    dropout: float = 0.1
    anchor: Literal["residual", "literal", "none"] = "residual"
    fusion: FusionKind = "softmax"
    interaction: InteractionKind = "relaxed"
    text: TextUse = "off"
    binding: Literal["none"] | BindingKind = "none"

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise UserError(f"encoder.dropout: {self.dropout} is not in [0, 1)")
        if min(self.code, self.feature, *self.projection) < 1:
            raise UserError("encoder: code, feature and projection must be positive")
        if self.binding != "none" and self.text != "off":
            raise UserError(
                f"encoder.text: `{self.text}`, but encoder.binding `{self.binding}` has its own "
                "way to features; set text to `off`, or binding to `none`"
            )

    @property
    def reads_text(self) -> bool:
        """Whether a batch's text features are needed."""
        return self.text != "off" or self.binding == "languagebind"


@dataclass(frozen=True)
class Encoding:
    """What the encoder makes of a batch.

    Attributes:
        features: y-o, (B, T, D).
        ssl: L_ssl, scalar; with a binding, its auxiliary loss.
        norm: L_norm, scalar; zero where future frames were not given, and with a binding.
    """

    features: Tensor
    ssl: Tensor
    norm: Tensor


class ActionEncoder(nn.Module):
    """Actions and context features to one feature a frame.

    Args:
        senses: What the body feels and does.
        sources: How many sources the data have.
        config: Sizes and variants.
    """

    def __init__(self, senses: SenseSet, sources: int, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.normalizer = Normalizer(senses, sources)
        streams = len(senses) + (config.text == "expert")
        self.binding: Binding | None = None
        sizes = config.code, config.projection, config.feature, config.dropout
        if config.binding != "none":
            self.experts = Experts(senses, *sizes, decode=False)
            self.binding = make_binding(config.binding, senses, config.code, config.feature)
        elif config.text != "alone":
            self.experts = Experts(senses, *sizes)
            self.fusion = Fusion(config.fusion, streams, config.feature)
            if config.anchor != "none":
                self.anchor = Anchor(config.feature, residual=config.anchor == "residual")
            if config.text == "expert":
                self.words = mlp([config.feature, *config.projection, config.feature], norms=1)

    def forward(self, batch: Batch, seen: Tensor, text: Tensor | None = None) -> Encoding:
        """Encode a batch.

        Args:
            batch: Its senses and masks are read.
            seen: Unit image features, (B, H, D) of the context or (B, T, D) in training.
            text: Unit text features (B, D), where the config reads text.
        """
        if self.binding is not None:
            return self._bind(self.binding, batch, seen.detach(), text)
        h, t = batch.context, batch.length
        context = masked_mean(seen[:, :h], batch.context_mask)
        if self.config.text == "alone":
            if text is None:
                raise UserError("encoder.text is `alone`, but the batch has no text features")
            fused, ssl = repeat(text, "b d -> b t d", t=t), seen.new_zeros(())
        else:
            fused, ssl = self._fuse(batch, context.detach(), text)
        own = seen[:, :h] * rearrange(batch.context_mask, "b h -> b h 1")
        vectors = torch.cat([own, repeat(context, "b d -> b p d", p=t - h)], dim=1)
        features = interact(fused, vectors, self.config.interaction)
        norm = seen.new_zeros(())
        if seen.shape[1] == t:
            mask = torch.cat([batch.context_mask, batch.target_mask], dim=1)
            sized = interact(fused, vectors.detach(), self.config.interaction)
            norm = norm_loss(sized, seen, mask)
        return Encoding(features, ssl, norm)

    def _bind(self, binding: Binding, batch: Batch, seen: Tensor, text: Tensor | None) -> Encoding:
        actions = self.normalizer(batch.senses, batch.source)
        bound = binding(
            Felt(
                self.experts.project(self.experts.encode(actions)),
                actions,
                batch.presence,
                seen,
                torch.cat([batch.context_mask, batch.target_mask], dim=1),
                batch.context,
                text,
                batch.text,
            )
        )
        return Encoding(bound.features, bound.loss, seen.new_zeros(()))

    def codes(self, batch: Batch) -> Tensor:
        """The experts' codes (B, T, M, Z)."""
        return self.experts.encode(self.normalizer(batch.senses, batch.source))

    def align(self, codes: Tensor, context: Tensor, text: Tensor | None = None) -> Tensor:
        """Codes (B, T, M, Z) to anchored features (B, T, M, D), text (B, D) as one more.

        A prompt is an expert whose frozen tower has encoded it already; what it lacks is a head
        (section 7.8.1). Context (B, D) has unit norm.
        """
        features = self.experts.project(codes)
        if text is not None:
            said = repeat(self.words(text), "b d -> b t 1 d", t=codes.shape[1])
            features = torch.cat([features, said.to(features.dtype)], dim=2)
        return features if self.config.anchor == "none" else self.anchor(features, context)

    def _fuse(self, batch: Batch, context: Tensor, text: Tensor | None) -> tuple[Tensor, Tensor]:
        actions = self.normalizer(batch.senses, batch.source)
        codes = self.experts.encode(actions)
        ssl = reconstruction_loss(self.experts.decode(codes), actions, batch.presence)
        presence = batch.presence
        if self.config.text != "expert":
            return self.fusion(self.align(codes, context), presence), ssl
        if text is None:
            raise UserError("encoder.text is `expert`, but the batch has no text features")
        said = torch.tensor([bool(s) for s in batch.text], device=presence.device)
        presence = torch.cat([presence, repeat(said, "b -> b t 1", t=batch.length)], dim=2)
        return self.fusion(self.align(codes, context, text), presence), ssl
