"""Condition against a second writing of it, frame by frame, and what training may look at."""

from dataclasses import replace

import pytest
import torch
from helpers.worlds import EDM, UNET, make_batch, make_simulator
from torch import Tensor

from mssim.batch import Batch
from mssim.noise import generators, normal, uniform
from mssim.video.condition import Condition
from mssim.video.simulator import LossWeights, VideoSimulator

D, E, OWN = 12, 10, 3


def make(causal: bool = False) -> Condition:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Condition(D, E, OWN, causal)


def inputs(h: int, p: int = 5, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    mask = torch.ones(2, h, dtype=torch.bool)
    mask[1, : h - 1] = False
    features = torch.randn(2, h + p, D, generator=g) * torch.rand(2, h + p, 1, generator=g)
    return features, torch.randn(2, h, D, generator=g), mask


def direction(feature: Tensor) -> Tensor:
    """Of mean 0 and variance 1 over its numbers."""
    return (feature - feature.mean()) / (feature.var(unbiased=False) + 1e-5).sqrt()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("h", [1, 4])
def test_each_frame_reads_its_action_its_motion_its_size_and_its_neighbours(
    h: int, causal: bool
) -> None:
    condition = make(causal)
    features, seen, mask = inputs(h)
    modulation, tokens = condition(features, seen, mask)
    last = features.shape[1] - 1
    for b in range(2):
        unit = [direction(f) for f in features[b]]
        for frame in range(h, last + 1):
            moved = 4.0 * torch.cat([unit[frame] - unit[frame - 1], unit[frame] - unit[h - 1]])
            size = features[b, frame].square().sum().sqrt()
            assert condition.modulation is not None
            wanted = condition.modulation(torch.cat([unit[frame], moved, size[None]]))
            torch.testing.assert_close(modulation[b, frame - h], wanted, atol=1e-5, rtol=1e-4)
            # A causal network hears of no later action, but of the one before the last.
            other = max(frame - 2, 0) if causal else min(frame + 1, last)
            expected = [
                condition.own(unit[frame]).view(OWN, E) + condition.kind[0],
                (condition.near(unit[frame - 1]) + condition.kind[1])[None],
                (condition.near(unit[other]) + condition.kind[2])[None],
                *(
                    (condition.context(torch.cat([seen[b, t], unit[t]])) * mask[b, t])[None]
                    + condition.kind[3]
                    for t in range(h)
                ),
            ]
            found = tokens[b, frame - h]
            torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=1e-4)


def test_the_null_condition_is_learned_and_stands_in_every_step() -> None:
    condition = make()
    features, seen, mask = inputs(4)
    drop = torch.tensor([True, False])
    found = condition(features, seen, mask, drop)
    null = features.clone()
    null[0] = condition.null
    for mine, wanted in zip(found, condition(null, seen, mask), strict=True):
        torch.testing.assert_close(mine, wanted)


def another_future(batch: Batch, first: int = 4) -> Batch:
    video = batch.frames["ego"].clone()
    video[:, first:] = 255 - video[:, first:]
    return replace(batch, frames={"ego": video})


@pytest.mark.parametrize("warp", [False, True])
def test_no_frame_to_predict_is_an_input_in_training(warp: bool) -> None:
    """Not in the tokens, the modulation, or the context: or the loss falls for nothing."""
    simulator = make_simulator(unet=replace(UNET, warp=warp, context_noise=0.3))
    batch = make_batch(px=8)
    drop = torch.zeros(batch.size, dtype=torch.bool)
    plain, other = (
        simulator.give(b, drop, training=True)[0] for b in (batch, another_future(batch))
    )
    drawn, _ = simulator.give(batch, drop, training=False)
    for name in ("context", "modulation", "tokens"):
        assert torch.equal(getattr(plain, name), getattr(other, name)), name
        # What training conditions on is what a sample will condition on.
        assert torch.equal(getattr(plain, name), getattr(drawn, name)), name
    past = replace(batch, frames={"ego": 255 - batch.frames["ego"]})
    assert not torch.equal(simulator.give(past, drop, training=True)[0].tokens, plain.tokens)


