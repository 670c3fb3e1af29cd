"""Paths through time: minimum-jerk moves between poses, curves, and holding still."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from data_modules.kitchen.world.names import Array

Curve = Callable[[Array], Array]
"""From progress (n,) in 0..1 to values (n, d)."""


def minimum_jerk(u: Array) -> Array:
    """Progress of a smooth human move: (n,) in 0..1 -> (n,) in 0..1, at rest at both ends."""
    u = np.clip(u, 0.0, 1.0)
    return np.asarray(u**3 * (10 - 15 * u + 6 * u**2))


def palm(position: object, fingers: object, back: object) -> Array:
    """A palm's pose as nine numbers.

    Args:
        position: (3,) of the palm's centre, m.
        fingers: (3,) the direction in which the straight fingers point.
        back: (3,) the direction out of the back of the hand; made orthogonal to `fingers`.

    Returns:
        (9,): position, unit fingers, unit back.
    """
    pose = np.concatenate([np.asarray(v, dtype=float) for v in (position, fingers, back)])
    return np.asarray(straight(pose[None])[0])


def holding(point: Array, fingers: Array, back: Array, depth: float, ahead: float) -> Array:
    """The palm (9,) of a hand that has a point so far below and ahead of its palm's centre."""
    pose = palm(point, fingers, back)
    pose[:3] += depth * pose[6:9] - ahead * pose[3:6]
    return pose


def straight(poses: Array) -> Array:
    """(n,9) palm poses with unit, orthogonal directions."""
    out = poses.copy()
    fingers = poses[:, 3:6] / np.linalg.norm(poses[:, 3:6], axis=1, keepdims=True)
    back = poses[:, 6:9] - fingers * (poses[:, 6:9] * fingers).sum(1, keepdims=True)
    out[:, 3:6] = fingers
    out[:, 6:9] = back / np.linalg.norm(back, axis=1, keepdims=True)
    return out


def carried(poses: Array, pelvis: Array) -> Array:
    """Palm poses (n,9) given in the pelvis' frame, in the world's; pelvis (n,3): x, y, yaw."""
    out = poses.copy()
    c, s = np.cos(pelvis[:, 2]), np.sin(pelvis[:, 2])
    for at in (0, 3, 6):
        x, y = poses[:, at], poses[:, at + 1]
        out[:, at], out[:, at + 1] = c * x - s * y, s * x + c * y
    out[:, :2] += pelvis[:, :2]
    return out


@dataclass(frozen=True)
class Segment:
    """One piece of a track: from `start`, for `seconds`, along `curve` from or to a value.

    Attributes:
        start: s.
        seconds: how long it takes, > 0.
        curve: progress (n,) -> values (n, d).
        blend: whether it moves there from what was held (a move) or is followed at once.
        body: whether its values are in the pelvis' frame.
    """

    start: float
    seconds: float
    curve: Curve
    blend: bool
    body: bool


@dataclass
class Track:
    """A value over time: segments in order, the last value held in between and after.

    Attributes:
        first: (d,) the value before any segment.
        body: whether `first` is in the pelvis' frame.
    """

    first: Array
    body: bool = False
    segments: list[Segment] = field(default_factory=list)

    def move(self, start: float, seconds: float, value: Array, body: bool = False) -> None:
        """Move to a value (d,), by minimum jerk."""
        value = np.asarray(value, dtype=float)
        self.segments.append(
            Segment(start, max(seconds, 1e-3), lambda u: np.tile(value, (len(u), 1)), True, body)
        )

    def follow(self, start: float, seconds: float, curve: Curve, body: bool = False) -> None:
        """Follow a curve, which should begin where the track then is."""
        self.segments.append(Segment(start, max(seconds, 1e-3), curve, False, body))

    def sample(self, times: Array, pelvis: Array | None = None) -> Array:
        """Values at times.

        Args:
            times: (n,) s, rising.
            pelvis: (n,3) x, y, yaw at those times; None where no segment is in its frame.

        Returns:
            (n, d), palm poses in the world's frame.
        """
        held, in_body = np.tile(self.first, (len(times), 1)), self.body
        out = self._placed(held, in_body, pelvis)
        for segment in self.segments:
            now = times >= segment.start
            if not now.any():
                break
            u = np.clip((times[now] - segment.start) / segment.seconds, 0.0, 1.0)
            here = None if pelvis is None else pelvis[now]
            target = self._placed(segment.curve(u), segment.body, here)
            if segment.blend:
                s = minimum_jerk(u)[:, None]
                target = (1 - s) * self._placed(held[now], in_body, here) + s * target
            out[now] = target
            held = np.tile(segment.curve(np.ones(1)), (len(times), 1))
            in_body = segment.body
        return out

    @staticmethod
    def _placed(values: Array, body: bool, pelvis: Array | None) -> Array:
        return carried(values, pelvis) if body and pelvis is not None else values
