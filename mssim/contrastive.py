"""Contrast: frames and what is said of them, drawn together (CLIP; UniCL).

Symmetric InfoNCE with a learned temperature (Radford et al. 2021, section 2.3), where all captions
that say the same are positives (Yang et al. 2022, equations 2 and 3; Khosla et al. 2020, L_out).
Captions may differ in detail: "slice" is no wrong answer for a frame of "slice bread", and nobody
knows what is sliced where only "slice" was said. Such pairs count neither way.

Letters: N frames, B captions, D feature width.
"""

import math

import torch
from torch import Tensor, nn

_START, _MOST = 1 / 0.07, 100.0


class Contrast(nn.Module):
    """The loss between unit features of frames and of captions; its temperature is learned.

    The logarithm of the scale 1 / temperature is learned from 1 / 0.07 on, and the scale kept at
    100 or below, as in CLIP.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(_START)))

    def forward(self, frames: Tensor, captions: Tensor, same: Tensor, known: Tensor) -> Tensor:
        """L = (L_i2t + L_t2i) / 2, scalar.

        Args:
            frames: Unit features (N, D).
            captions: Unit features (B, D).
            same: bool (N, B), the caption is true of the frame.
            known: bool (N, B), it is known whether it is; elsewhere the pair is left out.
        """
        with torch.autocast(frames.device.type, enabled=False):  # bfloat16 rounds logits to halves
            scale = self.log_scale.float().exp().clamp(max=_MOST)
            logits = scale * frames.float() @ captions.float().T
            return (one_way(logits, same, known) + one_way(logits.T, same.T, known.T)) / 2


def one_way(logits: Tensor, same: Tensor, known: Tensor) -> Tensor:
    """- mean_i 1/|P_i| sum_{k in P_i} log (exp s_ik / sum_{j known} exp s_ij), UniCL eq. 2.

    Args:
        logits: s (R, C).
        same: bool (R, C), the positives P_i of each row. A row without any does not count.
        known: bool (R, C), which pairs the sum runs over.
    """
    log_p = logits.masked_fill(~(known | same), -torch.inf).log_softmax(dim=1)
    count = same.sum(1)
    row = -log_p.masked_fill(~same, 0.0).sum(1) / count.clamp(min=1)
    return row.sum() / (count > 0).sum().clamp(min=1)


def agreement(captions: list[str]) -> tuple[Tensor, Tensor]:
    """Which of B captions say the same, and of which pairs that is known: each bool (B, B).

    Equal ones do. Where one begins the other, word by word, it is not known whether the one with
    more detail is true where the other is. An empty caption says nothing: it goes with none, not
    even itself. Case and punctuation do not count.
    """
    words = [tuple(w.strip(",;:.") for w in c.lower().split()) for c in captions]
    same = [[bool(a) and a == b for b in words] for a in words]
    known = [[bool(a) and bool(b) and not _begins(a, b) for b in words] for a in words]
    both = torch.tensor(same, dtype=torch.bool).reshape(len(words), len(words))
    return both, both | torch.tensor(known, dtype=torch.bool).reshape(both.shape)


def retrieved(frames: Tensor, captions: Tensor) -> Tensor:
    """Index of the caption nearest to each frame, int64 (N,), of unit features (N, D), (B, D)."""
    with torch.autocast(frames.device.type, enabled=False):
        return (frames.float() @ captions.float().T).argmax(dim=1)


def _begins(one: tuple[str, ...], two: tuple[str, ...]) -> bool:
    """Does the shorter of two captions stand at the beginning of the longer?"""
    short = min(len(one), len(two))
    return one[:short] == two[:short]
