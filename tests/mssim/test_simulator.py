"""VideoSimulator: its loss, its masks, its noise, its sample, and one batch learnt by heart."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
from helpers.worlds import (
    BODY,
    EDM,
    ENCODER,
    PLACE,
    UNET,
    make_batch,
    make_simulator,
    make_square,
    noise_sources,
    train,
)
from torch import Tensor

from mssim.batch import Batch
from mssim.noise import generators, normal, seed_of, uniform
from mssim.video.diffusion import DiffusionConfig, SamplerConfig, Target
from mssim.video.simulator import Losses, LossWeights, VideoSimulator

TARGETS: tuple[Target, ...] = get_args(Target)
WEIGHTS = LossWeights()
FAST = SamplerConfig(steps=2)


def loss_of(simulator: VideoSimulator, batch: Batch, step: int = 0, seed: int = 0) -> Losses:
    with torch.no_grad():
        return simulator.loss(batch, WEIGHTS, seed, step)


def with_video(batch: Batch, video: Tensor) -> Batch:
    return replace(batch, frames={"ego": video})


# The loss


def test_the_total_is_ten_one_and_a_tenth() -> None:
    losses = loss_of(make_simulator(), make_batch())
    expected = 10 * losses.video + losses.ssl + 0.1 * losses.norm
    torch.testing.assert_close(losses.total, expected)
    assert min(losses.video, losses.ssl, losses.norm) > 0


@pytest.mark.parametrize("target", TARGETS)
def test_video_loss_is_one_for_a_network_that_says_nothing(target: Target) -> None:
    """Targets have about unit variance, so a zero output costs E[target^2]; by hand, one level."""
    simulator = make_simulator(diffusion=DiffusionConfig(target=target), drop_condition=0.0)
    torch.nn.init.zeros_(simulator.net.head.weight)
    torch.nn.init.zeros_(simulator.net.head.bias)  # type: ignore[arg-type]
    batch = make_batch(size=1)
    source = generators(7, 3, batch.window)
    uniform(source)  # whether the condition is dropped
    n = simulator.diffusion.draw(uniform(source, 1), normal(source, 1))
    e = normal(source, 8, 3, 8, 8)
    x = batch.video()[:, 4:]
    if target in ("v", "x"):
        abar = simulator.diffusion.alpha_bar[int(n)].float()
        expected = abar.sqrt() * e - (1 - abar).sqrt() * x if target == "v" else x
    else:
        expected = e - x if target == "flow" else (n * x - e) / (n**2 + 1).sqrt()
    got = loss_of(simulator, batch, step=3, seed=7).video
    torch.testing.assert_close(got, (expected**2).mean(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("temporal", ["full", "causal"])
def test_masked_frames_do_not_influence_the_loss(temporal: str) -> None:
    unet = replace(UNET, temporal=temporal)  # type: ignore[arg-type]
    simulator, batch = make_simulator(unet=unet), make_batch(size=3)
    batch.target_mask[0, 5:] = False
    batch.target_mask[1] = False
    batch.context_mask[2, :2] = False
    video = batch.frames["ego"].clone()
    video[0, 9:], video[1, 4:], video[2, :2] = 255, 0, 255
    one, two = loss_of(simulator, batch), loss_of(simulator, with_video(batch, video))
    assert torch.equal(one.total, two.total)
    video[0, 8] = 255
    assert loss_of(simulator, with_video(batch, video)).video != one.video


def test_no_real_frame_at_all_costs_nothing() -> None:
    batch = make_batch(size=2)
    batch.target_mask[:] = False
    losses = loss_of(make_simulator(), batch)
    assert losses.video == 0 and losses.total.isfinite()


def test_the_image_tower_learns_from_the_video_loss_alone() -> None:
    """From it, it does; the anchor and L_norm see the tower detached."""
    for weights, learns in (
        (LossWeights(0.0, 1.0, 1.0), False),
        (LossWeights(1.0, 0.0, 0.0), True),
    ):
        simulator = make_simulator()
        simulator.loss(make_batch(), weights, seed=0, step=0).total.backward()
        grads = [p.grad for p in simulator.tower.parameters()]  # type: ignore[attr-defined]
        assert all(g is not None for g in grads)
        assert all((g != 0).any() for g in grads if g is not None) is learns
        assert any((g != 0).any() for g in grads if g is not None) is learns


def test_statistics_of_the_source_reach_the_loss() -> None:
    simulator, batch = make_simulator(sources=2), make_batch(sources=2)
    before = loss_of(simulator, batch).ssl
    half = {
        s.name: (torch.zeros(2, *s.shape), torch.tensor([1.0, 2.0]).view(2, 1).expand(2, *s.shape))
        for s in simulator.encoder.normalizer.senses
    }
    simulator.encoder.normalizer.set_statistics(half)
    assert loss_of(simulator, batch).ssl < before


# Noise


def test_seeds_are_functions_of_names_and_never_change() -> None:
    assert seed_of(1, 2, 3) == 2904650318439132554
    others = [seed_of(*n) for n in ((1, 2, 4), (1, 3, 2), (2, 1, 3), (12, 3), (1, 23), (1, 2))]
    assert len({seed_of(1, 2, 3), *others}) == 7
    assert all(0 <= s < 2**63 for s in others)


def test_numbers_are_normal_and_uniform_each_from_its_own_row() -> None:
    windows = torch.tensor([3, 9])
    z = normal(generators(0, 0, windows), 20000)
    u = uniform(generators(0, 0, windows), 20000)
    torch.testing.assert_close(z.mean(1), torch.zeros(2), atol=0.03, rtol=0)
    torch.testing.assert_close(z.std(1), torch.ones(2), atol=0.03, rtol=0)
    torch.testing.assert_close(u.mean(1), torch.full((2,), 0.5), atol=0.01, rtol=0)
    assert u.min() >= 0 and u.max() < 1
    assert torch.equal(normal(generators(0, 0, windows.flip(0)), 20000), z.flip(0))


def test_noise_is_a_function_of_seed_step_and_window() -> None:
    simulator, batch = make_simulator(), make_batch()
    base = loss_of(simulator, batch, step=5, seed=1).video
    torch.manual_seed(123)  # the global generator plays no part
    assert loss_of(simulator, batch, step=5, seed=1).video == base
    assert loss_of(simulator, batch, step=6, seed=1).video != base
    assert loss_of(simulator, batch, step=5, seed=2).video != base
    moved = replace(batch, window=batch.window + 1)
    assert loss_of(simulator, moved, step=5, seed=1).video != base


@pytest.mark.parametrize("presence", [1.0, 0.7])
def test_two_half_batches_average_to_the_whole(presence: float) -> None:
    """Each part is a mean over what is there: halves weigh by how much of it they have."""
    simulator = make_simulator(BODY, drop_condition=0.5)
    batch = make_batch(BODY, presence=presence)
    if presence < 1:
        batch.target_mask[0, 3:] = False
        batch.target_mask[2, 6:] = False
        batch.presence[:, :, 1:] = batch.presence[:, :, :1]  # all senses there together
    whole, halves = loss_of(simulator, batch), []
    for rows in ([2, 0], [3, 1]):
        half = batch.rows(torch.tensor(rows))
        real = torch.cat([half.context_mask, half.target_mask], dim=1)
        counts = {
            "video": half.target_mask.sum(),
            "ssl": half.presence[:, :, 0].sum(),
            "norm": (real[:, 1:] & real[:, :-1]).sum(),
        }
        halves.append((loss_of(simulator, half), counts))
    for part in ("video", "ssl", "norm"):
        total = sum(getattr(one, part) * counts[part] for one, counts in halves)
        mean = total / sum(counts[part] for _, counts in halves)
        torch.testing.assert_close(mean, getattr(whole, part), atol=1e-5, rtol=1e-5)


# Sampling


@pytest.mark.parametrize("future", range(1, 9))
@pytest.mark.parametrize("temporal", ["full", "causal"])
def test_any_length_up_to_eight_is_predicted(future: int, temporal: str) -> None:
    unet = replace(UNET, temporal=temporal)  # type: ignore[arg-type]
    simulator, batch = make_simulator(unet=unet), make_batch(size=2, future=future)
    frames = simulator.eval().sample(batch, SamplerConfig(steps=1), noise_sources(batch))
    assert frames.shape == (2, future, 3, 8, 8)
    assert frames.isfinite().all() and frames.abs().max() <= 1
    assert loss_of(simulator, batch).total.isfinite()


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("temporal", ["full", "causal"])
def test_an_image_without_context_is_a_window_of_one_frame(residual: bool, temporal: str) -> None:
    simulator = make_simulator(
        unet=replace(UNET, temporal=temporal),  # type: ignore[arg-type]
        diffusion=replace(EDM, residual=residual),
    )
    batch = make_batch(size=2, future=1)
    batch.context_mask[:] = False
    losses = simulator.loss(batch, WEIGHTS, seed=0, step=0)
    losses.total.backward()
    assert losses.total.isfinite() and losses.norm == 0
    grads = [p.grad for p in simulator.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in grads)
    frames = simulator.sample(batch, FAST, noise_sources(batch))
    assert frames.shape == (2, 1, 3, 8, 8) and frames.isfinite().all()
    other = with_video(batch, 255 - batch.frames["ego"])
    assert torch.equal(simulator.sample(other, FAST, noise_sources(batch)), frames)


def test_a_sample_sees_no_future_frame() -> None:
    simulator, batch = make_simulator().eval(), make_batch(size=2)
    video = batch.frames["ego"].clone()
    video[:, 4:] = 255 - video[:, 4:]
    one = simulator.sample(batch, FAST, noise_sources(batch))
    two = simulator.sample(with_video(batch, video), FAST, noise_sources(batch))
    assert torch.equal(one, two)


def test_the_null_condition_sees_no_action() -> None:
    simulator, batch = make_simulator().eval(), make_batch(size=2)
    other = batch.with_senses({n: -v for n, v in batch.senses.items()}, batch.presence)
    draws = [
        simulator.sample(b, FAST, noise_sources(batch), condition)
        for condition in (False, True)
        for b in (batch, other)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[2], draws[3])


@pytest.mark.parametrize("kind", ["ddpm", "dpm++"])
def test_a_sample_does_not_depend_on_its_company(kind: str) -> None:
    simulator = make_simulator(diffusion=DiffusionConfig(target="v")).eval()
    batch = make_batch(size=3)
    sampler = SamplerConfig(kind, 3)  # type: ignore[arg-type]
    together = simulator.sample(batch, sampler, noise_sources(batch))
    turned = batch.rows(torch.tensor([2, 0]))
    torch.testing.assert_close(
        simulator.sample(turned, sampler, noise_sources(turned)),
        together[[2, 0]],
        atol=1e-5,
        rtol=1e-5,
    )
    other = simulator.sample(batch, sampler, noise_sources(batch, seed=1))
    assert (other - together).abs().mean() > 0.01


def test_the_residual_comes_back_as_the_frame_it_was() -> None:
    simulator, batch = make_simulator(), make_batch(size=2)
    simulator.residual_scale.fill_(0.3)
    batch.context_mask[1, 3] = False
    x = simulator.to_diffused(batch)
    video = batch.video()
    torch.testing.assert_close(x[0], (video[0, 4:] - video[0, 3]) / 0.3)
    torch.testing.assert_close(x[1], video[1, 4:] / 0.3)  # no last frame: from zero
    given, _ = simulator.give(batch, torch.zeros(2, dtype=torch.bool), training=False)
    torch.testing.assert_close(simulator.from_diffused(x, given), video[:, 4:])


def test_a_checkpoint_carries_statistics_and_scale() -> None:
    one, two = make_simulator(seed=0).eval(), make_simulator(seed=1).eval()
    one.residual_scale.fill_(0.5)
    two.load_state_dict(one.state_dict())
    batch = make_batch(size=2)
    draws = [s.sample(batch, FAST, noise_sources(batch)) for s in (one, two)]
    assert torch.equal(draws[0], draws[1])
    assert {"residual_scale", "encoder.normalizer.mean_left"} <= one.state_dict().keys()


# Learning


def test_simulator_overfits_one_batch() -> None:
    """The video loss falls to a third, and samples come nearer to the truth than its last frame.

    The batch is one window eight times, so that a step meets eight levels of noise.
    """
    simulator = make_simulator(PLACE, encoder=ENCODER, drop_condition=0.0)
    one = make_square(1, future=4, seed=3)
    batch = replace(one.rows(torch.zeros(8, dtype=torch.long)), window=torch.arange(8))
    before = sum(loss_of(simulator, batch, step=s, seed=9).video.item() for s in range(4))
    train(simulator, [batch] * 80, lr=1e-2)
    after = sum(loss_of(simulator, batch, step=s, seed=9).video.item() for s in range(4))
    assert after < before / 3
    truth = batch.video()
    drawn = simulator.sample(batch, SamplerConfig(steps=4), noise_sources(batch))
    copied = ((truth[:, 3:4] - truth[:, 4:]) ** 2).mean()
    assert ((drawn - truth[:, 4:]) ** 2).mean() < 0.5 * copied
