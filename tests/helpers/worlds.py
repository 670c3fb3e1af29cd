"""Tiny worlds for tests: sense sets, random batches, a moving square, and simulators to match.

Letters: B windows, H context frames, P frames to predict, T = H + P, S pixels a side.
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
from einops import rearrange
from torch import Tensor

from mssim.action.encoder import ActionEncoder, EncoderConfig
from mssim.batch import Batch, to_uint8
from mssim.senses import Sense, SenseSet
from mssim.towers import SmallTower
from mssim.video.diffusion import Diffusion, DiffusionConfig
from mssim.video.simulator import LossWeights, VideoSimulator
from mssim.video.unet import SpaceTimeUNet, UNetConfig

HANDS = SenseSet([Sense("left", [5], "rad"), Sense("right", [3], "rad")])
BODY = SenseSet(
    [
        Sense("pose", [4, 3], "cm"),
        Sense("emg", [2], "raw", samples_per_frame=3),
        Sense("touch", [4, 4], "adc"),
    ]
)
PLACE = SenseSet([Sense("place", [2], "px", role="command")])
SETS = {"hands": HANDS, "body": BODY, "place": PLACE}

ENCODER = EncoderConfig(code=16, projection=[24], feature=32, dropout=0.0)
UNET = UNetConfig(
    width=8,
    multipliers=[1, 2],
    blocks=1,
    attention=[1],
    time_attention=[0, 1],
    embedding=32,
    own_tokens=2,
)
EDM = DiffusionConfig(target="edm", residual=True)


def make_batch(
    senses: SenseSet = HANDS,
    size: int = 4,
    context: int = 4,
    future: int = 8,
    px: int = 8,
    seed: int = 0,
    presence: float = 1.0,
    text: list[str] | None = None,
    sources: int = 1,
) -> Batch:
    """Random windows: noise for frames and senses; each sense is there with chance `presence`."""
    g = torch.Generator().manual_seed(seed)
    t = context + future
    here = torch.rand(size, t, len(senses), generator=g) < presence
    values = {
        s.name: torch.randn(size, t, s.samples_per_frame, *s.shape, generator=g) for s in senses
    }
    for m, name in enumerate(values):
        values[name] = torch.einsum("bt,bt...->bt...", here[:, :, m].float(), values[name])
    return Batch(
        frames={"ego": torch.randint(0, 256, (size, t, 3, px, px), generator=g).to(torch.uint8)},
        senses=values,
        presence=here,
        context_mask=torch.ones(size, context, dtype=torch.bool),
        target_mask=torch.ones(size, future, dtype=torch.bool),
        text=[""] * size if text is None else text,
        source=torch.arange(size) % sources,
        subject=torch.zeros(size, dtype=torch.long),
        interval=torch.full((size,), 0.2),
        window=torch.arange(size),
        unit=torch.arange(size),
    )


def make_square(
    size: int = 8, context: int = 4, future: int = 8, px: int = 8, seed: int = 0
) -> Batch:
    """A soft bright square whose place is the action: (B, T, 1, 2) in [-1, 1], a fresh one a frame.

    Places are independent from frame to frame, so only its own action tells where the square is.
    """
    g = torch.Generator().manual_seed(seed)
    batch = make_batch(PLACE, size, context, future, px, seed)
    place = torch.rand(size, context + future, 1, 2, generator=g) * 2 - 1
    grid = (torch.arange(px) + 0.5) / px * 2 - 1
    near = [
        torch.sigmoid(12 * (0.4 - (grid - rearrange(place[..., i], "b t 1 -> b t 1")).abs()))
        for i in range(2)
    ]
    light = torch.einsum("bty,btx->btyx", near[0], near[1])
    video = rearrange(light * 2 - 1, "b t y x -> b t 1 y x").expand(-1, -1, 3, -1, -1)
    return replace(batch, frames={"ego": to_uint8(video)}, senses={"place": place})


def make_simulator(
    senses: SenseSet = HANDS,
    seed: int = 0,
    context: int = 4,
    frames: int = 8,
    sources: int = 1,
    encoder: EncoderConfig = ENCODER,
    unet: UNetConfig = UNET,
    diffusion: DiffusionConfig = EDM,
    drop_condition: float = 0.1,
) -> VideoSimulator:
    """A VideoSimulator of some hundred thousand parameters; the global RNG is left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return VideoSimulator(
            ActionEncoder(senses, sources, encoder),
            SmallTower(encoder.feature, channels=8, text=encoder.reads_text),
            SpaceTimeUNet(unet, context, frames),
            Diffusion(diffusion),
            drop_condition=drop_condition,
        )


def train(
    simulator: VideoSimulator,
    batches: Iterable[Batch],
    lr: float = 3e-3,
    weights: LossWeights | None = None,
) -> list[float]:
    """Adam over the batches, noise by step; the video loss of each step. Leaves it in eval mode."""
    adam = torch.optim.Adam(simulator.parameters(), lr, fused=True)
    simulator.train()
    losses = []
    for step, batch in enumerate(batches):
        adam.zero_grad()
        loss = simulator.loss(batch, weights or LossWeights(), seed=0, step=step)
        loss.total.backward()
        adam.step()
        losses.append(loss.video.item())
    simulator.eval()
    return losses


def swap_actions(batch: Batch, frame: int) -> Batch:
    """The batch with each window's senses at `frame` exchanged for its neighbour's, there only."""
    senses = {}
    for name, value in batch.senses.items():
        senses[name] = value.clone()
        senses[name][:, frame] = value[:, frame].roll(1, 0)
    return batch.with_senses(senses, batch.presence)


def noise_sources(batch: Batch, seed: int = 0) -> list[torch.Generator]:
    """A generator a window, the same ones at each call."""
    return [torch.Generator().manual_seed(seed * 1000 + w) for w in batch.window.tolist()]


def change_per_frame(one: Tensor, two: Tensor) -> Tensor:
    """Root mean square of the difference, by frame (P,), of (B, P, 3, S, S)."""
    return ((one - two) ** 2).mean(dim=(0, 2, 3, 4)).sqrt()
