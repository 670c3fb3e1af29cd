"""Diffusion: schedule and preconditioning in closed form; samplers against an exact denoiser."""

from dataclasses import replace
from math import cos, log, pi, sqrt
from typing import get_args

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from helpers.worlds import make_batch, make_simulator, noise_sources
from torch import Tensor, nn

from mssim.errors import UserError
from mssim.video.diffusion import (
    Diffusion,
    DiffusionConfig,
    SamplerConfig,
    SamplerKind,
    Target,
    betas_of,
    cosine_alpha_bar,
)
from mssim.video.simulator import VideoSimulator
from mssim.video.unet import UNetConfig

TARGETS: tuple[Target, ...] = get_args(Target)
PAIRS: list[tuple[Target, SamplerKind, int]] = [
    *((t, "ddpm", 100) for t in ("v", "x")),
    *((t, k, 16) for t in ("v", "x") for k in ("ddim", "dpm++", "unipc")),
    ("flow", "euler", 16),
    ("edm", "euler", 16),
    ("edm", "dpm++", 16),
]


def of(target: Target) -> Diffusion:
    return Diffusion(DiffusionConfig(target=target))


def random_levels(target: Target, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Levels (B, P) as training draws them, data and noise (B, P, 3, S, S)."""
    g = torch.Generator().manual_seed(seed)
    n = of(target).draw(torch.rand(16, 4, generator=g), torch.randn(16, 4, generator=g))
    x, e = torch.randn(2, 16, 4, 3, 2, 2, generator=g)
    return n, x, e


# The schedule


def test_cosine_abar_follows_its_formula() -> None:
    """Nichol and Dhariwal 2021, eq. 17, to within what the zero terminal SNR shifts."""

    def f(n: int) -> float:
        return cos((n / 1000 + 0.008) / 1.008 * pi / 2) ** 2

    expected = torch.tensor([f(n + 1) / f(0) for n in range(1000)], dtype=torch.float64)
    abar = cosine_alpha_bar(1000)
    assert abar[0].item() == pytest.approx(expected[0].item(), rel=1e-12)
    torch.testing.assert_close(abar, expected, atol=1e-4, rtol=0)


def test_cosine_abar_has_zero_terminal_snr_and_only_falls() -> None:
    abar = cosine_alpha_bar(1000)
    assert abar[-1] == 0
    assert (abar[1:] < abar[:-1]).all()


def test_zero_terminal_snr_as_diffusers_makes_it() -> None:
    plain = DDIMScheduler(beta_schedule="squaredcos_cap_v2")
    betas = rescale_zero_terminal_snr(plain.betas.double())
    abar = (1 - betas).cumprod(0)
    torch.testing.assert_close(cosine_alpha_bar(1000), abar, atol=1e-5, rtol=0)


def test_betas_give_the_schedule_back() -> None:
    betas = betas_of(cosine_alpha_bar(1000))
    assert betas[-1] == 1
    again = (1 - betas.double()).cumprod(0)
    torch.testing.assert_close(again, cosine_alpha_bar(1000), atol=1e-6, rtol=0)


# Parametrisations


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", range(3))
def test_denoising_the_target_gives_the_data(target: Target, seed: int) -> None:
    n, x, e = random_levels(target, seed)
    d = of(target)
    level = d.level(n)
    noisy = d.noise(x, e, level)
    torch.testing.assert_close(
        d.denoised(d.target(x, noisy, level), noisy, level), x, atol=2e-5, rtol=0
    )


@pytest.mark.parametrize("target", TARGETS)
def test_the_target_is_what_the_papers_regress(target: Target) -> None:
    n, x, e = random_levels(target)
    d = of(target)
    level = d.level(n)
    alpha, sigma = (c[..., None, None, None] for c in (level.alpha, level.sigma))
    expected = {
        "v": alpha * e - sigma * x,
        "x": x,
        "flow": e - x,
        "edm": (x * sigma - e) / (sigma**2 + 1).sqrt(),
    }[target]
    got = d.target(x, alpha * x + sigma * e, level)
    torch.testing.assert_close(got, expected, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("target", ["v", "x"])
def test_variance_is_preserved(target: Target) -> None:
    level = of(target).level(torch.arange(1000.0).unsqueeze(0))
    torch.testing.assert_close(level.alpha**2 + level.sigma**2, torch.ones(1, 1000))
    assert level.alpha[0, -1] == 0 and level.sigma[0, -1] == 1


def test_flow_is_a_straight_line() -> None:
    level = of("flow").level(torch.tensor([[0.0, 0.25, 1.0]]))
    assert level.alpha.tolist() == [[1, 0.75, 0]]
    assert level.sigma.tolist() == [[0, 0.25, 1]]


def test_edm_coefficients_of_karras_table_1() -> None:
    for sigma in (0.02, 0.5, 1.0, 10.0):
        level = of("edm").level(torch.tensor([[sigma]]))
        data = 1.0
        expected = {
            "c_skip": data**2 / (sigma**2 + data**2),
            "c_out": sigma * data / sqrt(sigma**2 + data**2),
            "c_in": 1 / sqrt(sigma**2 + data**2),
            "c_noise": log(sigma) / 4,
            "alpha": 1.0,
            "sigma": sigma,
        }
        for name, value in expected.items():
            assert getattr(level, name).item() == pytest.approx(value, rel=1e-5), name


def test_edm_input_and_target_have_unit_variance() -> None:
    g = torch.Generator().manual_seed(0)
    d, x, e = of("edm"), *torch.randn(2, 1, 3, 3, 64, 64, generator=g)
    level = d.level(torch.tensor([[0.1, 1.0, 5.0]]))
    noisy = d.noise(x, e, level)
    scaled = noisy * level.c_in[..., None, None, None]
    for value in (scaled, d.target(x, noisy, level)):
        torch.testing.assert_close(value.std(dim=(0, 2, 3, 4)), torch.ones(3), atol=0.03, rtol=0)


def test_training_levels_are_drawn_where_they_should() -> None:
    g = torch.Generator().manual_seed(0)
    u, z = torch.rand(20000, 1, generator=g), torch.randn(20000, 1, generator=g)
    for target in ("v", "x"):
        n = of(target).draw(u, z)
        assert n.min() == 0 and n.max() == 999 and (n == n.floor()).all()
        assert n.mean().item() == pytest.approx(499.5, abs=6)
    t = of("flow").draw(u, z)
    assert t.min() > 0 and t.max() < 1
    assert t.median().item() == pytest.approx(0.5, abs=0.02)
    config = DiffusionConfig(target="edm", log_mean=-0.3, log_std=0.7)
    logs = Diffusion(config).draw(u, z).log()
    assert logs.mean().item() == pytest.approx(-0.3, abs=0.02)
    assert logs.std().item() == pytest.approx(0.7, abs=0.02)


# Samplers

MEAN, SPREAD = torch.tensor([-0.4, 0.1, 0.5]), torch.tensor([0.3, 0.5, 0.8])


class Oracle(nn.Module):
    """The exact F for pixels of N(MEAN, SPREAD^2), a channel each, in place of the network."""

    def __init__(self, diffusion: Diffusion, config: UNetConfig) -> None:
        super().__init__()
        self.diffusion, self.config = diffusion, config
        self.asked: list[float] = []

    def forward(self, scaled: Tensor, c_noise: Tensor, *_: Tensor) -> tuple[Tensor, None]:
        self.asked.append(c_noise[0, 0].item())
        n = {
            "v": (1000 * c_noise).round(),
            "x": (1000 * c_noise).round(),
            "flow": c_noise,
            "edm": (4 * c_noise).exp(),
        }[self.diffusion.config.target]
        level = self.diffusion.level(n)
        alpha, sigma, c_in = (
            c[..., None, None, None] for c in (level.alpha, level.sigma, level.c_in)
        )
        noisy = scaled / c_in
        mean, var = MEAN.view(3, 1, 1), SPREAD.view(3, 1, 1) ** 2
        gain = alpha * var / (alpha**2 * var + sigma**2)
        return self.diffusion.target(mean + gain * (noisy - alpha * mean), noisy, level), None


@pytest.fixture
def unclipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn is left as it is, outside [-1, 1], too."""
    monkeypatch.setattr(VideoSimulator, "from_diffused", lambda self, x, given: x)


def drawn_by_the_oracle(target: Target, kind: SamplerKind, steps: int) -> tuple[Tensor, Tensor]:
    """Mean and relative spread, (3,) each, of 12,288 pixels a channel drawn with an exact F."""
    simulator = make_simulator(diffusion=DiffusionConfig(target=target)).eval()
    oracle = Oracle(simulator.diffusion, simulator.net.config)
    simulator.net = oracle  # type: ignore[assignment]
    batch = make_batch(size=6, px=16)
    x = simulator.sample(batch, SamplerConfig(kind, steps), noise_sources(batch))
    assert len(oracle.asked) == steps
    return x.mean(dim=(0, 1, 3, 4)), x.std(dim=(0, 1, 3, 4)) / SPREAD


def true_mean(target: Target) -> Tensor:
    """MEAN; EDM starts from a noise around zero, which pulls by SPREAD / sigma_max of the mean."""
    return MEAN * (1 - SPREAD / 10) if target == "edm" else MEAN


@pytest.mark.usefixtures("unclipped")
@pytest.mark.parametrize("target, kind, steps", PAIRS)
def test_exact_denoiser_gives_the_exact_distribution(
    target: Target, kind: SamplerKind, steps: int
) -> None:
    """The mean to .01; the spread to what a solver of its order leaves after so many steps."""
    mean, spread = drawn_by_the_oracle(target, kind, steps)
    torch.testing.assert_close(mean, true_mean(target), atol=0.01, rtol=0)
    tolerance = {"dpm++": 0.06, "unipc": 0.06, "ddpm": 0.08, "ddim": 0.14, "euler": 0.14}[kind]
    torch.testing.assert_close(spread, torch.ones(3), atol=tolerance, rtol=0)


@pytest.mark.usefixtures("unclipped")
def test_the_papers_thousand_steps_are_exact() -> None:
    mean, spread = drawn_by_the_oracle("v", "ddpm", 1000)
    torch.testing.assert_close(mean, MEAN, atol=0.01, rtol=0)
    torch.testing.assert_close(spread, torch.ones(3), atol=0.02, rtol=0)


@pytest.mark.usefixtures("unclipped")
@pytest.mark.parametrize("target, kind", [(t, k) for t, k, _ in PAIRS if k != "ddpm"])
def test_more_steps_come_closer(target: Target, kind: SamplerKind) -> None:
    mean, spread = drawn_by_the_oracle(target, kind, 100)
    torch.testing.assert_close(mean, true_mean(target), atol=0.01, rtol=0)
    torch.testing.assert_close(spread, torch.ones(3), atol=0.03, rtol=0)


@pytest.mark.parametrize("target, kind, steps", PAIRS)
def test_the_network_is_asked_from_the_highest_level_down(
    target: Target, kind: SamplerKind, steps: int
) -> None:
    d = of(target)
    levels = d.c_noise(d.scheduler(SamplerConfig(kind, steps)).timesteps.float())
    assert len(levels) == steps
    assert (levels[1:] < levels[:-1]).all()
    highest = d.level(
        {
            "v": torch.tensor([[999.0]]),
            "x": torch.tensor([[999.0]]),
            "flow": torch.tensor([[1.0]]),
            "edm": torch.tensor([[10.0]]),
        }[target]
    )
    assert levels[0].item() == pytest.approx(highest.c_noise.item(), abs=1e-4)


@pytest.mark.parametrize("target", TARGETS)
def test_a_sampler_of_another_target_is_refused(target: Target) -> None:
    fitting = {k for t, k, _ in PAIRS if t == target}
    others = set(get_args(SamplerKind)) - fitting
    assert others
    for kind in others:
        with pytest.raises(UserError, match=rf"sampler.kind: .* diffusion.target {target}"):
            of(target).scheduler(SamplerConfig(kind))


@pytest.mark.usefixtures("unclipped")
@pytest.mark.parametrize("target, kind", [("x", "ddim"), ("v", "ddim"), ("edm", "euler")])
@pytest.mark.parametrize("eta", [0.5, 4.0])
def test_guidance_is_unisims_equation_1(target: Target, kind: SamplerKind, eta: float) -> None:
    """(1 + eta) F(action) - eta F(no action): with one step a sample is affine in F."""
    simulator = make_simulator(diffusion=DiffusionConfig(target=target)).eval()
    batch = make_batch(size=2)

    def draw(guidance: float, condition: bool = True) -> Tensor:
        sampler = SamplerConfig(kind, 1, guidance)
        return simulator.sample(batch, sampler, noise_sources(batch), condition)

    with_action, without = draw(0.0), draw(0.0, condition=False)
    assert (with_action - without).abs().max() > 1e-4
    torch.testing.assert_close(
        draw(eta), (1 + eta) * with_action - eta * without, atol=1e-5, rtol=1e-4
    )
    assert torch.equal(draw(eta, condition=False), without)


@pytest.mark.parametrize("kind", ["dpm++", "euler"])
def test_guidance_by_zero_is_plain_and_more_moves_further(kind: SamplerKind) -> None:
    simulator, batch = make_simulator().eval(), make_batch(size=1)

    def draw(guidance: float) -> Tensor:
        return simulator.sample(batch, SamplerConfig(kind, 3, guidance), noise_sources(batch))

    plain, nearly = draw(0.0), draw(1e-9)  # the second asks for both conditions, weight zero
    torch.testing.assert_close(nearly, plain, atol=1e-6, rtol=0)
    near, far = (draw(eta) - plain for eta in (1.0, 3.0))
    assert 0 < near.norm() < far.norm()


def test_configs_that_cannot_be_are_refused() -> None:
    for low, high in ((0.0, 1.0), (2.0, 1.0), (-1.0, 1.0)):
        with pytest.raises(UserError, match="sigma_min"):
            replace(DiffusionConfig(), sigma_min=low, sigma_max=high)
    for steps in (0, 1001):
        with pytest.raises(UserError, match=f"sampler.steps: {steps}"):
            SamplerConfig(steps=steps)
