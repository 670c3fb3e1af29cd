"""A synthetic person at a counter, all of it a function of time, for fixtures and demonstrations.

The right hand reaches around, grips now and then, and the picture shows it: a red disc follows the
right hand and grows with its grip, a green one is the left, the background turns with the body.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Person:
    """Somebody standing at a counter: everything as a function of epoch seconds (n,).

    Lengths in cm, X forward, Y left, Z up.
    """

    # Offsets of the 23 segments from the pelvis, in Xsens order.
    SPINE = ((0, 0, 0), (0, 0, 10), (0, 0, 20), (0, 0, 30), (0, 0, 42), (0, 0, 55), (2, 0, 65))
    ARM = ((0, 8, 48), (0, 18, 46), (5, 22, 20), (30, 20, 15))
    LEG = ((0, 9, -4), (0, 9, -48), (-3, 9, -88), (12, 9, -92))
    RIGHT = np.array([1, -1, 1])
    STAND = np.concatenate([SPINE, ARM * RIGHT, ARM, LEG * RIGHT, LEG]).astype(np.float64)
    RIGHT_HAND, RIGHT_FOREARM, LEFT_HAND, HEAD = 10, 9, 14, 6

    def __init__(self, rng: np.random.Generator, start: float, contacts: bool) -> None:
        self.start = start
        self.contacts = contacts
        self.phase = rng.uniform(0, 2 * np.pi, 8)
        self.taxels = np.clip(rng.normal(563, 4, (2, 32, 32)), 555, 580)
        self.gain = rng.uniform(0.3, 1.0, (2, 8))

    def turn(self, t: Array) -> Array:
        """Yaw of the pelvis, rad."""
        return 0.6 * np.sin(0.35 * (t - self.start) + self.phase[0])

    def pelvis(self, t: Array) -> Array:
        """Place of the pelvis, (n, 3)."""
        s = t - self.start
        x = 60 * np.sin(0.20 * s + self.phase[1])
        y = 40 * np.sin(0.27 * s + self.phase[2])
        return np.stack([x, y, np.full_like(s, 92.0)], axis=-1)

    def grip(self, t: Array, side: int) -> Array:
        """How hard a hand grips, 0..1; the right (side 1) grips more."""
        s = t - self.start
        wave = np.sin((0.9 if side else 0.6) * s + self.phase[3 + side])
        return np.clip(wave, 0, 1) * (1.0 if side else 0.4) * self.contacts

    def reach(self, t: Array) -> Array:
        """(n, 3) of the right hand about its rest."""
        s = t - self.start
        waves = [
            np.sin(1.1 * s + self.phase[5]),
            np.sin(0.8 * s + self.phase[6]),
            np.sin(1.4 * s + self.phase[7]),
        ]
        return np.stack(waves, axis=-1) * [15.0, 18.0, 14.0]

    def segments(self, t: Array, fingers: bool) -> Array:
        """(n, 63, 3), or (n, 23, 3) without fingers."""
        body = np.broadcast_to(self.STAND, (len(t), 23, 3)).copy()
        body[:, self.RIGHT_HAND] += self.reach(t)
        body[:, self.RIGHT_FOREARM] += 0.5 * self.reach(t)
        parts = [body]
        if fingers:
            left = body[:, self.LEFT_HAND, None] + self.fingers(t, 0)
            right = body[:, self.RIGHT_HAND, None] + self.fingers(t, 1)
            parts += [left, right]
        points = np.concatenate(parts, axis=1)
        cos, sin = np.cos(self.turn(t))[:, None], np.sin(self.turn(t))[:, None]
        turned = points.copy()
        turned[..., 0] = cos * points[..., 0] - sin * points[..., 1]
        turned[..., 1] = sin * points[..., 0] + cos * points[..., 1]
        return turned + self.pelvis(t)[:, None]

    def fingers(self, t: Array, side: int) -> Array:
        """(n, 20, 3) from the wrist: the Carpus, then five fingers that curl with the grip."""
        curl = 0.2 + 1.1 * self.grip(t, side)
        points = [np.zeros((len(t), 3))]
        for finger in range(5):
            spread = (finger - 2) * 1.8 * (1 if side else -1)
            for joint in range(3 if finger == 0 else 4):
                bend = curl * joint * 0.5
                reach = 4.0 + 3.0 * joint
                x, z = reach * np.cos(bend), -reach * np.sin(bend)
                points.append(np.stack([x, np.full_like(x, spread), z], axis=-1))
        return np.stack(points, axis=1)

    def turns(self, t: Array, fingers: bool) -> Array:
        """(n, 63, 4) re, i, j, k; the head looks about."""
        yaw = np.repeat(self.turn(t)[:, None], 63 if fingers else 23, axis=1)
        yaw[:, self.HEAD] += 0.4 * np.sin(0.7 * (t - self.start))
        zero = np.zeros_like(yaw)
        return np.stack([np.cos(yaw / 2), zero, zero, np.sin(yaw / 2)], axis=-1)

    def centre(self, t: Array) -> Array:
        """(n, 3) centre of mass."""
        return self.pelvis(t) + np.array([1.0, 0.0, 6.0])

    def emg(self, rng: np.random.Generator, t: Array, side: int) -> Array:
        """(n, 8) int32 in [-128, 127]: zero mean, louder with the grip."""
        scale = 8 + 17 * self.grip(t, side)[:, None] * self.gain[side]
        return np.clip(np.round(rng.normal(0, scale)), -128, 127).astype(np.int32)

    def tactile(self, rng: np.random.Generator, t: Array, side: int) -> Array:
        """(n, 32, 32) float32 raw ADC: an untared baseline and a pressed spot."""
        y, x = np.mgrid[:32, :32]
        spot = np.exp(-((x - 20) ** 2 + (y - 12) ** 2) / 8.0)
        pressed = 450 * self.grip(t, side)[:, None, None] * spot
        values = self.taxels[side] + pressed + rng.normal(0, 2.7, (len(t), 32, 32))
        return np.clip(values, 446, 1022).astype(np.float32)

    def picture(self, t: float, height: int) -> Array:
        """uint8 (height, width, 3): the hands before a background that turns with the body."""
        when, width = np.array([t]), picture_width(height)
        shift = self.turn(when)[0] * 0.4
        across = np.linspace(0, 1, width) + shift
        frame = np.empty((height, width, 3), np.uint8)
        frame[..., 0] = 70 + 30 * np.sin(2 * np.pi * across)
        frame[..., 1] = 80 + 30 * np.cos(2 * np.pi * across)
        frame[..., 2] = np.linspace(150, 90, height)[:, None]
        y, x = np.mgrid[:height, :width]
        _, left, up = self.reach(when)[0]
        for side, colour in ((0, (60, 200, 90)), (1, (230, 60, 50))):
            px = width / 2 + (0.16 - left / 90 if side else -0.16) * height
            py = height * (0.6 - (up / 60 if side else 0.0))
            radius = height * (0.06 + 0.08 * self.grip(when, side)[0])
            frame[(x - px) ** 2 + (y - py) ** 2 < radius**2] = colour
        return frame


def picture_width(height: int) -> int:
    return height * 16 // 9 // 2 * 2
