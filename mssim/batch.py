"""Batch: the one object that flows through the house.

Letters: B batch, T frames of a window (H context, then P to predict), K samples a frame interval,
M senses, S pixels a side.

Time: frame j of a window stands at tau_j. Action j is what was sensed in (tau_{j-1}, tau_j]; it
carries frame j-1 to frame j.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B windows of synchronised video and senses. Raw units: the model normalises.

    Attributes:
        frames: By camera, uint8 (B, T, 3, S, S). Masked frames are zeros.
        senses: By sense name, float32 (B, T, K, *shape). Absent values are zeros, never NaN.
        presence: bool (B, T, M), in the order of `senses`: was the sense there at that step.
        context_mask: bool (B, H): which context frames are real (an image has none).
        target_mask: bool (B, P): which frames to predict are real.
        text: B strings; empty where there is none.
        source: int64 (B,), index of the window's source, which picks its statistics.
        subject: int64 (B,), index of the subject.
        interval: float32 (B,), seconds between the window's frames.
        window: int64 (B,), index of the window in its dataset: names its noise in tests.
        unit: int64 (B,), index of the activity instance or episode: what intervals resample.
    """

    frames: dict[str, Tensor]
    senses: dict[str, Tensor]
    presence: Tensor
    context_mask: Tensor
    target_mask: Tensor
    text: list[str]
    source: Tensor
    subject: Tensor
    interval: Tensor
    window: Tensor
    unit: Tensor

    @property
    def size(self) -> int:
        """B."""
        return self.presence.shape[0]

    @property
    def context(self) -> int:
        """H."""
        return self.context_mask.shape[1]

    @property
    def length(self) -> int:
        """T."""
        return self.presence.shape[1]

    def video(self, camera: str | None = None) -> Tensor:
        """Frames of one camera (the first by default) as float32 (B, T, 3, S, S) in [-1, 1]."""
        name = next(iter(self.frames)) if camera is None else camera
        return self.frames[name].float() / 127.5 - 1.0

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The batch on another device."""
        return self._map(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory, for quicker copies to a GPU."""
        return self._map(lambda t: t.pin_memory())

    def with_senses(self, senses: dict[str, Tensor], presence: Tensor) -> "Batch":
        """The same windows under other actions."""
        return replace(self, senses=senses, presence=presence)

    def rows(self, index: Tensor) -> "Batch":
        """The windows at `index`, int64 (B',)."""
        out = self._map(lambda t: t[index])
        return replace(out, text=[self.text[i] for i in index.tolist()])

    def first(self, frames: int) -> "Batch":
        """The same windows, at most so many frames to predict."""
        p = min(frames, self.target_mask.shape[1])
        t = self.context + p
        return replace(
            self,
            frames={k: v[:, :t] for k, v in self.frames.items()},
            senses={k: v[:, :t] for k, v in self.senses.items()},
            presence=self.presence[:, :t],
            target_mask=self.target_mask[:, :p],
        )

    def without(self, sense: str) -> "Batch":
        """The same windows with a sense gone from every step."""
        presence = self.presence.clone()
        presence[:, :, list(self.senses).index(sense)] = False
        gone = torch.zeros_like(self.senses[sense])
        return replace(self, senses={**self.senses, sense: gone}, presence=presence)

    def _map(self, fn: Any) -> "Batch":
        changed: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                changed[f.name] = fn(value)
            elif isinstance(value, dict):
                changed[f.name] = {k: fn(v) for k, v in value.items()}
        return replace(self, **changed)


def to_uint8(video: Tensor) -> Tensor:
    """Frames in [-1, 1] as uint8, rounded: what a video file would hold."""
    return ((video.clamp(-1, 1) + 1.0) * 127.5).round().to(torch.uint8)
