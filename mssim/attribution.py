"""Attribution: what each sense contributes to what is seen, by leaving it out.

A window is drawn with all its senses and again without each, from the same noise. The change is
what a sense adds to the others: of two that tell the same, leaving out either changes little.

Letters: B batch, P predicted frames, M senses.
"""

import torch
from einops import rearrange, reduce
from torch import Tensor

from mssim.batch import Batch
from mssim.noise import generators
from mssim.video.diffusion import SamplerConfig
from mssim.video.simulator import VideoSimulator


def contributions(
    simulator: VideoSimulator, batch: Batch, sampler: SamplerConfig, seed: int
) -> Tensor:
    """Mean absolute change of each predicted frame when a sense is left out: float32 (M, B, P).

    In grey levels of 0 to 1; zero where the sense was not there or the frame is not real.

    Args:
        simulator: Trained.
        batch: Its windows must be no longer than the simulator draws at once.
        sampler: As for the rollouts.
        seed: Of the noise.
    """

    def drawn(of: Batch) -> Tensor:
        frames = simulator.sample(of, sampler, generators(seed, 0, of.window))
        return (frames.clamp(-1, 1) + 1) / 2

    full = drawn(batch)
    changes = [
        reduce((drawn(batch.without(name)) - full).abs(), "b p c y x -> b p", "mean")
        for name in batch.senses
    ]
    real = rearrange(batch.target_mask, "b p -> 1 b p")
    return torch.stack(changes) * real
