"""LPIPS and FVD, with their real weights or not at all.

Letters: B windows, H context frames, P predicted frames, T = H + P, S pixels a side, N clips,
D features.

A distance in other features is another metric. Where the weights are missing, what is missing and
how to get it comes back in place of the network, and stands in the table's cell. Nothing here
downloads: an evaluation must not hang on a machine without a network.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.image.kid import poly_mmd

from mssim.errors import UserError
from mssim.metrics.collect import PerWindow, Rows
from mssim.metrics.intervals import Interval, spread_interval

Backbone = Literal["alex", "vgg"]

BACKBONES = {
    "alex": ("alexnet", "alexnet-owt-7be5be79.pth"),
    "vgg": ("vgg16", "vgg16-397923af.pth"),
}
LPIPS_SIZE = 32
"""Least pixels a side: AlexNet's second pooling leaves one pixel of 32, and nothing of fewer."""
I3D_FILE = "i3d_torchscript.pt"
I3D_URL = "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1"
I3D_FRAMES = 9
"""Least frames of a clip: with fewer, I3D's temporal pooling has nothing left to pool."""


@dataclass(frozen=True)
class Missing:
    """A number that could not be had.

    Attributes:
        reason: What is missing.
        remedy: How to get it.
    """

    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}"


class _Frozen(nn.Module):
    """A network that stays in evaluation mode and keeps no gradients."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()
        for weight in network.parameters():  # a ScriptModule has no requires_grad_ of its own
            weight.requires_grad_(False)

    def train(self, mode: bool = True) -> "_Frozen":
        return super().train(False)


class Lpips(_Frozen):
    """Learned perceptual distance of single frames (Zhang et al. 2018), version 0.1.

    Args:
        network: `lpips.LPIPS`.
        backbone: What it looks through; its numbers compare to no other backbone's.
    """

    def __init__(self, network: nn.Module, backbone: Backbone) -> None:
        super().__init__(network)
        self.backbone = backbone

    @torch.no_grad()
    def forward(self, predicted: Tensor, true: Tensor) -> Tensor:
        """(B, P, 3, S, S) in [0, 1], twice, to (B, P)."""
        fold = "b p c h w -> (b p) c h w"
        each = self.network(rearrange(predicted, fold), rearrange(true, fold), normalize=True)
        scores: Tensor = rearrange(each, "(b p) 1 1 1 -> b p", b=len(true))
        return scores.float()


class I3D(_Frozen):
    """I3D trained on Kinetics-400, whose 400 logits FVD compares (Unterthiner et al. 2018).

    Args:
        network: The TorchScript file of StyleGAN-V.
    """

    num_features = 400

    @torch.no_grad()
    def forward(self, clips: Tensor) -> Tensor:
        """(B, T, 3, S, S) in [0, 1], T at least 9, to (B, 400)."""
        b = len(clips)
        frames = rearrange(clips, "b t c h w -> (b t) c h w")
        large = F.interpolate(frames, size=(224, 224), mode="bilinear", align_corners=False)
        video = rearrange(large * 2 - 1, "(b t) c h w -> b c t h w", b=b)
        features: Tensor = self.network(video, rescale=False, resize=False, return_features=True)
        return features.float()


@dataclass(frozen=True)
class VideoDistance:
    """How far predicted clips lie from true ones, in one network's features.

    Attributes:
        frechet: Frechet distance; FVD where the features are I3D's.
        kernel: Unbiased squared MMD with the cubic polynomial kernel, for few clips.
        n_clips: Clips on each side. The Frechet distance falls as they grow: compare equal N only.
        n_frames: Frames of a clip, context and predicted together.
    """

    frechet: Interval
    kernel: Interval
    n_clips: int
    n_frames: int


def cached_weights() -> list[str]:
    """Names of the files in torch.hub's cache that metrics here would use."""
    names = [*(file for _, file in BACKBONES.values()), I3D_FILE]
    return sorted(name for name in names if (_cache() / name).is_file())


def load_lpips(backbone: Backbone, size: int, path: Path | None = None) -> Lpips | Missing:
    """LPIPS with the real backbone from `path`, or else from the cache of torch.hub.

    Args:
        backbone: `alex` or `vgg`.
        size: Pixels a side of the frames to be scored.
        path: torchvision's state dict of the backbone.

    Raises:
        UserError: `path` was given and is not such a state dict.
    """
    name, file = BACKBONES[backbone]
    if size < LPIPS_SIZE:
        return Missing(
            f"LPIPS needs frames of at least {LPIPS_SIZE} px, these have {size}", "use larger ones"
        )
    try:
        import lpips  # type: ignore[import-untyped]
    except ImportError:
        return Missing("LPIPS needs the package lpips", "pip install lpips")
    found = _find(file, path)
    if found is None:
        return Missing(
            f"no {name} weights of torchvision",
            f"put {file} from download.pytorch.org/models into {_shown(_cache())}",
        )
    with warnings.catch_warnings():
        # lpips calls torchvision by an argument that torchvision has renamed.
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        network = lpips.LPIPS(net=backbone, pnet_rand=True, verbose=False)
    try:
        _fill(network.net, torch.load(found, map_location="cpu", weights_only=True))
    except Exception as error:
        what = str(error).splitlines()[0]
        raise UserError(f"{found}: not {name} weights ({what}); download {file} again") from None
    return Lpips(network, backbone)


