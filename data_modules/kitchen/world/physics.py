"""The kitchen in motion: a person at the counter, driven by commands through limited torque."""

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from data_modules.kitchen.world import names
from data_modules.kitchen.world.contacts import Contacts
from data_modules.kitchen.world.cutting import Cutting
from data_modules.kitchen.world.drive import Driver, add_actuators
from data_modules.kitchen.world.effects import Effects, Surfaces, add_stream
from data_modules.kitchen.world.furniture import add_furniture, add_materials
from data_modules.kitchen.world.grasp import Grasps, add_grasps
from data_modules.kitchen.world.mjcf import add
from data_modules.kitchen.world.names import Array, Command
from data_modules.kitchen.world.objects import add_objects
from data_modules.kitchen.world.person import add_person
from data_modules.kitchen.world.scene import Scene
from data_modules.kitchen.world.subject import Subject

SUBSTEPS = 4
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION

# A world's data count its warnings (`data.warning`); the log file that MuJoCo would write into the
# working folder helps nobody.
mujoco.set_mju_user_warning(lambda _: None)


@dataclass(frozen=True)
class KitchenState:
    """Everything that the future depends on but the commands.

    Attributes:
        physics: float64 (n,): MuJoCo's integration state.
        grasps: float64 (g, 12): what each grasp's weld holds.
        slack: int64 (g,): ticks since each grasp last had force enough.
        pressed: int64 (c,): ticks for which each joint of food has borne a cutting force.
        effects: Dirt, fill, cuts and the stream of water.
    """

    physics: Array
    grasps: Array
    slack: Array
    pressed: Array
    effects: Effects


def person_model(subject: Subject) -> Any:
    """A MuJoCo model of the person alone, with the names of the kitchen's: for kinematics."""
    root = ET.Element("mujoco", model="person")
    add(root, "compiler", angle="radian", autolimits=True)
    add_materials(add(root, "asset"), subject)
    add_person(add(root, "worldbody"), subject)
    return mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode"))


def build_model(subject: Subject, scene: Scene) -> Any:
    """The MuJoCo model of a subject in a scene."""
    root = ET.Element("mujoco", model="kitchen")
    add(root, "compiler", angle="radian", autolimits=True)
    add(
        root,
        "option",
        timestep=1 / (names.CONTROL_HZ * SUBSTEPS),
        integrator="implicitfast",
        cone="elliptic",
        impratio=3,
        iterations=50,
        ls_iterations=50,
        tolerance=1e-10,  # scaled by the body's mass: a sponge is a thousandth of it
    )
    add_materials(add(root, "asset"), subject)
    world, equality = add(root, "worldbody"), add(root, "equality")
    add_furniture(world)
    add_person(world, subject)
    add_objects(world, equality, scene.objects)
    add_stream(world)
    add_grasps(equality, scene.objects)
    add_actuators(add(root, "actuator"), subject.strength)
    return mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode"))


