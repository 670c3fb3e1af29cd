"""Files: writing them whole or not at all, holding a folder, and finding them."""

import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mssim.errors import UserError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well, removed otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = f"{os.getpid()}.{uuid.uuid4().hex[:8]}"
    temporary = path.with_name(f".{path.stem}.{mark}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(text)


@contextmanager
def locked(folder: Path, who: str) -> Iterator[int]:
    """Hold a folder, so that no other call works in it; nothing is left behind, however it ends.

    Args:
        folder: The folder, made if need be.
        who: What works in it, for the message.

    Yields:
        The handle that holds it; a process that inherits it holds the folder, too.

    Raises:
        UserError: It is held by another call, or by a process that one left behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder}: another {who} works there; wait for it, or choose another folder"
            ) from None
        try:
            yield handle
        finally:
            # A forked worker has the lock as well, and may end a moment later.
            fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)


def homeless(text: str) -> str:
    """A text without the folder that one works in and without the home folder, for publishing."""
    for folder, short in ((Path.cwd(), "."), (Path.home(), "~")):
        if len(folder.parts) > 1:  # in a container, home may be the root of all
            text = text.replace(f"{folder}/", f"{short}/".removeprefix("./"))
            text = re.sub(rf"{re.escape(str(folder))}(?![\w.-])", short, text)
    return text


def shown_path(path: Path) -> str:
    """A path as people read it: from the folder that one works in, or from home."""
    return homeless(str(path))


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder by name, in linked folders too, each folder once.

    A link to nothing counts as a file.
    """
    seen: set[str] = set()
    for at, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(at)
        if place in seen:  # linked twice, or to a folder that it lies in
            folders.clear()
            continue
        seen.add(place)
        folders.sort()
        yield from (Path(at, name) for name in sorted(names))
