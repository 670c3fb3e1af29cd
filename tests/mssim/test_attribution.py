"""Attribution: a sense that is not there, or not used, contributes nothing; the others do."""

from dataclasses import replace

import pytest
import torch
from helpers.worlds import HANDS, make_batch, make_simulator

from mssim.attribution import contributions
from mssim.noise import generators
from mssim.video.diffusion import SamplerConfig
from mssim.video.simulator import VideoSimulator

SAMPLER = SamplerConfig(steps=2)


def make_loud() -> VideoSimulator:
    """A simulator whose untrained network speaks up: actions change pictures visibly."""
    simulator = make_simulator().eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for layer in (simulator.net.head, simulator.condition.modulation[-1]):
            torch.nn.init.normal_(layer.weight, std=0.3)  # type: ignore[arg-type, union-attr]
    return simulator


def test_against_two_samples_by_hand() -> None:
    simulator, batch = make_loud(), make_batch()
    found = contributions(simulator, batch, SAMPLER, seed=0)
    assert found.shape == (len(HANDS), batch.size, batch.target_mask.shape[1])
    m, name = 1, HANDS.names[1]
    presence = batch.presence.clone()
    presence[:, :, m] = False
    bare = batch.with_senses({n: v * (n != name) for n, v in batch.senses.items()}, presence)
    with torch.no_grad():
        pair = [simulator.sample(b, SAMPLER, generators(0, 0, b.window)) for b in (batch, bare)]
    by_hand = (pair[0].clamp(-1, 1) - pair[1].clamp(-1, 1)).abs().mean(dim=(2, 3, 4)) / 2
    torch.testing.assert_close(found[m], by_hand)
    assert (found > 1e-3).all()


def test_an_absent_sense_and_a_masked_frame_contribute_nothing() -> None:
    simulator, batch = make_loud(), make_batch()
    presence, mask = batch.presence.clone(), batch.target_mask.clone()
    presence[:, :, 0], mask[:, -2:] = False, False
    senses = dict(batch.senses)
    senses[HANDS.names[0]] = torch.zeros_like(senses[HANDS.names[0]])
    batch = replace(batch, senses=senses, presence=presence, target_mask=mask)
    found = contributions(simulator, batch, SAMPLER, seed=0)
    assert not found[0].any() and not found[:, :, -2:].any()
    assert found[1, :, :-2].all()


@pytest.mark.parametrize("frames", [3, 99])
def test_first_frames_are_the_window_cut_short(frames: int) -> None:
    batch = make_batch()
    cut, p = batch.first(frames), min(frames, batch.target_mask.shape[1])
    assert cut.length == batch.context + p and cut.target_mask.shape[1] == p
    for name, values in cut.senses.items():
        assert torch.equal(values, batch.senses[name][:, : cut.length])
    for name, values in cut.frames.items():
        assert torch.equal(values, batch.frames[name][:, : cut.length])
