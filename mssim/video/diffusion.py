"""Diffusion: noising, targets and samplers, one affine form for every parametrisation.

With data x, noise e and a level n:      x_n = alpha x + sigma e
The network F sees c_in x_n and the level c_noise; its estimate of the data is
                                         D = c_skip x_n + c_out F
so its target is (x - c_skip x_n) / c_out, with weight 1 at every level [method.md 8].

    v      alpha^2 + sigma^2 = 1, cosine (s = .008), zero terminal SNR; F = alpha e - sigma x
    x      the same path; F = x
    flow   alpha = 1 - t, sigma = t; F = e - x
    edm    alpha = 1; F preconditioned to unit variance (Karras et al. 2022, table 1)

Samplers are the schedulers of diffusers.
"""

import importlib  # diffusers is slow to import and has untyped constructors
from dataclasses import dataclass
from math import pi
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor

from mssim.errors import UserError

Target = Literal["v", "x", "flow", "edm"]
SamplerKind = Literal["ddpm", "ddim", "dpm++", "unipc", "euler"]
_STEPS = 1000
_SAMPLERS: dict[Target, tuple[SamplerKind, ...]] = {
    "v": ("ddpm", "ddim", "dpm++", "unipc"),
    "x": ("ddpm", "ddim", "dpm++", "unipc"),
    "flow": ("euler",),
    "edm": ("euler", "dpm++"),
}


@dataclass(frozen=True)
class DiffusionConfig:
    """What is diffused, and how.

    Args:
        target: Parametrisation, see the head of this file.
        residual: Diffuse the difference to the last context frame, scaled to unit variance.
        sigma_min: Lowest noise level (`edm`).
        sigma_max: Highest noise level (`edm`).
        log_mean: Training levels are exp(N(log_mean, log_std^2)) (`edm`); about 0.5 puts the
            weight where the action decides, not where only texture is left to draw.
        log_std: See `log_mean`.
    """

    target: Target = "v"
    residual: bool = False
    sigma_min: float = 0.02
    sigma_max: float = 10.0
    log_mean: float = 0.5
    log_std: float = 1.2

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise UserError(
                f"diffusion: sigma_min {self.sigma_min} must lie between 0 and sigma_max "
                f"{self.sigma_max}"
            )


@dataclass(frozen=True)
class SamplerConfig:
    """How frames are drawn from the model.

    Args:
        kind: Scheduler; `ddpm` with 1000 steps is the paper's.
        steps: Network evaluations.
        guidance: eta of UniSim's equation 1; 0 needs one evaluation a step, else two in a batch.
    """

    kind: SamplerKind = "dpm++"
    steps: int = 8
    guidance: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= _STEPS:
            raise UserError(f"sampler.steps: {self.steps} is not in 1..{_STEPS}")


@dataclass(frozen=True)
class Level:
    """The coefficients of a noise level; each has the shape of the level, (B, P)."""

    alpha: Tensor
    sigma: Tensor
    c_in: Tensor
    c_skip: Tensor
    c_out: Tensor
    c_noise: Tensor


