"""What a table is: its rows, each with what it changes in training and in testing.

    title: ...
    config: configs/tables/kitchen.yaml     what all rows share
    budget: 300                             optimizer steps below which nothing is published
    reference: Ours multisensory            the row that all others are compared with, if any
    needs: {tower: {config: configs/tower.yaml, run: runs/tower}}
    train: {model.tower.checkpoint: '{tower}'}      flags of every row's training
    rows:
    - row: UniSim verb                      as in the paper
      train: {data.text: verb}
      test: {data.absent: [body_pose]}
      paper: {MSE: 0.131, PSNR: 14.1}
      predicted: 0.5                        dB that it lacks to the reference, said before the runs

Overrides are flags of `mssim` without dashes. `{NAME}` is the checkpoint of what a row needs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mssim.errors import UserError
from mssim.resources import find_config

PAPER = ("MSE", "PSNR", "LPIPS", "FVD")
"""The paper's columns, under the paper's names."""
RESERVED = ("run", "ckpt_path", "seed_everything", "model.seed", "data.seed", "trainer.max_steps")
_KEYS = {"title", "config", "budget", "reference", "needs", "train", "rows", "curve"}
_ROW_KEYS = {"row", "train", "test", "paper", "predicted"}
_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        name: The paper's.
        train: Flags of training, by name without dashes.
        test: Flags of testing alone.
        paper: The paper's own numbers, under the paper's names.
        predicted: Reference minus row that we expected before any run, dB of PSNR.
    """

    name: str
    train: dict[str, Any] = field(default_factory=dict)
    test: dict[str, Any] = field(default_factory=dict)
    paper: dict[str, float] = field(default_factory=dict)
    predicted: float | None = None

    def needs(self) -> set[str]:
        """Names of what must be there before it is trained."""
        texts = [v for v in {**self.train, **self.test}.values() if isinstance(v, str)]
        return {name for text in texts for name in _PLACE.findall(text)}


@dataclass(frozen=True)
class Need:
    """A run that rows build upon: `mssim fit --config CONFIG --run RUN`, once.

    Args:
        config: As for `mssim fit`; it says for how many steps.
        run: Its folder.
        train: Flags of its training.
    """

    config: Path
    run: Path
    train: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """One table or curve.

    Args:
        name: Of its files.
        title: Its heading.
        config: What all rows share.
        budget: Optimizer steps of a row, below which nothing is published.
        rows: In the paper's order.
        reference: Name of the row that all others are compared with.
        needs: By name, what rows build upon.
        curve: Is it a curve over predicted frames, and not a table?
    """

    name: str
    title: str
    config: Path
    budget: int
    rows: tuple[Row, ...]
    reference: str | None = None
    needs: dict[str, Need] = field(default_factory=dict)
    curve: bool = False

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise UserError(f"rows: two are named {twice[0]!r}; a row is known by its name")
        if self.reference is not None and self.reference not in names:
            raise UserError(
                f"reference: {self.reference!r} is no row; there are {', '.join(names)}"
            )
        for row in self.rows:
            self._check(row)

    def row(self, name: str) -> Row:
        """The row of that name.

        Raises:
            UserError: There is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        known = ", ".join(row.name for row in self.rows)
        raise UserError(f"{self.name} has no row {name!r}; it has {known}")

    def _check(self, row: Row) -> None:
        flags = {**row.train, **row.test}
        for flag in flags:
            if flag in RESERVED:
                raise UserError(f"row {row.name!r}: {flag} is set for every run; leave it out")
            if ".split." in flag and self.reference is not None:
                raise UserError(
                    f"row {row.name!r}: {flag} tests on other recordings, which cannot be paired "
                    "with those of `reference`; leave `reference` out"
                )
        unknown = sorted(row.needs() - self.needs.keys())
        if unknown:
            raise UserError(f"row {row.name!r}: {{{unknown[0]}}} is not among `needs`")


def read_spec(file: Path) -> Spec:
    """Read a spec such as `configs/tables/table-1.yaml`.

    Raises:
        UserError: It is not there, or not what it should be.
    """
    try:
        table = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in file.parent.glob("*-*.yaml"))) or "none"
        raise UserError(f"{file} is not there; {file.parent} has {known}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not YAML ({' '.join(str(error).split())})") from None
    try:
        return _spec(file.stem, table)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _spec(name: str, table: Any) -> Spec:
    _known("the file", table, _KEYS, {"title", "config", "budget", "rows"})
    budget, rows, curve = table["budget"], table["rows"], table.get("curve", False)
    if not isinstance(budget, int) or budget < 1:
        raise UserError(f"budget: {budget!r} must be a number of steps above 0")
    if not isinstance(rows, list) or not rows:
        raise UserError("rows: must be a list of at least one row")
    if not isinstance(curve, bool):
        raise UserError(f"curve: {curve!r} must be true or false")
    config = find_config(str(table["config"]))
    if not config.is_file():
        raise UserError(f"config: {config} is not there; name a file or a config of the package")
    return Spec(
        name,
        str(table["title"]),
        config,
        budget,
        tuple(_row(row, _flags("the file", table, "train")) for row in rows),
        table.get("reference"),
        {name: _need(name, need) for name, need in (table.get("needs") or {}).items()},
        curve,
    )


def _row(table: Any, shared: dict[str, Any]) -> Row:
    _known(f"row {table!r}", table, _ROW_KEYS, {"row"})
    name = str(table["row"])
    train, test, paper = (_flags(f"row {name!r}", table, key) for key in ("train", "test", "paper"))
    for key, value in paper.items():
        if key not in PAPER or not isinstance(value, int | float):
            raise UserError(f"row {name!r}: paper {key}: {value!r}; numbers of {', '.join(PAPER)}")
    predicted = table.get("predicted")
    if not isinstance(predicted, int | float | None):
        raise UserError(f"row {name!r}: predicted: {predicted!r} must be a number of dB")
    return Row(name, {**shared, **train}, test, paper, predicted)


def _flags(what: str, table: Mapping[str, Any], key: str) -> dict[str, Any]:
    part = table.get(key) or {}
    if not isinstance(part, dict):
        raise UserError(f"{what}: {key} is {part!r}; it must be pairs of name and value")
    return part


def _need(name: str, table: Any) -> Need:
    _known(f"need {name}", table, {"config", "run", "train"}, {"config", "run"})
    return Need(
        find_config(str(table["config"])),
        Path(table["run"]),
        _flags(f"need {name}", table, "train"),
    )


def _known(what: str, table: Any, known: set[str], needed: set[str]) -> None:
    if not isinstance(table, Mapping):
        raise UserError(f"{what}: must be pairs of name and value")
    odd, lacking = sorted(table.keys() - known), sorted(needed - table.keys())
    if odd or lacking:
        fault = f"{odd[0]!r} is not known" if odd else f"{lacking[0]!r} is missing"
        raise UserError(f"{what}: {fault}; it may have {', '.join(sorted(known))}")