class KitchenWorld:
    """One activity's physics: a subject in a scene.

    Attributes:
        subject: Who acts.
        scene: What stands where at the start.
        model: MuJoCo's model.
        data: MuJoCo's data: positions, contacts and forces are those of the state.
        effects: Dirt, fill, cuts, water.
        start: The state at the latest `reset` to the start or `place`.
    """

    def __init__(self, subject: Subject, scene: Scene) -> None:
        """Build the model and reset it.

        Raises:
            UserError: For an object that there is not.
        """
        self.subject, self.scene = subject, scene
        self.model: Any = build_model(subject, scene)
        self.data: Any = mujoco.MjData(self.model)
        self._driver = Driver(self.model, subject)
        self._grasps = Grasps(self.model, scene.objects)
        self._cutting = Cutting(self.model, scene.objects)
        self._surfaces = Surfaces(self.model, scene.objects)
        self._index()
        self.effects = self._surfaces.initial(scene)
        self.reset()

    @property
    def time(self) -> float:
        """Seconds since the start."""
        return float(self.data.time)

    def reset(self, state: KitchenState | None = None) -> None:
        """Go to a recorded state, or to the start: rest pose, everything at its place."""
        if state is None:
            mujoco.mj_resetData(self.model, self.data)
            self._stand(self.rest_pose(), np.zeros(3))
            self._grasps.reset(self.model)
            self._cutting.pressed[:] = 0
            self.effects = self._surfaces.initial(self.scene)
        else:
            mujoco.mj_setState(self.model, self.data, state.physics, _STATE)
            self._grasps.load(self.model, state.grasps, state.slack)
            self._cutting.pressed[:] = state.pressed
            self.effects = state.effects.copy()
        self._cutting.show(self.model, self.effects)
        self._surfaces.show(self.model, self.data, self.effects)
        mujoco.mj_forward(self.model, self.data)
        if state is None:
            self.start = self.state()

    def place(self, pose: Array, pelvis: Array) -> None:
        """Put the person, at rest, at angles (59,) of POSE_JOINTS and a pelvis (x, y, yaw)."""
        self._stand(pose, pelvis)
        mujoco.mj_forward(self.model, self.data)
        self.start = self.state()

    def _stand(self, pose: Array, pelvis: Array) -> None:
        data = self.data
        data.qpos[self._pose_qpos], data.qvel[self._pose_dofs] = pose, 0.0
        data.qpos[self._pelvis_qpos], data.qvel[self._pelvis_dofs] = pelvis, 0.0
        data.act[:], data.ctrl[:3], data.ctrl[3:] = pelvis, 0.0, pose

    def state(self) -> KitchenState:
        """A copy of everything that the future depends on but the commands."""
        physics = np.empty(mujoco.mj_stateSize(self.model, _STATE))
        mujoco.mj_getState(self.model, self.data, physics, _STATE)
        grasps, slack = self._grasps.save(self.model)
        return KitchenState(
            physics, grasps, slack, self._cutting.pressed.copy(), self.effects.copy()
        )

    def step(self, command: Command) -> None:
        """Obey a command for 1 / CONTROL_HZ seconds; limits bound what is asked."""
        model, data = self.model, self.data
        self._driver.apply(model, data, command)
        mujoco.mj_step2(model, data)  # positions and velocities are those of the last forward
        for _ in range(SUBSTEPS - 1):
            mujoco.mj_step(model, data)
        mujoco.mj_forward(model, data)
        contacts = Contacts.of(data)
        changed = self._grasps.update(model, data, contacts)
        changed |= self._cutting.update(model, data, contacts, self.effects)
        self._surfaces.update(model, data, contacts, self.effects)
        if changed:
            mujoco.mj_forward(model, data)

    def efforts(self) -> Array:
        """float64 (59,): torque of the muscles at each of POSE_JOINTS, weight of the limb
        included, N m.
        """
        data = self.data
        torque = data.qfrc_actuator + data.qfrc_applied + data.qfrc_gravcomp
        return np.asarray(torque[self._pose_dofs])

    def grasped(self) -> list[tuple[str, str]]:
        """The (side, body) that hands hold now."""
        return self._grasps.active(self.data)

    def rest_pose(self) -> Array:
        """float64 (59,): arms bent in front of the belly, hands half open."""
        pose = np.zeros(len(names.POSE_JOINTS))
        rest = {"elbow": 1.35, "forearm_roll": 0.8, "shoulder_pitch": 0.05, "shoulder_roll": 0.12}
        fingers = {"mcp": 0.25, "pip": 0.35, "dip": 0.2}
        for index, joint in enumerate(names.POSE_JOINTS):
            part = joint.split("_", 1)[1]
            pose[index] = rest.get(part, fingers.get(part.split("_")[-1], 0.0))
            if part == "thumb_spread":
                pose[index] = 0.7
        pose[names.joint_index("neck_pitch")] = 0.3
        return pose

    def rest_command(self) -> Command:
        """The command that keeps the rest pose."""
        return Command(np.zeros(3), self.rest_pose(), np.zeros(2), np.zeros(2))

    def _index(self) -> None:
        model = self.model
        joints = [model.joint(name).id for name in names.POSE_JOINTS]
        self._pose_qpos = model.jnt_qposadr[joints]
        self._pose_dofs = model.jnt_dofadr[joints]
        pelvis = [model.joint(name).id for name in names.PELVIS_JOINTS]
        self._pelvis_qpos = model.jnt_qposadr[pelvis]
        self._pelvis_dofs = model.jnt_dofadr[pelvis]
