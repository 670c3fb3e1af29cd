"""VideoSimulator: actions in, video out. Its loss and its sampler (both papers).

Letters: B batch, T frames = H context + P predicted, S pixels a side, D feature width.
"""

from dataclasses import dataclass, replace

import torch
from einops import rearrange, reduce, repeat
from torch import Generator, Tensor, nn

from mssim.action.encoder import ActionEncoder, Encoding
from mssim.batch import Batch
from mssim.noise import generators, normal, uniform
from mssim.towers import Tower
from mssim.video.condition import Condition
from mssim.video.diffusion import Diffusion, SamplerConfig
from mssim.video.unet import SpaceTimeUNet


@dataclass(frozen=True)
class LossWeights:
    """L = video L_vdm + ssl L_ssl + norm L_norm (section 2.3)."""

    video: float = 10.0
    ssl: float = 1.0
    norm: float = 0.1


@dataclass(frozen=True)
class Losses:
    """Scalars: the total, then its unweighted parts."""

    total: Tensor
    video: Tensor
    ssl: Tensor
    norm: Tensor


@dataclass(frozen=True)
class Given:
    """All that the network is told beside the noisy frames; made once a clip, not once a step.

    Attributes:
        context: What is diffused of the context frames, (B, H, 3, S, S).
        batch: Masks and intervals are read.
        modulation: (B, P, E).
        tokens: (B, P, N, E).
        haze: What training adds to the context, see `UNetConfig.context_noise`.
    """

    context: Tensor
    batch: Batch
    modulation: Tensor
    tokens: Tensor
    haze: tuple[Tensor, Tensor] | None = None


