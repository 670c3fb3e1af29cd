"""The kitchen's senses against references of their own: forces that are known."""

from dataclasses import dataclass, replace
from typing import Any

import mujoco
import numpy as np
import pytest
from helpers.kitchen import bend
from scipy.spatial.transform import Rotation

from data_modules.kitchen.command.reach import REACHED_AT, Reach
from data_modules.kitchen.sensing import clocks, muscle, pose, touch
from data_modules.kitchen.world.names import (
    FINGER_JOINTS,
    FINGERS,
    POSE_JOINTS,
    SIDES,
    Command,
    joint_index,
)
from data_modules.kitchen.world.physics import KitchenWorld
from data_modules.kitchen.world.scene import Placed, Scene
from data_modules.kitchen.world.subject import SUBJECTS
from data_modules.sources.actionsense_signals import emg_envelope

Array = np.ndarray[Any, Any]

TICK = 1 / 60
HOLD = 24
DROP = np.array([0.0, 0.0, -0.25])


@pytest.fixture(scope="module")
def world() -> KitchenWorld:
    return KitchenWorld(SUBJECTS["S02"], Scene(()))


def flat_hand(press: float) -> tuple[KitchenWorld, Command]:
    """The right palm just over the counter, fingers straight, and a command to press."""
    subject = SUBJECTS["S00"]
    world, reach = KitchenWorld(subject, Scene(())), Reach(subject)
    down = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    palms = np.array([[[0.5, -0.2, 0.925, *down], [0.3, 0.3, 1.05, *down]]])
    angles = reach.plan(np.zeros((1, 3)), palms, np.array([[0.5, 0.0, 0.9]]))[0]
    pose_angles = world.rest_pose()
    pose_angles[REACHED_AT] = angles[0]
    for finger in FINGERS:
        for joint in FINGER_JOINTS:
            pose_angles[joint_index(f"right_{finger}_{joint}")] = 0.05 if joint != "spread" else 0.0
    pose_angles[joint_index("right_thumb_spread")] = -0.3
    world.place(pose_angles, np.zeros(3))
    return world, Command(np.zeros(3), pose_angles, np.zeros(2), np.array([press, 0.0]))


@pytest.fixture(scope="module")
def pressing() -> dict[str, Array]:
    """Ten seconds of a hand that presses the counter now harder, now softer."""
    rng = np.random.default_rng(5)
    world, command = flat_hand(0.0)
    gloves = touch.Gloves(np.random.default_rng(1))
    muscles = muscle.Muscles(SUBJECTS["S00"], np.random.default_rng(2))
    levels = np.repeat(rng.uniform(0, 70, 25), HOLD)
    kept: dict[str, list[Any]] = {"force": [], "drives": [], "adc": []}
    for press in levels:
        world.step(replace(command, press=np.array([press, 0.0])))
        gloves.feel(world)
        kept["drives"].append(muscles.drives(world)[0])
        kept["adc"].append(gloves.read("right") - gloves.baseline[0])
        kept["force"].append(touch.taxel_forces(world).sum(axis=(1, 2)))
    ticks = TICK * np.arange(1, len(levels) + 1)
    stamps, taken = clocks.emg(np.random.default_rng(3), 0.0, ticks[-1])
    drives = np.array(kept["drives"])
    emg = muscles.signal("right", ticks, drives, taken)
    envelope, when = emg_envelope(emg.astype(float), stamps, 5.0)
    held = clocks.tick_of(when, ticks)
    return {
        "press": levels,
        "emg": envelope[held],
        "adc": np.array(kept["adc"]),
        "force": np.array(kept["force"]),
    }


def test_taxels_carry_what_the_contacts_do() -> None:
    """The engine's own contact forces, summed, are what the right glove feels; the left nothing."""
    world, command = flat_hand(30.0)
    for _ in range(40):
        world.step(command)
    model, data = world.model, world.data
    wrench, total = np.zeros(6), 0.0
    for number in range(data.ncon):
        bodies = model.geom_bodyid[data.contact.geom[number]]
        if any(model.body(b).name.startswith("right_") for b in bodies):
            mujoco.mj_contactForce(model, data, number, wrench)
            total += wrench[0]
    forces = touch.taxel_forces(world)
    assert total > 15
    np.testing.assert_allclose(forces.sum(axis=(1, 2)), [total, 0.0], rtol=1e-9)


