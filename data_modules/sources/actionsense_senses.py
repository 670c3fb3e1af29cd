"""Senses of one ActionSense recording, on the clock.

Letters: N frames, K samples a frame interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from data_modules.images import Crop, square_side
from data_modules.resample import Times, is_fresh, last_at_or_before, sub_times
from data_modules.sources import actionsense_pose as pose
from data_modules.sources.actionsense_clock import ClockError, hours_off, jumped_at
from data_modules.sources.actionsense_file import GAZE_STAMPS, UnusableError
from data_modules.sources.actionsense_hdf5 import Stream, one_frame, open_stream
from data_modules.sources.actionsense_mixed import mixed_rows, stretches
from data_modules.sources.actionsense_signals import (
    ADC_OUTLIER,
    emg_envelope,
    hold_outliers,
    sample_rate,
    taxel_tare,
)
from data_modules.sources.actionsense_video import VideoInfo
from mssim.errors import UserError
from mssim.senses import Sense, SenseSet

SHAPES: dict[str, tuple[int, ...]] = {
    "left_hand_pose": (24, 3),
    "right_hand_pose": (24, 3),
    "body_pose": (28, 3),
    "left_emg": (8,),
    "right_emg": (8,),
    "left_tactile": (32, 32),
    "right_tactile": (32, 32),
    "head": (6,),
    "root": (3,),
    "gaze": (2,),
}
_BASELINE_ROWS = 2000
_ARMBAND_HZ = 200.0
# Of a stream's rows; with more of them mixed, the rest is no sense.
_HARDLY_ANY = 0.9


@dataclass(frozen=True)
class Signals:
    """How the raw signals become values; the arguments of `ActionSenseSource` of the same names."""

    tare: bool
    tactile_range: tuple[float, float]
    emg_cutoff: float
    stale: float


@dataclass(frozen=True)
class Sampled:
    """A sense on the clock: values float32 (N, K, *shape), present bool (N,)."""

    values: NDArray[np.float32]
    present: NDArray[np.bool_]


def own_senses(senses: SenseSet, foreign: Sequence[str]) -> list[Sense]:
    """The senses among those asked for that are ActionSense's.

    Args:
        senses: All that are asked for.
        foreign: Names that are other sources'.

    Raises:
        UserError: A name is neither ActionSense's nor foreign, or a shape is another.
    """
    own = [s for s in senses if s.name in SHAPES or s.name not in foreign]
    for sense in own:
        if sense.name not in SHAPES:
            raise UserError(
                f"sense {sense.name}: ActionSense has none of that name; it has "
                f"{', '.join(SHAPES)}; correct it, or name it in foreign_senses if another "
                f"source has it"
            )
        if tuple(sense.shape) != SHAPES[sense.name]:
            raise UserError(
                f"sense {sense.name}: shape {list(sense.shape)} is not ActionSense's "
                f"{list(SHAPES[sense.name])}; correct the sense's file in configs/senses"
            )
    return own


class SenseReader:
    """Reads senses of one open recording.

    A value is that of the last sample at or before its time. A frame is absent where, at any of its
    K times, no sample has come for `signals.stale` seconds, or the one held is not finite.

    Args:
        file: An open `h5py.File`.
        path: Its path, for messages.
        times: float64 (N,), tau, epoch seconds.
        interval: Seconds between them.
        video: The world video's size, for gaze.
        signals: Settings.
        crop: How its pictures become square.
    """

    def __init__(
        self,
        file: Any,
        path: Path,
        times: Times,
        interval: float,
        video: VideoInfo,
        signals: Signals,
        crop: Crop = "center",
    ) -> None:
        self._file = file
        self._path = path
        self._times = times
        self._interval = interval
        self._video = video
        self._signals = signals
        self._crop: Crop = crop
        self._seen: dict[str, Stream | UnusableError | None] = {}
        self.notes: list[str] = []

    def read(self, name: str, samples: int) -> Sampled | None:
        """The sense `name` with K = `samples`, or None where its device is missing.

        Raises:
            UnusableError: The device is there, its stream is not fit for use.
            UserError: A stream cannot be read.
        """
        times = sub_times(self._times, self._interval, samples)
        side = "left" if name.startswith("left") else "right"
        if name.endswith("_hand_pose"):
            return self._hand(side, times)
        if name.endswith("_emg"):
            return self._emg(side, times)
        if name.endswith("_tactile"):
            return self._tactile(side, times)
        if name == "body_pose":
            return self._body(times)
        if name == "head":
            return self._head(times)
        if name == "root":
            return self._root(times)
        return self._gaze(times)

    def _hand(self, side: str, times: Times) -> Sampled | None:
        """(24, 3) cm relative to the Carpus, `actionsense_pose.hand_pose`."""
        segments = self._segments()
        if segments is None or segments.sample[0] < pose.ALL_SEGMENTS:
            return None
        index = last_at_or_before(segments.stamps, times)
        points = segments.take(index, pose.LEFT_HAND if side == "left" else pose.RIGHT_HAND)
        return self._sampled(pose.hand_pose(points), self._fresh(segments, times))

    def _body(self, times: Times) -> Sampled | None:
        """(28, 3) cm relative to the centre of mass, `actionsense_pose.body_pose`."""
        segments, centre = self._segments(), self._centre()
        if segments is None or centre is None:
            return None
        segments, centre = one_frame(segments, centre)
        body = np.arange(pose.BODY_SEGMENTS)
        points = segments.take(last_at_or_before(segments.stamps, times), body)
        middle = centre.take(last_at_or_before(centre.stamps, times))
        fresh = self._fresh(segments, times) & self._fresh(centre, times)
        return self._sampled(pose.body_pose(points, middle), fresh)

    def _head(self, times: Times) -> Sampled | None:
        """(6,) cm and rad, `actionsense_pose.head_state`."""
        segments, turns, centre = self._segments(), self._turns(), self._centre()
        if segments is None or turns is None or centre is None:
            return None
        segments, turns, centre = one_frame(segments, turns, centre)
        head = segments.take(last_at_or_before(segments.stamps, times), np.array([pose.HEAD]))
        turn = turns.take(
            last_at_or_before(turns.stamps, times), np.array([pose.HEAD, pose.PELVIS])
        )
        middle = centre.take(last_at_or_before(centre.stamps, times))
        fresh = self._fresh(segments, times) & self._fresh(turns, times)
        fresh &= self._fresh(centre, times)
        values = pose.head_state(head[..., 0, :], middle, turn[..., 0, :], turn[..., 1, :])
        return self._sampled(values, fresh)

    def _root(self, times: Times) -> Sampled | None:
        """(3,) cm, cm, rad over each K-th of the interval, `actionsense_pose.root_motion`.

        Each step runs from the sample held at its start to the one held at its end, so the steps
        add up to the whole movement.
        """
        segments, turns = self._segments(), self._turns()
        if segments is None or turns is None:
            return None
        segments, turns = one_frame(segments, turns)
        samples = times.shape[1]
        line = np.concatenate([self._times[:1] - self._interval, times.ravel()])
        pelvis = np.array([pose.PELVIS])
        place = segments.take(last_at_or_before(segments.stamps, line), pelvis)[:, 0]
        turn = turns.take(last_at_or_before(turns.stamps, line), pelvis)[:, 0]
        fresh = self._fresh(segments, line) & self._fresh(turns, line)
        steps = rearrange(pose.root_motion(place, turn), "(n k) c -> n k c", k=samples)
        both = rearrange(fresh[1:] & fresh[:-1], "(n k) -> n k", k=samples)
        return self._sampled(steps, both)

    def _emg(self, side: str, times: Times) -> Sampled | None:
        """(8,) envelope in raw units, `actionsense_signals.emg_envelope`."""
        stream = self._stream(f"myo-{side}/emg")
        if stream is None:
            return None
        values = stream.take(np.arange(len(stream.stamps)))
        good = np.isfinite(values).all(axis=1)
        if not good.all():
            # One NaN would stay in the filter for good.
            self.notes.append(f"{stream.name}: {int((~good).sum())} rows are NaN; left out")
        stamps = stream.stamps[good]
        if len(stamps) < 2 or stamps[0] == stamps[-1]:
            raise UnusableError(f"{stream.name} has too few rows to filter")
        self._check_cutoff(stream.name, sample_rate(np.unique(stamps)))
        envelope, stamps = emg_envelope(values[good], stamps, self._signals.emg_cutoff)
        weak = np.isnan(envelope[:, 0])
        if weak.any():
            self.notes.append(
                f"{stream.name}: weak radio, {int(weak.sum())} of {len(weak)} rows come too slowly "
                f"for emg_cutoff {self._signals.emg_cutoff:g} Hz; absent there"
            )
        index = last_at_or_before(stamps, times)
        fresh = self._fresh(stream, times) & is_fresh(stamps, index, times, self._signals.stale)
        return self._sampled(envelope[np.maximum(index, 0)], fresh)

    def _check_cutoff(self, name: str, rate: float) -> None:
        """A weak armband costs its sense; a cut-off beyond what a good one gives is a mistake."""
        cutoff = self._signals.emg_cutoff
        if cutoff < rate / 2:
            return
        if rate < _ARMBAND_HZ / 2:
            raise UnusableError(
                f"{name} has {rate:.1f} rows a second, too few for emg_cutoff {cutoff:g} Hz"
            )
        raise UserError(
            f"{self._path}: emg_cutoff: {cutoff} Hz is not below half the EMG's rate in {name}, "
            f"{rate:.1f} Hz; 5 Hz is usual"
        )

    def _tactile(self, side: str, times: Times) -> Sampled | None:
        """(32, 32) ADC: outliers held, clipped to `tactile_range`, baseline subtracted."""
        stream = self._stream(f"tactile-glove-{side}/tactile_data")
        if stream is None:
            return None
        baseline = self._baseline(stream)
        low, high = self._signals.tactile_range
        index = last_at_or_before(stream.stamps, times)
        rows, inverse = np.unique(stream.rows[np.maximum(index, 0).ravel()], return_inverse=True)
        out = np.empty((len(rows), *stream.sample), np.float32)
        before, replaced = baseline, 0
        for start, block in stream.blocks():
            readings = block.astype(np.float32)
            readings[~np.isfinite(readings)] = np.nan
            lost = (readings >= ADC_OUTLIER).mean(axis=(1, 2)) > 0.5
            mended, count = hold_outliers(readings, before)
            before, replaced = mended[-1].copy(), replaced + count
            first, last = np.searchsorted(rows, [start, start + len(block)])
            # Of a message that is mostly errors, holding would invent a hand that stands still.
            mended[lost] = np.nan
            picked = np.clip(mended[rows[first:last] - start], low, high)
            out[first:last] = (
                picked - np.clip(baseline, low, high) if self._signals.tare else picked
            )
        if replaced:
            self.notes.append(
                f"{stream.name}: {replaced} readings of {ADC_OUTLIER:.0f} or more held at the last"
            )
        values = out[inverse.ravel()].reshape(*times.shape, *stream.sample)
        return self._sampled(values, self._fresh(stream, times))

    def _gaze(self, times: Times) -> Sampled | None:
        """(2,) x to the right and y down in the stored square picture, (0, 0) its top left corner.

        The recorder's own origin is the bottom left of the whole picture; positions are first
        clipped to that picture. Outside the square the values lie outside [0, 1].
        """
        stream = self._stream("eye-tracking-gaze/position", GAZE_STAMPS)
        if stream is None:
            return None
        whole = stream.take(last_at_or_before(stream.stamps, times)).clip(0.0, 1.0)
        size = np.array([self._video.width, self._video.height], np.float64)
        side = square_side(self._video.width, self._video.height, self._crop)
        # The same whole-pixel margin as in `data_modules.images.square_area`.
        pixels = np.stack([whole[..., 0], 1.0 - whole[..., 1]], axis=-1) * size
        return self._sampled((pixels - (size - side) // 2) / side, self._fresh(stream, times))

    def _baseline(self, stream: Stream) -> NDArray[np.float32]:
        step = max(1, len(stream.stamps) // _BASELINE_ROWS)
        # Rows that a crash left behind are zeros, and no reading of this glove is.
        kept = [block[block.any(axis=(1, 2))] for _, block in stream.blocks(step)]
        tare = taxel_tare(np.concatenate(kept).astype(np.float32))
        if self._signals.tare:
            self.notes += [f"{stream.name}: {note}" for note in tare.notes()]
        return tare.baseline

    def _sampled(
        self, values: NDArray[np.float64] | NDArray[np.float32], fresh: NDArray[np.bool_]
    ) -> Sampled:
        """Values (N, K, *shape) and freshness (N, K) as a sense."""
        finite = np.isfinite(rearrange(values, "n k ... -> n k (...)")).all(axis=-1)
        present = np.asarray((fresh & finite).all(axis=1), bool)
        return Sampled(values.astype(np.float32), present)

    def _fresh(self, stream: Stream, times: Times) -> NDArray[np.bool_]:
        index = last_at_or_before(stream.stamps, times)
        fresh = is_fresh(stream.stamps, index, times, self._signals.stale)
        for start, stop in stream.blind:
            fresh &= (times < start) | (times > stop)
        return fresh

    def _segments(self) -> Stream | None:
        return self._stream("xsens-segments/position_cm")

    def _turns(self) -> Stream | None:
        return self._stream("xsens-segments/orientation_quaternion")

    def _centre(self) -> Stream | None:
        return self._stream("xsens-CoM/position_cm")

    def _stream(self, name: str, stamped_by: str | None = None) -> Stream | None:
        """A stream, opened once so that its oddities are noted once."""
        if name not in self._seen:
            try:
                self._seen[name] = self._opened(name, stamped_by)
            except UnusableError as error:
                self._seen[name] = error
        found = self._seen[name]
        if isinstance(found, UnusableError):
            raise found
        return found

    def _opened(self, name: str, stamped_by: str | None) -> Stream | None:
        """A stream on the video's clock, blind where it holds what is not the wearer's."""
        stream = open_stream(self._file, self._path, name, self.notes, stamped_by)
        if stream is None:
            return None
        start, stop = float(self._times[0]), float(self._times[-1])
        try:
            off = hours_off(stream.stamps, start, stop)
        except ClockError as error:
            raise UnusableError(f"{name} {error}") from None
        if off:
            hours = f"{off / 3600:+.0f} h"
            self.notes.append(f"{name}: its clock was {hours} off the video's; shifted")
            stream = replace(stream, stamps=stream.stamps - off)
        blind = self._mixed(stream)
        row = jumped_at(stream.stamps, stop)
        if row is not None:
            self.notes.append(
                f"{name}: silent before row {stream.rows[row]} and ends as much after the video, "
                f"so its clock jumped; absent from there on"
            )
            blind.append((float(stream.stamps[row]), np.inf))
        return replace(stream, blind=tuple(blind))

    def _mixed(self, stream: Stream) -> list[tuple[float, float]]:
        """Stretches in which another person's rows are among the wearer's."""
        mixed = mixed_rows(stream)
        if mixed.mean() > _HARDLY_ANY:
            raise UnusableError(f"{stream.name} holds rows of two people between each other")
        blind = stretches(stream.stamps, mixed)
        if blind:
            seconds = sum(stop - start for start, stop in blind)
            self.notes.append(
                f"{stream.name}: rows of two people between each other for {seconds:.1f} s, from "
                f"row {int(stream.rows[mixed][0])}; absent there"
            )
        return blind
