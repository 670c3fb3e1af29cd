"""Source -> store: every recording converted once, then memory-mapped for ever.

    STORES/NAME-HASH/index.json     what the source held, so that a prepared store needs no source

Where everything is there this reads names and sizes only, and imports no file format.
"""

import errno
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_modules.files import files_below, write_text
from data_modules.images import square_side
from data_modules.recording import Clock, Entry
from data_modules.sources.base import Source
from data_modules.store import Store
from mssim.errors import UserError

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_DENIED = (errno.EACCES, errno.EROFS, errno.EPERM)


class Catalogue:
    """What a source holds: its recordings in order, and the splits that it declares.

    Attributes:
        entries: In the source's order.
        splits: Recording ids by split, where the dataset declares them.
    """

    def __init__(self, entries: list[Entry], splits: dict[str, list[str]] | None) -> None:
        self.entries = entries
        self.splits = splits

    @property
    def ids(self) -> list[str]:
        return [e.id for e in self.entries]


def store_path(name: str, source: Source, clock: Clock, root: Path) -> Path:
    """Where the store of a source on a clock lies: named after all that changes its content."""
    return root / f"{name}-{digest_of(_identity(source, clock))[:8]}"


def catalogue(name: str, source: Source, clock: Clock, root: Path) -> Catalogue:
    """List a source, from the store's index while the source's files are as they were.

    A source that is gone is listed from the index as well: its store is still good.

    Raises:
        UserError: There is neither source nor index, or the source is not what it should be.
    """
    index = store_path(name, source, clock, root) / "index.json"
    listing = _listing(source.path)
    known = _known(index)
    if known is not None and listing in (known["listing"], None):
        return Catalogue([_entry_from(e) for e in known["entries"]], known["splits"])
    entries = source.entries()
    declared = source.splits()
    splits = {k: list(v) for k, v in declared.items()} if declared else None
    id, count = Counter(e.id for e in entries).most_common(1)[0]
    if count > 1:
        raise UserError(
            f"{source.path}: recording {id} is there {count} times; rename or remove one"
        )
    return Catalogue(entries, splits)


def prepare(
    name: str,
    source: Source,
    clock: Clock,
    root: Path,
    limit: int | None = None,
    jobs: int = 1,
    only: Collection[str] | None = None,
) -> Store:
    """Convert what is not yet in the store, and open it.

    Args:
        name: Name of the source; part of the store's name.
        source: What to read.
        clock: What to bring it to.
        root: Folder that holds the stores.
        limit: Only the first so many recordings.
        jobs: Processes that convert at once.
        only: Ids of the recordings that are wanted; all by default.

    Raises:
        UserError: A recording cannot be converted (the others are, first), or the disk is full.
    """
    path = store_path(name, source, clock, root)
    listed = catalogue(name, source, clock, root)
    for line in source.skipped():
        print(f"{name}: {line}", file=sys.stderr)
    entries = [e for e in listed.entries if only is None or e.id in only][:limit]
    try:
        store = Store.create(path, name, _identity(source, clock))
        store.sweep()
        try:
            _save_index(path, source, listed)
            _fill(store, source, clock, entries, jobs)
        except BaseException:
            store.discard_if_empty()
            raise
    except OSError as error:
        raise _disk_error(error, path, entries, clock) from None
    return store


def _fill(store: Store, source: Source, clock: Clock, entries: list[Entry], jobs: int) -> None:
    """Convert what the store lacks."""
    gone = not source.path.exists()
    todo = [e for e in entries if not (_is_there(store, e) if gone else store.has(e))]
    if todo and gone:
        raise UserError(f"{source.path} is not there, and {todo[0].id} is not in {store.path}")
    if todo:
        _check_size(store.source, source, clock)
        _announce(store.source, todo, clock, store.path)
        _convert_all(store, source, clock, todo, jobs)


