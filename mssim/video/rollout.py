"""Rollout: the simulator as a world that is stepped (UniSim section 2.2).

    state = start(batch)
    frames, state = step(state, senses, presence)

Letters: B worlds, H context frames, P frames a step, M senses, S pixels a side.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mssim.batch import Batch, to_uint8
from mssim.noise import seed_of
from mssim.video.diffusion import SamplerConfig
from mssim.video.simulator import VideoSimulator


@dataclass(frozen=True)
class State:
    """B worlds in plain tensors: copy, index, stack or save them as you like.

    Attributes:
        frames: The last H frames as a screen would show them, uint8 (B, H, 3, S, S).
        mask: bool (B, H), which of them are real.
        senses: What was felt on the way there, by sense (B, H, K, *shape).
        presence: bool (B, H, M).
        text: B strings.
        source: int64 (B,).
        subject: int64 (B,).
        interval: float32 (B,), seconds between frames.
        noise: int64 (B, 2), a world's seed and how many steps it has taken: its generator.
        memory: What a model with memory carries along, tensors (B, ...); empty for this one.
    """

    frames: Tensor
    mask: Tensor
    senses: dict[str, Tensor]
    presence: Tensor
    text: list[str]
    source: Tensor
    subject: Tensor
    interval: Tensor
    noise: Tensor
    memory: dict[str, Tensor] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """For `torch.save`; `State(**loaded)` brings it back."""
        return dict(vars(self))

    def rows(self, index: Sequence[int]) -> "State":
        """The worlds at `index`, each as often as it is named there: `[0] * 8` forks the first."""
        at = torch.tensor(list(index), dtype=torch.long)
        picked = self._map(lambda t: t[at.to(t.device)])
        return replace(picked, text=[self.text[i] for i in index])

    def to(self, device: torch.device | str) -> "State":
        """The same worlds on another device."""
        return self._map(lambda t: t.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> "State":
        changed: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                changed[name] = change(value)
            elif isinstance(value, dict):
                changed[name] = {k: change(v) for k, v in value.items()}
        return replace(self, **changed)


class Rollout:
    """Steps worlds with a simulator.

    Args:
        simulator: Trained; its weights are read, its mode is left as it is.
        sampler: How frames are drawn.
        past: False forgets what was felt on the way to a step's end, for a simulator that was
            trained on frames alone in its context (Table 11).
    """

    def __init__(
        self, simulator: VideoSimulator, sampler: SamplerConfig, past: bool = True
    ) -> None:
        self.simulator = simulator
        self.sampler = sampler
        self.past = past

    def start(self, batch: Batch, seed: int = 0) -> State:
        """Worlds that begin at the batch's context; window and `seed` name their noise."""
        h = batch.context
        video = next(iter(batch.frames.values()))
        seeds = torch.tensor([seed_of(seed, w) for w in batch.window.tolist()])
        return State(
            frames=video[:, :h],
            mask=batch.context_mask,
            senses={n: v[:, :h] for n, v in batch.senses.items()},
            presence=batch.presence[:, :h],
            text=batch.text,
            source=batch.source,
            subject=batch.subject,
            interval=batch.interval,
            noise=torch.stack([seeds, torch.zeros_like(seeds)], dim=1),
        )

    def step(
        self, state: State, senses: dict[str, Tensor], presence: Tensor
    ) -> tuple[Tensor, State]:
        """Act for P frames: senses (B, P, K, *shape), presence (B, P, M).

        Returns frames uint8 (B, P, 3, S, S), and the worlds after them. Frames are fed back as the
        8-bit pictures that were shown.
        """
        h, (b, p) = state.frames.shape[1], presence.shape[:2]
        batch = _window(state, senses, presence)
        sources = [torch.Generator().manual_seed(seed_of(*row)) for row in state.noise.tolist()]
        shown = to_uint8(self.simulator.sample(batch, self.sampler, sources))
        one_more = state.noise + state.noise.new_tensor([0, 1])
        new = torch.ones(b, p, dtype=torch.bool, device=state.mask.device)

        def felt(before: Tensor, now: Tensor) -> Tensor:
            last = torch.cat([before, now], dim=1)[:, -h:]
            return last if self.past else torch.zeros_like(last)

        return shown, replace(
            state,
            frames=torch.cat([state.frames, shown], dim=1)[:, -h:],
            mask=torch.cat([state.mask, new], dim=1)[:, -h:],
            senses={n: felt(state.senses[n], v) for n, v in senses.items()},
            presence=felt(state.presence, presence),
            noise=one_more,
        )

    def run(
        self, state: State, senses: dict[str, Tensor], presence: Tensor, frames: int
    ) -> Iterator[tuple[Tensor, State]]:
        """Act for a whole horizon (B, N, ...), `frames` at a time; yields each step as `step` does.

        The last step is shorter where N is no multiple of `frames`. The caller owns the memory.
        """
        for begin in range(0, presence.shape[1], frames):
            part = slice(begin, begin + frames)
            shown, state = self.step(
                state, {n: v[:, part] for n, v in senses.items()}, presence[:, part]
            )
            yield shown, state


def _window(state: State, senses: dict[str, Tensor], presence: Tensor) -> Batch:
    b, p = presence.shape[:2]
    blank = state.frames.new_zeros(b, p, *state.frames.shape[2:])
    return Batch(
        frames={"camera": torch.cat([state.frames, blank], dim=1)},
        senses={n: torch.cat([state.senses[n], v], dim=1) for n, v in senses.items()},
        presence=torch.cat([state.presence, presence], dim=1),
        context_mask=state.mask,
        target_mask=torch.ones(b, p, dtype=torch.bool, device=presence.device),
        text=state.text,
        source=state.source,
        subject=state.subject,
        interval=state.interval,
        window=torch.arange(b),
        unit=torch.arange(b),
    )
