"""Rollouts to look at: truth beside prediction, what the body sensed below.

Letters: N frames, S pixels a side, C channels. Images are uint8 (H, W, 3).
"""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from data_modules.files import whole
from lightning_app.report.canvas import (
    CONTEXT,
    FAINT,
    INK,
    PAPER,
    PREDICTED,
    Colour,
    Pixels,
    enlarge,
    fit_scale,
    font,
    trace_panel,
)
from mssim.errors import UserError

TILE = 256
STRIP_TILE = 96
BORDER = 4
GAP = 12
LABEL = 26


def side_by_side(
    true: Pixels,
    predicted: Pixels,
    context_length: int,
    traces: Mapping[str, NDArray[np.floating]],
    scale: int | None = None,
) -> Iterator[Pixels]:
    """Frames of a rollout video, all of one even size.

    Args:
        true: uint8 (N, S, S, 3).
        predicted: uint8 (N, S, S, 3), its first `context_length` frames as given to the model.
        context_length: Frames before the first predicted one; bordered grey, the others orange.
        traces: By sense, (N, C); empty for none.
        scale: Whole factor of enlargement; about 256 px a side by default.

    Yields:
        uint8 (H, W, 3), N times.

    Raises:
        ValueError: Lengths or sizes disagree.
    """
    _check(true, predicted, traces)
    scale = scale or fit_scale(true.shape[1], TILE)
    tile = true.shape[2] * scale + 2 * BORDER
    width = 2 * tile + 3 * GAP
    panel = trace_panel(traces, context_length, width - 2 * GAP) if traces else None
    below = panel.image.shape[0] + GAP // 2 if panel else 0
    height = LABEL + true.shape[1] * scale + 2 * BORDER + GAP + below
    for i, (left, right) in enumerate(zip(true, predicted, strict=True)):
        image = Image.new("RGB", (width + width % 2, height + height % 2), PAPER)
        seen = i < context_length
        colour = CONTEXT if seen else PREDICTED
        state = "context" if seen else f"predicted +{i - context_length + 1}"
        _tile(image, enlarge(left, scale), GAP, "truth", f"frame {i}", CONTEXT)
        _tile(image, enlarge(right, scale), 2 * GAP + tile, "prediction", state, colour)
        if panel:
            image.paste(Image.fromarray(panel.at(i)), (GAP, height - panel.image.shape[0] - GAP))
        yield np.asarray(image)


def film_strip(
    true: Pixels,
    predicted: Pixels,
    context_length: int,
    columns: int = 12,
    scale: int | None = None,
) -> Pixels:
    """One picture: truth above prediction, frames from left to right.

    Args:
        true: uint8 (N, S, S, 3).
        predicted: uint8 (N, S, S, 3).
        context_length: Frames before the first predicted one.
        columns: Most frames shown; evenly spread where there are more.
        scale: Whole factor of enlargement; about 96 px a side by default.

    Raises:
        ValueError: Lengths or sizes disagree.
    """
    _check(true, predicted, {})
    scale = scale or fit_scale(true.shape[1], STRIP_TILE)
    shown = np.unique(np.linspace(0, len(true) - 1, min(columns, len(true))).round().astype(int))
    side, margin, gap = true.shape[1] * scale, 84, 4
    size = (margin + len(shown) * (side + gap) + 8, 2 * (side + gap) + 34)
    image = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(image)
    for row, (name, video) in enumerate((("truth", true), ("prediction", predicted))):
        y = 8 + row * (side + gap)
        draw.text((margin - 8, y + side / 2), name, INK, font(12), anchor="rm")
        for column, frame in enumerate(shown):
            tile = Image.fromarray(enlarge(video[frame], scale))
            image.paste(tile, (margin + column * (side + gap), y))
    for column, frame in enumerate(shown):
        x, y = margin + column * (side + gap), 2 * (side + gap) + 8
        seen = frame < context_length
        draw.rectangle((x, y, x + side - 1, y + 3), CONTEXT if seen else PREDICTED)
        text = "context" if seen else f"+{frame - context_length + 1}"
        draw.text((x + side / 2, y + 6), text, FAINT, font(10), anchor="mt")
    return np.asarray(image)


def write_mp4(path: Path, frames: Iterable[Pixels], fps: float) -> None:
    """Write H.264 that browsers play: yuv420p, crf 18, the index first.

    Args:
        path: Where to, `.mp4`.
        frames: uint8 (H, W, 3), H and W even, all of one size.
        fps: Frames a second.

    Raises:
        UserError: There are no frames.
        ValueError: H or W is odd.
    """
    first, frames = _peek(path, frames)
    height, width = first.shape[:2]
    if height % 2 or width % 2:
        raise ValueError(f"H.264 in yuv420p needs even sizes, got {width} x {height}")
    options = {"movflags": "faststart"}
    with (
        whole(path) as temporary,
        av.open(str(temporary), "w", format="mp4", options=options) as file,
    ):
        rate = Fraction(fps).limit_denominator(1000)
        stream = file.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "medium"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))


def write_gif(path: Path, frames: Iterable[Pixels], fps: float) -> None:
    """Write a GIF that plays for ever.

    Args:
        path: Where to, `.gif`.
        frames: uint8 (H, W, 3).
        fps: Frames a second; GIFs count in hundredths of a second.

    Raises:
        UserError: There are no frames.
    """
    _, frames = _peek(path, frames)
    images = [Image.fromarray(frame) for frame in frames]
    # One palette for all, so that what stands still does not flicker.
    sample = Image.fromarray(
        np.concatenate([np.asarray(i) for i in images[:: len(images) // 8 + 1]])
    )
    palette = sample.quantize(256, method=Image.Quantize.MEDIANCUT)
    small = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    duration = max(20, round(100 / fps) * 10)
    with whole(path) as temporary:
        small[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=small[1:],
            duration=duration,
            loop=0,
            optimize=True,
        )


def write_png(path: Path, image: Pixels) -> None:
    """Write one picture, uint8 (H, W, 3)."""
    with whole(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG", optimize=True)


def _check(true: Pixels, predicted: Pixels, traces: Mapping[str, NDArray[np.floating]]) -> None:
    if true.shape != predicted.shape or true.dtype != np.uint8 or predicted.dtype != np.uint8:
        raise ValueError(
            f"truth {true.dtype} {true.shape} and prediction {predicted.dtype} {predicted.shape} "
            "must be uint8 of one shape"
        )
    for name, values in traces.items():
        if len(values) != len(true):
            raise ValueError(f"trace {name} has {len(values)} rows for {len(true)} frames")


def _peek(path: Path, frames: Iterable[Pixels]) -> tuple[Pixels, Iterator[Pixels]]:
    iterator = iter(frames)
    try:
        first = next(iterator)
    except StopIteration:
        raise UserError(f"{path}: no frames to write; give a longer horizon") from None
    return first, chain([first], iterator)


def _tile(
    image: Image.Image, picture: Pixels, x: int, name: str, state: str, colour: Colour
) -> None:
    """Paste a bordered picture under its label strip."""
    draw = ImageDraw.Draw(image)
    height, width = picture.shape[:2]
    right = x + width + 2 * BORDER
    draw.text((x, LABEL / 2), name, INK, font(14), anchor="lm")
    draw.text((right, LABEL / 2), state, colour, font(12), anchor="rm")
    draw.rectangle((x, LABEL, right - 1, LABEL + height + 2 * BORDER - 1), colour)
    image.paste(Image.fromarray(picture), (x + BORDER, LABEL + BORDER))
