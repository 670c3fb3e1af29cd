"""The kitchen's physics: it obeys, repeats itself bit by bit, and deeds have effects."""

import dataclasses
from typing import Any

import mujoco
import numpy as np
import pytest

from data_modules.kitchen.world import names
from data_modules.kitchen.world.contacts import Contacts, mark
from data_modules.kitchen.world.effects import Effects
from data_modules.kitchen.world.names import Array, Command, joint_index
from data_modules.kitchen.world.physics import KitchenWorld, person_model
from data_modules.kitchen.world.scene import Placed, Scene
from data_modules.kitchen.world.subject import SUBJECTS, Subject
from mssim.errors import UserError

S00 = SUBJECTS["S00"]
AWAY = np.array([-0.6, 0.0, 0.0])  # a pelvis far from the counter
WASHING = Scene((Placed("plate", 0.5, 0.0), Placed("sponge", 0.5, 0.0, on="plate")), {"plate": 1.0})
SLICING = Scene((Placed("board", 0.5, 0.0), Placed("cucumber", 0.5, 0.0, on="board")))


def command(pose: Array, grip: float = 0.0, press: float = 0.0) -> Command:
    """A command of a standing person's right hand."""
    return Command(np.zeros(3), pose, np.array([grip, 0.0]), np.array([press, 0.0]))


def run(world: KitchenWorld, what: Command, seconds: float) -> None:
    for _ in range(round(seconds * names.CONTROL_HZ)):
        world.step(what)


def fingers(pose: Array, bend: float, thumb: float) -> Array:
    """The pose with the right hand a claw: palm down, thumb below it, against the fingers."""
    pose = pose.copy()
    for name, angle in {
        "forearm_roll": 1.5,
        "shoulder_pitch": 0.3,
        "elbow": 1.4,
        "thumb_spread": 1.3,
        "thumb_mcp": thumb,
    }.items():
        pose[joint_index(f"right_{name}")] = angle
    for finger in names.FINGERS[1:]:
        for joint, share in (("mcp", 1.0), ("pip", 0.9), ("dip", 0.35)):
            pose[joint_index(f"right_{finger}_{joint}")] = share * bend
    return pose


def seized(kind: str, grip: float) -> KitchenWorld:
    """A world in which the right hand closed on a weightless object put between its fingers."""
    world = KitchenWorld(S00, Scene((Placed(kind, 0.7, 0.8),)))
    world.place(fingers(world.rest_pose(), 0.5, -0.3), AWAY)
    world.model.opt.gravity[2] = 0
    spot = world.data.joint(f"{kind}_free").qpos
    spot[:3] = world.data.site("right_palm").xpos + np.array([0.04, 0, -0.07])
    spot[3:] = np.sqrt(0.5), 0, 0, np.sqrt(0.5)
    mujoco.mj_forward(world.model, world.data)
    run(world, command(fingers(world.rest_pose(), 0.75, 0.0), grip), 0.8)
    world.model.opt.gravity[2] = -9.81
    return world