def load_i3d(frames: int, path: Path | None = None) -> I3D | Missing:
    """I3D from `path`, or else from the cache of torch.hub.

    Args:
        frames: Frames of the clips to be scored, context and predicted together.
        path: The TorchScript file of StyleGAN-V.

    Raises:
        UserError: The file is not TorchScript.
    """
    if frames < I3D_FRAMES:
        return Missing(
            f"FVD needs clips of at least {I3D_FRAMES} frames, these have {frames}",
            "predict more frames",
        )
    found = _find(I3D_FILE, path)
    if found is None:
        return Missing(f"no I3D weights ({I3D_FILE})", f"put {I3D_URL} into {_shown(_cache())}")
    try:
        with warnings.catch_warnings():
            # The published file is TorchScript, whatever torch would rather have.
            warnings.simplefilter("ignore", FutureWarning)
            network = torch.jit.load(found, map_location="cpu")  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        what = str(error).strip().splitlines()[0]
        raise UserError(f"{found}: not TorchScript ({what}); download {I3D_URL} again") from None
    return I3D(network)


class ClipFeatures(PerWindow):
    """Features of true and predicted clips by window, gathered over ranks; `compute` gives `Rows`.

    The network stays outside, so that no checkpoint of what holds this carries its weights.
    """

    def __init__(self) -> None:
        super().__init__(("predicted", "true"))


def clip_features(
    network: nn.Module, context: Tensor, predicted: Tensor, true: Tensor
) -> dict[str, Tensor]:
    """What `ClipFeatures.update` takes. Context frames stand before both, and lower the distance.

    Args:
        network: (B, T, 3, S, S) in [0, 1] to (B, D), as `I3D`.
        context: (B, H, 3, S, S) in [0, 1].
        predicted: (B, P, 3, S, S) in [0, 1].
        true: (B, P, 3, S, S) in [0, 1].
    """
    return {
        "predicted": network(torch.cat([context, predicted], dim=1)),
        "true": network(torch.cat([context, true], dim=1)),
    }


def video_distance(
    rows: Rows, frames: int, resamples: int = 200, level: float = 0.95, seed: int = 0
) -> VideoDistance | Missing:
    """Distance over all clips at once, with its spread over resampled units.

    Args:
        rows: With values `predicted` and `true`, (N, D).
        frames: Frames of a clip, for the table to tell.
        resamples: Bootstrap resamples of units, the same for both sides.
        level: Coverage aimed at.
        seed: Of the resampling.
    """
    x, y = rows.values["predicted"].double().cpu(), rows.values["true"].double().cpu()
    if len(x) < 2:
        return Missing(f"FVD needs at least 2 clips, there is {len(x)}", "score more windows")
    unit = rows.unit.cpu().numpy()
    members = [np.flatnonzero(unit == u) for u in np.unique(unit)]
    point = (frechet_distance(x, y), kernel_distance(x, y))
    if len(members) < 2:
        frechet, kernel = (Interval(p, float("nan"), float("nan")) for p in point)
        return VideoDistance(frechet, kernel, len(x), frames)
    rng = np.random.default_rng(seed)
    replicates: list[tuple[float, float]] = []
    while len(replicates) < resamples:
        drawn = rng.integers(len(members), size=len(members))
        index = torch.from_numpy(np.concatenate([members[i] for i in drawn]))
        if len(index) > 1:
            a, b = x[index], y[index]
            replicates.append((frechet_distance(a, b), kernel_distance(a, b)))
    spread = np.array(replicates)
    frechet, kernel = (spread_interval(point[i], spread[:, i], level) for i in (0, 1))
    return VideoDistance(frechet, kernel, len(x), frames)


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """|mu_x - mu_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)) of (N, D) and (M, D), in float64.

    The trace of the root is that of (C_x^(1/2) C_y C_x^(1/2))^(1/2), which is symmetric: its
    eigenvalues are real, where a general matrix root of a rank-deficient product is not.
    """
    x, y = x.double(), y.double()
    cov_x, cov_y = torch.cov(x.T).reshape(x.shape[1], -1), torch.cov(y.T).reshape(y.shape[1], -1)
    values, vectors = torch.linalg.eigh(cov_x)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    shift = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    return float(shift + cov_x.trace() + cov_y.trace() - 2 * cross)


def kernel_distance(x: Tensor, y: Tensor) -> float:
    """Unbiased squared MMD of (N, D) and (N, D) with k(a, b) = (a.b / D + 1)^3 (Binkowski 2018)."""
    return float(poly_mmd(x.double(), y.double(), degree=3, gamma=None, coef=1.0))


def _cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _shown(path: Path) -> Path:
    """As people write it: the message is published, and the home folder is nobody's business."""
    return Path("~") / path.relative_to(Path.home()) if path.is_relative_to(Path.home()) else path


def _find(file: str, path: Path | None) -> Path | None:
    if path is not None:
        if not path.is_file():
            raise UserError(f"{path} is not there; give the path of {file}, or none for the cache")
        return path
    cached = _cache() / file
    return cached if cached.is_file() else None


def _fill(slices: nn.Module, weights: dict[str, Tensor]) -> None:
    """Fill lpips' slices, whose layers keep the numbers they have in torchvision's `features`."""
    for part in slices.children():
        for number, layer in part.named_children():
            prefix = f"features.{number}."
            found = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
            layer.load_state_dict(found)
