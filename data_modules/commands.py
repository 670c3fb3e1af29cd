"""`mssim record`, `prepare` and `data`: typed functions that need no framework."""

import re
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data_modules.files import shown_path, write_text
from data_modules.images import Crop
from data_modules.notes import counted
from data_modules.prepare import catalogue
from data_modules.prepare import prepare as prepare_store
from data_modules.recording import Clock
from data_modules.sources.base import Source
from data_modules.sources.detect import detect, read_senses
from data_modules.sources.fields import read_text
from data_modules.splits import SourceConfig
from mssim.errors import UserError
from mssim.resources import CONFIGS, find_config
from mssim.senses import SenseSet

SIZE = 64


@dataclass(frozen=True)
class StoreSettings:
    """What of a data file decides how its stores look; its other keys are for training.

    Args:
        sources: As in `DataModule`.
        senses: As in `DataModule`.
        size: As in `DataModule`.
        rate: As in `DataModule`.
        crop: As in `DataModule`.
    """

    sources: dict[str, SourceConfig]
    senses: SenseSet
    size: int = SIZE
    rate: float | None = None
    crop: Crop = "center"


def record(
    out: Path = Path("runs/kitchen"),
    subjects: str | None = None,
    minutes: float | None = None,
    fps: float = 10.0,
    size: int = SIZE,
    seed: int = 0,
    jobs: int | None = None,
    activities: str | None = None,
    recolour: str | None = None,
) -> None:
    """Record the simulated kitchen as ActionSense, with the truth beside it.

    A second run goes on where the first one stopped, and adds subjects.

    Args:
        out: Folder of the recordings.
        subjects: Who, with commas, such as `S00,S05`; all six by default.
        minutes: Of each of these subjects; by default enough to train on S00-S03, validate on S04
            and test on S05: 12 minutes each, and for S05 every activity four times.
        fps: Frames a second, 1 to 60.
        size: Pixels a side.
        seed: Same seed, same files.
        jobs: Processes that record at once; one for each core by default.
        activities: What is done, with commas, such as `slice a cucumber,pour`; all by default.
        recolour: Materials of another colour, with commas, such as `cucumber=#c83020`.
    """
    from data_modules.kitchen.recorder.kitchen import record_kitchen

    listed = None if subjects is None else [s.strip() for s in subjects.split(",")]
    plans = record_kitchen(out, listed, minutes, fps, size, seed, jobs, activities, recolour)
    print(f"{out}: {len(plans)} recordings")


def prepare(
    path: Path,
    out: Path = Path("stores"),
    config: Path | None = None,
    size: int | None = None,
    rate: float | None = None,
    crop: Crop | None = None,
    limit: int | None = None,
    jobs: int = 1,
) -> None:
    """Convert recordings into a store, so that training decodes nothing.

    Args:
        path: A dataset's folder; what it is is seen from its files.
        out: Folder that holds the stores.
        config: A data file such as `configs/data/g1.yaml`; `fit` with it then finds the same store.
        size: Pixels a side; what the config says, or 64.
        rate: Frames a second; what the config says, or the dataset's own.
        crop: `none` keeps all of a picture between black bars; what the config says, or `center`.
        limit: Only the first so many recordings.
        jobs: Processes that convert at once.
    """
    _check_positive(limit=limit, jobs=jobs)
    name, source, clock = plan(path, config, size, rate, crop)
    store = prepare_store(name, source, clock, out, limit, jobs)
    done, listed = store.ids(), catalogue(name, source, clock, out).ids
    print(f"{store.path}: {len(done)} of {len(listed)} recordings")
    there = [i for i in listed[:limit] if i in set(done)]
    for line in counted((i, note) for i in there for note in store.open(i).notes):
        print(line)