def test_the_network_meets_the_noisy_frames_and_no_clean_one() -> None:
    """What `loss` hands to the network is c_in (x + sigma e), of each window its own noise."""
    simulator = make_simulator(drop_condition=0.0)
    batch = make_batch(size=2)
    met: list[tuple[Tensor, Tensor]] = []
    run = simulator.run

    def spy(scaled: Tensor, level: Tensor, given: object) -> Tensor:
        met.append((scaled, level))
        return run(scaled, level, given)  # type: ignore[arg-type]

    simulator.run = spy  # type: ignore[method-assign]
    simulator.loss(batch, LossWeights(), seed=3, step=2)
    sources = generators(3, 2, batch.window)
    uniform(sources)  # whether the condition is dropped
    sigma = simulator.diffusion.draw(uniform(sources, 1), normal(sources, 1))
    noise = normal(sources, 8, 3, 8, 8)
    wide = sigma.view(2, 1, 1, 1, 1)
    noisy = simulator.to_diffused(batch) + wide * noise
    torch.testing.assert_close(met[0][0], noisy / (wide**2 + 1).sqrt())
    torch.testing.assert_close(met[0][1], (sigma.log() / 4).expand(2, 8))


def dropped(simulator: VideoSimulator, share: float) -> float:
    """The share of 400 windows that met the null condition."""
    simulator.drop_condition = share
    seen: list[Tensor] = []
    give = simulator.give

    def spy(batch: Batch, drop: Tensor, training: bool) -> object:
        seen.append(drop)
        return give(batch, drop, training)

    simulator.give = spy  # type: ignore[assignment]
    batch = make_batch(size=4)
    with torch.no_grad():
        for step in range(100):
            simulator.loss(batch, LossWeights(), seed=0, step=step)
    simulator.give = give  # type: ignore[method-assign]
    return float(torch.cat(seen).float().mean())


def test_the_share_of_windows_without_a_condition_is_the_one_that_was_asked_for() -> None:
    simulator = make_simulator()
    assert dropped(simulator, 0.0) == 0.0
    assert dropped(simulator, 0.1) == pytest.approx(0.1, abs=0.05)  # 3 standard errors


def test_a_warp_s_guess_counts_in_units_of_the_diffused() -> None:
    """Where nothing else is drawn, the estimate of the data is the guess, whatever the scale."""
    simulator = make_simulator(unet=replace(UNET, warp=True), diffusion=EDM).eval()
    torch.nn.init.zeros_(simulator.net.head.weight)
    torch.nn.init.zeros_(simulator.net.head.bias)  # type: ignore[arg-type]
    batch = make_batch(size=2)
    simulator.residual_scale.fill_(0.3)
    given, _ = simulator.give(batch, torch.zeros(2, dtype=torch.bool), training=False)
    level = simulator.diffusion.level(torch.full((2, 8), 1e3))  # nothing but noise is seen
    noisy = torch.zeros(2, 8, 3, 8, 8)
    with torch.no_grad():
        output = simulator.run(noisy, level.c_noise, given)
        _, guess = simulator.net(
            noisy,
            level.c_noise,
            given.context,
            batch.context_mask,
            batch.target_mask,
            batch.interval,
            given.modulation,
            given.tokens,
        )
    data = simulator.diffusion.denoised(output, noisy, level)
    assert guess is not None and (guess - given.context[:, -1:]).abs().max() > 1e-3
    torch.testing.assert_close(simulator.from_diffused(data, given), guess, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("part", ["modulation", "tokens"])
def test_the_size_of_an_action_is_no_less_than_its_direction(part: str) -> None:
    """Twice the action: another modulation through its norm, the same tokens of its direction."""
    condition = make()
    features, seen, mask = inputs(4)
    index = ("modulation", "tokens").index(part)
    one, two = (condition(f, seen, mask)[index] for f in (features, 2 * features))
    if part == "tokens":
        torch.testing.assert_close(one, two, atol=1e-2, rtol=1e-2)
    else:
        assert (one - two).abs().max() > 1e-2
