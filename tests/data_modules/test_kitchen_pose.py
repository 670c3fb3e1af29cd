"""The kitchen's body pose, gaze and clocks against references of their own: geometry by hand."""

from typing import Any

import mujoco
import numpy as np
import pytest
from helpers.kitchen import bend
from scipy.spatial.transform import Rotation

from data_modules.kitchen.sensing import clocks, gaze, pose
from data_modules.kitchen.world.physics import KitchenWorld
from data_modules.kitchen.world.scene import Scene
from data_modules.kitchen.world.subject import SUBJECTS

Array = np.ndarray[Any, Any]

ELBOW, WRIST = 9, 10
TICK = 1 / 60
DROP = np.array([0.0, 0.0, -0.25])


@pytest.fixture(scope="module")
def world() -> KitchenWorld:
    return KitchenWorld(SUBJECTS["S02"], Scene(()))


def frame_by_hand(world: KitchenWorld, name: str) -> tuple[Array, Rotation]:
    """Place and turn of a body by walking up its chain: offset, rest turn, then its joints."""
    model = world.model
    body = model.body(name).id
    if body == 0:
        return np.zeros(3), Rotation.identity()
    place, turn = frame_by_hand(world, model.body(model.body_parentid[body]).name)
    place = place + turn.apply(model.body_pos[body])
    turn = turn * Rotation.from_quat(model.body_quat[body][[1, 2, 3, 0]])
    for joint in range(model.njnt):
        if model.jnt_bodyid[joint] != body:
            continue
        angle, axis = world.data.qpos[model.jnt_qposadr[joint]], model.jnt_axis[joint]
        if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE:
            place = place + turn.apply(axis * angle)
        else:
            turn = turn * Rotation.from_rotvec(axis * angle)
    return place, turn


@pytest.mark.parametrize(
    ("segment", "body"),
    [
        (0, "pelvis"),
        (1, "torso"),
        (6, "head"),
        (8, "right_upperarm"),
        (9, "right_forearm"),
        (10, "right_hand"),
        (14, "left_hand"),
        (15, "right_upperleg"),
        (22, "left_toe"),
        (23, "left_hand"),
        (24, "left_thumb_1"),
        (30, "left_index_3"),
        (43, "right_hand"),
        (46, "right_thumb_3"),
        (60, "right_little_1"),
        (62, "right_little_3"),
    ],
)
def test_segments_are_where_the_joints_put_them(
    world: KitchenWorld, segment: int, body: str
) -> None:
    bend(world, segment)
    place, turn = frame_by_hand(world, body)
    np.testing.assert_allclose(pose.segments(world)[segment], 100 * place, atol=1e-6)
    now = Rotation.from_quat(pose.orientations(world)[segment][[1, 2, 3, 0]])
    mujoco.mj_resetData(world.model, world.data)
    rest = frame_by_hand(world, body)[1]
    np.testing.assert_allclose((now * rest).as_matrix(), turn.as_matrix(), atol=1e-9)


def test_bones_keep_their_lengths(world: KitchenWorld) -> None:
    parents, children = pose._joints()
    # Segments of one body, and of bodies that a hinge at the child's place joins.
    lengths = []
    for seed in range(4):
        bend(world, seed)
        segments = pose.segments(world)
        lengths.append(np.linalg.norm(segments[children] - segments[parents], axis=1))
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], (4, 60)), atol=1e-6)
    assert lengths[0].min() > 0.5
    assert lengths[0].max() < 0.3 * 190


def test_right_is_right_and_up_is_up(world: KitchenWorld) -> None:
    world.reset()
    at = pose.segments(world)
    assert (at[7:11, 1] < 0).all() and (at[11:15, 1] > 0).all()
    assert (at[43:63, 1] < 0).all() and (at[23:43, 1] > 0).all()
    assert (np.diff(at[:7, 2]) > 0).all()
    # Standing, the ball of the foot is on the floor and the head's joint below the body's height.
    assert at[18, 2] < 8 and 150 < at[6, 2] < 190


def test_orientations_are_unit_and_head_looks_where_it_is_turned(world: KitchenWorld) -> None:
    mujoco.mj_resetData(world.model, world.data)
    world.data.joint("pelvis_yaw").qpos = 0.5
    world.data.joint("neck_yaw").qpos = 0.4
    mujoco.mj_forward(world.model, world.data)
    turns = pose.orientations(world)
    np.testing.assert_allclose(np.linalg.norm(turns, axis=1), 1.0)
    np.testing.assert_allclose(turns[0], [np.cos(0.25), 0, 0, np.sin(0.25)], atol=1e-12)
    np.testing.assert_allclose(turns[6], [np.cos(0.45), 0, 0, np.sin(0.45)], atol=1e-12)


def test_joint_angles_name_single_turns() -> None:
    """Right elbow (joint 8) flexed, rotated, abducted; the rest of the arm follows it."""
    for axis, column, way in (((0, -1, 0), 2, 1), ((0, 0, 1), 1, 1), ((1, 0, 0), 0, 1)):
        turns = np.tile([1.0, 0, 0, 0], (5, 63, 1))
        angles = np.linspace(-1.2, 1.2, 5)
        x, y, z = (np.sin(angles / 2)[:, None] * np.array(axis)).T
        quaternion = np.stack([np.cos(angles / 2), x, y, z], axis=-1)
        turns[:, [ELBOW, WRIST]] = quaternion[:, None]
        found = pose.joint_angles(turns)
        expected = np.zeros((5, 60, 3))
        expected[:, 8, column] = way * np.rad2deg(angles)
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_joint_angles_rebuild_the_turn(world: KitchenWorld) -> None:
    bend(world, 7)
    turns = pose.orientations(world)
    x, y, z = np.deg2rad(pose.joint_angles(turns)).T
    parents, children = pose._joints()
    segment = [Rotation.from_quat(q[[1, 2, 3, 0]]) for q in turns]
    for joint in range(60):
        # Turns about Xsens' own axes: Z is to the right (our -Y), Y is up (our Z).
        made = Rotation.from_euler("XYZ", [x[joint], -z[joint], y[joint]])
        true = segment[parents[joint]].inv() * segment[children[joint]]
        np.testing.assert_allclose(made.as_matrix(), true.as_matrix(), atol=1e-9)


