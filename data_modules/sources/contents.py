"""Contents: what a dataset's metadata says can be named in a config."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Camera:
    """One camera of a dataset.

    Attributes:
        name: As a source's `camera` takes it.
        width: Pixels; 0 where unknown.
        height: Pixels; 0 where unknown.
    """

    name: str
    width: int
    height: int


@dataclass(frozen=True)
class Column:
    """One column of numbers.

    Attributes:
        name: As a sense's `column` takes it.
        dtype: Of its numbers.
        shape: Of one row.
        names: Of its numbers, where the dataset gives them.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contents:
    """What a config can name.

    Attributes:
        cameras: Every one, also those that are not read.
        columns: Empty where senses have names of their own.
        fps: Frames a second of the pictures; None where recordings differ.
        camera: The one that a config names, where there are several.
    """

    cameras: tuple[Camera, ...] = ()
    columns: tuple[Column, ...] = ()
    fps: float | None = None
    camera: str | None = None


def lerobot_contents(info: dict[str, Any], camera: str | None) -> Contents:
    """What `meta/info.json` lists: pictures and columns of numbers, bookkeeping left out.

    Args:
        info: The file's content.
        camera: The one that is read.
    """
    kept = ("timestamp", "frame_index", "episode_index", "index", "task_index")
    cameras, columns = [], []
    for key, feature in info.get("features", {}).items():
        shape = tuple(int(n) for n in feature.get("shape") or ())
        if feature.get("dtype") in ("video", "image"):
            name = key.removeprefix("observation.images.").replace("/", "_")
            cameras.append(Camera(name, *_width_height(shape, feature.get("names"))))
        elif key not in kept:
            columns.append(Column(key, str(feature.get("dtype")), shape, _names(feature)))
    one = len(cameras) == 1
    return Contents(tuple(cameras), tuple(columns), float(info["fps"]), None if one else camera)


def _width_height(shape: tuple[int, ...], names: Any) -> tuple[int, int]:
    """Of a picture's shape, which is (H, W, C), or (C, H, W) where its names say so."""
    if len(shape) != 3:
        return 0, 0
    first = isinstance(names, list) and names[:1] in (["channel"], ["channels"])
    return (shape[2], shape[1]) if first else (shape[1], shape[0])


def _names(feature: dict[str, Any]) -> tuple[str, ...]:
    """Element names, which datasets write as a list, a list of lists, or below a key."""
    names = feature.get("names") or []
    if isinstance(names, dict):
        names = [name for part in names.values() for name in np.ravel(part).tolist()]
    return tuple(str(name) for name in np.ravel(names).tolist())
