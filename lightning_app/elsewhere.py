"""`mssim test RUN --on FOLDER`: a run named by its folder, scored on recordings it never saw.

Only words are changed: what comes out is what one could have typed. The recordings are read as the
run's own were, at its rate, and all of them test; the weights bring the statistics of the senses
with them. Results go to `RUN/on/FOLDER-HASH`, so that those of two folders never mix.
"""

import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from data_modules.commands import StoreSettings, read_settings
from data_modules.prepare import catalogue
from data_modules.recording import Clock
from lightning_app.checkpoint import folder_of
from mssim.checkpoint import chosen
from mssim.errors import UserError
from mssim.resources import PRETRAINED, find_config, released

CONFIG_FLAGS = ("--config", "-c")
"""Flags that name a config."""
COMMANDS = ("validate", "test", "predict")
"""Those that take a run that is there."""


def spelled_out(words: Sequence[str]) -> list[str]:
    """The flags that `COMMAND [RUN] [--on [SOURCE=]FOLDER]` stands for, the others as they are.

    A run may be a released simulator, by its name.

    Args:
        words: The command and what follows it.

    Raises:
        UserError: The run or the folder is not there, or it is not clear what reads the folder.
    """
    command, rest = words[0], _found(words[1:])
    if command not in COMMANDS:
        return [command, *rest]
    if rest and not rest[0].startswith("-"):
        config = Path(rest[0]) / "config.yaml"
        if not config.is_file() and rest[0] in released():
            config = PRETRAINED / rest[0] / "config.yaml"
        if not config.is_file():
            raise UserError(
                f"{rest[0]}: no run is there (it has no config.yaml); name the folder of a run "
                "that `mssim fit` has trained"
            )
        rest = ["--config", str(config), *rest[1:]]
    rest, where = _without(rest, "--on")
    if where is None:
        return [command, *rest]
    if command == "validate":
        raise UserError("--on: other recordings test, they do not validate; use mssim test")
    named = _value(rest, "--config") or _value(rest, "-c")
    if named is None:
        raise UserError(f"--on: no run is named; such as mssim {command} runs/g1 --on {where}")
    return [command, *rest, *_elsewhere(Path(named), where, rest)]


def _found(words: Sequence[str]) -> list[str]:
    """The words, packaged configs by their path: `--config kitchen` needs no checkout."""
    found: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        name, given, value = word.partition("=")
        if given and name in CONFIG_FLAGS:
            word = f"{name}={find_config(value)}"
        found.append(str(find_config(word)) if before in CONFIG_FLAGS else word)
    return found


def _elsewhere(config: Path, where: str, given: Sequence[str]) -> list[str]:
    """Flags that turn a run's `test` to another folder."""
    settings = read_settings(config)
    name, folder = _reader(config, list(settings.sources), where)
    table = yaml.safe_load(config.read_text())
    run = folder_of(config, Path(str(table.get("run", "runs/run"))))
    flags = [f"--data.sources.{name}.source.init_args.path", str(folder)]
    for source in settings.sources:
        split = {"by": "recording", "train": [], "val": [], "test": "all" if source == name else []}
        flags += [f"--data.sources.{source}.split", json.dumps(split)]
    if settings.rate is None and _value(given, "--data.rate") is None:
        store = _value(given, "--data.store") or _store(table)
        flags += _rate(settings, name, folder, Path(store))
    if _value(given, "--run") is None:
        flags += ["--run", str(run / "on" / _own_name(folder))]
    asked = _value(given, "--ckpt_path")
    if asked in ("best", "last"):
        flags += ["--ckpt_path", str(run / "checkpoints" / f"{asked}.ckpt")]
    elif asked is None and (run / "checkpoints").is_dir():
        flags += ["--ckpt_path", str(chosen(run))]
    return flags


def _reader(config: Path, sources: Sequence[str], where: str) -> tuple[str, Path]:
    """Which source of the run reads the folder: the one that is named, or the only one."""
    name, given, path = where.partition("=")
    if not given or name not in sources:
        name, path = sources[0], where
        if len(sources) > 1:
            raise UserError(
                f"--on: {config} has the sources {', '.join(sources)}; say which one reads "
                f"{where}, as in --on {name}={where}"
            )
    if not Path(path).is_dir():
        raise UserError(f"--on: {path} is no folder; give the folder of a dataset")
    return name, Path(path).resolve()


def _store(table: Mapping[str, Any]) -> str:
    data = table.get("data")
    return str(data.get("store", "stores") if isinstance(data, dict) else "stores")


def _rate(settings: StoreSettings, name: str, folder: Path, store: Path) -> list[str]:
    """The rate of the run's own recordings, where its config leaves it to them."""
    own = settings.sources[name].source
    try:
        first = catalogue(name, own, Clock(settings.senses, settings.size), store).entries[0]
    except UserError:
        print(
            f"--on: {own.path} is gone, so {folder} is taken at its own rate; "
            "--data.rate says another",
            file=sys.stderr,
        )
        return []
    return ["--data.rate", str(first.key["rate"])] if "rate" in first.key else []


def _own_name(folder: Path) -> str:
    """A name that no other folder gets, and that tells which this is."""
    digest = hashlib.sha256(str(folder).encode()).hexdigest()
    return re.sub(r"[^\w.-]+", "_", folder.name) + "-" + digest[:4]


def _value(words: Sequence[str], flag: str) -> str | None:
    """What a flag is given, as `--flag VALUE` or `--flag=VALUE`; the last time counts."""
    return _without(words, flag)[1]


def _without(words: Sequence[str], flag: str) -> tuple[list[str], str | None]:
    """The words but for a flag and what it is given, and that."""
    kept: list[str] = []
    value: str | None = None
    rest = iter(words)
    for word in rest:
        name, same, here = word.partition("=")
        if name != flag:
            kept.append(word)
            continue
        value = here if same else next(rest, None)
        if not value:
            raise UserError(f"{flag}: give a value after it")
    return kept, value
