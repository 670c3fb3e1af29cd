"""How the body is driven: limited springs to the commanded angles, and forces fed forward.

Grip pulls the fingertips and the thumb's tip towards each other, press pushes the palm down;
both reach the joints as torque through the Jacobian, so that what is felt is what is asked.
"""

import xml.etree.ElementTree as ET
from typing import Any

import numpy as np

from data_modules.kitchen.world import names, person
from data_modules.kitchen.world.mjcf import add
from data_modules.kitchen.world.names import Array, Command
from data_modules.kitchen.world.subject import Subject

GRIP_LIMIT, PRESS_LIMIT = 45.0, 90.0
"""Newtons that an average hand can grip and press."""
_NEAR = 0.02  # metres between thumb and fingertip below which grip fades: they have met
_FEELING = 0.6  # newtons with which a finger closes until it touches something


def add_actuators(actuator: ET.Element, strength: float) -> None:
    """Add a motor for each of PELVIS_JOINTS and then of POSE_JOINTS."""
    # Feet step where velocity leads and then stand: a stiff spring to its integral.
    for joint, spring, damper in (
        ("pelvis_x", 60000, 3500),
        ("pelvis_y", 60000, 3500),
        ("pelvis_yaw", 6000, 350),
    ):
        gains = {"kp": spring, "kv": damper, "actrange": (-10, 10)}
        add(actuator, "intvelocity", name=joint, joint=joint, **gains)
    for joint in names.POSE_JOINTS:
        drive = person.joint_drive(joint)
        limit = drive.limit * strength
        gains = {"kp": drive.spring, "forcerange": (-limit, limit), "ctrlrange": drive.range}
        add(actuator, "position", name=joint, joint=joint, **gains)


class Driver:
    """Sets the motors and the fed-forward torque of a world by a command."""

    def __init__(self, model: Any, subject: Subject) -> None:
        self._strength = subject.strength
        self._yaw = model.joint("pelvis_yaw").qposadr[0]
        sides, fingers = names.SIDES, names.FINGERS
        self._palms = np.array([model.site(f"{s}_palm").id for s in sides])
        self._tips = np.array([[model.site(f"{s}_{f}_tip").id for f in fingers] for s in sides])
        arms = [[model.joint(f"{s}_{j}").id for j in names.ARM_JOINTS] for s in sides]
        joints = names.FINGER_JOINTS
        bent = [[[model.joint(f"{s}_{f}_{j}").id for j in joints] for f in fingers] for s in sides]
        bones = [[[f"{s}_{f}_{n}" for n in (1, 2, 3)] for f in fingers] for s in sides]
        palms = [[f"{s}_{part}" for part in ("palm", "palm_inner", "palm_outer")] for s in sides]
        self._arms, self._fingers = np.array(arms), np.array(bent)
        self._bones = np.vectorize(lambda name: model.geom(name).id)(bones)
        self._palm_geoms = np.vectorize(lambda name: model.geom(name).id)(palms)
        self._dofs = model.jnt_dofadr

    def apply(self, model: Any, data: Any, command: Command) -> None:
        """Set controls and applied torque; grip and press beyond the limits are clipped."""
        yaw = data.qpos[self._yaw]
        forward, left, turn = command.velocity
        data.ctrl[0] = forward * np.cos(yaw) - left * np.sin(yaw)
        data.ctrl[1] = forward * np.sin(yaw) + left * np.cos(yaw)
        data.ctrl[2] = turn
        data.ctrl[3:] = command.pose
        data.qfrc_applied[:] = 0
        grip = np.clip(command.grip, 0, GRIP_LIMIT * self._strength)
        press = np.clip(command.press, 0, PRESS_LIMIT * self._strength)
        if press.any():
            down = np.zeros((2, 1, 3))
            down[:, 0, 2] = -press
            self._push(data, data.site_xpos[self._palms][:, None], self._arms, down)
        if grip.any():
            touched = np.zeros(model.ngeom, bool)
            touched[data.contact.geom] = True
            tips = data.site_xpos[self._tips]
            pulls = self._pulls(touched, tips, grip)
            self._push(data, tips[:, :, None], self._fingers, pulls[:, :, None])

    def _pulls(self, touched: Array, tips: Array, grip: Array) -> Array:
        """Forces (2, 5, 3) that pull fingertips (2, 5, 3) to the thumb's, and the thumb to them.

        Until both sides feel something they close gently, or would knock away what they meet.
        """
        felt = np.asarray(touched[self._bones].any(-1))
        thumb_felt = felt[:, 0]
        opposed = np.asarray(thumb_felt | touched[self._palm_geoms].any(-1))
        gaps = tips[:, :1] - tips[:, 1:]
        distance = np.maximum(np.sqrt((gaps**2).sum(-1)), _NEAR)
        share = grip[:, None] / (len(names.FINGERS) - 1)
        force = np.where(felt[:, 1:] & opposed[:, None], share, np.minimum(share, _FEELING))
        pulls = gaps * (force / distance)[..., None]
        counter = -pulls.sum(1, keepdims=True)
        size = np.sqrt((counter**2).sum((1, 2)))
        gentle = np.minimum(1.0, _FEELING / np.maximum(size, 1e-9))
        counter *= np.where(thumb_felt, 1.0, gentle)[:, None, None]
        return np.concatenate([counter, pulls], 1)

    def _push(self, data: Any, points: Array, joints: Array, forces: Array) -> None:
        """Add the torque of hinges (..., n) that makes forces (..., 3) at points (..., 3)."""
        arms = points - data.xanchor[joints]
        x, y, z = np.moveaxis(arms, -1, 0)
        fx, fy, fz = np.moveaxis(forces, -1, 0)
        axis = data.xaxis[joints]
        torque = axis[..., 0] * (y * fz - z * fy)
        torque += axis[..., 1] * (z * fx - x * fz) + axis[..., 2] * (x * fy - y * fx)
        data.qfrc_applied[self._dofs[joints]] += torque
