"""LanguageBind: each sense is bound to what is said, by contrast.

Published (Zhu et al., ICLR 2024), for a modality M with unit embeddings x_i and texts
T with unit embeddings y_i, over K pairs:

    L_{M2T} = -1/K sum_i log exp(x_i y_i / tau) / sum_j exp(x_i y_j / tau)
    L_{T2M} = -1/K sum_i log exp(y_i x_i / tau) / sum_j exp(y_i x_j / tau)

the language encoder being frozen.

The paper (section 3.2): "uses text as a binding modality instead of using images", which "can
erase the fine-grained temporal details of action signals". Silent on: what a pair is, tau, the
weight, which text (here that of `data.text`).

Here: a pair is a sense at step t and its window's caption. Windows share captions, and all steps of
one window do: equal captions are never each other's negatives. A window without a caption
is in no pair. tau is 0.07, fixed. Text features come from the run's tower
and carry no gradient. The small tower's words keep their random features: each word has its
own direction, so captions are as near as they share words; a frozen tower that was trained on
images and text is the better teacher. Embeddings of the senses present are averaged.
"""

import torch
from einops import repeat
from torch import nn

from mssim.action.baselines.base import Bound, Felt
from mssim.action.baselines.contrast import bind
from mssim.errors import UserError


class LanguageBind(nn.Module):
    """Senses bound to text features; has no parameters of its own."""

    def forward(self, felt: Felt) -> Bound:
        """See `Binding`.

        Raises:
            UserError: There are no text features.
        """
        if felt.text is None:
            raise UserError("encoder.binding is `languagebind`, but the batch has no text features")
        numbers = {caption: i for i, caption in enumerate(dict.fromkeys(felt.captions))}
        thing = torch.tensor([numbers[c] for c in felt.captions], device=felt.text.device)
        said = torch.tensor([bool(c) for c in felt.captions], device=felt.text.device)
        t = felt.presence.shape[1]
        return bind(
            felt,
            repeat(felt.text, "b d -> b t d", t=t),
            repeat(said, "b -> b t", t=t),
            repeat(thing, "b -> b t", t=t),
        )
