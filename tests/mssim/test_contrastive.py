"""The contrastive loss against a loop over pairs that knows no tensors but for numbers."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mssim.contrastive import Contrast, agreement, one_way, retrieved

CAPTIONS = ["slice bread", "pour", "slice bread", "slice", "", "pour water slowly", "Pour"]


def unit(rows: int, seed: int, width: int = 6) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, width, generator=g), dim=-1)


def by_loop(frames: Tensor, captions: Tensor, same: Tensor, known: Tensor, scale: float) -> float:
    """Both directions of UniCL's loss, a pair at a time, in Python's own numbers."""

    def score(i: int, j: int) -> float:
        pairs = zip(frames[i].tolist(), captions[j].tolist(), strict=True)
        return math.exp(scale * sum(a * b for a, b in pairs))

    def direction(rows: int, columns: int, flip: bool) -> float:
        losses = []
        for a in range(rows):
            place = [(b, a) if flip else (a, b) for b in range(columns)]
            right = [score(*p) for p in place if same[p]]
            total = sum(score(*p) for p in place if known[p] or same[p])
            if right:
                losses.append(-sum(math.log(r / total) for r in right) / len(right))
        return sum(losses) / len(losses)

    n, b = len(frames), len(captions)
    return (direction(n, b, False) + direction(b, n, True)) / 2


def test_the_loss_is_what_a_loop_over_pairs_says() -> None:
    frames, captions = unit(14, 0), unit(7, 1)
    same, known = (m.repeat_interleave(2, 0) for m in agreement(CAPTIONS))
    contrast = Contrast()
    expected = by_loop(frames, captions, same, known, 1 / 0.07)
    assert contrast(frames, captions, same, known).item() == pytest.approx(expected, rel=1e-5)


def test_without_repeats_it_is_clip_s() -> None:
    frames, captions = unit(5, 2), unit(5, 3)
    same, known = agreement(["a", "b", "c", "d", "e"])
    logits = frames @ captions.T / 0.07
    aim = torch.arange(5)
    expected = (F.cross_entropy(logits, aim) + F.cross_entropy(logits.T, aim)) / 2
    torch.testing.assert_close(Contrast()(frames, captions, same, known), expected)


def test_captions_agree_where_they_are_equal_and_nothing_is_known_of_more_or_less_detail() -> None:
    same, known = agreement(CAPTIONS)
    equal = {(0, 0), (0, 2), (2, 0), (2, 2), (1, 1), (1, 6), (6, 1), (6, 6), (3, 3), (5, 5)}
    assert {(i, j) for i, j in same.nonzero().tolist()} == equal
    unknown = {(0, 3), (2, 3), (1, 5), (6, 5)}
    unknown |= {(j, i) for i, j in unknown}
    silent = {(4, j) for j in range(7)} | {(i, 4) for i in range(7)}
    assert {(i, j) for i, j in (~known).nonzero().tolist()} == unknown | silent
    # A word is not another's beginning, though its letters are.
    assert agreement(["pour", "pouring water"])[1].all()
    slow = ["slice bread slowly", "Slice bread slowly, holding tightly", "slice bread quickly"]
    same, known = agreement(slow)
    assert same.equal(torch.eye(3, dtype=torch.bool))
    assert {(i, j) for i, j in (~known).nonzero().tolist()} == {(0, 1), (1, 0)}


def test_a_repeated_caption_is_no_wrong_answer() -> None:
    """Two windows of one activity: nothing pushes a frame away from the other's caption."""
    captions = unit(3, 4)
    captions[2] = captions[0]
    frames = captions.clone().requires_grad_()
    same, known = agreement(["slice bread", "pour", "slice bread"])
    Contrast()(frames, captions, same, known).backward()
    assert frames.grad is not None
    # Of two frames that are alike, neither is told anything that the other is not.
    torch.testing.assert_close(frames.grad[0], frames.grad[2])
    towards = -frames.grad[0] @ captions[0]
    apart = -frames.grad[0] @ captions[1]
    assert towards > 0 > apart


def test_what_is_left_out_gets_no_gradient() -> None:
    captions = unit(3, 5).requires_grad_()
    same, known = agreement(["slice bread", "slice", "pour"])
    log = one_way(unit(1, 6) @ captions.T, same[:1], known[:1])
    log.backward()
    assert captions.grad is not None
    assert captions.grad[1].abs().max() == 0 and captions.grad[[0, 2]].abs().min() > 0


def test_silence_costs_nothing() -> None:
    same, known = agreement(["", ""])
    frames = unit(2, 7).requires_grad_()
    loss = Contrast()(frames, unit(2, 8), same, known)
    loss.backward()
    assert loss.item() == 0 and frames.grad is not None and not frames.grad.any()
    half = agreement(["", "stir", "pour"])
    whole = agreement(["stir", "pour"])
    images, texts = unit(3, 9), unit(3, 10)
    torch.testing.assert_close(
        Contrast()(images, texts, *half), Contrast()(images[1:], texts[1:], *whole)
    )


def test_the_temperature_learns_and_has_its_bounds() -> None:
    contrast = Contrast()
    same, known = agreement(["a", "b", "c"])
    contrast(unit(3, 11), unit(3, 12), same, known).backward()
    assert contrast.log_scale.grad is not None and contrast.log_scale.grad.abs() > 0
    with torch.no_grad():
        contrast.log_scale.fill_(50.0)
    loss = contrast(unit(3, 11), unit(3, 12), same, known)
    expected = by_loop(unit(3, 11), unit(3, 12), same, known, 100.0)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_autocast_rounds_no_logit() -> None:
    frames, captions = unit(14, 0), unit(7, 1)
    same, known = (m.repeat_interleave(2, 0) for m in agreement(CAPTIONS))
    exact = Contrast()(frames, captions, same, known)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Contrast()(frames, captions, same, known), exact)


def test_the_nearest_caption_is_found() -> None:
    captions = unit(5, 13)
    frames = F.normalize(captions[[3, 0, 0, 4]] + 0.05 * unit(4, 14), dim=-1)
    assert retrieved(frames, captions).tolist() == [3, 0, 0, 4]
