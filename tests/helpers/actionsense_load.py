"""Loads written ActionSense recordings as `mssim prepare` would, for tests."""

import uuid
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

from data_modules.images import Crop
from data_modules.recording import Clock, Recording
from data_modules.sources.actionsense import ActionSenseSource
from data_modules.store import Store
from helpers.actionsense_writer import Quirks, write_actionsense
from mssim.senses import Sense, SenseSet

ROOT = Path(__file__).parents[2]
ALL = SenseSet(
    [
        Sense(**s)
        for s in yaml.safe_load((ROOT / "configs/senses/actionsense.yaml").read_text())["senses"]
    ]
)
TEN_HZ = 0.1
SECONDS = 6.0


def load(
    hdf5: Path,
    senses: SenseSet = ALL,
    size: int = 48,
    rate: float | None = None,
    crop: Crop = "center",
    **arguments: Any,
) -> Recording:
    """Through the store, as `mssim prepare` goes."""
    source = ActionSenseSource(hdf5.parent, **arguments)
    (entry,) = source.entries()
    # A store of its own for each call: one that has the recording would keep it as it is.
    path = hdf5.parents[2] / "stores" / uuid.uuid4().hex
    store = Store.create(path, "actionsense", source.signature())
    store.add(entry, source.convert, Clock(senses, size, rate, crop))
    return store.open(entry.id)


def write(tmp_path: Path, seconds: float = SECONDS, **quirks: Any) -> Path:
    return write_actionsense(tmp_path, "S04", seconds, 0, Quirks(**quirks))


def clock(hdf5: Path, frames: int, rate: float = 10.0) -> np.ndarray:
    """tau, from the first row of `frame_timestamp`."""
    with h5py.File(hdf5) as file:
        first = file["eye-tracking-video-world/frame_timestamp/data"][0, 0]
    return first + np.arange(frames) / rate


def stamps(hdf5: Path, name: str) -> np.ndarray:
    with h5py.File(hdf5) as file:
        return file[name]["time_s"][:, 0]