def test_centre_of_mass_is_the_person_alone(world: KitchenWorld) -> None:
    bend(world, 3)
    model = world.model
    pelvis = model.body("pelvis").id
    mine = [b for b in range(model.nbody) if model.body_rootid[b] == pelvis]
    mass = model.body_mass[mine]
    by_hand = 100 * mass @ world.data.xipos[mine] / mass.sum()
    np.testing.assert_allclose(pose.centre_of_mass(world), by_hand, atol=1e-6)


def test_gaze_projection_in_closed_form() -> None:
    eye, turn = np.array([0.1, 0.2, 1.5]), np.eye(3)
    half = np.tan(np.deg2rad(40.0))
    ahead = eye + np.array([2.0, 0.0, 0.0])
    corner = eye + 2.0 * np.array([1.0, -half * 1.5, half])
    left_low = eye + np.array([1.0, 0.5 * half * 1.5, -0.5 * half])
    points = np.array([ahead, corner, left_low])
    found = gaze.project(points, eye, turn, 80.0, 1.5)
    np.testing.assert_allclose(found, [[0.5, 0.5], [1.0, 1.0], [0.25, 0.25]], atol=1e-12)
    behind = gaze.project(eye - np.array([1.0, 0.3, 0.0]), eye, turn, 80.0)
    np.testing.assert_array_equal(behind, [2.0, 0.5])


def test_world_gaze_looks_through_the_eye(world: KitchenWorld) -> None:
    world.reset()
    eye = world.data.site("eye")
    ahead = eye.xpos + 0.7 * eye.xmat.reshape(3, 3)[:, 0]
    np.testing.assert_allclose(gaze.world_gaze(world, ahead, 75.0), [0.5, 0.5], atol=1e-12)
    hand = world.data.site("right_palm").xpos
    across, up = gaze.world_gaze(world, hand, 90.0)
    assert across > 0.5 > up


def test_eyes_stay_near_the_target_and_follow_it() -> None:
    ticks = TICK * np.arange(1, 301)
    target = np.where(ticks[:, None] < 2.5, [0.3, 0.4], [0.7, 0.6])
    taken, _ = clocks.gaze(np.random.default_rng(0), 0.0, 5.0)
    seen = gaze.Eyes(np.random.default_rng(1)).signal(ticks, target, taken)
    assert seen.shape == (len(taken), 2)
    before, after = seen[taken < 2.4], seen[taken > 2.6]
    np.testing.assert_allclose(before.mean(axis=0), [0.3, 0.4], atol=0.02)
    np.testing.assert_allclose(after.mean(axis=0), [0.7, 0.6], atol=0.02)
    assert 0.004 < before.std(axis=0).max() < 0.03
    # Fixations hold: most of the movement from sample to sample is the tracker's noise.
    assert np.median(abs(np.diff(before, axis=0))) < 0.004


def test_clocks_are_as_the_recorder_has_them() -> None:
    rng = np.random.default_rng(0)
    stamps, taken = clocks.emg(rng, 100.0, 60.0)
    rate = (len(stamps) - 1) / (stamps[-1] - stamps[0])
    assert 158 < rate < 179
    assert 0.04 < (np.diff(stamps) == 0).mean() < 0.08
    assert (np.diff(taken) >= 0).all() and (np.diff(stamps) >= 0).all()
    assert np.diff(taken).std() * rate > 0.2
    touched = clocks.tactile(rng, 100.0, 60.0)
    assert 5 < (len(touched) - 1) / (touched[-1] - touched[0]) < 6
    for times in (stamps, taken, touched):
        assert times.min() >= 100.0 and times.max() <= 160.0
    looked, received = clocks.gaze(rng, 100.0, 60.0)
    assert 114 < (len(looked) - 1) / (looked[-1] - looked[0]) < 118
    assert (received > looked).all() and (received - looked).max() < 0.08
    assert len(np.unique(received)) < len(received) / 4


def test_samples_never_come_before_what_they_tell() -> None:
    rng = np.random.default_rng(0)
    ticks = 50.0 + TICK * np.arange(600)
    suit = clocks.xsens(rng, ticks)
    assert ((suit >= ticks) & (suit <= ticks + 0.003)).all()
    np.testing.assert_array_equal(clocks.tick_of(ticks, suit), np.arange(600))
    frames, received = clocks.video(rng, ticks[::6])
    assert ((frames >= ticks[::6]) & (frames <= ticks[::6] + 0.003)).all()
    assert (received > frames).all()
    # A clock of even steps from the first frame meets every frame, one a step.
    even = frames[0] + 6 * TICK * np.arange(len(frames))
    np.testing.assert_array_equal(clocks.tick_of(frames, even), np.arange(len(frames)))
    assert clocks.tick_of(ticks, np.array([0.0]))[0] == 0
