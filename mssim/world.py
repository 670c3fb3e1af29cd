"""World: something a body acts in. A learned simulator is one, a physics engine is another.

What is written against `World` (a policy, a planner, a judge) runs in either:

    world.reset(state)
    frames = world.step(actions)

Letters: B worlds side by side, P frames a step, K samples a frame interval, S pixels a side.
"""

from collections.abc import Mapping
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from mssim.errors import UserError
from mssim.senses import SenseSet
from mssim.video.rollout import Rollout, State

StateT = TypeVar("StateT")


class World(Protocol[StateT]):
    """What every world can do. Its state is a value: keep it, copy it, go back to it."""

    def reset(self, state: StateT) -> None:
        """Stand where `state` says."""

    def step(self, actions: dict[str, Tensor]) -> Tensor:
        """Act for P frames; see what comes of it.

        Args:
            actions: By sense, what the body does, float32 (B, P, K, *shape), all of it present.

        Returns:
            uint8 (B, P, 3, S, S).
        """

    def state(self) -> StateT:
        """Where the world stands; `reset` with it brings the world back exactly."""


class SimulatedWorld:
    """The learned simulator as a `World`.

    Args:
        rollout: Steps the worlds.
        state: Where to begin, see `Rollout.start`.
    """

    def __init__(self, rollout: Rollout, state: State) -> None:
        self._rollout = rollout
        self._state = state

    def reset(self, state: State) -> None:
        """Stand where `state` says."""
        self._state = state

    def step(self, actions: dict[str, Tensor]) -> Tensor:
        """See `World.step`; senses that are left out count as absent.

        Raises:
            UserError: An action that the simulator was not trained on, none at all, or one of
                another type or shape.
        """
        past, known = self._state.senses, self._rollout.simulator.encoder.normalizer.senses
        if not actions:
            raise UserError(
                f"actions: none is given; the simulator knows {', '.join(past)}; give some of those"
            )
        first = next(iter(actions.values()))
        worlds, frames = len(self._state.frames), first.shape[1] if first.ndim > 1 else 1
        given = check_senses("actions", actions, known, worlds, frames)
        device = self._state.frames.device
        there = torch.tensor([name in given for name in past], device=device)
        felt = {
            name: given[name].to(device) if name in given else _nothing(before, frames)
            for name, before in past.items()
        }
        presence = there.expand(worlds, frames, -1)
        shown, self._state = self._rollout.step(self._state, felt, presence)
        return shown

    def state(self) -> State:
        """Where the worlds stand."""
        return self._state


def check_senses(
    what: str, given: Mapping[str, Tensor], senses: SenseSet, worlds: int, frames: int
) -> dict[str, Tensor]:
    """See that values of senses are what a simulator takes.

    Args:
        what: Name of the argument, for messages.
        given: By sense.
        senses: Those that the simulator knows.
        worlds: B.
        frames: F, the steps that each is given for.

    Returns:
        The same, float32 (B, F, K, *shape).

    Raises:
        UserError: A sense is not known, or its type, shape or a value is not as it should be.
    """
    unknown = sorted(set(given) - set(senses.names))
    if unknown:
        known = ", ".join(senses.names)
        raise UserError(f"{what}: {', '.join(unknown)} not known; the simulator knows {known}")
    for name, values in given.items():
        sense = senses[name]
        wanted = (worlds, frames, sense.samples_per_frame, *sense.shape)
        if tuple(values.shape) != wanted:
            raise UserError(
                f"{what}: {name} has the shape {tuple(values.shape)}, needed is {wanted}: "
                "worlds, frames, samples a frame, and the sense's own"
            )
        if not values.is_floating_point():
            raise UserError(f"{what}: {name} has the type {values.dtype}, needed is torch.float32")
        if not values.isfinite().all():
            raise UserError(
                f"{what}: {name} has values that are no numbers; leave an absent sense out"
            )
    return {name: values.float() for name, values in given.items()}


def _nothing(past: Tensor, frames: int) -> Tensor:
    """Zeros for a sense that is absent: (B, P, K, *shape), like its past (B, H, K, *shape)."""
    return past.new_zeros(past.shape[0], frames, *past.shape[2:])
