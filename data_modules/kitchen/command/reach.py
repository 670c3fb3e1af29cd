"""Reaching: from where the palms and the eyes should be to angles of the joints.

Damped least squares on a kinematic model of the person alone, arms and trunk together.
"""

import mujoco
import numpy as np

from data_modules.kitchen.command.body import person_model
from data_modules.kitchen.world.names import (
    ARM_JOINTS,
    PELVIS_JOINTS,
    POSE_JOINTS,
    SIDES,
    TRUNK_JOINTS,
    Array,
)
from data_modules.kitchen.world.subject import Subject

REACHED = (*TRUNK_JOINTS[:3], *(f"{side}_{joint}" for side in SIDES for joint in ARM_JOINTS))
"""The 17 joints that reaching sets: torso and arms."""

TURN = 0.12
"""A radian of wrong orientation weighs as much as this many metres of wrong position."""
DAMPING = 2e-4
REST = 2e-4
"""Pull towards the posture at ease, which decides where the elbows hang."""
STEPS = 4
FIRST = 60
"""Steps for the first target, which starts far away."""
STRIDE = 0.25
"""The largest step of an angle, rad."""


EASE = {
    "torso_pitch": 0.12,
    **{f"{side}_shoulder_pitch": 0.35 for side in SIDES},
    **{f"{side}_shoulder_roll": 0.25 for side in SIDES},
    **{f"{side}_shoulder_yaw": 0.3 for side in SIDES},
    **{f"{side}_elbow": 1.3 for side in SIDES},
    **{f"{side}_forearm_roll": 0.9 for side in SIDES},
}
"""The posture at ease; joints left out rest at 0."""


class Reach:
    """Inverse kinematics of one person.

    Args:
        subject: whose body it is.
        lean: how much more than an arm's joint the trunk's resist moving.
    """

    def __init__(self, subject: Subject, lean: float = 12.0) -> None:
        """Look up the addresses of what is set and read."""
        self.model = model = person_model(subject)
        self.data = mujoco.MjData(model)
        joints = [model.joint(name) for name in REACHED]
        self.at = np.array([j.qposadr[0] for j in joints])
        self.dof = np.array([j.dofadr[0] for j in joints])
        self.range = np.array([j.range for j in joints])
        self.ease = np.array([EASE.get(name, 0.0) for name in REACHED])
        self.pull = REST * np.array([lean] * 3 + [1.0] * 14)
        self.pelvis = np.array([model.joint(name).qposadr[0] for name in PELVIS_JOINTS])
        self.palms = [model.site(f"{side}_palm").id for side in SIDES]
        self.eye, self.torso = model.site("eye").id, model.body("torso").id
        neck = [model.joint(name) for name in TRUNK_JOINTS[3:]]
        self.neck_range = np.array([j.range for j in neck])
        mujoco.mj_kinematics(model, self.data)
        self.pitched = -float(np.arcsin(self.data.site_xmat[self.eye][6]))

    def plan(self, pelvis: Array, palms: Array, gaze: Array) -> tuple[Array, Array, Array]:
        """Angles that bring the palms and the eyes where they should be.

        Args:
            pelvis: (n,3) x, y, yaw.
            palms: (n,2,9) right and left, as `trajectory.palm`.
            gaze: (n,3) points to look at, m.

        Returns:
            angles (n,17) of REACHED, rad; neck (n,2) pitch and yaw that would centre the gaze
            point in view; error (n,2) of the palms' positions, m.
        """
        q = self.ease.copy()
        angles, neck = np.empty((len(pelvis), len(REACHED))), np.empty((len(pelvis), 2))
        errors = np.empty((len(pelvis), 2))
        for n in range(len(pelvis)):
            self.data.qpos[self.pelvis] = pelvis[n]
            for _ in range(STEPS if n else FIRST):
                q, errors[n] = self._step(q, palms[n])
            angles[n] = q
            neck[n] = self._towards(gaze[n])
        return angles, neck, errors

    def _step(self, q: Array, palms: Array) -> tuple[Array, Array]:
        """One damped step of (17,) angles, and how far (2,) the palms were off before it."""
        data, model = self.data, self.model
        data.qpos[self.at] = q
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        normal = np.diag(DAMPING + self.pull)
        slope = self.pull * (self.ease - q)
        far = np.empty(2)
        at, turn = np.empty((3, model.nv)), np.empty((3, model.nv))
        for i, site in enumerate(self.palms):
            mujoco.mj_jacSite(model, data, at, turn, site)
            wrong, twist = self._wrong(site, palms[i])
            far[i] = np.linalg.norm(wrong)
            jacobian = np.concatenate([at[:, self.dof], TURN * turn[:, self.dof]])
            normal += jacobian.T @ jacobian
            slope += jacobian.T @ np.concatenate([wrong, TURN * twist])
        step = np.clip(np.linalg.solve(normal, slope), -STRIDE, STRIDE)
        return np.clip(q + step, self.range[:, 0], self.range[:, 1]), far

    def _wrong(self, site: int, pose: Array) -> tuple[Array, Array]:
        """Vectors (3,), (3,) that would bring a palm's position and orientation to a pose (9,)."""
        turn = self.data.site_xmat[site].reshape(3, 3)
        fingers, back = pose[3:6], pose[6:9]
        wanted = np.stack([fingers, _cross(back, fingers), back], 1)
        twist = 0.5 * sum(_cross(turn[:, k], wanted[:, k]) for k in range(3))
        return pose[:3] - self.data.site_xpos[site], np.asarray(twist)

    def _towards(self, point: Array) -> Array:
        """Neck pitch and yaw (2,) that would centre a world point (3,) in view, within range."""
        torso = self.data.xmat[self.torso].reshape(3, 3)
        x, y, z = torso.T @ (point - self.data.site_xpos[self.eye])
        neck = np.array([-np.arctan2(z, np.hypot(x, y)) - self.pitched, np.arctan2(y, x)])
        return np.asarray(np.clip(neck, self.neck_range[:, 0], self.neck_range[:, 1]))


def _cross(a: Array, b: Array) -> Array:
    """The cross product of two vectors (3,), an order faster than `np.cross` for single ones."""
    return np.array(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )


REACHED_AT = np.array([POSE_JOINTS.index(name) for name in REACHED])
"""Where the reached joints stand in a command's pose."""
