"""Typed configs: a simulator's, as `config.json` beside its weights, and any from plain tables."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from mssim.action.encoder import EncoderConfig
from mssim.build import TowerConfig
from mssim.errors import UserError
from mssim.senses import Sense
from mssim.video.diffusion import DiffusionConfig, SamplerConfig
from mssim.video.unet import UNetConfig

CONFIG = "config.json"
"""A simulator's config, in the folder of its weights."""
T = TypeVar("T")


@dataclass(frozen=True)
class SimulatorConfig:
    """All that builds a simulator, and what goes into it.

    Args:
        senses: The senses that it was trained on, in the network's order.
        sources: Names of the datasets that it was trained on; each has its own statistics.
        size: Pixels a side, S.
        rate: Frames a second; None where it was trained at the recordings' own rate.
        context: Context frames, H.
        predict: Most frames that one step predicts, P.
        past_actions: Whether it was trained with the senses of the context's steps.
        encoder: The action encoder.
        tower: What looks at frames and reads text.
        unet: The space-time network.
        diffusion: What is diffused, and how.
        sampler: How frames are drawn.
        drop_condition: Share of training windows that saw no action.
    """

    senses: list[Sense]
    sources: list[str]
    size: int
    rate: float | None = None
    context: int = 4
    predict: int = 8
    past_actions: bool = True
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    tower: TowerConfig = field(default_factory=TowerConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    drop_condition: float = 0.1


def read_config(folder: Path) -> SimulatorConfig:
    """The config of a released simulator or of a run.

    Args:
        folder: Holds `config.json`, or the `config.yaml` of a run.

    Raises:
        UserError: It holds neither, or it is not one of a simulator.
    """
    file = folder / CONFIG
    if file.is_file():
        try:
            table = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{file}: not JSON ({error}); copy or release it again") from None
        return from_table(SimulatorConfig, table, str(file))
    file = folder / "config.yaml"
    if file.is_file():
        return _config_of_run(file)
    raise UserError(
        f"{folder}: no simulator is there (it has neither {CONFIG} nor config.yaml); give a run's "
        "folder, or one that `mssim release` has written"
    )


def write_config(file: Path, config: SimulatorConfig) -> None:
    """Write a config as JSON, whole or not at all."""
    temporary = file.with_name(f".{file.name}.partial")
    temporary.write_text(json.dumps(to_table(config), indent=2) + "\n", encoding="utf-8")
    temporary.replace(file)


def _config_of_run(file: Path) -> SimulatorConfig:
    """From the `config.yaml` that `mssim fit` has written, every value in it."""
    try:
        table = yaml.safe_load(file.read_text(encoding="utf-8"))
        data, model = table["data"], table["model"]
        kind, made = model["class_path"].rpartition(".")[2], model["init_args"]
        senses = data["senses"]["senses"]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file}: not the config of a run that `mssim fit` has written") from None
    if kind != "Simulator":
        raise UserError(f"{file}: a run of {kind}; give one of a Simulator")
    parts = ("encoder", "tower", "unet", "diffusion", "sampler", "drop_condition")
    used = data.get("use_senses")
    stride = min(data.get("eval_strides") or data.get("strides") or [1])
    rate = data.get("rate")
    whole = {
        "senses": [s for s in senses if used is None or s["name"] in used],
        "sources": list(data["sources"]),
        "rate": None if rate is None else rate / stride,
        **{k: data[k] for k in ("size", "context", "predict", "past_actions") if k in data},
        **{k: made[k] for k in parts if k in made},
    }
    return from_table(SimulatorConfig, whole, str(file))


def from_table(kind: type[T], table: Any, where: str) -> T:
    """A dataclass from a table of its fields; what is left out has its default.

    Args:
        kind: The dataclass.
        table: Values by field, nested as the dataclass is.
        where: Name of the table, for messages.

    Raises:
        UserError: A field is not known, is missing, or has another type.
    """
    if not isinstance(table, Mapping):
        raise UserError(f"{where}: {table!r} is no table of settings")
    assert is_dataclass(kind)
    known, types = {f.name: f for f in fields(kind)}, get_type_hints(kind)
    for name in table:
        if name not in known:
            raise UserError(f"{where}: {name} is not known; there are {', '.join(known)}")
    for name, one in known.items():
        needed = one.default is MISSING and one.default_factory is MISSING
        if needed and name not in table:
            raise UserError(f"{where}: {name} is missing")
    values = {n: _typed(types[n], v, f"{where}: {n}") for n, v in table.items()}
    made: T = kind(**values)
    return made


def to_table(value: Any) -> Any:
    """What `from_table` reads: plain tables, lists, text and numbers."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_table(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, list | tuple):
        return [to_table(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _typed(kind: Any, value: Any, where: str) -> Any:
    """The value as this type, or a complaint."""
    if is_dataclass(kind) and isinstance(kind, type):
        return from_table(kind, value, where)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _one_of(inner, value, where)
    if origin is Literal and value in inner:
        return value
    if origin is list and isinstance(value, list):
        return [_typed(inner[0], v, f"{where}[{i}]") for i, v in enumerate(value)]
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (bool, int, str, type(None)) and type(value) is kind:
        return value
    wanted = f"one of {', '.join(map(repr, inner))}" if origin is Literal else _name(kind)
    raise UserError(f"{where}: {value!r} is not {wanted}")


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    for kind in kinds[:-1]:
        try:
            return _typed(kind, value, where)
        except UserError:
            continue
    return _typed(kinds[-1], value, where)


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind)
