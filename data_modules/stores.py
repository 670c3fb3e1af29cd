"""The stores that lie in a folder: how large they are, whose, and which of them are dead."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_modules.overview import aligned
from data_modules.store import Store, alive
from mssim.errors import UserError

YOUNG = 600.0
"""Seconds for which a store that is empty may still be about to be filled."""


@dataclass(frozen=True)
class Listed:
    """One store.

    Attributes:
        path: Its folder.
        size: Bytes.
        recordings: That are whole.
        owner: The dataset that it was made from; empty where that cannot be read.
        made: Pixels and rate that it was made for.
        state: `ready`, `source gone` (it trains all the same), `being written`, `empty`, or
            `unreadable`, such as one of another version.
    """

    path: Path
    size: int
    recordings: int
    owner: str
    made: str
    state: str

    @property
    def dead(self) -> bool:
        """Is there nothing in it, and nobody who writes to it?"""
        return self.state == "empty"


def list_stores(root: Path) -> list[Listed]:
    """All stores below a folder, the largest first; what is no store is left alone.

    Raises:
        UserError: The folder is not there.
    """
    if not root.is_dir():
        raise UserError(f"{root}: is no folder; name the one that holds stores with --store")
    found = [_listed(p) for p in root.iterdir() if (p / "recordings").is_dir()]
    return sorted(found, key=lambda s: -s.size)


def remove(root: Path, name: str | None) -> list[Listed]:
    """Remove dead stores, and the one of that name; returns what was removed.

    Raises:
        UserError: There is none of that name, or it is being written.
    """
    listed = list_stores(root)
    named = [s for s in listed if s.path.name == name]
    if name is not None and not named:
        there = ", ".join(s.path.name for s in listed) or "none"
        raise UserError(f"remove: no store {name!r} in {root}; there are {there}")
    if named and named[0].state == "being written":
        raise UserError(f"remove: {named[0].path} is being written; end that process first")
    gone = [s for s in listed if s.dead or s in named]
    for store in gone:
        shutil.rmtree(store.path)
    return gone


def table(stores: list[Listed]) -> str:
    """The stores for a terminal."""
    rows = [["store", "size", "recordings", "made for", "state", "from"]]
    for s in stores:
        rows.append([s.path.name, _mega(s.size), str(s.recordings), s.made, s.state, s.owner])
    return aligned(rows)


def _listed(path: Path) -> Listed:
    size = sum(p.lstat().st_size for p in path.rglob("*") if p.is_file())
    try:
        store = Store(path)
        owner, clock = str(store.signature["path"]), store.signature["clock"]
        made = f"{clock['size']} px, {_rate(clock)}"
        whole = len(store.ids())
    except (UserError, KeyError, TypeError):
        return Listed(path, size, 0, "", "", "unreadable")
    if _is_written(path):
        state = "being written"
    elif not whole:
        state = "empty"
    else:
        state = "ready" if Path(owner).exists() else "source gone"
    return Listed(path, size, whole, owner, made, state)


def _is_written(path: Path) -> bool:
    """Is a process at work in it, or was one a moment ago, before its first recording?"""
    pids = [p.name.rsplit(".", 2)[-2] for p in (path / "recordings").glob(".*.*.*")]
    if any(pid.isdigit() and alive(int(pid)) for pid in pids):
        return True
    young = time.time() - path.stat().st_mtime < YOUNG
    return young and next((path / "recordings").glob("[!.]*"), None) is None


def _rate(clock: dict[str, Any]) -> str:
    return "own rate" if clock["rate"] is None else f"{clock['rate']:g} a second"


def _mega(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
