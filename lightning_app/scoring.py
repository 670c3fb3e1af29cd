"""Scoring: what each row of a table got right, window by window, on all ranks."""

import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mssim.batch import Batch
from mssim.metrics.collect import Scores, WindowScores
from mssim.metrics.frames import NAMES, score_windows, unit_frames
from mssim.metrics.perceptual import (
    I3D,
    Backbone,
    ClipFeatures,
    Lpips,
    Missing,
    VideoDistance,
    clip_features,
    load_i3d,
    load_lpips,
    video_distance,
)


@dataclass(frozen=True)
class PerceptionConfig:
    """Where the weights of learned metrics are; a metric without its own is left out, and says so.

    Args:
        lpips: Backbone of LPIPS, whose numbers compare to no other's.
        lpips_path: Its torchvision weights; torch's cache by default.
        i3d_path: The I3D torchscript file of StyleGAN-V, for FVD; torch's cache by default.
    """

    lpips: Backbone = "alex"
    lpips_path: Path | None = None
    i3d_path: Path | None = None


class Judges:
    """The learned metrics. Not a module: their weights are no part of a checkpoint.

    Args:
        config: Where their weights are.
        size: Pixels a side of the frames.
        frames: T, context and predicted together, that a clip of FVD has.
    """

    def __init__(self, config: PerceptionConfig, size: int, frames: int) -> None:
        self.lpips: Lpips | Missing = load_lpips(config.lpips, size, config.lpips_path)
        self.i3d: I3D | Missing = load_i3d(frames, config.i3d_path)
        self.frames = frames


class Scoring(nn.Module):
    """Gathers the scores of several rows over the same windows.

    Args:
        rows: Their names.
        judges: Learned metrics; none in validation.
        length: Frames that every window is brought to, those that it lacks masked; by default all
            windows predict equally many.
    """

    def __init__(
        self, rows: tuple[str, ...], judges: Judges | None = None, length: int | None = None
    ) -> None:
        super().__init__()
        self.rows, self.judges, self.length = rows, judges, length
        sees = judges is not None and isinstance(judges.lpips, Lpips)
        names = (*NAMES, "lpips") if sees else NAMES
        self.metrics = nn.ModuleDict({row: WindowScores(names) for row in rows})
        moves = judges is not None and isinstance(judges.i3d, I3D)
        self.clips = nn.ModuleDict({row: ClipFeatures() for row in rows} if moves else {})

    def update(self, row: str, batch: Batch, frames: Tensor) -> None:
        """Score a row's frames, uint8 (B, P, 3, S, S), against the batch.

        Always in full precision: in bfloat16 the variances that SSIM subtracts are mere rounding.
        """
        with torch.autocast(frames.device.type, enabled=False):
            self._update(row, batch, frames)

    def _update(self, row: str, batch: Batch, frames: Tensor) -> None:
        video = unit_frames(batch.video())
        past, true = video[:, : batch.context], video[:, batch.context :]
        predicted = frames.float() / 255.0
        scores = score_windows(predicted, true, past[:, -1])
        if self.judges is not None and isinstance(self.judges.lpips, Lpips):
            scores["lpips"] = self.judges.lpips.to(true.device)(predicted, true)
        mask = batch.target_mask
        if self.length is not None:
            lacks = (0, self.length - mask.shape[1])
            scores = {name: pad(value, lacks) for name, value in scores.items()}
            mask = pad(mask, lacks)
        self._metric(row).update(batch.window, batch.unit, scores, mask)
        if self.judges is not None and isinstance(self.judges.i3d, I3D):
            whole = batch.target_mask.all(1) & batch.context_mask.all(1)
            features = clip_features(
                self.judges.i3d.to(true.device), past[whole], predicted[whole], true[whole]
            )
            cast(ClipFeatures, self.clips[row]).update(
                batch.window[whole], batch.unit[whole], features
            )

    def compute(self) -> dict[str, Scores]:
        """Scores by row, gathered over ranks: call it on all of them."""
        return {row: self._metric(row).compute() for row in self.rows}

    def distances(self) -> dict[str, VideoDistance | Missing] | Missing | None:
        """FVD by row, or why there is none; call it on all ranks."""
        if self.judges is None:
            return None
        if isinstance(self.judges.i3d, Missing):
            return self.judges.i3d
        frames = self.judges.frames
        return {
            row: video_distance(cast(ClipFeatures, clips).compute(), frames)
            for row, clips in self.clips.items()
        }

    @property
    def lpips(self) -> str | Missing | None:
        """The backbone of LPIPS, or why there is none."""
        if self.judges is None:
            return None
        lpips = self.judges.lpips
        return lpips if isinstance(lpips, Missing) else lpips.backbone

    def reset(self) -> None:
        """Forget all."""
        for metric in [*self.metrics.values(), *self.clips.values()]:
            cast(WindowScores, metric).reset()

    def _metric(self, row: str) -> WindowScores:
        return cast(WindowScores, self.metrics[row])


def device_name(device: torch.device) -> str:
    """Hardware in words, for the head of a table."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' * (threads > 1)}"


def _processor() -> str:
    """Linux says it in a file; elsewhere Python may know."""
    file = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", file.read_text() if file.exists() else "", re.M)
    return found[1] if found else platform.processor() or "CPU"
