"""Where in the picture a person looks: a world point seen through the head's camera.

Positions are normalised, (0, 0) the picture's bottom left corner and (1, 1) its top right, as the
eye tracker tells them. Letters: T control ticks, n samples.
"""

import numpy as np
from numpy.typing import NDArray

from data_modules.kitchen.sensing.pose import Physical

Array = NDArray[np.float64]

EYE = "eye"
_NEAREST = 0.02
_OUTSIDE = 1.0


def project(point: Array, eye: Array, turn: Array, fov: float, aspect: float = 1.0) -> Array:
    """Pinhole projection: p = 1/2 + (left and up over depth) / (2 tan(fov / 2)).

    Args:
        point: (..., 3) world points, m.
        eye: (..., 3) the camera's place, m.
        turn: (..., 3, 3) its axes as columns: X where it looks, Y left, Z up.
        fov: Vertical field of view, degrees.
        aspect: The picture's width over its height.

    Returns:
        (..., 2) normalised position. Points behind the eye are taken as just before it, and all
        are held within one picture of the picture.
    """
    seen = ((point - eye)[..., None, :] @ turn)[..., 0, :]
    reach = 2 * np.tan(np.deg2rad(fov) / 2) * np.maximum(seen[..., :1], _NEAREST)
    at = 0.5 + seen[..., 1:] * np.array([-1.0 / aspect, 1.0]) / reach
    return np.asarray(np.minimum(np.maximum(at, -_OUTSIDE), 1 + _OUTSIDE), np.float64)


def world_gaze(world: Physical, point: Array, fov: float, aspect: float = 1.0) -> Array:
    """`project` through the eye of the person in a world: (2,)."""
    eye = world.data.site(EYE)
    return project(np.asarray(point, float), eye.xpos, eye.xmat.reshape(3, 3), fov, aspect)


class Eyes:
    """Turns what should be looked at into what an eye tracker says.

    The eye jumps to a target within a saccade's 40 ms, then stays a little beside it, choosing
    another place 2 to 5 times a second, and trembles.

    Args:
        rng: Of all that is chance.
        spread: Standard deviation of the fixations about the target, in pictures.
        tremor: Standard deviation of the tracker's noise, in pictures.
    """

    SACCADE = 0.04

    def __init__(
        self, rng: np.random.Generator, spread: float = 0.012, tremor: float = 0.002
    ) -> None:
        self._rng = rng
        self._spread = spread
        self._tremor = tremor

    def signal(self, ticks: Array, positions: Array, taken: Array) -> Array:
        """Samples of the tracker.

        Args:
            ticks: (T,) control ticks, seconds, ascending.
            positions: (T, 2) the target's `project`ion at each.
            taken: (n,) when the tracker takes its samples, ascending.

        Returns:
            (n, 2) normalised positions.
        """
        # What is seen lags by half a saccade; between ticks the picture moves evenly.
        when = taken - self.SACCADE / 2
        target = np.stack([np.interp(when, ticks, p) for p in positions.T], axis=-1)
        return target + self._fixations(taken) + self._rng.normal(0, self._tremor, target.shape)

    def _fixations(self, taken: Array) -> Array:
        """(n, 2) offsets that hold for 0.2 to 0.5 seconds each."""
        span = float(taken[-1] - taken[0]) if len(taken) else 0.0
        count = int(span / 0.2) + 2
        ends = np.cumsum(self._rng.uniform(0.2, 0.5, count))
        offsets = self._rng.normal(0.0, self._spread, (count + 1, 2))
        which = np.searchsorted(ends, taken - taken[:1], side="right")
        return np.asarray(offsets[which], np.float64)