def required_bytes(entries: Iterable[Entry], clock: Clock) -> int:
    """About how large recordings will be in the store."""
    senses = sum(4 * s.width + 1 for s in clock.senses)
    total = 0.0
    for entry in entries:
        picture = clock.size * clock.size * 3 * int(entry.key.get("cameras", 1))
        total += entry.frames * _slower(entry, clock) * (picture + senses)
    return int(total)


def own_rate(entry: Entry) -> float:
    """Frames a second that `Entry.frames` counts."""
    return float(entry.key.get("rate", 10.0))


def _slower(entry: Entry, clock: Clock) -> float:
    """Frames on the clock for each frame that `Entry.frames` counts."""
    return 1.0 if clock.rate is None else clock.rate / own_rate(entry)


def _check_size(name: str, source: Source, clock: Clock) -> None:
    """Refuse pictures with more pixels than were recorded: what is between them is not there."""
    contents = source.contents()
    for camera in contents.cameras:
        side = square_side(camera.width, camera.height, clock.crop)
        if contents.camera in (None, camera.name) and 0 < side < clock.size:
            raise UserError(
                f"size: {clock.size}, but {name} was recorded with {camera.width} x "
                f"{camera.height} pixels; set data.size (of a command: --size) to {side} at most"
            )


def _announce(name: str, todo: list[Entry], clock: Clock, path: Path) -> None:
    """Tell the size before starting, and refuse what cannot fit."""
    need, free = required_bytes(todo, clock), shutil.disk_usage(path).free
    minutes = sum(e.frames / own_rate(e) for e in todo) / 60
    print(
        f"{name}: {len(todo)} recordings to convert, {minutes:.1f} minutes recorded, "
        f"{_size(need)} in {path} ({_size(free)} free)",
        file=sys.stderr,
    )
    if need > free:
        raise UserError(
            f"{path}: {_size(need)} needed, {_size(free)} free{_suspect(todo, clock, need)}; make "
            "room, or choose another folder"
        )


def _suspect(todo: list[Entry], clock: Clock, need: int) -> str:
    """One recording among several that takes most of the room: its files may tell it wrongly."""
    largest = max(todo, key=lambda e: required_bytes([e], clock))
    size = required_bytes([largest], clock)
    if len(todo) == 1 or size < 0.9 * need:
        return ""
    return f", {_size(size)} for {largest.id} alone: see that its length and its times are right"


def _convert_all(store: Store, source: Source, clock: Clock, todo: list[Entry], jobs: int) -> None:
    from tqdm import tqdm

    failed: dict[str, list[str]] = {}
    with tqdm(total=len(todo), desc=store.source, unit="rec", disable=None) as bar:
        for entry, problem in _converted(store, source, clock, todo, jobs):
            if problem:
                failed.setdefault(problem, []).append(entry.id)
            bar.update()
    if failed:
        raise _complaint(failed, len(todo))


def _complaint(failed: dict[str, list[str]], total: int) -> UserError:
    """What went wrong, by problem: the first is raised, the others are printed before it."""
    lines = []
    for problem, ids in failed.items():
        more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
        lines.append(f"{min(ids)}{more}: {problem}")
    first, *others = sorted(lines)
    for line in others:
        print(line, file=sys.stderr)
    count = sum(len(ids) for ids in failed.values())
    if total == 1:
        return UserError(first)
    way = "; the others are in the store: to go on without, name them in split"
    rest = way if count < total else ""
    return UserError(f"{first} ({count} of {total} recordings failed{rest})")


