"""ImageBind: each sense is bound to what is seen, by contrast.

Published (Girdhar et al., CVPR 2023, eq. 1), for images I and another modality M, with unit
embeddings q_i = f(I_i) and k_i = g(M_i):

    L_{I,M} = -log exp(q_i k_i / tau) / (exp(q_i k_i / tau) + sum_{j != i} exp(q_i k_j / tau))

and the symmetric L_{I,M} + L_{M,I} is minimised for each M, the image encoder being frozen;
embeddings of several modalities are added to compose them.

The paper (section 3.2): "leverages InfoNCE contrastive loss to bind different modality of features
to clip-encoded image features". Silent on: what a pair is, tau, the weight, how bound senses
are fused.

Here: a pair is a sense at step t and the frame that the step leads to, x_t; its negatives are all
other steps of all windows of the batch, of the same window too, else a batch of eight windows would
have seven. tau is 0.07, fixed. The mean of both directions and of the senses is taken in the
place of sums. Image features come from the run's tower and carry no gradient; a small tower is
moved by the video loss meanwhile. Embeddings of the senses present are averaged.
"""

import torch
from torch import nn

from mssim.action.baselines.base import Bound, Felt
from mssim.action.baselines.contrast import bind


class ImageBind(nn.Module):
    """Senses bound to image features; has no parameters of its own."""

    def forward(self, felt: Felt) -> Bound:
        """See `Binding`."""
        b, length = felt.seen.shape[:2]
        each = torch.arange(b * length, device=felt.seen.device).view(b, length)
        return bind(felt, felt.seen, felt.real[:, :length], each)
