"""Source: how files of one format become recordings. One file a format.

A source module imports its file readers (av, h5py, pyarrow) inside the functions that read, so that
training from a prepared store needs none of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_modules.recording import Clock, Entry
from data_modules.sources.contents import Contents
from data_modules.store import Draft


class Source(ABC):
    """Files of one format under one folder.

    Attributes:
        path: The folder as downloaded.
        people: Subjects of the whole dataset; a folder need not hold them all.
    """

    path: Path
    people: frozenset[str] = frozenset()

    @abstractmethod
    def entries(self) -> list[Entry]:
        """What is there, in a fixed order, read from names and metadata only.

        Raises:
            UserError: The folder is missing, or holds nothing of this format.
        """

    def skipped(self) -> list[str]:
        """What `entries` leaves out though it is there, and why: a line each, from names only."""
        return []

    @abstractmethod
    def convert(self, entry: Entry, clock: Clock, draft: Draft) -> None:
        """Read one recording onto the clock and write it to the draft.

        Raises:
            UserError: A file is missing, truncated or inconsistent; names file, field and remedy.
        """

    @abstractmethod
    def signature(self) -> dict[str, Any]:
        """All that changes what `convert` writes, as plain JSON data; part of the store's name."""

    def splits(self) -> dict[str, Sequence[str]] | None:
        """Recording ids by split as the dataset itself declares them, if it does."""
        return None

    def contents(self) -> Contents:
        """What a config can name: cameras, columns, frames a second."""
        return Contents()

    def every_camera(self) -> "Source":
        """This source, reading all the cameras that there are."""
        return self
