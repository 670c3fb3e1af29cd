"""Digests of what a store's recordings hold: equal for equal numbers, whatever the files.

STORE/recordings/ID/content.txt     a recording's own, made once
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from data_modules.files import write_text
from data_modules.prepare import catalogue, digest_of, store_path
from data_modules.recording import Clock
from data_modules.sources.base import Source
from data_modules.store import Store

_LENGTH = 12
STALE = "not prepared"
"""In the place of a digest, where the store lacks a recording or has an older one."""


def digests(
    name: str, source: Source, clock: Clock, root: Path, ids: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """The digest of each split's recordings, or `STALE`.

    Args:
        name: Of the source.
        source: What was prepared.
        clock: For which.
        root: Folder that holds the stores.
        ids: Recordings by split.
    """
    path = store_path(name, source, clock, root)
    if not (path / "store.json").exists():
        return dict.fromkeys(ids, STALE)
    store, gone = Store(path), not source.path.exists()
    there = {
        e.id
        for e in catalogue(name, source, clock, root).entries
        if (gone and (path / "recordings" / e.id / "meta.json").exists()) or store.has(e)
    }
    return {
        split: digest_of({i: _content(path / "recordings" / i) for i in sorted(some)})[:_LENGTH]
        if there.issuperset(some)
        else STALE
        for split, some in ids.items()
    }


def _content(folder: Path) -> str:
    file = folder / "content.txt"
    if file.exists():
        return file.read_text().strip()
    meta = json.loads((folder / "meta.json").read_text())
    # Files are dated, and remarks worded, anew without a number being another.
    kept: dict[str, object] = {k: v for k, v in meta.items() if k not in ("fingerprint", "notes")}
    for path in sorted(folder.glob("*.npy")):
        with path.open("rb") as array:
            kept[path.name] = hashlib.file_digest(array, "sha256").hexdigest()
    found = digest_of(kept)[:_LENGTH]
    # A store that cannot be written to is read again next time.
    with suppress(OSError):
        write_text(file, f"{found}\n")
    return found
