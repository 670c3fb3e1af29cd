"""How actions come into the network, and the noise that training lays over the context."""

from dataclasses import replace

import pytest
import torch
from helpers.worlds import UNET, make_batch, make_simulator

from mssim.noise import generators
from mssim.video.diffusion import SamplerConfig
from mssim.video.simulator import LossWeights
from mssim.video.unet import SpaceTimeUNet

ONE_STEP = SamplerConfig("dpm++", 1, guidance=0.0)


@pytest.mark.parametrize("injection", ["both", "modulation", "attention"])
def test_every_way_in_carries_the_action_and_leaves_nothing_unused(injection: str) -> None:
    simulator = make_simulator(unet=replace(UNET, injection=injection))  # type: ignore[arg-type]
    batch = make_batch(size=2)
    simulator.loss(batch, LossWeights(), seed=0, step=0).total.backward()
    # A parameter without gradient would stop DDP, and be paid for in vain.
    unused = [n for n, p in simulator.named_parameters() if p.grad is None]
    assert unused == []
    sources = generators(0, 0, batch.window)
    told = simulator.sample(batch, ONE_STEP, sources)
    other = batch.with_senses({n: -v for n, v in batch.senses.items()}, batch.presence)
    assert not torch.equal(simulator.sample(other, ONE_STEP, generators(0, 0, batch.window)), told)


def test_each_way_alone_has_only_its_own_parts() -> None:
    names = {
        way: {n for n, _ in make_simulator(unet=replace(UNET, injection=way)).named_parameters()}  # type: ignore[arg-type]
        for way in ("both", "modulation", "attention")
    }
    left_out = {way: names["both"] - names[way] for way in names}
    assert all(n.startswith("condition.modulation") for n in left_out["attention"])
    parts = {n.split(".")[-2] if "net." in n else n.split(".")[1] for n in left_out["modulation"]}
    cross = {"norm_cross", "query", "norm_tokens", "key_value", "out_cross"}
    assert parts == cross | {"own", "near", "context", "kind"}


def hazy(noise: float) -> SpaceTimeUNet:
    return make_simulator(unet=replace(UNET, context_noise=noise)).net


def test_haze_is_added_to_the_context_and_told() -> None:
    """Noise of level s is what a context with s times it would be, but for the level told."""
    net, g = hazy(0.2).eval(), torch.Generator().manual_seed(0)
    b, h, p, px = 2, 4, 8, 8
    noisy, context, unit = (torch.randn(b, n, 3, px, px, generator=g) for n in (p, h, h))
    rest = [
        torch.ones(b, h, dtype=torch.bool),
        torch.ones(b, p, dtype=torch.bool),
        torch.full((b,), 0.2),
        torch.randn(b, p, UNET.embedding, generator=g),
        torch.randn(b, p, 5, UNET.embedding, generator=g),
    ]
    thick = torch.tensor([0.0, 0.2])
    laid = context + thick[:, None, None, None, None] * unit
    told = net(noisy, torch.zeros(b, p), context, *rest, (unit, thick))[0]
    untold = net(noisy, torch.zeros(b, p), laid, *rest)[0]
    torch.testing.assert_close(told[0], untold[0])
    assert not torch.allclose(told[1], untold[1])
    with torch.no_grad():
        assert net.haze is not None
        net.haze.weight.zero_()
    told = net(noisy, torch.zeros(b, p), context, *rest, (unit, thick))[0]
    untold = net(noisy, torch.zeros(b, p), laid, *rest)[0]
    torch.testing.assert_close(told, untold)


def test_haze_is_drawn_up_to_its_level_in_training_alone() -> None:
    simulator, batch = make_simulator(unet=replace(UNET, context_noise=0.2)), make_batch(size=64)
    context = batch.video()[:, : batch.context]
    drawn = simulator._haze(context, generators(0, 0, batch.window))
    assert drawn is not None and drawn[0].shape == context.shape
    assert 0 <= drawn[1].min() < 0.02 and 0.18 < drawn[1].max() < 0.2
    seen: list[object] = []
    simulator.net.register_forward_hook(lambda m, args, out: seen.append(args[-1]))
    simulator.sample(batch, ONE_STEP, generators(0, 0, batch.window))
    assert seen == [None]
    simulator.loss(batch, LossWeights(), seed=0, step=0)
    assert seen[1] is not None
    assert make_simulator()._haze(context, generators(0, 0, batch.window)) is None
