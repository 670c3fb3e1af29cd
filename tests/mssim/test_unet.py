"""SpaceTimeUNet: sizes, masks, lengths, memory saving; its blocks against closed forms."""

from dataclasses import replace
from math import cos, pi

import pytest
import torch
from helpers.worlds import UNET, make_batch, make_simulator
from torch import Tensor

from mssim.errors import UserError
from mssim.video.blocks import TimeAttention, level_embedding, position_basis
from mssim.video.simulator import LossWeights, VideoSimulator
from mssim.video.unet import SpaceTimeUNet, UNetConfig


def inputs(b: int = 2, h: int = 4, p: int = 8, px: int = 8, seed: int = 0) -> list[Tensor]:
    """Everything `SpaceTimeUNet.forward` takes, in order."""
    g = torch.Generator().manual_seed(seed)
    return [
        torch.randn(b, p, 3, px, px, generator=g),
        torch.randn(b, p, generator=g),
        torch.randn(b, h, 3, px, px, generator=g),
        torch.ones(b, h, dtype=torch.bool),
        torch.ones(b, p, dtype=torch.bool),
        torch.full((b,), 0.2),
        torch.randn(b, p, UNET.embedding, generator=g),
        torch.randn(b, p, 5, UNET.embedding, generator=g),
    ]


def make_net(config: UNetConfig = UNET, h: int = 4, frames: int = 8) -> SpaceTimeUNet:
    torch.manual_seed(0)
    return SpaceTimeUNet(config, h, frames).eval()


@pytest.mark.parametrize("patch, px", [(1, 8), (2, 8), (4, 8), (2, 12)])
@pytest.mark.parametrize("temporal", ["full", "causal"])
def test_frames_keep_their_shape(patch: int, px: int, temporal: str) -> None:
    config = replace(UNET, patch=patch, temporal=temporal)  # type: ignore[arg-type]
    out = make_net(config)(*inputs(px=px))[0]
    assert out.shape == (2, 8, 3, px, px)
    assert out.dtype == torch.float32 and out.isfinite().all()


@pytest.mark.parametrize("multipliers, patch, px", [([1, 2], 1, 9), ([1, 2], 4, 12), ([1], 2, 7)])
def test_sizes_that_do_not_divide_are_refused(multipliers: list[int], patch: int, px: int) -> None:
    config = replace(UNET, multipliers=multipliers, patch=patch, attention=[0], time_attention=[0])
    divisor = patch * 2 ** (len(multipliers) - 1)
    assert config.divisor == divisor
    with pytest.raises(UserError, match=f"frames of {px} px: .* multiple of {divisor} "):
        make_net(config)(*inputs(px=px))


def test_more_frames_than_it_was_made_for_are_refused() -> None:
    with pytest.raises(UserError, match=r"9 frames to predict: .* at most 8"):
        make_net()(*inputs(p=9))


@pytest.mark.parametrize(
    "change, name",
    [
        ({"attention": [2]}, "unet.attention"),
        ({"time_attention": [-1]}, "unet.time_attention"),
        ({"blocks": 0}, "blocks"),
        ({"patch": 0}, "patch"),
        ({"injection": "attention", "attention": []}, "unet.injection: attention"),
        ({"context_noise": -0.1}, "unet.context_noise: -0.1"),
    ],
)
def test_configs_that_cannot_be_are_refused(change: dict[str, object], name: str) -> None:
    with pytest.raises(UserError, match=name):
        replace(UNET, **change)  # type: ignore[arg-type]


def test_the_answer_does_not_depend_on_company() -> None:
    """A window's output is its own: no statistics over the batch."""
    net, together = make_net(), inputs(b=3)
    alone = [v[1:2] for v in together]
    torch.testing.assert_close(net(*together)[0][1:2], net(*alone)[0], atol=1e-6, rtol=1e-5)