def data(
    path: Path,
    out: Path = Path("runs/data"),
    store: Path = Path("stores"),
    config: Path | None = None,
    yaml: Path | None = None,
    size: int | None = None,
    rate: float | None = None,
    crop: Crop | None = None,
    limit: int | None = None,
    recording: str | None = None,
    seconds: float = 60.0,
) -> None:
    """Tell what is in a dataset, draw a contact sheet, and write a config to train with.

    Nothing is prepared: a few recordings are read, and stay nowhere. With --stores in place of a
    path, what `fit` and `prepare` have converted is listed; see `mssim data --stores --help`.

    Args:
        path: A dataset's folder; what it is is seen from its files.
        out: Folder for the contact sheet.
        store: Folder that holds the stores; recordings that are in one are not read again.
        config: A data file such as `configs/data/g1.yaml`.
        yaml: Where to write the config; it is printed by default.
        size: Pixels a side; what the config says, or 64.
        rate: Frames a second; what the config says, or the dataset's own.
        crop: `none` keeps all of a picture between black bars; what the config says, or `center`.
        limit: How many recordings are read; 10 by default.
        recording: Which recording to draw; the first one with a span by default.
        seconds: How much of it to draw.
    """
    from data_modules import look
    from data_modules.overview import contact_sheet, overview
    from data_modules.starter import starter, suggest_split

    if yaml is not None and yaml.exists():
        raise UserError(f"yaml: {yaml} is there already; remove it or name another file")
    _check_positive(limit=limit, seconds=seconds)
    name, source, clock = plan(path, config, size, rate, crop)
    contents, every = source.contents(), source.every_camera()
    listed = catalogue(name, every, clock, store)
    entries = look.chosen(listed.entries, limit or look.FEW, recording, path)
    split = suggest_split(listed.entries, listed.splits)
    print(look.described(listed, contents, clock, split), end="\n\n")
    looked = look.Looked(name, every, clock, store, entries, recording)
    seen = overview(looked, clock.senses)
    if looked.drawn is None:
        raise UserError(looked.problems[0])
    rest = (
        f"; --limit {len(listed.entries)} reads all" if len(entries) < len(listed.entries) else ""
    )
    print(f"read: {seen.table()}{rest and chr(10) * 2}{rest.removeprefix('; ')}")
    for line in [*looked.problems, *source.skipped()]:
        print(line)
    file = out / f"{name}.png"
    contact_sheet(looked.drawn, clock.senses, file, seconds)
    print(f"\n{file}: contact sheet of {looked.drawn.id}")
    used = [row.sense.name for row in seen.senses if row.share]
    text = starter(name, source, clock, contents, split, used)
    if yaml is None:
        print(f"\nA config to copy, or to write with --yaml FILE:\n\n{text}")
        return
    write_text(yaml, text)
    print(f"{yaml}: a config; next: mssim fit --config {yaml}")


def stores(store: Path = Path("stores"), remove: str | None = None) -> None:
    """List the stores of a folder with size and owner; those with nothing in them are removed.

    Args:
        store: Folder that holds the stores.
        remove: Name of a store to remove, too; `fit` makes it anew when it needs it.
    """
    from data_modules import stores as listing

    gone = listing.remove(store, remove)
    left = listing.list_stores(store)
    print(listing.table(left))
    total = sum(s.size for s in left) / 1e6
    print(f"\n{len(left)} store{'s' * (len(left) != 1)}, {total:.1f} MB in {store}")
    for dead in gone:
        print(f"removed: {dead.path.name} ({dead.state})")


def plan(
    path: Path, config: Path | None, size: int | None, rate: float | None, crop: Crop | None = None
) -> tuple[str, Source, Clock]:
    """Name, source and clock that a dataset is prepared with.

    Raises:
        UserError: The folder or the config is not what it should be, or a number is out of range.
    """
    _check_positive(size=size, rate=rate)
    if config is None:
        source, senses = detect(path)
        name = re.sub(r"[^\w.-]+", "_", path.resolve().name) or "data"
        return name, source, Clock(senses, size or SIZE, rate, crop or "center")
    settings = read_settings(find_config(str(config)))
    name = _pick(path, settings, config)
    source = copy(settings.sources[name].source)
    source.path = path
    wanted = size or settings.size, rate or settings.rate, crop or settings.crop
    return name, source, Clock(settings.senses, *wanted)


def _check_positive(**numbers: float | None) -> None:
    for key, value in numbers.items():
        if value is not None and not value > 0:
            raise UserError(f"{key}: {value} must be above 0")


def read_settings(file: Path) -> StoreSettings:
    """The part of a data file that decides how its stores look.

    Args:
        file: A group file, or a whole config with such a group, or its path, under `data`.

    Raises:
        UserError: It is not there or does not parse.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    table = _read_yaml(file)
    if isinstance(table.get("data"), str):
        return read_settings(file.parent / table["data"])
    table = table.get("data", table)
    kept = {k: v for k, v in table.items() if k in StoreSettings.__dataclass_fields__}
    if isinstance(kept.get("senses"), str):
        senses = read_senses(file.parent / kept.pop("senses"))
        kept["senses"] = {"senses": [vars(s) for s in senses]}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(StoreSettings, "data")
    try:
        parsed = parser.parse_object({"data": kept})
        settings = parser.instantiate(parsed).data
    except ArgumentError as error:
        raise UserError(f"{file}: {' '.join(str(error).split())}") from None
    assert isinstance(settings, StoreSettings)
    return settings


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        table = yaml.safe_load(
            read_text(file, f"name a data file, as in {shown_path(CONFIGS / 'data')}")
        )
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(table, dict):
        raise UserError(
            f"{file}: holds no table; see {shown_path(CONFIGS / 'data')} for how one looks"
        )
    return table


def _pick(path: Path, settings: StoreSettings, config: Path) -> str:
    """Which of the config's sources reads `path`: the one that names it, or the only one."""
    for name, source in settings.sources.items():
        if source.source.path.resolve() == path.resolve():
            return name
    if len(settings.sources) == 1:
        return next(iter(settings.sources))
    there = ", ".join(str(s.source.path) for s in settings.sources.values())
    raise UserError(f"{path} is none of the sources of {config}, which are {there}")
