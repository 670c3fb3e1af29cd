"""The attribution plot: which sense changes which predicted frame, one line a sense."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from data_modules.files import whole


def write_attribution(path: Path, names: list[str], change: NDArray[np.float64]) -> None:
    """Draw the change of each frame without each sense, as a PNG.

    Args:
        path: Where to.
        names: Of the M senses.
        change: (M, P), in grey levels of 0 to 1.
    """
    percent = 100 * change
    frames = change.shape[1]
    figure = Figure(
        figsize=(2.4 + 0.62 * frames, 1.1 + 0.3 * len(names)), dpi=110, layout="constrained"
    )
    axes = figure.add_subplot()
    order = np.argsort(-percent.mean(axis=1), kind="stable")
    top = max(float(percent.max(initial=0.0)), 1e-9)
    axes.imshow(percent[order], cmap="OrRd", vmin=0, vmax=top, aspect="auto")
    for line, sense in enumerate(order):
        for frame in range(frames):
            value = percent[sense, frame]
            ink = "white" if value > 0.6 * top else "#23272f"
            axes.text(frame, line, f"{value:.1f}", ha="center", va="center", fontsize=7, color=ink)
    axes.set_yticks(range(len(names)), [names[m].replace("_", " ") for m in order], fontsize=8)
    axes.set_xticks(range(frames), [str(f + 1) for f in range(frames)], fontsize=8)
    axes.set_xlabel("predicted frame", fontsize=8)
    axes.set_title("change of the picture without a sense, % of white", fontsize=9)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    with whole(path) as temporary:
        figure.savefig(temporary, format="png")
