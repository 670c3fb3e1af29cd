"""The kitchen as a `World`: what runs in the learned simulator runs here, under real physics."""

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from data_modules.kitchen.sensing.camera import Camera
from data_modules.kitchen.world.names import CONTROL_HZ, Command
from data_modules.kitchen.world.physics import KitchenState, KitchenWorld
from mssim.errors import UserError

COMMAND = "command"
"""The one action that physics obeys: (B, P, K, 66), see `Command`, K = CONTROL_HZ / fps."""


class KitchenTwin:
    """One kitchen, seen through its person's eyes.

    Args:
        world: Stepped in place.
        size: Pixels a side, S.
        fps: Frames a second; each is the picture after its K commands.

    Raises:
        UserError: A frame does not last a whole number of commands.
    """

    def __init__(self, world: KitchenWorld, size: int, fps: int = 10) -> None:
        if fps < 1 or CONTROL_HZ % fps:
            raise UserError(f"fps: {fps} does not divide {CONTROL_HZ} commands a second; take 10")
        self.world = world
        self.ticks = CONTROL_HZ // fps
        self._camera = Camera(world.model, size)

    def reset(self, state: KitchenState) -> None:
        """Stand where `state` says."""
        self.world.reset(state)

    def step(self, actions: dict[str, Tensor]) -> Tensor:
        """Obey commands for P frames, as `mssim.world.World.step`.

        Args:
            actions: `command`, (1, P, K, 66).

        Returns:
            uint8 (1, P, 3, S, S).

        Raises:
            UserError: Another action, or another shape.
        """
        if set(actions) != {COMMAND}:
            raise UserError(
                f"actions {sorted(actions)}: physics obeys {COMMAND!r} alone; give that"
            )
        commands = actions[COMMAND]
        if commands.ndim != 4 or (len(commands), *commands.shape[2:]) != (
            1,
            self.ticks,
            Command.SIZE,
        ):
            raise UserError(
                f"{COMMAND}: shape {list(commands.shape)} is not (1, P, {self.ticks}, "
                f"{Command.SIZE}); give a frame's commands together, for one world"
            )
        frames = []
        for during in commands[0].double().cpu().numpy():
            for numbers in during:
                self.world.step(Command.of(numbers))
            frames.append(self._camera.render(self.world))
        seen = torch.from_numpy(np.stack(frames))
        return rearrange(seen, "p y x c -> 1 p c y x")

    def state(self) -> KitchenState:
        """Where the kitchen stands."""
        return self.world.state()