def _converted(
    store: Store, source: Source, clock: Clock, todo: list[Entry], jobs: int
) -> Iterable[tuple[Entry, str | None]]:
    """Each entry once it is converted, with what went wrong, if anything did."""
    if jobs <= 1:
        for entry in todo:
            yield entry, convert_one(store, source, clock, entry)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool

    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(jobs, context, end_with_parent, (os.getpid(), stop)) as pool:
        futures = {pool.submit(convert_one, store, source, clock, e): e for e in todo}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise UserError(
                f"a process that converts {store.source} was killed, as it is where memory runs "
                f"out; run again with less than --jobs {jobs}: what is done is kept"
            ) from None
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def convert_one(store: Store, source: Source, clock: Clock, entry: Entry) -> str | None:
    """Convert one recording into a store.

    Returns:
        Why it cannot be read, on one line; None once it is in the store. A fault of a reader is
        told like one of a file: the other recordings are worth having all the same.

    Raises:
        OSError: The store cannot be written to.
    """
    if store.has(entry):  # another process was quicker
        return None
    try:
        store.add(entry, source.convert, clock)
    except UserError as error:
        return str(error)
    except OSError as error:
        at = Path(str(error.filename)) if error.filename else None
        ours = error.errno in _DENIED if at is None else at.is_relative_to(store.path)
        if error.errno in _FULL or ours:
            raise
        return _one_line(error)
    except Exception as error:
        return _one_line(error)
    return None


def _one_line(error: Exception) -> str:
    """What no reader foresaw, with the place that it came from."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: cannot be read ({error.strerror}); see that it is there to read"
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(f"{type(error).__name__}: {error}".split())
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return f"{text} ({where}); please report this line, and leave the recording out"


def end_with_parent(parent: int, stop: Any = None) -> None:
    """In a worker: end when the parent does, so that nothing converts on unseen.

    Args:
        parent: Its process number.
        stop: An event by which it tells that it is about to end; Ctrl-C is its own to hear.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent and not (stop is not None and stop.is_set()):
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _disk_error(error: OSError, path: Path, entries: list[Entry], clock: Clock) -> Exception:
    if error.errno in _FULL:
        need = _size(required_bytes(entries, clock))
        return UserError(
            f"{path}: no room to write ({error.strerror}); about {need} are needed in all; make "
            "room or choose another folder, then run again: what is done is kept"
        )
    if error.errno in _DENIED:
        return UserError(f"{path}: {error.strerror}; choose a folder that can be written to")
    return error


def _identity(source: Source, clock: Clock) -> dict[str, Any]:
    kept = asdict(clock)
    for sense in kept["senses"]["senses"]:
        del sense["merge"]  # windows merge rows; a store holds them as they are
    if clock.crop == "center":
        del kept["crop"]  # as all stores were made before there was a choice
    return {
        "path": str(source.path.resolve()),
        "signature": source.signature(),
        "clock": kept,
    }


def digest_of(data: object) -> str:
    """SHA-256 of plain data, equal for equal content whatever the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _listing(path: Path) -> str | None:
    """Digest of the names, sizes and times of all files below; None where there is nothing."""
    if not path.exists():
        return None
    rows = []
    for file in files_below(path):
        with suppress(OSError):  # a link to nothing is nothing that is read
            stat = file.stat()
            rows.append([str(file.parent), file.name, stat.st_size, stat.st_mtime_ns])
    return digest_of(sorted(rows))


def _known(index: Path) -> dict[str, Any] | None:
    """A store's index; None where there is none, or another program wrote it."""
    try:
        known = json.loads(index.read_text())
        return known if {"listing", "entries", "splits"} <= known.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def _save_index(path: Path, source: Source, listed: Catalogue) -> None:
    listing = _listing(source.path)
    file = path / "index.json"
    known = _known(file)
    if listing is None or (known is not None and known["listing"] == listing):
        return
    entries = [{**asdict(e), "files": [str(f) for f in e.files]} for e in listed.entries]
    write_text(file, json.dumps({"listing": listing, "entries": entries, "splits": listed.splits}))


def _entry_from(data: dict[str, Any]) -> Entry:
    return Entry(**{**data, "files": tuple(Path(f) for f in data["files"])})


def _is_there(store: Store, entry: Entry) -> bool:
    return (store.path / "recordings" / entry.id / "meta.json").exists()


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
