"""Which recordings train, which validate, which test: by recording, by subject, or as declared.

Never by window: neighbouring windows share frames.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data_modules.recording import Entry
from data_modules.sources.base import Source
from mssim.errors import UserError

NAMES = ("train", "val", "test")
Items = list[str] | Literal["all"]


@dataclass(frozen=True)
class Split:
    """Which recordings go where.

    Args:
        by: What the lists name: `recording` ids or ranges such as `0:63` in the source's order,
            `subject` names, or the splits that the `dataset` itself declares.
        train: What trains, a list or the word `all`; may be empty where trained weights are scored,
            or another source trains.
        val: What validates, in the same way; may be empty.
        test: What tests, in the same way; may be empty.
    """

    by: Literal["recording", "subject", "dataset"] = "recording"
    train: Items = field(default_factory=list)
    val: Items = field(default_factory=list)
    test: Items = field(default_factory=list)

    def items(self, name: str) -> list[str]:
        """What is named for one split; nothing where it takes all."""
        return [] if self.takes_all(name) else list(self._of(name))

    def takes_all(self, name: str) -> bool:
        """Whether one split is every recording of the source."""
        return self._of(name) == "all"

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the source is used."""
        return not any(self._of(name) for name in NAMES)

    def _of(self, name: str) -> Items:
        return {"train": self.train, "val": self.val, "test": self.test}[name]


@dataclass(frozen=True)
class SourceConfig:
    """One source of data and what it is used for.

    Args:
        source: The files.
        split: Which recordings train, validate and test.
        weight: How often an epoch sees each training window of this source.
    """

    source: Source
    split: Split
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise UserError(f"weight {self.weight} of {self.source.path} must be positive")


def resolve(
    name: str,
    split: Split,
    entries: Sequence[Entry],
    declared: dict[str, list[str]] | None = None,
    limit: int | None = None,
    people: Collection[str] = (),
) -> dict[str, list[str]]:
    """Recording ids by split, each in the source's order.

    Args:
        name: The source's name, for messages.
        split: What the user asked for.
        entries: What there is.
        declared: The dataset's own splits, if it has any.
        limit: Only the first so many recordings of each split.
        people: Subjects that need not be there, as long as others of their split are.

    Raises:
        UserError: An item selects nothing or ends past the last recording, or a recording is in two
            splits.
    """
    chosen: dict[str, list[str]] = {}
    for part in NAMES:
        ids: set[str] = set()
        for item in split.items(part):
            found = _select(split.by, item, entries, declared)
            if not found and not _excused(split, part, item, entries, people):
                raise UserError(_nothing(name, part, item, split.by, entries, declared))
            if split.by == "recording" and _last(item) > len(entries):
                raise UserError(
                    f"sources.{name}.split.{part}: {item!r} ends past the last recording; there "
                    f"are {len(entries)}, {_span(entries)}; for all the rest write "
                    f"{item.split(':')[0] + ':'!r}"
                )
            ids |= found
        chosen[part] = [e.id for e in entries if e.id in ids or split.takes_all(part)]
    for i, first in enumerate(NAMES):
        for second in NAMES[i + 1 :]:
            both = [x for x in chosen[first] if x in set(chosen[second])]
            if both:
                raise UserError(
                    f"sources.{name}.split: {both[0]} is in {first} and in {second}; "
                    "a recording belongs to one split"
                )
    return {part: ids[:limit] for part, ids in chosen.items()}


def left_out(split: Split, entries: Sequence[Entry], people: Collection[str]) -> list[str]:
    """What `resolve` goes without: a line for each subject that is not there."""
    return [
        f"split.{part}: no recording of {item}, left out"
        for part in NAMES
        for item in split.items(part)
        if _excused(split, part, item, entries, people)
    ]


def _excused(
    split: Split, part: str, item: str, entries: Sequence[Entry], people: Collection[str]
) -> bool:
    """Is an item a subject that is not there, where others of its split are?"""
    there = {e.subject for e in entries}
    if split.by != "subject" or item in there or item not in people:
        return False
    return not there.isdisjoint(split.items(part))


def check_apart(
    splits: Mapping[str, Mapping[str, Sequence[str]]], paths: Mapping[str, Path]
) -> None:
    """See that no recording trains as one source's and is scored as another's.

    Args:
        splits: By source, recording ids by split.
        paths: By source, where its files lie.

    Raises:
        UserError: Two sources read the same folder, and one recording is in two splits.
    """
    seen: dict[tuple[Path, str], tuple[str, str]] = {}
    for name, parts in splits.items():
        for part, ids in parts.items():
            for id in ids:
                other, before = seen.setdefault((paths[name].resolve(), id), (name, part))
                if before != part:
                    raise UserError(
                        f"sources.{name}.split.{part}: {id} is in {before} of sources.{other}, "
                        "which reads the same folder; a recording belongs to one split"
                    )


def _last(item: str) -> int:
    """Where a range ends; 0 where it is none, or open."""
    found = re.fullmatch(r"\d*:(\d+)", item)
    return int(found[1]) if found else 0


def _span(entries: Sequence[Entry]) -> str:
    return f"{entries[0].id} to {entries[-1].id}"


def _select(
    by: str, item: str, entries: Sequence[Entry], declared: dict[str, list[str]] | None
) -> set[str]:
    if by == "subject":
        return {e.id for e in entries if e.subject == item}
    if by == "dataset":
        return set((declared or {}).get(item, [])) & {e.id for e in entries}
    if re.fullmatch(r"\d*:\d*", item):
        first, last = item.split(":")
        return {e.id for e in entries[int(first or 0) : int(last) if last else None]}
    return {e.id for e in entries if e.id == item}


def _nothing(
    name: str,
    part: str,
    item: str,
    by: str,
    entries: Sequence[Entry],
    declared: dict[str, list[str]] | None,
) -> str:
    if by == "subject":
        there = "subjects " + ", ".join(sorted({e.subject for e in entries}))
    elif by == "dataset":
        there = "declared splits " + (", ".join(declared) if declared else "none")
    else:
        there = f"{len(entries)} recordings, {_span(entries)}"
    return f"sources.{name}.split.{part}: {by} {item!r} selects nothing; there are {there}"
