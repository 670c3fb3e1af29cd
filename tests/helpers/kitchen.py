"""Kitchens for tests."""

import mujoco
import numpy as np

from data_modules.kitchen.world.names import POSE_JOINTS
from data_modules.kitchen.world.physics import KitchenWorld


def bend(world: KitchenWorld, seed: int) -> None:
    """A random pose within the joints' ranges, somewhere on the floor."""
    rng = np.random.default_rng(seed)
    mujoco.mj_resetData(world.model, world.data)
    for name in POSE_JOINTS:
        low, high = world.model.joint(name).range
        world.data.joint(name).qpos = rng.uniform(0.7 * low, 0.7 * high)
    for name, reach in (("pelvis_x", 0.5), ("pelvis_y", 0.5), ("pelvis_yaw", 3.0)):
        world.data.joint(name).qpos = rng.uniform(-reach, reach)
    mujoco.mj_forward(world.model, world.data)
