"""A config as it is, and for other data: a folder of ActionSense in the kitchen's place."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from data_modules.commands import read_settings
from data_modules.files import shown_path, write_text
from data_modules.prepare import required_bytes
from data_modules.recording import Clock
from data_modules.splits import NAMES
from lightning_app.tables.spec import Spec
from mssim.errors import UserError
from mssim.resources import CONFIGS


def content(file: Path) -> dict[str, Any]:
    """A config with the files that it names put in their places.

    Raises:
        UserError: It is not there or is no table.
    """
    if not file.is_file():
        raise UserError(f"{file} is not there; name a file or a config of the package")
    table = yaml.safe_load(file.read_text())
    if not isinstance(table, dict):
        raise UserError(f"{file}: holds no table; see {shown_path(CONFIGS / 'kitchen.yaml')}")
    return {k: _inlined(v, file.parent) for k, v in table.items()}


def _inlined(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {k: _inlined(v, folder) for k, v in value.items()}
    if isinstance(value, str) and value.endswith(".yaml") and (folder / value).is_file():
        return content(folder / value)
    return value


def source_of(config: Path) -> str:
    """The name of a config's only source.

    Raises:
        UserError: It has several.
    """
    sources = list(content(config)["data"]["sources"])
    if len(sources) != 1:
        raise UserError(f"{config}: has {len(sources)} sources; other data replace the only one")
    return str(sources[0])


def name_of_data(data: str) -> str:
    """What the source of a folder is called: never the kitchen, which it is not."""
    name = re.sub(r"[^\w-]+", "_", Path(data).resolve().name) or "data"
    return name if name != "kitchen" else "recordings"


def elsewhere(config: Path, data: str, own: Path) -> Path:
    """A config like this one whose only source is the folder `data`, under that folder's name.

    It is split by the persons who are there: those whom the config tests and trains on, or where
    nobody of these is there, the last one is tested and the others train.

    Args:
        config: Of the kitchen.
        data: A folder of the same format.
        own: Where the config is written to.

    Raises:
        UserError: Fewer than two of the config's persons are there.
    """
    table, old, new = content(config), source_of(config), name_of_data(data)
    source = table["data"]["sources"].pop(old)
    source["source"]["init_args"]["path"] = data
    if _by_subject(config):
        source["split"] = {"by": "subject", **split(source["split"], there(config, data), data)}
    table["data"]["sources"][new] = source
    file = own / f"{config.stem.replace('kitchen', new)}.yaml"
    said = yaml.safe_dump(table, sort_keys=False, allow_unicode=True)
    if not file.exists() or file.read_text() != said:
        write_text(file, said)
    return file


def _by_subject(config: Path) -> bool:
    asked = content(config)["data"]["sources"][source_of(config)]["split"]
    return bool(asked.get("by") == "subject")


def there(config: Path, data: str) -> set[str]:
    """Of whom a folder has recordings that can be used; nobody where persons split nothing."""
    if not _by_subject(config):
        return set()
    source = read_settings(config).sources[source_of(config)].source
    source.path = Path(data)
    return {entry.subject for entry in source.entries()}


def split(asked: Mapping[str, Any], present: set[str], data: str) -> dict[str, list[str]]:
    """Whom to train on, to validate and to test, of the persons who are present.

    Raises:
        UserError: They are fewer than two.
    """
    wanted = {name: list(asked.get(name) or []) for name in NAMES}
    known = [who for name in NAMES for who in wanted[name]]
    found = [who for who in known if who in present]
    if len(found) < 2:
        raise UserError(
            f"data: {data} has usable recordings of {', '.join(found) or 'none'} of "
            f"{', '.join(known)}; a table trains on one person at least and tests on another"
        )
    test = [who for who in wanted["test"] if who in present] or found[-1:]
    val = [who for who in wanted["val"] if who in present and who not in test]
    train = [who for who in found if who not in (*test, *val)]
    if not train:
        train, val = val, []
    return {"train": train, "val": val, "test": test}


def spec_elsewhere(spec: Spec, data: str, own: Path) -> Spec:
    """A table of other data; rows whose persons are not there are left out.

    Args:
        spec: Of the kitchen.
        data: A folder of the same format.
        own: Where configs are written to.
    """
    present = there(spec.config, data)
    rows = []
    for row in spec.rows:
        train, test = (_renamed(f, spec.config, data, present) for f in (row.train, row.test))
        if train is not None and test is not None:
            rows.append(replace(row, train=train, test=test))
    needs = {}
    for name, need in spec.needs.items():
        flags = _renamed(need.train, need.config, data, present)
        if flags is not None:
            config = elsewhere(need.config, data, own)
            needs[name] = replace(need, config=config, train=flags)
    able = tuple(row for row in rows if row.needs() <= needs.keys())
    return replace(spec, config=elsewhere(spec.config, data, own), rows=able, needs=needs)


def told(spec: Spec, data: str) -> list[str]:
    """How much there is, and who trains and tests: said before any work."""
    settings = read_settings(spec.config)
    source = settings.sources[source_of(spec.config)].source
    source.path = Path(data)
    entries = source.entries()
    clock = Clock(settings.senses, settings.size, settings.rate)
    hours = sum(e.frames / float(e.key.get("rate", 10.0)) for e in entries) / 3600
    size = required_bytes(entries, clock) / 1e9
    lines = [f"{data}: {len(entries)} recordings, {hours:.2f} hours, {size:.2f} GB in the store"]
    if _by_subject(spec.config):
        asked = content(spec.config)["data"]["sources"][source_of(spec.config)]["split"]
        parts = split(asked, {e.subject for e in entries}, data)
        lines.append("; ".join(f"{k}: {', '.join(v) or 'nobody'}" for k, v in parts.items()))
    return lines


def _renamed(
    flags: Mapping[str, Any], config: Path, data: str, present: set[str]
) -> dict[str, Any] | None:
    """Flags for the folder in the kitchen's place; None where it lacks whom they split by."""
    old, new = (f"data.sources.{name}." for name in (source_of(config), name_of_data(data)))
    found = {k.replace(old, new, 1): v for k, v in flags.items()}
    for name in NAMES:
        key = f"{new}split.{name}"
        if key in found:
            found[key] = [who for who in found[key] if who in present]
            if not found[key] and name != "val":
                return None
    return found