def test_glove_reads_more_the_harder_the_hand_presses() -> None:
    totals, peaks = [], []
    world, command = flat_hand(0.0)
    gloves = touch.Gloves(np.random.default_rng(0))
    for press in (0, 5, 10, 20, 35, 60):
        for _ in range(50):
            world.step(replace(command, press=np.array([press, 0.0])))
            gloves.feel(world)
        values = gloves.read("right") - gloves.baseline[0]
        totals.append(float(values.sum()))
        peaks.append(float(gloves.read("right").max()))
        assert abs(gloves.read("left") - gloves.baseline[1]).mean() < 3
    # 1024 taxels' noise sums to about 90.
    assert (np.diff(totals) > 150).all(), totals
    assert 700 < peaks[-1] <= 1022


def test_fingers_and_palm_have_their_own_taxels(world: KitchenWorld) -> None:
    bend(world, 11)
    taxels, data = touch.TaxelMap(world.model), world.data
    for hand, side in enumerate(SIDES):
        for finger, low, high in (("index", 7, 12), ("little", 25, 30), ("thumb", 0, 6)):
            body = world.model.body(f"{side}_{finger}_3").id
            patch = np.array([list(taxels.bodies).index(body)])
            tip = data.site(f"{side}_{finger}_tip").xpos[None]
            row, column = taxels.taxels(data, patch, tip)[0]
            middle = (low + high) / 2
            assert column == pytest.approx(middle if hand == 0 else 31 - middle, abs=1e-6)
            assert row == pytest.approx(8.0 if finger == "thumb" else 0.0, abs=1e-6)
        patch = np.array([list(taxels.bodies).index(world.model.body(f"{side}_hand").id)])
        row, column = taxels.taxels(data, patch, data.site(f"{side}_palm").xpos[None])[0]
        assert 20 < row < 29
        assert (12 < column < 26) if hand == 0 else (5 < column < 19)


def test_what_a_weld_bears_is_what_the_thing_weighs() -> None:
    """An apple welded under a hand in the air: no contact holds it, so the weld bears it all."""
    world = KitchenWorld(SUBJECTS["S00"], Scene((Placed("apple", 0.5, 0.0),)))
    model, data = world.model, world.data
    data.joint("apple_free").qpos[:3] = data.body("right_hand").xpos + DROP
    mujoco.mj_forward(model, data)
    hand, apple = data.body("right_hand"), data.body("apple")
    turn = Rotation.from_quat(hand.xquat[[1, 2, 3, 0]]).inv()
    weld = model.equality("grasp_right_apple").id
    both = turn * Rotation.from_quat(apple.xquat[[1, 2, 3, 0]])
    model.eq_data[weld, 3:6] = turn.apply(apple.xpos - hand.xpos)
    model.eq_data[weld, 6:10] = both.as_quat()[[3, 0, 1, 2]]
    model.eq_data[weld, 10:] = 1.0
    data.eq_active[weld] = 1
    for _ in range(600):
        mujoco.mj_step(model, data)
    taxels = touch.TaxelMap(model)
    welds = [w for w in taxels.welds if w[0] == weld]
    pushes = touch._pushes(data, taxels, 0)
    np.testing.assert_array_equal(pushes, 0.0)
    borne = touch._borne(data, welds[0][0], welds[0][2], pushes)
    assert borne == pytest.approx(9.81 * model.body("apple").mass[0], rel=0.05)
    # Were contacts to push the same way, the weld would help them; were they to undo it, not.
    assert touch._borne(data, weld, welds[0][2], np.array([0, 0, 100.0])) == 0.0


def test_untouched_gloves_read_like_the_real_ones(world: KitchenWorld) -> None:
    gloves = touch.Gloves(np.random.default_rng(3))
    readings = np.array([gloves.read("left") for _ in range(200)])
    assert readings.dtype == np.float32 and readings.shape == (200, 32, 32)
    median = np.median(readings, axis=0)
    assert gloves.baseline.min() >= 555 and gloves.baseline.max() <= 580
    np.testing.assert_allclose(median, gloves.baseline[1], atol=1.5)
    assert 558 < np.median(median) < 567
    assert np.median(readings.std(axis=0)) == pytest.approx(2.7, abs=0.1)
    assert readings.min() >= 446 and readings.max() <= 1022
    assert np.abs(gloves.baseline[0] - gloves.baseline[1]).max() > 5


def test_transmission_errors_are_rare_and_beyond_the_range() -> None:
    gloves = touch.Gloves(np.random.default_rng(3), outliers=0.1)
    bad = np.array([(gloves.read("right") >= 1024).sum() for _ in range(500)])
    assert set(bad) == {0, 1}
    assert 25 < bad.sum() < 80


def ridge_r2(features: Array, target: Array) -> float:
    """R2 on the last third, of a ridge regression on the rest."""
    cut = len(target) * 2 // 3
    mean, scale = features[:cut].mean(axis=0), features[:cut].std(axis=0) + 1e-6
    x = np.concatenate([(features - mean) / scale, np.ones((len(target), 1))], axis=1)
    normal = x[:cut].T @ x[:cut] + 5 * np.eye(x.shape[1])
    weights = np.linalg.solve(normal, x[:cut].T @ target[:cut])
    wrong = target[cut:] - x[cut:] @ weights
    return float(1 - (wrong**2).sum() / ((target[cut:] - target[cut:].mean()) ** 2).sum())


