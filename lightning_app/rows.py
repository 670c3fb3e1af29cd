"""The rows that every table carries: the model, and what it must beat (metrics-and-sampling.md)."""

from dataclasses import replace
from typing import Literal, get_args

import torch
from einops import repeat
from torch import Tensor

from data_modules.text import without_grip
from mssim.batch import Batch, to_uint8
from mssim.noise import generators
from mssim.video.diffusion import SamplerConfig
from mssim.video.rollout import Rollout
from mssim.video.simulator import VideoSimulator

Control = Literal["copy-last-frame", "held-action", "shuffled-actions", "no-action"]
CONTROLS: tuple[Control, ...] = get_args(Control)
"""What a model must beat."""
GUIDED = "guided"
"""The model drawn with guidance, which moves frames away from those of no action. It buys sharpness
with error and flatters `shuffled-actions`, so no other row is guided."""
ROWS = ("model", *CONTROLS)
"""What a test has, `GUIDED` aside, which needs a guidance to draw with."""


LONG, ONE_BY_ONE, LONG_COPY = "long", "long one by one", "long copy-last-frame"
LONG_ROWS = (LONG, ONE_BY_ONE, LONG_COPY)
"""Rollouts as far as `predict` shows them, frames fed back: as many at a time as in training, one
at a time, and what both must beat."""


def predict_row(
    row: str,
    simulator: VideoSimulator,
    batch: Batch,
    partner: Batch,
    sampler: SamplerConfig,
    seed: int,
) -> Tensor:
    """A row's predicted frames, uint8 (B, P, 3, S, S).

    The noise is a function of seed and window: the same for every row. The sampler's guidance is
    for `GUIDED` alone.

    Args:
        row: One of `ROWS`, or `GUIDED`.
        simulator: Trained.
        batch: What is to be predicted.
        partner: Windows of other units, whose actions `shuffled-actions` takes.
        sampler: One setting for all rows, guidance aside.
        seed: Of the noise.
    """
    if row == "copy-last-frame":
        return copy_last(batch)
    if row == "held-action":
        batch = hold_action(batch)
    elif row == "shuffled-actions":
        batch = take_actions(batch, partner)
    if row != GUIDED:
        sampler = replace(sampler, guidance=0.0)
    sources = generators(seed, 0, batch.window)
    return to_uint8(simulator.sample(batch, sampler, sources, condition=row != "no-action"))


def roll_out(rollout: Rollout, batch: Batch, frames: int, seed: int) -> Tensor:
    """All of the batch's actions followed, `frames` at a time: uint8 (B, T - H, 3, S, S)."""
    h = batch.context
    senses = {n: v[:, h:] for n, v in batch.senses.items()}
    steps = rollout.run(rollout.start(batch, seed), senses, batch.presence[:, h:], frames)
    return torch.cat([shown for shown, _ in steps], dim=1)


def copy_last(batch: Batch) -> Tensor:
    """The last context frame, over and over: uint8 (B, T - H, 3, S, S)."""
    video = next(iter(batch.frames.values()))
    p = batch.length - batch.context
    return repeat(video[:, batch.context - 1], "b c y x -> b p c y x", p=p)


def take_actions(batch: Batch, partner: Batch) -> Batch:
    """The batch under its partner's actions and text in all steps to predict.

    What was felt in the context stays: it is the past, as the context frames are. The partner is of
    the same source, so that its values mean the same.
    """
    h = batch.context
    senses = {n: _then(v, partner.senses[n][:, h:], h) for n, v in batch.senses.items()}
    presence = _then(batch.presence, partner.presence[:, h:], h)
    return replace(batch, senses=senses, presence=presence, text=partner.text)


def hold_action(batch: Batch) -> Batch:
    """The batch with the last context action repeated over all steps to predict.

    Its captions say nothing of the grip: that is judged over the whole window, and would tell of
    the future.
    """
    h, p = batch.context, batch.length - batch.context

    def held(values: Tensor) -> Tensor:
        return _then(values, repeat(values[:, h - 1], "b ... -> b p ...", p=p), h)

    senses = {n: held(v) for n, v in batch.senses.items()}
    text = [without_grip(said) for said in batch.text]
    return replace(batch, senses=senses, presence=held(batch.presence), text=text)


def _then(values: Tensor, future: Tensor, h: int) -> Tensor:
    """The first h steps of values (B, T, ...), then the future (B, P, ...)."""
    return torch.cat([values[:, :h], future], dim=1)
