"""InfoNCE, what ImageBind and LanguageBind have in common.

Letters: N pairs, B batch, T frames, M senses, D feature width.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from mssim.action.baselines.base import Bound, Felt, steps
from mssim.action.fusion import mean_of
from mssim.contrastive import one_way

TEMPERATURE = 0.07


def info_nce(queries: Tensor, keys: Tensor, same: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE, the mean of L(q, k) and L(k, q) over the pairs (ImageBind eq. 1).

    L_i(q, k) = -log exp(q_i k_i / tau) / (exp(q_i k_i / tau) + sum_{j != i} exp(q_i k_j / tau))

    Args:
        queries: Unit features (N, D); pair i is (queries[i], keys[i]).
        keys: Unit features (N, D).
        same: bool (N, N), symmetric: pairs i and j show the same thing, so that neither is a
            negative of the other.
        temperature: tau.
    """
    if not len(queries):
        return queries.sum()
    # A cosine over 0.07 loses what matters in bfloat16.
    with torch.autocast(queries.device.type, enabled=False):
        logits = queries.float() @ keys.float().T / temperature
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    return (one_way(logits, own, ~same) + one_way(logits.T, own, ~same)) / 2


def bind(felt: Felt, keys: Tensor, known: Tensor, thing: Tensor) -> Bound:
    """Bind each sense to the same keys: unit embeddings, their mean, and the mean InfoNCE.

    Args:
        felt: The senses.
        keys: Unit features of what binds, (B, T', D) with T' <= T: of the first T' steps.
        known: bool (B, T'), where there is something to bind to.
        thing: int64 (B, T'), equal numbers for what is the same.
    """
    embedded = F.normalize(felt.features.float(), dim=-1)
    length = keys.shape[1]
    loss = embedded.new_zeros(())
    for m in range(embedded.shape[2]):
        pairs = steps(felt.presence[:, :length, m] & known)
        number = steps(thing)[pairs]
        loss = loss + info_nce(
            steps(embedded[:, :length, m])[pairs],
            steps(keys.detach())[pairs],
            number.unsqueeze(0) == number.unsqueeze(1),
            TEMPERATURE,
        )
    return Bound(mean_of(embedded, felt.presence), loss / embedded.shape[2])
