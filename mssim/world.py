"""World: something a body acts in. A learned simulator is one, a physics engine is another.

What is written against `World` (a policy, a planner, a judge) runs in either:

    world.reset(state)
    frames = world.step(actions)

Letters: B worlds side by side, P frames a step, K samples a frame interval, S pixels a side.
"""

from typing import Protocol, TypeVar

import torch
from torch import Tensor

from mssim.errors import UserError
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
            UserError: An action that the simulator was not trained on, or none at all.
        """
        known = list(self._state.senses)
        unknown = sorted(set(actions) - set(known))
        if unknown or not actions:
            raise UserError(
                f"actions {unknown or '{}'}: the simulator knows {known}; give it some of those"
            )
        first = next(iter(actions.values()))
        there = torch.tensor([name in actions for name in known], device=first.device)
        presence = there.expand(*first.shape[:2], -1)
        felt = {
            name: actions[name].to(past.dtype)
            if name in actions
            else _nothing(past, first.shape[1])
            for name, past in self._state.senses.items()
        }
        frames, self._state = self._rollout.step(self._state, felt, presence)
        return frames

    def state(self) -> State:
        """Where the worlds stand."""
        return self._state


def _nothing(past: Tensor, frames: int) -> Tensor:
    """Zeros for a sense that is absent: (B, P, K, *shape), like its past (B, H, K, *shape)."""
    return past.new_zeros(past.shape[0], frames, *past.shape[2:])
