"""Warp: moved pixels against copies made by hand, and its place in the posterior mean."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
from helpers.worlds import EDM, UNET, make_batch, make_simulator
from torch import Tensor

from mssim.video.diffusion import Diffusion, DiffusionConfig, Target
from mssim.video.simulator import LossWeights
from mssim.video.warp import Warp, look

PIXEL = 2 / 8  # of halves of a picture of 8 px


def picture(b: int = 2, h: int = 3, size: int = 8) -> Tensor:
    return torch.rand(b, h, 3, size, size, generator=torch.Generator().manual_seed(0))


def flow(right: float, down: float, p: int = 4, b: int = 2, h: int = 3, size: int = 8) -> Tensor:
    return torch.stack([torch.full((b, p, h, size, size), v) for v in (right, down)])


def test_no_flow_shows_the_context_as_it_is() -> None:
    context = picture()
    shown = look(context, flow(0, 0))
    torch.testing.assert_close(shown, context[:, None].expand_as(shown), atol=1e-6, rtol=0)


def test_whole_pixels_are_copied_and_edges_repeat() -> None:
    """Looking 2 right and 1 down is the picture moved 2 left and 1 up."""
    context = picture()
    shown = look(context, flow(2 * PIXEL, PIXEL))
    expected = context[..., 1:, 2:][:, None]
    torch.testing.assert_close(
        shown[..., :-1, :-2], expected.expand_as(shown[..., :-1, :-2]), atol=1e-6, rtol=0
    )
    past_the_edge = context[..., 1:, -1:][:, None]
    torch.testing.assert_close(
        shown[..., :-1, -2:], past_the_edge.expand_as(shown[..., :-1, -2:]), atol=1e-6, rtol=0
    )


def test_half_a_pixel_is_the_mean_of_two() -> None:
    context = picture()
    shown = look(context, flow(PIXEL / 2, 0))[..., :-1]
    expected = ((context[..., 1:] + context[..., :-1]) / 2)[:, None]
    torch.testing.assert_close(shown, expected.expand_as(shown), atol=1e-6, rtol=0)


def test_every_frame_and_context_has_its_own_flow() -> None:
    field = torch.rand(2, 2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1)) - 0.5
    context = picture()
    together = look(context, field)
    for b, p, h in ((0, 0, 0), (1, 3, 2), (0, 2, 1)):
        one = field[:, b : b + 1, p : p + 1, h : h + 1]
        alone = look(context[b : b + 1, h : h + 1], one)
        torch.testing.assert_close(together[b, p, h], alone[0, 0, 0])


def make_warp(context: int) -> Warp:
    torch.manual_seed(0)
    return Warp([16, 8], context, 12)


def features(b: int = 2, p: int = 4) -> tuple[list[Tensor], Tensor]:
    """Two levels and an embedding, as the network has them."""
    g = torch.Generator().manual_seed(2)
    levels = [torch.randn(b * p, c, s, s, generator=g) for c, s in ((16, 2), (8, 4))]
    return levels, torch.randn(b * p, 12, generator=g)


def test_untrained_it_believes_the_last_frame_and_never_a_missing_one() -> None:
    warp, context = make_warp(3), picture()
    for layer in (warp.whole, *warp.heads):
        torch.nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
    mask = torch.ones(2, 3, dtype=torch.bool)
    mask[1, 2] = False
    guess = warp(*features(), context, mask)
    assert guess.shape == (2, 4, 3, 8, 8)
    share = torch.tensor([1.0, 1.0, 20.0855]) / 22.0855
    expected = torch.einsum("h,hcyx->cyx", share, context[0])
    torch.testing.assert_close(guess[0, 0], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(guess[1, 2], context[1, :2].mean(0), atol=1e-4, rtol=0)
    assert not warp(*features(), context, torch.zeros_like(mask)).any()


def test_what_the_action_sets_moves_the_whole_picture() -> None:
    """The first cosine is constant: its coefficient alone moves every pixel the same way."""
    warp, context = make_warp(1), picture(h=1)
    for layer in (warp.whole, *warp.heads):
        torch.nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
    with torch.no_grad():
        warp.whole.bias[0] = 4 * PIXEL  # outputs move by a quarter of half a picture
    guess = warp(*features(), context, torch.ones(2, 1, dtype=torch.bool))
    expected = context[:, :, :, :, 1:].expand(2, 4, 3, 8, 7)
    torch.testing.assert_close(guess[..., :-1], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("target", get_args(Target))
def test_a_guess_enters_as_the_mean_of_a_prior(target: Target) -> None:
    """With F that knows nothing but x_n, D is the mean of x ~ N(W, 1) given x_n (Bayes)."""
    diffusion = Diffusion(DiffusionConfig(target=target))
    g = torch.Generator().manual_seed(0)
    n = diffusion.draw(torch.rand(6, 4, generator=g), torch.randn(6, 4, generator=g))
    level = diffusion.level(n)
    x, e, w = torch.randn(3, 6, 4, 3, 2, 2, generator=g)
    a, s = (v[..., None, None, None] for v in (level.alpha, level.sigma))
    noisy = a * x + s * e
    expected = (w * s**2 + a * noisy) / (a**2 + s**2)
    # The same mean for a prior about zero, as F: what an ideal network says without a guess.
    blind = diffusion.target(a * noisy / (a**2 + s**2), noisy, level)
    trust = diffusion.trust(level.c_noise)[..., None, None, None]
    found = diffusion.denoised(blind + trust * w, noisy, level)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("residual", [False, True])
def test_a_simulator_learns_where_to_look(residual: bool) -> None:
    """Gradients reach every channel of the flow."""
    config = replace(UNET, warp=True)
    simulator = make_simulator(unet=config, diffusion=replace(EDM, residual=residual))
    batch = make_batch()
    simulator.loss(batch, LossWeights(), 0, 0).total.backward()
    assert simulator.net.warp is not None
    for layer in (simulator.net.warp.whole, *simulator.net.warp.heads):
        grad = layer.weight.grad
        assert isinstance(grad, Tensor) and (grad.flatten(1).norm(dim=1) > 0).all()