def test_press_is_readable_from_touch_and_from_muscles(pressing: dict[str, Array]) -> None:
    blocks = pressing["adc"].reshape(-1, 8, 4, 8, 4).sum(axis=(2, 4)).reshape(-1, 64)
    # Touch and the EMG's envelope lag a little behind what is asked.
    settled = np.arange(len(blocks)) % HOLD >= HOLD / 2
    press = pressing["press"][settled]
    assert ridge_r2(blocks[settled], press) > 0.9
    assert ridge_r2(pressing["emg"][settled], press) > 0.65
    # Of nothing but chance, nothing can be read: the measure itself is honest.
    chance = np.random.default_rng(0).normal(size=(len(press), 64))
    assert ridge_r2(chance, press) < 0.2


@dataclass
class Driven:
    """A body whose joints are driven by given torques."""

    torque: Array

    def efforts(self) -> Array:
        return self.torque


def clenched(force: float) -> Driven:
    """A right hand's finger joints flexed by a tip force over some 6 cm, and its thumb's."""
    torque = np.zeros(len(POSE_JOINTS))
    for finger in FINGERS:
        for joint, lever in (("mcp", 0.08), ("pip", 0.045), ("dip", 0.02)):
            share = 1.0 if finger == "thumb" else 0.25
            torque[joint_index(f"right_{finger}_{joint}")] = share * lever * force
    return Driven(torque)


def test_emg_grows_with_grip_and_stays_in_range() -> None:
    ticks = TICK * np.arange(1, 241)
    _, taken = clocks.emg(np.random.default_rng(0), 0.0, 4.0)
    spread = []
    for grip in (0, 8, 16, 30, 45):
        muscles = muscle.Muscles(SUBJECTS["S00"], np.random.default_rng(1))
        drives = muscles.drives(clenched(grip))
        np.testing.assert_array_equal(drives[1], 0.0)
        signal = muscles.signal("right", ticks, np.tile(drives[0], (240, 1)), taken)
        assert signal.dtype == np.int32 and signal.shape == (len(taken), 8)
        assert signal.min() >= -128 and signal.max() <= 127
        assert abs(signal.mean(axis=0)).max() < 4
        spread.append(signal.std(axis=0))
    np.testing.assert_allclose(spread[0], 8.0, rtol=0.15)
    assert (np.diff([s.max() for s in spread]) > 1).all()
    assert 22 < spread[-1].max() < 45


def test_grip_is_readable_from_muscles_and_told_from_press() -> None:
    """Two muscles' drives are found back from eight loudnesses by the pseudo-inverse."""
    for name in ("S00", "S05"):
        mixing = muscle.electrode_mixing(name)
        values = np.linalg.svd(mixing[0], compute_uv=False)
        assert values[0] / values[-1] < 30
        grip, press = (mixing[0][:, muscle.MUSCLES.index(m)] for m in _GRIP_AND_PRESS)
        cosine = grip @ press / np.linalg.norm(grip) / np.linalg.norm(press)
        assert cosine < 0.3
    assert not np.allclose(muscle.electrode_mixing("S00"), muscle.electrode_mixing("S01"))


_GRIP_AND_PRESS = ("finger_flexor", "elbow_extensor")


def test_the_strong_work_less_for_the_same_torque() -> None:
    weak, strong = (muscle.Muscles(SUBJECTS[s], np.random.default_rng(0)) for s in ("S01", "S02"))
    grip = muscle.MUSCLES.index("finger_flexor")
    load = clenched(10.0)
    assert weak.drives(load)[0, grip] > strong.drives(load)[0, grip] > 0


def test_senses_repeat_with_their_seed() -> None:
    def sense() -> list[Array]:
        world, command = flat_hand(25.0)
        gloves = touch.Gloves(np.random.default_rng(8))
        muscles = muscle.Muscles(SUBJECTS["S00"], np.random.default_rng(9))
        drives = []
        for _ in range(12):
            world.step(command)
            gloves.feel(world)
            drives.append(muscles.drives(world)[0])
        ticks = TICK * np.arange(1, 13)
        stamps, taken = clocks.emg(np.random.default_rng(1), 0.0, 0.2)
        emg = muscles.signal("right", ticks, np.array(drives), taken)
        return [gloves.read("right"), gloves.read("left"), emg, stamps, pose.segments(world)]

    for first, second in zip(sense(), sense(), strict=True):
        np.testing.assert_array_equal(first, second)