class Diffusion:
    """The forward process, its loss, and its sampler, for one config."""

    def __init__(self, config: DiffusionConfig) -> None:
        self.config = config
        self.alpha_bar = cosine_alpha_bar(_STEPS)

    def draw(self, uniform: Tensor, normal: Tensor) -> Tensor:
        """Training levels from uniform (B, P) in [0, 1) and standard normal (B, P) numbers.

        Returns n in 0..999 for `v` and `x`, t in (0, 1) for `flow`, sigma for `edm`.
        """
        if self.config.target == "edm":
            return (self.config.log_mean + self.config.log_std * normal).exp()
        if self.config.target == "flow":
            return torch.sigmoid(normal)
        return (uniform * _STEPS).floor()

    def level(self, n: Tensor) -> Level:
        """Coefficients at levels n, as `draw` gives them."""
        one, zero = torch.ones_like(n), torch.zeros_like(n)
        if self.config.target == "edm":
            root = (n**2 + 1).sqrt()
            return Level(one, n, 1 / root, 1 / root**2, n / root, n.log() / 4)
        if self.config.target == "flow":
            return Level(1 - n, n, one, one, -n, n)
        bar = self.alpha_bar.to(n.device)[n.long()]
        alpha, sigma = bar.sqrt().to(n.dtype), (1 - bar).sqrt().to(n.dtype)
        if self.config.target == "x":
            return Level(alpha, sigma, one, zero, one, n / _STEPS)
        return Level(alpha, sigma, one, alpha, -sigma, n / _STEPS)

    def noise(self, x: Tensor, noise: Tensor, level: Level) -> Tensor:
        """x_n = alpha x + sigma e, for x and noise (B, P, 3, S, S)."""
        return _wide(level.alpha) * x + _wide(level.sigma) * noise

    def target(self, x: Tensor, noisy: Tensor, level: Level) -> Tensor:
        """What F should be: (x - c_skip x_n) / c_out."""
        return (x - _wide(level.c_skip) * noisy) / _wide(level.c_out)

    def denoised(self, output: Tensor, noisy: Tensor, level: Level) -> Tensor:
        """D = c_skip x_n + c_out F, the estimate of x."""
        return _wide(level.c_skip) * noisy + _wide(level.c_out) * output

    def trust(self, c_noise: Tensor) -> Tensor:
        """How much of a guess W of the data goes into F at level c_noise: (B, P).

        With data of unit variance about W, its mean given x_n is W + k (x_n - alpha W), where
        k = alpha / (alpha^2 + sigma^2): W counts sigma^2 / (alpha^2 + sigma^2) in D.
        """
        if self.config.target == "edm":
            level = self.level((4 * c_noise).exp())
        elif self.config.target == "flow":
            level = self.level(c_noise)
        else:
            level = self.level((c_noise * _STEPS).round())
        return level.sigma**2 / (level.alpha**2 + level.sigma**2) / level.c_out

    def scheduler(self, sampler: SamplerConfig) -> Any:
        """A fresh diffusers scheduler with its timesteps set.

        Raises:
            UserError: This sampler does not go with this target.
        """
        target, kind = self.config.target, sampler.kind
        if kind not in _SAMPLERS[target]:
            raise UserError(
                f"sampler.kind: {kind} does not go with diffusion.target {target}; "
                f"take one of {', '.join(_SAMPLERS[target])}"
            )
        scheduler = _edm(self.config, kind) if target == "edm" else self._discrete(kind)
        scheduler.set_timesteps(sampler.steps)
        return scheduler

    def c_noise(self, timestep: Tensor) -> Tensor:
        """A scheduler's timestep as the network's noise level."""
        return timestep if self.config.target == "edm" else timestep / _STEPS

    def _discrete(self, kind: SamplerKind) -> Any:
        diffusers: Any = importlib.import_module("diffusers")
        if self.config.target == "flow":
            return diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=_STEPS)
        shared: dict[str, Any] = {
            "num_train_timesteps": _STEPS,
            "trained_betas": betas_of(self.alpha_bar).numpy(),
            "prediction_type": "v_prediction" if self.config.target == "v" else "sample",
            "timestep_spacing": "trailing",
        }
        unclipped = {"clip_sample": False}
        if kind == "ddpm":
            return diffusers.DDPMScheduler(**shared, **unclipped)
        if kind == "ddim":
            return diffusers.DDIMScheduler(**shared, **unclipped, set_alpha_to_one=True)
        if kind == "unipc":
            return diffusers.UniPCMultistepScheduler(
                **shared, rescale_betas_zero_snr=True, final_sigmas_type="zero"
            )
        return diffusers.DPMSolverMultistepScheduler(
            **shared,
            rescale_betas_zero_snr=True,
            euler_at_final=True,
            final_sigmas_type="zero",
        )


def _edm(config: DiffusionConfig, kind: SamplerKind) -> Any:
    diffusers: Any = importlib.import_module("diffusers")
    cls = (
        diffusers.EDMEulerScheduler if kind == "euler" else diffusers.EDMDPMSolverMultistepScheduler
    )
    return cls(
        sigma_min=config.sigma_min,
        sigma_max=config.sigma_max,
        sigma_data=1.0,
        prediction_type="epsilon",  # diffusers' word for EDM's own preconditioning
        **({"final_sigmas_type": "zero"} if kind == "dpm++" else {}),
    )


def cosine_alpha_bar(steps: int, s: float = 0.008) -> Tensor:
    """abar_n of the cosine schedule (Nichol and Dhariwal 2021, eq. 17), float64 (steps,),
    shifted and scaled so that the last is exactly zero (Lin et al. 2024, algorithm 1).
    """
    t = torch.arange(steps + 1, dtype=torch.float64) / steps
    f = torch.cos((t + s) / (1 + s) * pi / 2) ** 2
    betas = (1 - f[1:] / f[:-1]).clamp(max=0.999)
    root = (1 - betas).cumprod(0).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return root**2


def betas_of(alpha_bar: Tensor) -> Tensor:
    """The betas, float32 (steps,), whose cumulative product gives alpha_bar."""
    previous = torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    return (1 - alpha_bar / previous).float()


def _wide(coefficient: Tensor) -> Tensor:
    return rearrange(coefficient, "b p -> b p 1 1 1")
