"""A complete config for a dataset, to copy, train with and change.

Model and trainer are those of `configs/g1.yaml`, which trains in half an hour on two CPU cores.
"""

import inspect
from collections.abc import Collection, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from data_modules.recording import Clock, Entry
from data_modules.sources.base import Source
from data_modules.sources.contents import Contents
from data_modules.splits import Split
from mssim.resources import CONFIGS

TEMPLATE = CONFIGS / "g1.yaml"
"""Where model, averaging and trainer come from."""
SLOW, FAST = 10.0, 15.0
"""Pictures that come faster than FAST a second are read at SLOW: 8 of them then show movement."""
_VALIDATES = ("val", "valid", "validation", "dev")


def starter(
    name: str,
    source: Source,
    clock: Clock,
    contents: Contents,
    split: Split,
    used: Collection[str],
) -> str:
    """The text of a config that `mssim fit --config` takes.

    Args:
        name: The source's.
        source: What reads the dataset.
        clock: Size, rate and crop, and the senses that there could be.
        contents: What there is.
        split: Which recordings train, validate and test.
        used: Names of the senses that the recordings have; the others are left out.
    """
    described: dict[str, Any] = {
        "class_path": f"{type(source).__module__}.{type(source).__qualname__}",
        "init_args": _arguments(source, used),
    }
    if contents.camera is not None:
        described["init_args"]["camera"] = contents.camera
    parts = {"by": split.by, "train": split.train, "val": split.val, "test": split.test}
    senses = [_changed(s) for s in clock.senses if s.name in used]
    data = {
        "sources": {name: {"source": described, "split": parts}},
        "senses": {"senses": senses},
        "size": clock.size,
        "rate": clock.rate or (SLOW if (contents.fps or 0) > FAST else None),
        "batch_size": 8,
    }
    if clock.crop != "center":
        data["crop"] = clock.crop
    whole = {"run": f"runs/{name}", "data": {k: v for k, v in data.items() if v is not None}}
    template = yaml.safe_load(TEMPLATE.read_text())
    whole |= {k: v for k, v in template.items() if k not in whole}
    text = yaml.dump(whole, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=100)
    head = [f"# Train: mssim fit --config FILE. Written by `mssim data {source.path}`."]
    if clock.size > 32:
        head.append("# With `size: 32` a first try takes a quarter of the time.")
    if len(contents.cameras) > 1:
        head.append(
            f"# One camera is read; there are {', '.join(c.name for c in contents.cameras)}."
        )
    return "\n".join([*head, text])


def suggest_split(entries: Sequence[Entry], declared: dict[str, list[str]] | None) -> Split:
    """Who trains, validates and tests: as the dataset declares, else by subject, else in order.

    Args:
        entries: At least one.
        declared: The dataset's own splits, if it has any.
    """
    declared = {k: v for k, v in (declared or {}).items() if v}
    if {"train", "test"} <= declared.keys():
        val = next((k for k in _VALIDATES if k in declared), None)
        return Split("dataset", ["train"], [val] if val else [], ["test"])
    subjects = sorted({e.subject for e in entries})
    if len(subjects) >= 3:
        return Split("subject", subjects[:-2], [subjects[-2]], [subjects[-1]])
    count = len(entries)
    if count == 1:
        return Split(train=["0:1"])
    held = max(1, count // 10)
    first, last = count - held * (1 if count == 2 else 2), count - held
    middle = [] if first == last else [f"{first}:{last}"]
    return Split(train=[f"0:{first}"], val=middle, test=[f"{last}:{count}"])


def _arguments(source: Source, used: Collection[str]) -> dict[str, Any]:
    """The arguments of a source that are not its defaults."""
    given: dict[str, Any] = {}
    for name, parameter in inspect.signature(type(source)).parameters.items():
        value = getattr(source, name, parameter.default)
        if name == "senses":
            value = {k: _changed(v) for k, v in value.items() if k in used}
        if value and value != parameter.default:
            given[name] = str(value) if isinstance(value, Path) else value
    return given


def _changed(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not its defaults."""
    assert is_dataclass(value) and not isinstance(value, type)
    default = {f.name: f.default for f in fields(value) if f.default is not MISSING}
    return {k: v for k, v in asdict(value).items() if k not in default or v != default[k]}


class _Dumper(yaml.SafeDumper):
    """Lists below keys are indented, as people write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)
