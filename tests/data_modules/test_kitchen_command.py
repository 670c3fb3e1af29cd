"""Reaching, scripts and performances: open loop, repeatable, and decided by force."""

import itertools

import numpy as np
import pytest

from data_modules.kitchen.command import performer
from data_modules.kitchen.command.activities import ACTIVITIES
from data_modules.kitchen.command.hands import around
from data_modules.kitchen.command.plan import Plan, at_ease
from data_modules.kitchen.command.reach import Reach
from data_modules.kitchen.command.trajectory import Track, carried, minimum_jerk, palm
from data_modules.kitchen.world.names import CONTROL_HZ, POSE_JOINTS, SIDES, Array, Command
from data_modules.kitchen.world.physics import KitchenWorld, person_model
from data_modules.kitchen.world.subject import SUBJECTS
from mssim.errors import UserError

PLATE, JAR = "Clean a plate with a sponge", "Open/close a jar of almond butter"
CUCUMBER, POUR = "Slice a cucumber", "Pour water from a pitcher into a glass"


def ended(label: str, seed: int, grip: float = 1.0, press: float = 1.0) -> KitchenWorld:
    """The world after S00 performed an activity."""
    ticks = performer.perform(SUBJECTS["S00"], label, seed, grip, press)
    world = next(ticks).world
    for _ in ticks:
        pass
    return world


def test_a_move_is_smooth_and_at_rest_at_both_ends() -> None:
    s = minimum_jerk(np.linspace(0, 1, 101))
    assert s[0] == 0 and s[-1] == 1 and s[50] == pytest.approx(0.5)
    speed = np.diff(s)
    assert speed.min() > 0 and max(speed[0], speed[-1]) < 0.01 * speed.max()


def test_a_track_holds_its_last_value_and_carries_what_moves_with_the_body() -> None:
    track = Track(np.zeros(9), True)
    there = palm((0.5, 0.0, 1.0), (1, 0, 0), (0, 0, 1))
    track.move(1.0, 1.0, there)
    pelvis = np.array([[0, 0, 0], [0, 0, 0], [0, 1, np.pi / 2], [0, 2, np.pi / 2]], float)
    poses = track.sample(np.array([0.0, 1.0, 2.0, 3.0]), pelvis)
    assert np.allclose(poses[2:], there)
    track.move(3.0, 1.0, there, body=True)
    last = track.sample(np.array([5.0]), pelvis[3:])[0]
    assert np.allclose(last[:6], (0, 2.5, 1, 0, 1, 0))
    assert np.allclose(carried(there[None], np.zeros((1, 3))), there)


@pytest.mark.parametrize("name", SUBJECTS)
def test_palms_reach_what_they_should_within_the_joints_ranges(name: str) -> None:
    subject = SUBJECTS[name]
    reach, pelvis = Reach(subject), np.zeros((1, 3))
    right = palm((0.52, -0.1, 1.0), (1, 0.2, 0), (0, 0, 1))
    left = palm((0.50, 0.15, 1.0), (1, -0.3, 0), (0, 1, 0.2))
    angles, neck, error = reach.plan(pelvis, np.stack([right, left])[None], np.array([[0.6, 0, 1]]))
    assert error.max() < 0.006
    assert (angles >= reach.range[:, 0]).all() and (angles <= reach.range[:, 1]).all()
    assert abs(neck[0, 1]) < 0.5


def test_closed_fingers_hold_what_is_between_them() -> None:
    import mujoco

    subject = SUBJECTS["S02"]
    model = person_model(subject)
    data = mujoco.MjData(model)
    grasp = around(subject, 0.06, 0.06, 0.03)
    for angles, gap in ((grasp.before, 0.1), (grasp.closed, 0.06)):
        for angle, (finger, joint) in zip(
            angles,
            itertools.product(
                ("thumb", "index", "middle", "ring", "little"), ("spread", "mcp", "pip", "dip")
            ),
            strict=True,
        ):
            data.joint(f"right_{finger}_{joint}").qpos = angle
        mujoco.mj_kinematics(model, data)
        turn = data.site("right_palm").xmat.reshape(3, 3)
        between = data.site("right_middle_tip").xpos - data.site("right_thumb_tip").xpos
        assert (between @ turn)[0] == pytest.approx(gap, abs=0.025)
    assert np.allclose(
        grasp.held(np.zeros(3), np.array([1.0, 0, 0]), np.array([0.0, 0, 1]))[:3],
        (-grasp.ahead, 0, grasp.depth),
    )