def test_masked_context_frames_are_not_seen() -> None:
    net, one = make_net(), inputs()
    one[3][:, 1] = False
    two = [v.clone() for v in one]
    two[2][:, 1] = 7.0
    assert torch.equal(net(*one)[0], net(*two)[0])
    one[3][:, 1] = True
    assert not torch.equal(net(*one)[0], net(*two)[0])


def test_masked_frames_are_not_seen_by_the_others() -> None:
    net, one = make_net(), inputs()
    one[4][:, 5:] = False
    two = [v.clone() for v in one]
    two[0][:, 5:] += 3.0
    a, b = net(*one)[0], net(*two)[0]
    assert torch.equal(a[:, :5], b[:, :5])
    assert (a[:, 5:] != b[:, 5:]).any()


def test_level_and_interval_reach_every_frame() -> None:
    net, one = make_net(), inputs()
    for position, value in ((1, one[1] + 0.5), (5, one[5] * 2)):
        two = [*one[:position], value, *one[position + 1 :]]
        change = (net(*one)[0] - net(*two)[0]).abs().amax(dim=(0, 2, 3, 4))
        assert (change > 1e-6).all()


@pytest.mark.parametrize("temporal", ["full", "causal"])
def test_time_attention_against_a_loop(temporal: str) -> None:
    torch.manual_seed(0)
    attention = TimeAttention(8, 6, temporal == "causal")
    torch.nn.init.normal_(attention.out.weight)
    x, mask = torch.randn(2 * 5, 8, 2, 2), torch.ones(2, 5, dtype=torch.bool)
    mask[1, 3] = False
    out = attention(x, mask) - x
    flat = attention.norm(x).view(2, 5, 8, 2, 2)
    for b, y, q in ((0, 0, 2), (1, 1, 4), (1, 0, 3), (0, 1, 0)):
        query, key, value = attention.qkv(flat[b, :, :, y, 1]).chunk(3, -1)
        scores = torch.full((5,), float("-inf"))
        for k in range(5):
            late = temporal == "causal" and k > q
            if not late and (mask[b, k] or k == q):
                scores[k] = query[q] @ key[k] / 8**0.5 + attention.distance[0, q - k + 5]
        expected = attention.out(scores.softmax(0) @ value)
        torch.testing.assert_close(out.view(2, 5, 8, 2, 2)[b, q, :, y, 1], expected)


def test_position_basis_is_the_cosine_basis() -> None:
    basis = position_basis(6, 3, torch.device("cpu"))
    assert basis.shape == (9, 6, 6)
    for i, j, y, x in ((0, 0, 1, 1), (1, 2, 0, 5), (2, 0, 3, 4)):
        expected = cos(pi * i * (y + 0.5) / 6) * cos(pi * j * (x + 0.5) / 6)
        assert basis[3 * i + j, y, x].item() == pytest.approx(expected, abs=1e-6)
    flat = basis.flatten(1)
    gram = flat @ flat.T
    assert (gram - torch.diag(gram.diag())).abs().max() < 1e-4  # orthogonal maps


def test_level_embedding_tells_levels_apart() -> None:
    level = torch.linspace(-1, 1, 50).unsqueeze(0)
    e = level_embedding(level, 32)[0]
    away = torch.cdist(e, e) + torch.eye(50) * 10
    assert e.shape == (50, 32)
    assert away.min() > 0.1


def gradients(simulator: VideoSimulator) -> dict[str, Tensor]:
    simulator.train()
    simulator.loss(make_batch(size=2), LossWeights(), seed=0, step=0).total.backward()
    return {n: p.grad for n, p in simulator.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("temporal", ["full", "causal"])
def test_gradient_checkpointing_gives_equal_gradients(temporal: str) -> None:
    config = replace(UNET, temporal=temporal)  # type: ignore[arg-type]
    plain = gradients(make_simulator(unet=config))
    saving = gradients(make_simulator(unet=replace(config, checkpoint=True)))
    assert plain.keys() == saving.keys() and len(plain) > 50
    for name, value in plain.items():
        torch.testing.assert_close(saving[name], value, atol=1e-7, rtol=1e-6)
