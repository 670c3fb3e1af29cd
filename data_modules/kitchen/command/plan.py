"""The score of one activity: tracks of palms, fingers, forces, gaze and pelvis over time."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from data_modules.kitchen.command import hands
from data_modules.kitchen.command.reach import REACHED, REACHED_AT, Reach
from data_modules.kitchen.command.trajectory import Curve, Track, palm
from data_modules.kitchen.world.names import CONTROL_HZ, POSE_JOINTS, SIDES, Array, Command, Side
from data_modules.kitchen.world.subject import Subject

COARSE = 3
"""Reaching is solved at every third command and interpolated in between."""
REST_SECONDS = 0.7
"""Unlabelled rest before and after an activity."""
HEAD_SECONDS = 0.16
"""How far the head lags behind the eyes (time constant)."""
SACCADE_SECONDS = 0.12
TREMOR = 2.5
"""From the hands' trembling, m, to the joints', rad."""
EYE_WANDER = 0.012
"""Standard deviation of fixations about what is looked at, m."""


def at_ease(side: Side) -> Array:
    """The palm (9,) of an idle hand, in the pelvis' frame: over the counter's edge, in view."""
    out = -1.0 if side == "right" else 1.0
    return palm((0.27, out * 0.18, 1.03), (0.9, -0.4 * out, -0.1), (0.0, 0.35 * out, 1.0))


@dataclass(frozen=True)
class Score:
    """A finished plan.

    Attributes:
        commands: (n,66) at CONTROL_HZ, as `Command.numbers`.
        start: (3,) pelvis x, y, yaw at the beginning.
        gaze: (n,3) points looked at, m.
        labelled: (n,) whether the activity, rather than the rest around it, is under way.
        error: (n/3, 2) how far the planned palms stay from their targets, m.
    """

    commands: Array
    start: Array
    gaze: Array
    labelled: Array
    error: Array


class Plan:
    """Builds a score, one step after the other, in time with the subject's temper.

    Attributes:
        lead: the dominant hand's side; `off` the other's.
        out: the Y direction of the dominant hand, -1 (right-handed) or 1.
        now: s, where the next step begins.
    """

    def __init__(self, subject: Subject, rng: np.random.Generator) -> None:
        """Begin at ease in front of the counter, with the unlabelled rest."""
        self.subject, self.rng = subject, rng
        self.lead: Side = subject.handedness
        self.off: Side = "right" if self.lead == "left" else "left"
        self.out = -1.0 if self.lead == "right" else 1.0
        self.tempo = 1.0 / subject.speed * float(rng.uniform(0.9, 1.12))
        start = np.array([rng.normal(0.0, 0.01), rng.normal(0.0, 0.03), rng.normal(0.0, 0.05)])
        self.pelvis = Track(start)
        self.palms = {s: Track(at_ease(s) + self._scatter(), True) for s in SIDES}
        self.shapes = {s: Track(hands.RELAXED) for s in SIDES}
        self.grip = {s: Track(np.zeros(1)) for s in SIDES}
        self.press = {s: Track(np.zeros(1)) for s in SIDES}
        self.look = Track(np.array([0.62, rng.normal(0.0, 0.1), 0.95]))
        self.now = REST_SECONDS

    def go(
        self,
        seconds: float,
        *,
        palms: Mapping[Side, Array] | None = None,
        follow: Mapping[Side, Curve] | None = None,
        carry: Mapping[Side, Array] | None = None,
        shapes: Mapping[Side, Array] | None = None,
        grip: Mapping[Side, float] | None = None,
        press: Mapping[Side, float] | None = None,
        gaze: Array | tuple[float, float, float] | None = None,
        pelvis: tuple[float, float, float] | None = None,
    ) -> None:
        """One step: everything named moves at once and arrives at its end.

        Args:
            seconds: at the pace 1; the subject's speed and mood stretch it.
            palms: poses (9,) in the world's frame.
            follow: curves of poses (9,) in the world's frame, instead of `palms`.
            carry: poses (9,) in the pelvis' frame: the hand then goes where the body goes.
            shapes: finger angles (20,).
            grip: N.
            press: N.
            gaze: (3,) point to look at from the beginning of the step on.
            pelvis: x, y, yaw to walk to.
        """
        start, seconds = self.now, seconds * self.tempo * float(self.rng.uniform(0.9, 1.1))
        for side, pose in (palms or {}).items():
            self.palms[side].move(start, seconds, pose)
        for side, curve in (follow or {}).items():
            self.palms[side].follow(start, seconds, curve)
        for side, pose in (carry or {}).items():
            self.palms[side].move(start, seconds, pose, body=True)
        for side, shape in (shapes or {}).items():
            self.shapes[side].move(start, seconds, shape)
        for tracks, forces in ((self.grip, grip), (self.press, press)):
            for side, force in (forces or {}).items():
                tracks[side].move(start, seconds, np.array([force]))
        if gaze is not None:
            self.look.move(start, SACCADE_SECONDS, np.asarray(gaze, dtype=float))
        if pelvis is not None:
            self.pelvis.move(start, seconds, np.asarray(pelvis, dtype=float))
        self.now += seconds

    def pause(self, most: float = 0.8) -> None:
        """Wait a random while, up to `most` seconds at pace 1."""
        self.now += self.tempo * float(self.rng.uniform(0.15, 1.0)) * most

    def chance(self, probability: float) -> bool:
        """Whether something happens this time."""
        return bool(self.rng.random() < probability)

    def vary(self, value: float, spread: float) -> float:
        """A value, scattered uniformly by up to `spread` either way."""
        return value + float(self.rng.uniform(-spread, spread))

    def withdraw(self, seconds: float = 0.9) -> None:
        """Take both hands back to ease, fingers relaxed."""
        self.go(
            seconds,
            carry={s: at_ease(s) + self._scatter() for s in SIDES},
            shapes=dict.fromkeys(SIDES, hands.RELAXED),
            grip=dict.fromkeys(SIDES, 0.0),
            press=dict.fromkeys(SIDES, 0.0),
            gaze=self.look.first,
        )

    def _scatter(self) -> Array:
        """Small differences (9,) between one idle hand and the next."""
        return self.rng.normal(0.0, [0.02] * 3 + [0.05] * 6)

    def finish(self, reach: Reach) -> Score:
        """Solve the reaching and lay everything out at CONTROL_HZ."""
        done = self.now
        n = int(np.ceil((done + REST_SECONDS) * CONTROL_HZ / COARSE)) * COARSE + 1
        times = np.arange(n) / CONTROL_HZ
        pelvis, coarse = self.pelvis.sample(times), times[::COARSE]
        palms = np.stack([self.palms[s].sample(coarse, pelvis[::COARSE]) for s in SIDES], 1)
        looked = self.look.sample(times) + self._wander(times)
        angles, neck, error = reach.plan(pelvis[::COARSE], palms, looked[::COARSE])
        pose = np.zeros((n, len(POSE_JOINTS)))
        pose[:, REACHED_AT] = CubicSpline(coarse, angles)(times) + self._tremor(times)
        pose[:, 3:5] = _lagging(CubicSpline(coarse, neck)(times))
        for i, side in enumerate(SIDES):
            pose[:, 19 + 20 * i : 39 + 20 * i] = self.shapes[side].sample(times)
        velocity = _velocity(pelvis)
        pose[:, 1] += _sway(velocity, times)
        grip = np.concatenate([self.grip[s].sample(times) for s in SIDES], 1)
        press = np.concatenate([self.press[s].sample(times) for s in SIDES], 1)
        commands = np.concatenate([velocity, pose, grip, press], 1)
        assert commands.shape[1] == Command.SIZE
        labelled = (times >= REST_SECONDS) & (times < done)
        return Score(commands, pelvis[0], looked, labelled, error)

    def _wander(self, times: Array) -> Array:
        """Fixations (n,3) about the point looked at: each held for 0.2 to 0.6 s."""
        held = np.cumsum(self.rng.uniform(0.2, 0.6, int(times[-1] / 0.2) + 2))
        spots = self.rng.normal(0.0, EYE_WANDER, (len(held) + 1, 3))
        return np.asarray(spots[np.searchsorted(held, times)])

    def _tremor(self, times: Array) -> Array:
        """Noise (n,17) on the angles, rad: fast tremor of the arms and slow wander."""
        out = np.zeros((len(times), len(REACHED)))
        for low, high, size in ((5.5, 9.0, self.subject.tremor * TREMOR), (0.15, 0.5, 0.003)):
            for _ in range(3):
                hertz = self.rng.uniform(low, high, len(REACHED))
                phase = self.rng.uniform(0, 2 * np.pi, len(REACHED))
                size_each = size * self.rng.uniform(0.3, 0.8, len(REACHED))
                out += size_each * np.sin(2 * np.pi * hertz * times[:, None] + phase)
        out[:, :3] *= 0.3
        return out


def _lagging(wanted: Array) -> Array:
    """What a head does (n,2) that is wanted to turn to (n,2): two first-order lags in a row."""
    out, keep = wanted.copy(), np.exp(-1.0 / (CONTROL_HZ * HEAD_SECONDS / 2))
    for _ in range(2):
        for n in range(1, len(out)):
            out[n] = keep * out[n - 1] + (1 - keep) * out[n]
    return out


def _velocity(pelvis: Array) -> Array:
    """Commands (n,3), forward, left, yaw rate in the pelvis' frame, that walk along (n,3)."""
    rate = np.diff(pelvis, axis=0, append=pelvis[-1:]) * CONTROL_HZ
    yaw = pelvis[:, 2] + rate[:, 2] / CONTROL_HZ / 2
    c, s = np.cos(yaw), np.sin(yaw)
    return np.stack(
        [c * rate[:, 0] + s * rate[:, 1], c * rate[:, 1] - s * rate[:, 0], rate[:, 2]], 1
    )


def _sway(velocity: Array, times: Array) -> Array:
    """Roll of the trunk (n,) while stepping, rad."""
    speed = np.hypot(velocity[:, 0], velocity[:, 1]) + 0.2 * np.abs(velocity[:, 2])
    return np.asarray(0.05 * np.clip(speed / 0.5, 0, 1) * np.sin(2 * np.pi * 0.9 * times))