def test_a_plan_walks_where_it_should_and_begins_and_ends_unlabelled() -> None:
    subject = SUBJECTS["S03"]
    plan = Plan(subject, np.random.default_rng(0))
    plan.go(1.5, pelvis=(-0.1, -0.7, -0.6))
    plan.go(0.5, press={"left": 9.0})
    score = plan.finish(Reach(subject))
    x, y, yaw = score.start
    for forward, left, turn in score.commands[:, :3] / CONTROL_HZ:
        middle = yaw + turn / 2
        x += forward * np.cos(middle) - left * np.sin(middle)
        y += forward * np.sin(middle) + left * np.cos(middle)
        yaw += turn
    assert (x, y, yaw) == pytest.approx((-0.1, -0.7, -0.6), abs=1e-6)
    assert not score.labelled[[0, 40, -1]].any() and score.labelled.mean() > 0.5
    assert score.commands[-1, 65] == pytest.approx(9.0) and (score.commands[:, 64] == 0).all()
    assert at_ease("left")[1] == -at_ease("right")[1]


@pytest.mark.parametrize("label", ACTIVITIES)
def test_scripts_repeat_and_differ_by_seed(label: str) -> None:
    def score(name: str, seed: int) -> Array:
        return performer.prepare(SUBJECTS[name], label, seed)[1].commands

    first = score("S05", 5)
    assert np.array_equal(first, score("S05", 5))
    assert not np.array_equal(first[:300], score("S05", 6)[:300])
    assert first.shape[1] == Command.SIZE and np.isfinite(first).all()
    assert 7 * CONTROL_HZ < len(first) < 45 * CONTROL_HZ


def test_a_left_handed_subject_leads_with_the_left() -> None:
    for name, column in (("S00", 62), ("S05", 63)):
        grips = performer.prepare(SUBJECTS[name], PLATE, 0)[1].commands[:, 62:64]
        assert grips[:, column - 62].max() > 0 and grips[:, 63 - column].max() == 0


def test_scaled_forces_leave_every_other_number_as_it_was() -> None:
    def numbers(**scales: float) -> Array:
        ticks = performer.perform(SUBJECTS["S00"], POUR, 0, **scales)
        return np.stack([t.command.numbers() for t in itertools.islice(ticks, 240)])

    plain, scaled = numbers(), numbers(grip_scale=0.1, press_scale=0.5)
    assert np.array_equal(plain[:, :62], scaled[:, :62])
    assert np.allclose(plain[:, 62:64] * 0.1, scaled[:, 62:64])
    assert plain[:, 62:64].max() > 0


def test_a_performance_begins_as_its_world_does() -> None:
    world = performer.make_world(SUBJECTS["S00"], JAR, 3)
    tick = next(performer.perform(SUBJECTS["S00"], JAR, 3))
    assert np.array_equal(world.state().physics, tick.world.state().physics)
    assert tick.command.pose.shape == (len(POSE_JOINTS),) and len(SIDES) == len(tick.command.grip)
    assert not tick.labelled and tick.gaze.shape == (3,)


@pytest.mark.parametrize(
    ("label", "seed", "scales"),
    [
        (PLATE, 1, {"press": 0.1}),
        (CUCUMBER, 0, {"press": 0.1}),
        (POUR, 0, {"grip": 0.1}),
        (JAR, 0, {"grip": 0.1}),
    ],
)
def test_force_alone_decides_the_outcome(label: str, seed: int, scales: dict[str, float]) -> None:
    assert performer.success(label, ended(label, seed))
    assert not performer.success(label, ended(label, seed, **scales))


def test_an_unknown_activity_is_the_users_error() -> None:
    with pytest.raises(UserError, match="no activity 'Juggle'; there are: 'Clean a plate"):
        performer.make_world(SUBJECTS["S00"], "Juggle", 0)
