"""Scores of single predicted frames.

Letters: B windows, P predicted frames, S pixels a side. Frames are float32 in [0, 1], rounded to
the 256 levels that a video file would hold.
"""

from math import nan

import torch
from einops import rearrange
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from mssim.batch import to_uint8

NAMES = (
    "mse",
    "mae",
    "ssim",
    "motion_predicted",
    "motion_true",
    "gradient_predicted",
    "gradient_true",
    "gradient_shared",
)
SSIM_SIZE = 11
"""Pixels a side of the window of SSIM, which smaller frames do not fill."""


def unit_frames(video: Tensor) -> Tensor:
    """Frames in [-1, 1] (any shape) as they are scored: in [0, 1], rounded to uint8 levels."""
    return to_uint8(video).float() / 255.0


@torch.no_grad()
def score_windows(predicted: Tensor, true: Tensor, last: Tensor) -> dict[str, Tensor]:
    """Score each predicted frame on its own; masking is left to what sums them up.

    Args:
        predicted: (B, P, 3, S, S) in [0, 1].
        true: (B, P, 3, S, S) in [0, 1].
        last: (B, 3, S, S), the context frame before the first predicted one.

    Returns:
        By name in `NAMES`, each float32 (B, P): mean squared and mean absolute error; SSIM with a
        Gaussian window of 11 pixels and sigma 1.5 (Wang et al. 2004) and borders mirrored, NaN for
        frames smaller than the window; motion, the mean |frame - previous frame|; and gradient, the
        mean squared difference of neighbouring pixels, of the predicted and of the true frames,
        with the mean product of both, which their correlation is made of.

    Raises:
        ValueError: The shapes disagree.
    """
    if predicted.shape != true.shape or last.shape != true[:, 0].shape:
        raise ValueError(f"shapes {predicted.shape}, {true.shape}, {last.shape} disagree")
    predicted, true, last = predicted.float(), true.float(), last.float()
    error = predicted - true
    return {
        "mse": error.square().mean(dim=(2, 3, 4)),
        "mae": error.abs().mean(dim=(2, 3, 4)),
        "ssim": _ssim(predicted, true),
        "motion_predicted": motion(predicted, last),
        "motion_true": motion(true, last),
        "gradient_predicted": gradient_product(predicted, predicted),
        "gradient_true": gradient_product(true, true),
        "gradient_shared": gradient_product(predicted, true),
    }


def motion(video: Tensor, last: Tensor) -> Tensor:
    """Mean |frame - previous frame| of (B, P, 3, S, S), `last` (B, 3, S, S) first: (B, P)."""
    before = torch.cat([rearrange(last, "b c h w -> b 1 c h w"), video[:, :-1]], dim=1)
    return (video - before).abs().mean(dim=(2, 3, 4))


def gradient_product(one: Tensor, other: Tensor) -> Tensor:
    """Mean product of the finite differences, down plus across, of two (B, P, 3, S, S): (B, P).

    Of a video with itself it is the energy of its gradients, which blur lowers.
    """
    down = (one.diff(dim=3) * other.diff(dim=3)).mean(dim=(2, 3, 4))
    across = (one.diff(dim=4) * other.diff(dim=4)).mean(dim=(2, 3, 4))
    return down + across


def _ssim(predicted: Tensor, true: Tensor) -> Tensor:
    if min(true.shape[-2:]) < SSIM_SIZE:
        return torch.full(true.shape[:2], nan, device=true.device)
    fold = "b p c h w -> (b p) c h w"
    each = structural_similarity_index_measure(
        rearrange(predicted, fold),
        rearrange(true, fold),
        gaussian_kernel=True,
        sigma=1.5,
        data_range=1.0,
        reduction="none",
    )
    if not isinstance(each, Tensor):
        raise TypeError("torchmetrics returned an image beside the SSIM, which was not asked for")
    return rearrange(each.reshape(-1), "(b p) -> b p", b=true.shape[0])