class VideoSimulator(nn.Module):
    """Encoder, condition, network and diffusion in one.

    Args:
        encoder: Actions to features.
        tower: Frames to features; saved and trained only if it is a module.
        net: The space-time network.
        diffusion: Forward process and schedulers.
        drop_condition: Share of training windows that see the null condition.
    """

    residual_scale: Tensor

    def __init__(
        self,
        encoder: ActionEncoder,
        tower: Tower,
        net: SpaceTimeUNet,
        diffusion: Diffusion,
        drop_condition: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.tower = tower
        self.net = net
        self.diffusion = diffusion
        self.drop_condition = drop_condition
        self.condition = Condition(
            encoder.config.feature,
            net.config.embedding,
            net.config.own_tokens,
            net.config.temporal == "causal",
            modulate=net.config.injection != "attention",
            attend=net.config.injection != "modulation",
        )
        self.register_buffer("residual_scale", torch.ones(()))

    def loss(self, batch: Batch, weights: LossWeights, seed: int, step: int) -> Losses:
        """The training loss of a batch, section 2.3.

        Noise is a function of seed, step and window: a resumed run draws the same, and so do
        two ranks that share what one had.
        """
        sources = generators(seed, step, batch.window)
        device = batch.presence.device
        drop = (uniform(sources) < self.drop_condition).to(device)
        given, encoding = self.give(batch, drop, training=True)
        data = self.to_diffused(batch)
        level = self.diffusion.level(
            repeat(
                self.diffusion.draw(uniform(sources, 1), normal(sources, 1)).to(device),
                "b 1 -> b p",
                p=data.shape[1],  # equal over the frames of a window
            )
        )
        noise = normal(sources, *data.shape[1:]).to(device)
        noisy = self.diffusion.noise(data, noise, level)
        scaled = noisy * rearrange(level.c_in, "b p -> b p 1 1 1")
        given = replace(given, haze=self._haze(given.context, sources))
        error = (
            self.run(scaled, level.c_noise, given) - self.diffusion.target(data, noisy, level)
        ) ** 2
        per_frame = reduce(error, "b p c y x -> b p", "mean")
        real = batch.target_mask.to(per_frame.dtype)
        video = (per_frame * real).sum() / real.sum().clamp(min=1)
        total = weights.video * video + weights.ssl * encoding.ssl + weights.norm * encoding.norm
        return Losses(total, video, encoding.ssl, encoding.norm)

    @torch.no_grad()
    def sample(
        self,
        batch: Batch,
        sampler: SamplerConfig,
        sources: list[Generator],
        condition: bool = True,
    ) -> Tensor:
        """Draw the predicted frames, float32 (B, P, 3, S, S) in [-1, 1].

        Args:
            batch: Only its context frames are looked at, and the actions of all its steps.
            sampler: Scheduler, steps and guidance.
            sources: A generator a window.
            condition: False draws under the null condition, the row `no-action`.
        """
        device, (b, p) = batch.presence.device, batch.target_mask.shape
        drop = torch.full((b,), not condition, device=device)
        given, _ = self.give(batch, drop, training=False)
        free = None
        if sampler.guidance and condition:
            free, _ = self.give(batch, ~drop, training=False)
        scheduler = self.diffusion.scheduler(sampler)
        noise = normal(sources, p, *given.context.shape[2:]).to(device)
        x = noise * scheduler.init_noise_sigma if hasattr(scheduler, "init_noise_sigma") else noise
        extra = {"generator": sources} if sampler.kind == "ddpm" else {}
        for t in scheduler.timesteps:
            scale = getattr(scheduler, "scale_model_input", lambda x, _: x)
            level = self.diffusion.c_noise(t).to(device, torch.float32).expand(b, p)
            output = self.run(scale(x, t), level, given)
            if free is not None:
                # UniSim eq. 1: (1 + eta) eps(action) - eta eps(no action).
                output = torch.lerp(
                    self.run(scale(x, t), level, free), output, 1 + sampler.guidance
                )
            x = scheduler.step(output, t, x, **extra).prev_sample
        return self.from_diffused(x.float(), given)

    def give(self, batch: Batch, drop: Tensor, training: bool) -> tuple[Given, Encoding]:
        """Encode context frames, actions and text; `drop` bool (B,) nulls the action."""
        h = batch.context
        video = batch.video()
        seen = self.tower.images(video[:, :h])
        if training:
            # Future frames are targets of L_norm only, never an input.
            with torch.no_grad():
                future = self.tower.images(video[:, h:])
            seen = torch.cat([seen, future], dim=1)
        reads = self.encoder.config.reads_text
        text = self.tower.texts(batch.text).to(seen.device) if reads else None
        encoding = self.encoder(batch, seen, text)
        modulation, tokens = self.condition(
            encoding.features, seen[:, :h], batch.context_mask, drop
        )
        return Given(video[:, :h], batch, modulation, tokens), encoding

    def run(self, scaled: Tensor, level: Tensor, given: Given) -> Tensor:
        """F for c_in x_n (B, P, 3, S, S) at level c_noise (B, P)."""
        drawn: tuple[Tensor, Tensor | None] = self.net(
            scaled,
            level,
            given.context,
            given.batch.context_mask,
            given.batch.target_mask,
            given.batch.interval,
            given.modulation,
            given.tokens,
            given.haze,
        )
        out, guess = drawn
        if guess is None:
            return out
        if self.diffusion.config.residual:
            guess = (guess - self._last(given.context, given.batch)) / self.residual_scale
        trust = rearrange(self.diffusion.trust(level), "b p -> b p 1 1 1")
        return out + trust * guess

    def to_diffused(self, batch: Batch) -> Tensor:
        """What is diffused of the frames to predict: (B, P, 3, S, S)."""
        video = batch.video()
        future = video[:, batch.context :]
        if not self.diffusion.config.residual:
            return future
        return (future - self._last(video[:, : batch.context], batch)) / self.residual_scale

    def from_diffused(self, x: Tensor, given: Given) -> Tensor:
        """Frames (B, P, 3, S, S) in [-1, 1] from what was diffused."""
        if self.diffusion.config.residual:
            x = x * self.residual_scale + self._last(given.context, given.batch)
        return x.clamp(-1, 1)

    def _haze(self, context: Tensor, sources: list[Generator]) -> tuple[Tensor, Tensor] | None:
        most, device = self.net.config.context_noise, context.device
        if not most:
            return None
        noise = normal(sources, *context.shape[1:]).to(device)
        return noise, most * uniform(sources).to(device)

    def _last(self, context: Tensor, batch: Batch) -> Tensor:
        """The last context frame, (B, 1, 3, S, S); zeros where there is none."""
        real = rearrange(batch.context_mask[:, -1:], "b h -> b h 1 1 1")
        return context[:, -1:] * real
