"""ActionSense's signal and pose arithmetic: closed forms."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data_modules.sources.actionsense_labels import LABELS, Event, Instance, pair_events
from data_modules.sources.actionsense_pose import (
    BODY_CHAINS,
    HAND_CHAINS,
    head_state,
    heading,
    root_motion,
)
from data_modules.sources.actionsense_signals import (
    emg_envelope,
    hold_outliers,
    sample_rate,
    taxel_tare,
)


def quaternion(rotation: Rotation) -> np.ndarray:
    return rotation.as_quat()[..., [3, 0, 1, 2]]


def test_rate_counts_samples_and_is_not_fooled_by_bunched_stamps() -> None:
    # Radio packets of three samples 1 ms apart, every 20 ms: 1 / median(dt) would be 1000 Hz.
    stamps = (np.arange(0, 10, 0.02)[:, None] + np.array([0, 0.001, 0.002])).ravel()
    assert sample_rate(stamps) == pytest.approx(150, rel=0.01)


def test_envelope_of_noise_is_its_mean_magnitude_and_misses_nothing_below_the_cutoff() -> None:
    rng = np.random.default_rng(0)
    stamps = np.arange(0, 60, 1 / 162)
    noise = rng.normal(0, 20, (len(stamps), 1))
    envelope, when = emg_envelope(noise, stamps, 5.0)
    np.testing.assert_array_equal(when, stamps)
    assert envelope.mean() == pytest.approx(20 * np.sqrt(2 / np.pi), rel=0.03)
    # Effort that comes and goes at the cut-off passes at half power, at 40 Hz hardly at all.
    for hertz, gain in ((5.0, 2**-0.5), (40.0, 0.01)):
        effort = 20 + 10 * np.sin(2 * np.pi * hertz * stamps)[:, None]
        swing = np.std(emg_envelope(effort, stamps, 5.0)[0][500:]) / np.std(effort)
        assert swing == pytest.approx(gain, abs=0.01)


def test_samples_of_one_stamp_are_averaged_after_rectifying() -> None:
    stamps = np.repeat(np.arange(0, 4, 0.02), 2)
    values = np.where(np.arange(len(stamps)) % 2, 30.0, -10.0)[:, None]
    envelope, when = emg_envelope(values, stamps, 5.0)
    assert len(when) == len(stamps) // 2
    np.testing.assert_allclose(envelope, 20.0)


def test_envelope_knows_nothing_of_the_future() -> None:
    stamps = np.arange(0, 2, 1 / 162)
    values = np.random.default_rng(1).normal(0, 20, (len(stamps), 8))
    changed = values.copy()
    changed[200:] *= 9
    early, late = (emg_envelope(v, stamps, 5.0)[0] for v in (values, changed))
    np.testing.assert_array_equal(early[:200], late[:200])
    assert (early[200:] != late[200:]).all()


def test_outliers_hold_the_last_good_reading_even_across_blocks() -> None:
    block = np.full((4, 32, 32), 560, np.float32)
    block[:, 0, 0] = [4000, 1024, 600, 1500]
    before = np.full((32, 32), 555, np.float32)
    mended, count = hold_outliers(block, before)
    np.testing.assert_array_equal(mended[:, 0, 0], [555, 555, 600, 600])
    assert count == 3
    assert (mended[:, 1:] == 560).all()


def test_baseline_is_each_taxels_median_without_outliers_and_gaps() -> None:
    readings = np.full((5, 32, 32), 560, np.float32)
    readings[:, 0, 0] = [570, 570, 900, 4000, np.nan]
    readings[:, 0, 1] = 2000
    tare = taxel_tare(readings)
    assert tare.baseline[0, 0] == 570
    assert tare.baseline[0, 1] == 560
    assert (tare.baseline[1:] == 560).all()
    assert np.argwhere(tare.borrowed).tolist() == [[0, 1]]
    assert not taxel_tare(np.full((3, 32, 32), 4000, np.float32)).baseline.any()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.9])
def test_a_baseline_is_that_of_unloaded_stretches_however_long_the_contact(share: float) -> None:
    """Pressed 70 % of the time, the median of all read +8 pressed and -304 free."""
    rng = np.random.default_rng(0)
    truth = rng.normal(563, 8, (32, 32))
    readings = truth + rng.normal(0, 2.7, (2000, 32, 32))
    pressed = (np.arange(2000) // 20 % 10) < 10 * share
    readings[pressed, 8:12, 8:12] += rng.uniform(250, 350, (int(pressed.sum()), 4, 4))
    tare = taxel_tare(readings.astype(np.float32))
    assert np.abs(tare.baseline - truth).max() < 1.0
    assert tare.contact[9, 9] == pytest.approx(share, abs=0.01)
    assert tare.contact[0].max() < 0.01
    flagged = [note for note in tare.notes() if note.startswith("long contact: 16 taxels")]
    assert len(flagged) == (share > 0.5)


def test_a_taxel_that_is_never_unloaded_is_tared_by_the_glove_and_told() -> None:
    readings = np.random.default_rng(0).normal(563, 2.7, (500, 32, 32)).astype(np.float32)
    readings[:, 5, 5] += 300
    tare = taxel_tare(readings)
    assert tare.baseline[5, 5] == pytest.approx(563, abs=1)
    assert tare.contact[5, 5] == 1
    assert any("1 taxels read over 60 above the glove's median" in n for n in tare.notes())


def test_a_few_readings_that_dip_are_no_baseline() -> None:
    readings = np.random.default_rng(0).normal(563, 2.7, (500, 32, 32)).astype(np.float32)
    readings[::30] = 450
    assert np.abs(taxel_tare(readings).baseline - 563).max() < 2


def test_chains_have_the_papers_shapes_and_hold_every_point() -> None:
    assert [len(c) for c in HAND_CHAINS] == [4, 5, 5, 5, 5]
    assert {p for c in HAND_CHAINS for p in c} == set(range(20))
    assert all(c[0] == 0 for c in HAND_CHAINS)
    assert sorted(len(c) for c in BODY_CHAINS) == [3, 3, 3, 4, 4, 4, 7]
    assert {p for c in BODY_CHAINS for p in c} == set(range(23))


def test_heading_is_the_turn_about_the_vertical_axis_alone() -> None:
    angles = np.array([-3.0, -1.0, 0.0, 2.5])
    turns = [Rotation.from_euler("ZYX", [a, 0.3, -0.4]) for a in angles]
    yaw = heading(np.stack([quaternion(t) for t in turns]))
    np.testing.assert_allclose(yaw, angles, atol=1e-12)
    assert np.isnan(heading(np.zeros((1, 4)))[0])


def test_head_turns_against_the_pelvis_and_does_not_care_where_the_body_faces() -> None:
    nod = Rotation.from_euler("ZYX", [0.5, 0.2, 0.0])
    states = []
    for facing in (0.0, 3.1, -3.1):
        body = Rotation.from_euler("z", facing)
        head, pelvis = quaternion(body * nod), -quaternion(body)
        states.append(
            head_state(np.array([[1.0, 2.0, 3.0]]), np.ones((1, 3)), head[None], pelvis[None])
        )
    np.testing.assert_allclose(states[0][0, :3], [0, 1, 2])
    np.testing.assert_allclose(states[0][0, 3:], nod.as_rotvec(), atol=1e-12)
    np.testing.assert_allclose(states[1], states[0], atol=1e-12)
    np.testing.assert_allclose(states[2], states[0], atol=1e-12)
    lost = head_state(np.ones((1, 3)), np.ones((1, 3)), np.zeros((1, 4)), np.ones((1, 4)))
    assert np.isnan(lost[0, 3:]).all()


def test_root_steps_are_forward_and_left_of_where_one_faces() -> None:
    # Facing along Y: a step along Y is forward, one along -X is left. The turn crosses pi.
    facing = Rotation.from_rotvec(np.outer([np.pi / 2, np.pi / 2, 3.0, -3.0], [0, 0, 1]))
    places = np.array([[0, 0, 90.0], [0, 4, 95], [-3, 4, 90], [-3, 4, 90]])
    steps = root_motion(places, quaternion(facing))
    np.testing.assert_allclose(steps[0], [4, 0, 0], atol=1e-12)
    np.testing.assert_allclose(steps[1], [0, 3, 3.0 - np.pi / 2], atol=1e-12)
    np.testing.assert_allclose(steps[2], [0, 0, 2 * np.pi - 6.0], atol=1e-12)


def test_pairs_are_made_per_label_whatever_the_order() -> None:
    peel, slice_ = LABELS[1], LABELS[3]
    events = [
        Event(9.0, peel, "Stop", "Good"),
        Event(4.0, slice_, "Stop", ""),
        Event(1.0, peel, "Start", "Good"),
        Event(3.0, peel, "Stop", "Good"),
        Event(2.0, slice_, "Start", ""),
        Event(5.0, peel, "Start", "Good"),
        Event(7.0, peel, "Start", "Good"),
    ]
    instances, notes = pair_events(events)
    assert instances == [
        Instance(1.0, 3.0, peel),
        Instance(2.0, 4.0, slice_),
        Instance(7.0, 9.0, peel),
    ]
    assert notes == [f"activities: {peel!r} has a Start without its partner"]


def test_doubt_on_either_row_drops_the_instance_and_unknown_labels_stay() -> None:
    events = [
        Event(1.0, LABELS[1], "Start", ""),
        Event(2.0, LABELS[1], "Stop", "Maybe"),
        Event(3.0, "Juggle", "Start", "Good"),
        Event(4.0, "Juggle", "Stop", "Good"),
    ]
    instances, notes = pair_events(events)
    assert instances == [Instance(3.0, 4.0, "Juggle")]
    assert any("1 instances marked Bad or Maybe" in note for note in notes)
    assert any("'Juggle' is not one of the 20" in note for note in notes)