def same(a: Any, b: Any) -> bool:
    """Whether two states are equal bit by bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    return np.array_equal(a, b)


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS.keys())
def test_stands_still_at_rest(subject: Subject) -> None:
    world = KitchenWorld(subject, WASHING)
    world.place(world.rest_pose(), AWAY)
    run(world, world.rest_command(), 0.5)
    pose = [world.data.joint(name).qpos[0] for name in names.POSE_JOINTS]
    np.testing.assert_allclose(pose, world.rest_pose(), atol=1e-3)
    assert abs(world.data.qvel).max() < 0.02


def test_traits_of_s05_occur_in_training() -> None:
    train = [SUBJECTS[f"S0{number}"] for number in range(5)]
    for field in dataclasses.fields(Subject):
        if field.name != "name":
            value = getattr(SUBJECTS["S05"], field.name)
            assert value in [getattr(subject, field.name) for subject in train], field.name


def test_names_of_the_contract() -> None:
    model = person_model(S00)
    for side in names.SIDES:
        assert model.site(f"{side}_palm") is not None
        for finger in names.FINGERS:
            model.site(f"{side}_{finger}_tip")
            model.body(f"{side}_{finger}_3")
    for name in (*names.PELVIS_JOINTS, *names.POSE_JOINTS):
        model.joint(name)


def test_palm_frames() -> None:
    """With bent elbows and rolled forearms: fingers ahead, backs of the hands up, thumbs in."""
    world = KitchenWorld(S00, Scene(()))
    pose = np.zeros(len(names.POSE_JOINTS))
    for side in names.SIDES:
        pose[joint_index(f"{side}_elbow")] = pose[joint_index(f"{side}_forearm_roll")] = np.pi / 2
    world.place(pose, AWAY)
    for side, inwards in (("right", 1), ("left", -1)):
        axes = world.data.site(f"{side}_palm").xmat.reshape(3, 3)
        np.testing.assert_allclose(axes, np.eye(3), atol=1e-6)
        thumb = world.data.site(f"{side}_thumb_tip").xpos - world.data.site(f"{side}_palm").xpos
        assert thumb[1] * inwards > 0.05


def test_replay_is_bitwise_equal() -> None:
    rng = np.random.default_rng(0)
    scene = Scene(
        (*SLICING.objects, *WASHING.objects[:0], Placed("cup", 0.5, 0.3)), {}, {"cup": 0.5}
    )
    world = KitchenWorld(S00, scene)
    commands = []
    for _ in range(40):
        pose = world.rest_pose() + 0.3 * rng.normal(size=len(names.POSE_JOINTS))
        grip, press = 20 * rng.random(2), 40 * rng.random(2)
        commands.append(Command(0.3 * rng.normal(size=3), pose, grip, press))
    for each in commands[:20]:
        world.step(each)
    middle = world.state()
    for each in commands[20:]:
        world.step(each)
    first = world.state()
    forces = Contacts.of(world.data).force
    world.reset(middle)
    assert same(world.state(), middle)
    for each in commands[20:]:
        world.step(each)
    assert same(world.state(), first)
    np.testing.assert_array_equal(Contacts.of(world.data).force, forces)
    # And in another world of the same subject and scene.
    other = KitchenWorld(S00, scene)
    other.reset(middle)
    for each in commands[20:]:
        other.step(each)
    assert same(other.state(), first)


def test_hands_obey() -> None:
    world = KitchenWorld(S00, Scene(()))
    world.place(world.rest_pose(), AWAY)
    pose = world.rest_pose()
    pose[joint_index("right_elbow")] = 0.8
    pose[joint_index("left_shoulder_pitch")] = 0.7
    pose[joint_index("torso_yaw")] = 0.3
    pose[joint_index("right_index_mcp")] = 1.0
    run(world, command(pose), 1.0)
    reached = [world.data.joint(name).qpos[0] for name in names.POSE_JOINTS]
    np.testing.assert_allclose(reached, pose, atol=0.01)


def test_pelvis_follows_velocity_in_its_own_frame_and_stands_when_pushed() -> None:
    world = KitchenWorld(S00, Scene(()))
    world.place(world.rest_pose(), np.array([-1.0, 0.0, np.pi / 2]))
    walk = dataclasses.replace(world.rest_command(), velocity=np.array([0.4, 0.0, 0.0]))
    run(world, walk, 1.0)
    run(world, world.rest_command(), 0.5)
    np.testing.assert_allclose(world.data.qpos[:3], [-1.0, 0.4, np.pi / 2], atol=0.01)
    world.data.body("torso").xfrc_applied[:3] = 40, 0, 0
    run(world, world.rest_command(), 2.0)
    assert abs(world.data.qpos[0] + 1.0) < 0.002


def test_press_is_felt_at_the_palm() -> None:
    world = KitchenWorld(S00, Scene(()))
    pose = fingers(world.rest_pose(), 0.0, 0.0)  # a flat hand, just above the counter
    for name, angle in {"shoulder_pitch": 0.2, "elbow": 0.8, "wrist_pitch": 0.57}.items():
        pose[joint_index(f"right_{name}")] = angle
    pose[joint_index("right_thumb_spread")] = -0.3
    world.place(pose, np.array([0.12, 0.0, 0.0]))
    hands = [g for g in range(world.model.ngeom) if "right_" in world.model.geom(g).name]
    forces = []
    for press in (0.0, 20.0, 50.0):
        run(world, command(pose, press=press), 0.7)
        contacts = Contacts.of(world.data)
        forces.append(contacts.total(mark(world.model, hands), ~mark(world.model, hands)))
    assert forces[1] - forces[0] > 10
    assert 15 < forces[2] - forces[1] < 33


def test_lifting_needs_grip() -> None:
    for grip, holds in ((8.0, True), (0.0, False)):
        world = seized("apple", grip)
        up = fingers(world.rest_pose(), 0.75, 0.0)
        up[joint_index("right_shoulder_pitch")] += 0.4
        run(world, command(up, grip), 1.0)
        below = world.data.site("right_palm").xpos[2] - world.data.body("apple").xpos[2]
        assert (below < 0.1) == holds


@pytest.mark.parametrize("kind", ["sponge", "apple"])
def test_grasp_holds_above_its_threshold_and_ends_below(kind: str) -> None:
    assert seized(kind, 1.0).grasped() == []
    world = seized(kind, 8.0)
    assert world.grasped() == [("right", kind)]
    run(world, command(fingers(world.rest_pose(), 0.3, -0.5)), 0.3)
    assert world.grasped() == []


def wiped(force: float) -> float:
    """Dirt left after a sponge slid to and fro on a plate, pressed by a force of N newtons."""
    world = KitchenWorld(S00, WASHING)
    world.place(world.rest_pose(), AWAY)
    before = world.effects.dirt["plate"].sum()
    sponge = world.data.joint("sponge_free")
    world.data.body("sponge").xfrc_applied[2] = -force
    world.model.geom_friction[:] = 1e-4  # slippery: it goes as fast as it is led
    for tick in range(90):
        # Held upright and led; how deep it sinks is the force's to say.
        sponge.qpos[3:] = 1, 0, 0, 0
        sponge.qvel[:] = 0.12 * np.cos(tick / 10), 0, max(sponge.qvel[2], -0.05), 0, 0, 0
        mujoco.mj_forward(world.model, world.data)
        world.step(world.rest_command())
    return float(world.effects.dirt["plate"].sum() / before)


def test_wiping_needs_press() -> None:
    assert wiped(2.0) > 0.99
    assert wiped(14.0) < 0.8


def sliced(force: float) -> Effects:
    """What is cut after a blade was pressed on the third joint of a cucumber for 0.4 s."""
    scene = Scene((*SLICING.objects, Placed("knife", 0.6, -0.4, np.pi / 2)))
    world = KitchenWorld(S00, scene)
    world.place(world.rest_pose(), AWAY)
    world.model.opt.gravity[2] = 0
    knife = world.data.joint("knife_free")
    knife.qpos[2] = 0.92 + 0.018 + 0.044
    upright = knife.qpos[3:].copy()
    world.data.body("knife").xfrc_applied[2] = -force
    first = world.model.joint("knife_free").dofadr[0]
    world.model.dof_damping[first : first + 6] = 200.0  # no faster than an arm
    for _ in range(24):  # led straight down
        knife.qpos[:2], knife.qpos[3:] = (0.5, -0.085), upright
        knife.qvel[[0, 1, 3, 4, 5]] = 0
        mujoco.mj_forward(world.model, world.data)
        world.step(world.rest_command())
    return world.effects


def test_cutting_needs_press() -> None:
    assert not sliced(4.0).cut["cucumber"].any()
    np.testing.assert_array_equal(sliced(25.0).cut["cucumber"], [False, False, True, False, False])


def test_slices_hold_together_until_cut() -> None:
    world = KitchenWorld(S00, SLICING)
    world.place(world.rest_pose(), AWAY)
    world.data.body("cucumber_0").xfrc_applied[2] = 3.0  # lifts the row by one end
    run(world, world.rest_command(), 0.5)
    ends = world.data.body("cucumber_0").xpos, world.data.body("cucumber_5").xpos
    assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(5 * 0.026, abs=0.004)


def test_tilted_pitcher_fills_the_cup_below_it() -> None:
    scene = Scene((Placed("pitcher", 0.5, -0.3), Placed("cup", 0.5, 0.2)), fill={"pitcher": 0.8})
    world = KitchenWorld(S00, scene)
    world.place(world.rest_pose(), AWAY)
    run(world, world.rest_command(), 0.2)
    assert world.effects.stream == 0
    assert world.effects.fill["pitcher"] == 0.8
    world.model.opt.gravity[2] = 0
    tilt = 1.3  # about X: the spout's side is the left, Y
    pitcher = world.data.joint("pitcher_free")
    pitcher.qpos[:3] = 0.5, 0.2 - 0.19 * np.sin(tilt), 1.2
    turned = np.array([np.cos(tilt / 2), -np.sin(tilt / 2), 0, 0])
    mujoco.mju_mulQuat(pitcher.qpos[3:], turned, np.array([np.sqrt(0.5), 0, 0, np.sqrt(0.5)]))
    mujoco.mj_forward(world.model, world.data)
    pitcher.qvel[:] = 0
    world.step(world.rest_command())
    assert world.effects.stream > 0
    run(world, world.rest_command(), 0.3)
    poured = (0.8 - world.effects.fill["pitcher"]) * 1.3
    assert world.effects.fill["cup"] * 0.35 == pytest.approx(poured, abs=1e-9)
    assert world.model.geom("stream").pos[2] > 0.92


def test_lid_comes_off_only_when_turned() -> None:
    world = KitchenWorld(S00, Scene((Placed("jar", 0.5, 0.0),)))
    world.place(world.rest_pose(), AWAY)
    heights = []
    for angle in (0.0, 1.5):
        world.data.joint("jar_lid").qpos[:] = angle
        run(world, world.rest_command(), 0.1)
        world.data.body("jar_lid").xfrc_applied[2] = 1.0
        run(world, world.rest_command(), 0.3)
        heights.append(float(world.data.joint("jar_lift").qpos[0]))
    assert heights[0] < 0.002 < 0.02 < heights[1]


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        (lambda: Scene((Placed("fork", 0.5, 0.0),)), "fork"),
        (lambda: Scene((Placed("cup", 0.5, 0.0, on="table"),)), "table"),
        (lambda: Scene((Placed("cup", 0.5, 0.0), Placed("cup", 0.6, 0.0))), "cup"),
        (lambda: Scene((Placed("cup", 0.5, 0.0),), fill={"cup": 1.5}), "1.5"),
        (lambda: Scene((Placed("cup", 0.5, 0.0),), dirt={"plate": 0.5}), "plate"),
    ],
)
def test_bad_scene_is_told_in_one_line(scene: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as told:
        KitchenWorld(S00, scene())
    assert "\n" not in str(told.value)
