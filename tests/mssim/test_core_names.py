"""What the released code fails and a simulator must pass (method.md 10; issue 2), by name."""

from dataclasses import replace
from typing import Literal

import pytest
import torch
from helpers.worlds import (
    BODY,
    EDM,
    ENCODER,
    PLACE,
    SETS,
    UNET,
    change_per_frame,
    make_batch,
    make_simulator,
    make_square,
    noise_sources,
    swap_actions,
    train,
)
from torch import Tensor

from mssim.action.encoder import EncoderConfig
from mssim.batch import Batch
from mssim.noise import generators, uniform
from mssim.video.diffusion import DiffusionConfig, SamplerConfig
from mssim.video.simulator import LossWeights, VideoSimulator
from mssim.video.unet import UNetConfig

How = Literal["one evaluation", "whole sample"]
HOWS: tuple[How, ...] = ("one evaluation", "whole sample")


@torch.no_grad()
def answer(simulator: VideoSimulator, batch: Batch, how: How) -> Tensor:
    """The network's output at sigma = 1, or a sample of three steps: (B, P, 3, S, S)."""
    if how == "whole sample":
        return simulator.sample(batch, SamplerConfig(steps=3), noise_sources(batch))
    b, p = batch.target_mask.shape
    noisy = torch.randn(b, p, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    given, _ = simulator.give(batch, torch.zeros(b, dtype=torch.bool), training=False)
    return simulator.run(noisy, torch.zeros(b, p), given)


def changes(simulator: VideoSimulator, batch: Batch, how: How) -> Tensor:
    """(P, P): row t says how much each frame changes under another action t."""
    plain, h = answer(simulator, batch, how), batch.context
    return torch.stack(
        [
            change_per_frame(plain, answer(simulator, swap_actions(batch, h + t), how))
            for t in range(batch.length - h)
        ]
    )


def without_diagonal(square: Tensor) -> Tensor:
    return square.masked_fill(torch.eye(len(square), dtype=torch.bool), 0.0)


@pytest.fixture(scope="module")
def square_simulator() -> VideoSimulator:
    """A `full` network after 60 steps on squares that stand where the action says."""
    simulator = make_simulator(PLACE)
    losses = train(simulator, (make_square(8, seed=i) for i in range(60)), lr=3e-3)
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    return simulator


@pytest.mark.parametrize("how", HOWS)
def test_perturbing_action_t_changes_frame_t_most(
    square_simulator: VideoSimulator, how: How
) -> None:
    """After 60 steps of training; what holds before any is the next test."""
    table = changes(square_simulator, make_square(8, seed=999), how)
    assert table.argmax(1).tolist() == list(range(8))
    assert (table.diag() > 1.3 * without_diagonal(table).amax(1)).all()


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("seed", range(2))
def test_before_training_action_t_changes_frames_t_and_next_most(how: How, seed: int) -> None:
    """Frame t + 1 reads "now minus before" with the gain of motion: at random weights it may change
    as much as frame t does. Every other frame changes by less than half of that.
    """
    table = changes(make_simulator(seed=seed).eval(), make_batch(seed=seed), how)
    others = without_diagonal(table)
    others[range(7), range(1, 8)] = 0.0
    assert (others.amax(1) < 0.5 * table.diag()).all()


@pytest.mark.parametrize("context", [1, 4])
@pytest.mark.parametrize("how", HOWS)
def test_causal_action_t_changes_no_frame_before_t(how: How, context: int) -> None:
    unet = replace(UNET, temporal="causal")
    simulator = make_simulator(BODY, context=context, unet=unet).eval()
    batch = make_batch(BODY, size=2, context=context)
    plain = answer(simulator, batch, how)
    for t in range(8):
        other = answer(simulator, swap_actions(batch, context + t), how)
        assert torch.equal(other[:, :t], plain[:, :t])
        assert (other[:, t] != plain[:, t]).any()


@pytest.mark.parametrize("how", HOWS)
def test_full_action_t_does_reach_frames_before_t(how: How) -> None:
    """So the causal test can fail: the same comparison on a `full` network."""
    table = changes(make_simulator().eval(), make_batch(size=2), how)
    assert (table > 0).all()


# Every variant in use, each with the default of the others.
ENCODERS: dict[str, EncoderConfig] = {
    "default": ENCODER,
    "literal anchor": replace(ENCODER, anchor="literal"),
    "no anchor": replace(ENCODER, anchor="none"),
    "mean": replace(ENCODER, fusion="mean"),
    "max": replace(ENCODER, fusion="max"),
    "concat": replace(ENCODER, fusion="concat"),
    "projection": replace(ENCODER, interaction="projection"),
    "no interaction": replace(ENCODER, interaction="none"),
    "text expert": replace(ENCODER, text="expert"),
    "text expert, concat": replace(ENCODER, text="expert", fusion="concat"),
    "text alone": replace(ENCODER, text="alone"),
    "dropout": replace(ENCODER, dropout=0.1),
}
NETS: dict[str, tuple[UNetConfig, DiffusionConfig]] = {
    "causal": (replace(UNET, temporal="causal"), EDM),
    "patched, attention everywhere": (
        replace(UNET, patch=2, attention=[0, 1], blocks=2),
        DiffusionConfig(target="v"),
    ),
    "x": (UNET, DiffusionConfig(target="x")),
    "flow": (UNET, DiffusionConfig(target="flow", residual=True)),
}


def without_gradient(simulator: VideoSimulator, batch: Batch) -> list[str]:
    """Parameters whose gradient is missing, zero or not finite after one backward pass."""
    drop = uniform(generators(0, 3, batch.window)) < simulator.drop_condition
    assert drop.any() and not drop.all()  # both the action and the null condition are met
    simulator.train()
    simulator.loss(batch, LossWeights(), seed=0, step=3).total.backward()
    return [
        name
        for name, p in simulator.named_parameters()
        if p.grad is None or not p.grad.isfinite().all() or not (p.grad != 0).any()
    ]


def spoken_batch(name: str) -> Batch:
    text = ["slice potato", "", "pour water", "wipe plate"]
    return make_batch(SETS[name], presence=0.8, text=text)


@pytest.mark.parametrize("senses", SETS)
@pytest.mark.parametrize("variant", ENCODERS)
def test_every_parameter_gets_a_gradient(senses: str, variant: str) -> None:
    config = ENCODERS[variant]
    simulator = make_simulator(SETS[senses], encoder=config, drop_condition=0.5)
    assert without_gradient(simulator, spoken_batch(senses)) == []


@pytest.mark.parametrize("net", NETS)
def test_every_parameter_gets_a_gradient_in_every_network(net: str) -> None:
    unet, diffusion = NETS[net]
    simulator = make_simulator(BODY, unet=unet, diffusion=diffusion, drop_condition=0.5)
    assert without_gradient(simulator, spoken_batch("body")) == []


@pytest.mark.parametrize("use", ["expert", "alone"])
@pytest.mark.parametrize("how", HOWS)
def test_two_prompts_give_two_results(use: Literal["expert", "alone"], how: How) -> None:
    simulator = make_simulator(encoder=replace(ENCODER, text=use)).eval()
    batch = make_batch(size=2, text=["slice a potato", "slice a potato"])
    other = replace(batch, text=["slice a potato", "pour water"])
    one, two = answer(simulator, batch, how), answer(simulator, other, how)
    assert torch.equal(one[0], two[0])
    assert (change_per_frame(one[1:], two[1:]) > 1e-6).all()  # equal prompts: exactly 0, above


def test_prompts_are_not_read_where_text_is_off() -> None:
    simulator, batch = make_simulator().eval(), make_batch(size=2, text=["slice", "pour"])
    silent = replace(batch, text=["", ""])
    for how in HOWS:
        assert torch.equal(answer(simulator, batch, how), answer(simulator, silent, how))


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("temporal", ["full", "causal"])
def test_changing_one_context_frame_reaches_every_predicted_frame(how: How, temporal: str) -> None:
    unet = replace(UNET, temporal=temporal)  # type: ignore[arg-type]
    simulator = make_simulator(unet=unet, diffusion=replace(EDM, residual=False)).eval()
    batch = make_batch(size=2)
    plain = answer(simulator, batch, how)
    for frame in range(4):
        video = batch.frames["ego"].clone()
        video[:, frame] = 255 - video[:, frame]
        other = answer(simulator, replace(batch, frames={"ego": video}), how)
        assert (change_per_frame(plain, other) > 1e-3).all()
