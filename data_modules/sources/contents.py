"""Contents: what a dataset's metadata says can be named in a config."""

from dataclasses import dataclass

from data_modules.sources.lerobot_meta import PICTURES, Feature, Info


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


def lerobot_contents(info: Info, camera: str | None) -> Contents:
    """What `meta/info.json` lists: pictures and columns of numbers, bookkeeping left out.

    Args:
        info: The file's content.
        camera: The one that is read.
    """
    kept = ("timestamp", "frame_index", "episode_index", "index", "task_index")
    cameras, columns = [], []
    for key, feature in info.features.items():
        if feature.dtype in PICTURES:
            name = key.removeprefix("observation.images.").replace("/", "_")
            cameras.append(Camera(name, *_width_height(feature)))
        elif key not in kept:
            columns.append(Column(key, feature.dtype, feature.shape, feature.names))
    one = len(cameras) == 1
    return Contents(tuple(cameras), tuple(columns), info.fps, None if one else camera)


def _width_height(feature: Feature) -> tuple[int, int]:
    """Of a picture's shape, which is (H, W, C), or (C, H, W) where its names say so."""
    shape = feature.shape
    if len(shape) != 3:
        return 0, 0
    first = feature.names[:1] in (("channel",), ("channels",))
    return (shape[2], shape[1]) if first else (shape[1], shape[0])
