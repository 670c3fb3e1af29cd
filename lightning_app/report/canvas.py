"""Drawing for videos and film strips: colours, text, enlarging, sense traces.

Letters: N frames, C channels, S pixels a side. Images are uint8 (H, W, 3).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import colormaps, get_data_path
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]

PAPER: Colour = (250, 250, 248)
INK: Colour = (35, 39, 47)
FAINT: Colour = (112, 120, 132)
CONTEXT: Colour = (138, 148, 166)
PREDICTED: Colour = (214, 96, 60)
LINES: tuple[Colour, ...] = (
    (31, 119, 180),
    (214, 96, 60),
    (67, 146, 92),
    (139, 92, 170),
    (196, 152, 30),
    (20, 150, 160),
    (200, 90, 140),
    (95, 105, 120),
)
MOST_LINES = 12
"""Channels that are told apart as lines; more are drawn as rows of a heat strip."""
HEAT_ROWS = 24
TRACE_HEIGHT = 48
TRACE_LABEL = 17


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib: the same picture on every machine."""
    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def enlarge(frame: Pixels, scale: int) -> Pixels:
    """(S, S, 3) to (S * scale, S * scale, 3), each pixel a square: nothing is invented."""
    return np.repeat(np.repeat(frame, scale, axis=0), scale, axis=1)


def fit_scale(size: int, target: int) -> int:
    """The whole factor that brings `size` nearest to `target` pixels."""
    return max(1, round(target / size))


@dataclass(frozen=True)
class TracePanel:
    """Sense traces below one another on one time axis, drawn once; a cursor runs over them.

    Attributes:
        image: uint8 (H, W, 3).
        count: N, frames that the width is divided into.
    """

    image: Pixels
    count: int

    def at(self, frame: int) -> Pixels:
        """The panel with the cursor on a frame."""
        image = self.image.copy()
        x = round((frame + 0.5) / self.count * image.shape[1])
        image[:, max(0, x - 1) : x + 1] = PREDICTED
        return image


def trace_panel(
    traces: Mapping[str, NDArray[np.floating]], context_length: int, width: int
) -> TracePanel:
    """Draw every sense, (N, C) each, over `width` pixels; context frames lie on grey.

    Channels are centred on their mean; all channels of a sense share one scale.
    """
    count = len(next(iter(traces.values())))
    parts = []
    for name, values in traces.items():
        plot = _plot(np.asarray(values, np.float64).reshape(count, -1), context_length, width)
        label = Image.new("RGB", (width, TRACE_LABEL), PAPER)
        ImageDraw.Draw(label).text((2, 2), name.replace("_", " "), FAINT, font(11))
        parts += [np.asarray(label), plot]
    return TracePanel(np.concatenate(parts), count)


def _plot(values: NDArray[np.float64], context_length: int, width: int) -> Pixels:
    values = np.nan_to_num(values)
    values = values - values.mean(axis=0)
    peak = np.abs(values).max()
    values = values / peak if peak > 0 else values
    if values.shape[1] > MOST_LINES:
        return _heat(values, width)
    return _lines(values, context_length, width)


def _lines(values: NDArray[np.float64], context_length: int, width: int) -> Pixels:
    """Values in [-1, 1], (N, C), as lines; drawn three times as large for smooth edges."""
    count, sharp = len(values), 3
    w, h = width * sharp, TRACE_HEIGHT * sharp
    image = Image.new("RGB", (w, h), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, context_length / count * w, h), (238, 240, 243))
    draw.line((0, h / 2, w, h / 2), (222, 225, 230), sharp)
    x = (np.arange(count) + 0.5) / count * w
    for channel in reversed(range(values.shape[1])):
        y = h / 2 - values[:, channel] * (h / 2 - 3 * sharp)
        points = list(zip(x.tolist(), y.tolist(), strict=True))
        draw.line(points, LINES[channel % len(LINES)], round(1.5 * sharp), joint="curve")
    return np.asarray(image.resize((width, TRACE_HEIGHT), Image.Resampling.BOX))


def _heat(values: NDArray[np.float64], width: int) -> Pixels:
    """Values in [-1, 1], (N, C), as coloured rows: the channels that change most, in order."""
    busiest = np.sort(np.argsort(-values.std(axis=0), kind="stable")[:HEAT_ROWS])
    rows = values[:, busiest].T
    peak = np.abs(rows).max()
    coloured = colormaps["RdBu_r"](0.5 + 0.5 * rows / peak if peak > 0 else 0.5 + rows)
    image = Image.fromarray((coloured[..., :3] * 255).round().astype(np.uint8))
    return np.asarray(image.resize((width, TRACE_HEIGHT), Image.Resampling.NEAREST))
