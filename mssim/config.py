"""Typed configs from plain tables, as JSON and YAML files hold them, and back."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mssim.errors import UserError

T = TypeVar("T")


def from_table(kind: type[T], table: Any, where: str) -> T:
    """A dataclass from a table of its fields; what is left out has its default.

    Args:
        kind: The dataclass.
        table: Values by field, nested as the dataclass is.
        where: Name of the table, for messages.

    Raises:
        UserError: A field is not known, is missing, or has another type.
    """
    if not isinstance(table, Mapping):
        raise UserError(f"{where}: {table!r} is no table of settings")
    assert is_dataclass(kind)
    known, types = {f.name: f for f in fields(kind)}, get_type_hints(kind)
    for name in table:
        if name not in known:
            raise UserError(f"{where}: {name} is not known; there are {', '.join(known)}")
    for name, field in known.items():
        needed = field.default is MISSING and field.default_factory is MISSING
        if needed and name not in table:
            raise UserError(f"{where}: {name} is missing")
    values = {n: _typed(types[n], v, f"{where}: {n}") for n, v in table.items()}
    made: T = kind(**values)
    return made


def to_table(value: Any) -> Any:
    """What `from_table` reads: plain tables, lists, text and numbers."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_table(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, list | tuple):
        return [to_table(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _typed(kind: Any, value: Any, where: str) -> Any:
    """The value as this type, or a complaint."""
    if is_dataclass(kind) and isinstance(kind, type):
        return from_table(kind, value, where)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _one_of(inner, value, where)
    if origin is Literal and value in inner:
        return value
    if origin is list and isinstance(value, list):
        return [_typed(inner[0], v, f"{where}[{i}]") for i, v in enumerate(value)]
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (bool, int, str, type(None)) and type(value) is kind:
        return value
    wanted = f"one of {', '.join(map(repr, inner))}" if origin is Literal else _name(kind)
    raise UserError(f"{where}: {value!r} is not {wanted}")


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    for kind in kinds[:-1]:
        try:
            return _typed(kind, value, where)
        except UserError:
            continue
    return _typed(kinds[-1], value, where)


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind)
