"""Notes on recordings, brought together: what was odd about the files, counted by kind.

A kind is a note without its numbers. Kinds by which something is lost come before those that were
mended, and in each of the two what is odd in most recordings comes first.
"""

import re
from collections import defaultdict
from collections.abc import Iterable

_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_MENDED = re.compile(
    "shifted|sorted|set right|put in order|read from|taken by|used the|held at|kept as"
    "|is in .*, not seconds"
)


def counted(notes: Iterable[tuple[str, str]]) -> list[str]:
    """Lines that tell every kind of note once, worst first; none where there are no notes.

    Args:
        notes: Recording and note; of each kind the one with the largest numbers is shown.
    """
    kinds: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for recording, note in notes:
        kinds[_NUMBER.sub("N", note)].append((recording, note))
    if not kinds:
        return []
    having = {k: len({recording for recording, _ in found}) for k, found in kinds.items()}
    order = sorted(kinds, key=lambda k: (bool(_MENDED.search(k)), -having[k], k))
    noted = len({recording for found in kinds.values() for recording, _ in found})
    head = f"notes on {_count(noted)}, worst first; `mssim data` lists them one by one"
    return [head, *(_line(kinds[k], having[k]) for k in order)]


def _line(found: list[tuple[str, str]], having: int) -> str:
    recording, note = max(found, key=lambda pair: _numbers(pair[1]))  # of equals, the first
    where = f"in {_count(having)}, such as {recording}" if having > 1 else f"in {recording}"
    return f"  {note} ({where})"


def _numbers(note: str) -> list[float]:
    """The numbers in a note, largest first."""
    return sorted((abs(float(n)) for n in _NUMBER.findall(note)), reverse=True)


def _count(recordings: int) -> str:
    return f"{recordings} recording{'s' * (recordings != 1)}"
