"""The drift plot: how PSNR falls with the predicted frame, row by row."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from data_modules.files import whole
from mssim.metrics.collect import Scores
from mssim.metrics.summary import Drift, drift

STYLES = {
    "model": ("#d1495b", "-"),
    "guided": ("#d1495b", ":"),
    "long": ("#8d2138", "-"),
    "long one by one": ("#b48ead", "-"),
    "long copy-last-frame": ("#9aa3b2", "--"),
    "copy-last-frame": ("#5b6472", "--"),
    "held-action": ("#2a7f9e", "-"),
    "shuffled-actions": ("#e0a030", "-"),
    "no-action": ("#5a9367", "-"),
}
SPARE = ("#7b5ea7", "#b0674a", "#3f6fb5", "#94893b", "#2f9e8f", "#c76fa3", "#7f7f7f")


def write_drift(path: Path, rows: Mapping[str, Scores], interval: float | None = None) -> None:
    """Draw PSNR by predicted frame with shaded 95 % intervals over units, as a PNG.

    Args:
        path: Where to.
        rows: Scores by row; the model is drawn on top.
        interval: Seconds between frames, for the axis to tell.
    """
    title = "Drift: pooled PSNR by frame, mean and 95 % interval over units"
    draw_curves(path, {n: drift(s) for n, s in rows.items()}, title, interval=interval)


def draw_curves(
    path: Path,
    curves: Mapping[str, Drift],
    title: str,
    first: str | None = "model",
    interval: float | None = None,
    what: str = "PSNR, dB",
) -> None:
    """Draw PSNR by predicted frame, as a PNG.

    Args:
        path: Where to.
        curves: By row.
        title: Above them.
        first: The row that is drawn on top.
        interval: Seconds between frames, for the axis to tell.
        what: Beside the upright axis.
    """
    figure = Figure(figsize=(7.4, 4.2), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    spare = iter(SPARE * len(curves))
    # The legend stands beside the curves, in the order in which they end.
    for name in sorted(curves, key=lambda n: -np.nan_to_num(curves[n].value[-1])):
        top = name == first
        colour, line = STYLES.get("model" if top else name) or (next(spare), "-")
        _draw(axes, name, curves[name], colour, line, top)
    length = max(len(curve.value) for curve in curves.values())
    axes.set_xlim(0.7, length + 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("predicted frame")
    axes.set_ylabel(what)
    axes.set_title(title, fontsize=10)
    axes.grid(axis="y", color="#e4e6ea")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if interval is not None:
        axes.set_xlabel(f"predicted frame, {interval:.3g} s each")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    with whole(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw(axes: Axes, name: str, curve: Drift, colour: str, line: str, first: bool) -> None:
    order = 4 if first else 3
    frames = np.arange(1, len(curve.value) + 1)
    axes.plot(
        frames,
        curve.value,
        line,
        color=colour,
        label=name,
        linewidth=2.4 if first else 1.6,
        marker="o",
        markersize=5 if first else 3.5,
        zorder=order,
    )
    axes.fill_between(
        frames, curve.low, curve.high, color=colour, alpha=0.2 if first else 0.1, linewidth=0
    )
