"""What a baseline binds, and what comes of it: one protocol for the rows of Table 2.

A binding stands in the place of our anchor, fusion, interaction and losses: the experts' projected
features of a step become one feature, and an auxiliary loss of its own shapes them. The paper says
what each baseline does in a sentence or two (section 3.2) and that "the same video generation
model" serves all; it is silent on networks, weights and temperatures. What is chosen here is said
in each file. (Its references are not in our copy: each work is the one that the name says, and
signal-agnostic learning is taken to be Du et al. 2021.)

Common to all, and ours: experts and projections are those of our encoder, trained end to end by the
video loss and the auxiliary loss together; image and text features are targets without gradient; an
auxiliary loss stands in the place of L_ssl and has its weight; pairs and neighbours come from the
rank's own batch.

Letters: B batch, T frames (H context, then P), M senses, D feature width.
"""

from dataclasses import dataclass
from typing import Protocol

from einops import rearrange
from torch import Tensor


@dataclass(frozen=True)
class Felt:
    """All that a binding may look at.

    Attributes:
        features: Projected features of each sense, (B, T, M, D).
        actions: What was felt, normalised, (B, T, width) by sense, in the order of M.
        presence: bool (B, T, M).
        seen: Unit image features without gradient, (B, H, D), or (B, T, D) in training.
        real: Which frames are real, bool (B, T).
        context: H.
        text: Unit text features (B, D), for a binding that reads text.
        captions: B strings; empty where nothing was said.
    """

    features: Tensor
    actions: dict[str, Tensor]
    presence: Tensor
    seen: Tensor
    real: Tensor
    context: int
    text: Tensor | None
    captions: list[str]


@dataclass(frozen=True)
class Bound:
    """One feature a step (B, T, D), and the auxiliary loss, scalar."""

    features: Tensor
    loss: Tensor


class Binding(Protocol):
    """A baseline's way from many senses to one feature."""

    def __call__(self, felt: Felt) -> Bound:
        """Bind a batch."""


def masked_average(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values over where mask, of the same shape, is true; zero where it never is."""
    weight = mask.to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp(min=1)


def steps(values: Tensor) -> Tensor:
    """(B, T, ...) as (B T, ...): each step is an example of its own."""
    return rearrange(values, "b t ... -> (b t) ...")
