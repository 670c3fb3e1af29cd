"""The truth beside a recording: what was commanded, and what state the world was in.

    /instances/000            attributes label, seed, subject, scene (JSON), whole, success,
                              start, stop
        commands              (T, 66), `Command.numbers`, each held for 1 / CONTROL_HZ s
        command_times         (T,) epoch seconds at which each began to hold
        frame_times           (F,) epoch seconds, as in `frame_timestamp`
        frame_rows            (F,) their rows there, which are frames of the mp4
        frame_ticks           (F,) how many of the commands had been carried out
        state/...             (F, ...) all of the `KitchenState`: a world that is set to row f and
                              given the commands from frame_ticks[f] on repeats what happened
        first/...             (1, ...) the state before the first command
        objects/BODY          (F, 7) place (m) and quaternion (w, x, y, z)

Dirt, fill and cuts are part of the state. T commands, F frames of the instance.
"""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from data_modules.kitchen.recorder.streams import MemoryFile
from data_modules.kitchen.world.scene import Placed, Scene
from mssim.errors import UserError

Array = NDArray[Any]


@dataclass
class Instance:
    """One performed activity, as it is told in the truth.

    Attributes:
        label: ActionSense's.
        seed: It was performed with.
        subject: Name of who performed it.
        scene: What stood on the table.
        whole: False where the physics diverged: it ends before that.
        success: Did it have the effect that it should?
        start: Epoch seconds at which the labelled part began (NaN if it never did),
        stop: and ended.
        commands: (T, 66).
        command_times: (T,) epoch seconds.
        frame_times: (F,) epoch seconds.
        frame_rows: int64 (F,).
        frame_ticks: int64 (F,).
        state: By path of the state's field, (F, ...).
        first: The same, (1, ...), before the first command.
        objects: By name of the body, (F, 7).
    """

    label: str
    seed: int
    subject: str
    scene: Scene
    whole: bool
    success: bool
    start: float
    stop: float
    commands: Array
    command_times: Array
    frame_times: Array
    frame_rows: Array
    frame_ticks: Array
    state: dict[str, Array]
    first: dict[str, Array]
    objects: dict[str, Array]


_ATTRIBUTES = ("label", "seed", "subject", "whole", "success", "start", "stop")
_ARRAYS = ("commands", "command_times", "frame_times", "frame_rows", "frame_ticks")
_GROUPS = ("state", "first", "objects")


class TruthFile(MemoryFile):
    """The sidecar of one recording."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def add(self, instance: Instance) -> None:
        """Write one instance after those before it."""
        group = self.file.create_group(f"instances/{self._count:03d}")
        self._count += 1
        for name in _ATTRIBUTES:
            group.attrs[name] = getattr(instance, name)
        group.attrs["scene"] = json.dumps(asdict(instance.scene), sort_keys=True)
        for name in _ARRAYS:
            self.write(group, name, getattr(instance, name))
        for name in _GROUPS:
            part = group.create_group(name)
            for key, rows in getattr(instance, name).items():
                self.write(part, key, rows)


def read_truth(path: Path) -> list[Instance]:
    """All instances of a recording, in the order in which they happened.

    Raises:
        UserError: The file is missing or damaged.
    """
    if not path.exists():
        raise UserError(f"{path}: is not there; record it again")
    try:
        with h5py.File(io.BytesIO(path.read_bytes()), "r") as file:
            return [_read_instance(group) for _, group in sorted(file["instances"].items())]
    except (OSError, RuntimeError, KeyError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"{path}: no truth of a recording ({text}); record it again") from None


def truth_path(log: Path) -> Path:
    """The truth beside a recording's log or video."""
    when = "_".join(log.name.split("_")[:2])
    subject = log.parent.name.rsplit("_", 1)[-1]
    return log.with_name(f"{when}_{subject}_truth.hdf5")


def flat_state(state: Any) -> dict[str, Array]:
    """Every array and number of a (nested) dataclass or mapping, by path."""
    return {name: np.array(value) for name, value in _leaves(state, "")}


def state_from(template: Any, arrays: Mapping[str, Array], row: int) -> Any:
    """A state like another one of the same world, with the values of a row of the truth.

    Args:
        template: A state of a world with the same scene.
        arrays: `Instance.state` or `Instance.first`.
        row: Which frame.
    """
    return _filled(template, arrays, row, "")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if is_dataclass(value):
        value = {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, _inner(path, name))
    else:
        yield path, value


def _filled(template: Any, arrays: Mapping[str, Array], row: int, path: str) -> Any:
    if is_dataclass(template) and not isinstance(template, type):
        parts = {f.name: getattr(template, f.name) for f in fields(template)}
        filled = {n: _filled(v, arrays, row, _inner(path, n)) for n, v in parts.items()}
        return replace(template, **filled)
    if isinstance(template, Mapping):
        return {n: _filled(v, arrays, row, _inner(path, n)) for n, v in template.items()}
    value = arrays[path][row]
    return value.copy() if isinstance(template, np.ndarray) else type(template)(value)


def _inner(path: str, name: object) -> str:
    return f"{path}/{name}" if path else str(name)


def _read_instance(group: Any) -> Instance:
    parts: dict[str, Any] = {name: group.attrs[name] for name in _ATTRIBUTES}
    parts.update({name: group[name][()] for name in _ARRAYS})
    parts.update({name: _datasets(group[name]) for name in _GROUPS})
    parts.update(seed=int(parts["seed"]), whole=bool(parts["whole"]))
    parts.update(success=bool(parts["success"]))
    parts.update(start=float(parts["start"]), stop=float(parts["stop"]))
    return Instance(scene=_scene(str(group.attrs["scene"])), **parts)


def _scene(text: str) -> Scene:
    table = json.loads(text)
    return Scene(**{**table, "objects": tuple(Placed(**o) for o in table["objects"])})


def _datasets(group: Any) -> dict[str, Array]:
    found: dict[str, Array] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    group.visititems(visit)
    return found
