"""Parsed files, read by type: what is missing or of another kind is told in one line.

Nothing that came out of JSON, YAML, a list of words or a parquet's metadata is indexed before it
went through here.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

from mssim.errors import UserError

AGAIN = "correct it, or download it again"
"""The remedy for a file that does not hold what its format promises."""

_SHOWN = 60
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


class Fields:
    """A table that came out of a file.

    Args:
        table: What was parsed.
        where: The file, and the place in it, for messages.

    Raises:
        UserError: It is no table.
    """

    def __init__(self, table: object, where: str) -> None:
        if not isinstance(table, dict):
            raise UserError(f"{where}: is {_shown(table)}, expected a table; {AGAIN}")
        self.where = where
        self._table: dict[object, object] = table

    def __iter__(self) -> Iterator[str]:
        """Names of the fields, in order."""
        return (str(key) for key in self._table)

    def has(self, key: str) -> bool:
        """Is there such a field, and is it not null?"""
        return self._table.get(key) is not None

    def raw(self, key: str) -> object:
        """The field as it was parsed; None where it is missing."""
        return self._table.get(key)

    def text(self, key: str) -> str:
        value = self._table.get(key)
        if not isinstance(value, str):
            raise self.wrong(key, "text")
        return value

    def number(self, key: str, above: float = -math.inf) -> float:
        """A finite number above `above`."""
        value = self._table.get(key)
        expected = f"a number above {above:g}" if above > -math.inf else "a number"
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, expected)
        # A whole number of JSON may be larger than any float.
        if not -1e300 < value < 1e300 or not value > above:
            raise self.wrong(key, expected)
        return float(value)

    def whole(self, key: str, least: int = 0) -> int:
        """A whole number from `least` on; 3.0 counts as one."""
        value = self._table.get(key)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**53:
            raise self.wrong(key, f"a whole number from {least}")
        return value

    def wholes(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers from 0 on."""
        value = self._table.get(key)
        if not isinstance(value, list):
            raise self.wrong(key, "a list of whole numbers")
        return tuple(Fields({key: item}, self.where).whole(key) for item in value)

    def fields(self, key: str) -> "Fields":
        """A table inside the table."""
        value = self._table.get(key)
        if not isinstance(value, dict):
            raise self.wrong(key, "a table")
        return Fields(value, f"{self.where}: {key}")

    def wrong(self, key: str, expected: str) -> UserError:
        """That a field is not what was expected, to be raised."""
        if key not in self._table:
            return UserError(f"{self.where}: has no {key}, expected {expected}; {AGAIN}")
        value = _shown(self._table[key])
        return UserError(f"{self.where}: {key} is {value}, expected {expected}; {AGAIN}")


def read_text(file: Path, missing: str = "download it again") -> str:
    """The text of a file: UTF-8, or what its first bytes say it is.

    Args:
        file: The file.
        missing: What to do where it is not there.

    Raises:
        UserError: It is not there, is a folder, or is in another encoding.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{file} is not there; {missing}") from None
    except IsADirectoryError:
        raise UserError(f"{file}: is a folder, a file is needed; {missing}") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); see who may read it") from None
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file}: not {encoding.upper()} text (byte {error.start}); save it as UTF-8"
        ) from None
    if "\0" in text:
        raise UserError(f"{file}: not UTF-8 text (it holds zeros); save it as UTF-8")
    return text


def read_json(file: Path, missing: str = "download it again") -> Fields:
    """A file that holds one JSON table.

    Raises:
        UserError: As `read_text`, or it is no JSON table.
    """
    return parse_json(read_text(file, missing), str(file))


def parse_json(text: str, where: str) -> Fields:
    """A JSON table.

    Raises:
        UserError: It is none; `where` is named.
    """
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not readable as JSON ({error}); download it again") from None
    return Fields(table, where)


def formatted(template: str, where: str, **values: object) -> str:
    """A path by its template, such as `data/chunk-{episode_chunk:03d}`.

    Raises:
        UserError: The template asks for what is not known.
    """
    try:
        return template.format(**values)
    except (KeyError, IndexError, ValueError, AttributeError, TypeError):
        known = ", ".join(f"{{{name}}}" for name in values)
        raise UserError(
            f"{where} is {_shown(template)}, which may hold {known} and nothing else; {AGAIN}"
        ) from None


def _shown(value: object) -> str:
    """A value in a message: on one line, and not too long."""
    text = "null" if value is None else " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
