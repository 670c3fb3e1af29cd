"""Writing a table: our numbers, and beside them, in columns of their own, the paper's."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from data_modules.files import write_text
from lightning_app.report.drift import draw_curves
from lightning_app.report.table import COLUMNS, MODEL, Column, bracket
from lightning_app.rows import CONTROLS, GUIDED
from lightning_app.tables.collect import (
    DISTANCES,
    Measured,
    RowResult,
    curve,
    difference,
)
from lightning_app.tables.identity import digest
from lightning_app.tables.runs import KITCHEN, Setting
from lightning_app.tables.spec import PAPER, Spec
from mssim.errors import UserError
from mssim.metrics.hierarchy import Spread
from mssim.metrics.intervals import Interval
from mssim.metrics.summary import Drift

Line = dict[str, Any]

PUBLISHED = Path("configs/published/tables")
_COPY = "copy-last-frame"
_BESIDE = {"copy": _COPY, "shuffled": "shuffled-actions", "none": "no-action"}
_PREDICTED = "predicted, dB"
PAIRED = ("psnr", "mse", "mae", "ssim", "lpips")
MADE = {
    "commit": "commit",
    "fingerprint": "fingerprint of the code",
    "batch": "global batch",
    "train_data": "digest of the training data",
    "test_data": "digest of the test data",
}
"""What a row was made by and of, by column of the csv, and its title above a table."""
TOLD = ("sampler", "drawn frames", "captions")
"""Of a test's heading, what a table repeats."""
HOW = (
    "Predicted frames only, in [0, 1]; means within a unit (activity instance or episode), then "
    "over units and seeds. Tested are the averaged weights after the last step; no step was "
    "chosen. In brackets, 95 % intervals with seeds and units resampled together (two-way "
    "bootstrap, widened by Student's t for few seeds). *Over copy*, *over shuffled* and *over "
    "no-action* are the row less copy-last-frame and less itself under shuffled actions and under "
    "none, where that was scored; *reference minus row* is what "
    "the row lacks, all paired over seeds and units; 3/3 counts the seeds on the side of the mean. "
    "Motion and gradient are predicted / true: below 1 is frozen or blurred."
)
THEIRS = (
    "The paper's columns are its own numbers on ActionSense at 64 px, there for the order of the "
    "rows alone: its 'MSE' is a mean absolute error with copied context frames in it (our MAE is "
    "nearest), and its FVD averages chunks of 16 clips on scrambled axes. They compare with no "
    "column of ours."
)


@dataclass(frozen=True)
class Place:
    """Where a table goes.

    Attributes:
        folder: There.
        reason: Why it is not published; None if it is.
    """

    folder: Path
    reason: str | None = None


def place(spec: Spec, setting: Setting, rows: Sequence[str], out: Path | None = None) -> Place:
    """Where the finished rows may be written.

    Published is what the spec states, and never in the place of more: fewer rows, seeds or steps
    than are there go to the folder of the runs.

    Args:
        spec: The table.
        setting: What was asked.
        rows: Names of the finished rows.
        out: In the place of the published folder, for data and flags of one's own.
    """
    folder, steps = out or PUBLISHED, setting.steps(spec)
    if steps < spec.budget:
        return Place(setting.own, f"{steps} steps are fewer than the table's {spec.budget}")
    if out is None and setting.data != KITCHEN:
        return Place(setting.own, f"it is of {setting.data}; name a folder with OUT=")
    if out is None and setting.size is not None:
        return Place(setting.own, f"it is of {setting.size} px; name a folder with OUT=")
    if out is None and (changed := setting.changed(spec.config)):
        by_hand = ", ".join(f"{k} {v}" for k, v in changed.items())
        return Place(setting.own, f"set by hand were {by_hand}; name a folder with OUT=")
    there = read_lines(folder / f"{spec.name}.csv")
    for line in there:
        if int(line["budget"]) > steps or int(line["seeds"]) > setting.seeds:
            more = f"{line['seeds']} seeds of {line['budget']} steps"
            return Place(setting.own, f"{folder} has {more}, which is not replaced by less")
    known = {row.name for row in spec.rows}
    lost = [line["row"] for line in there if line["row"] in known and line["row"] not in rows]
    if lost:
        return Place(setting.own, f"{folder} has rows that are still missing here: {lost[0]}")
    return Place(folder)


def read_lines(path: Path) -> list[dict[str, str]]:
    """The lines of a csv that was written here; none where there is none."""
    if not path.exists():
        return []
    lines = list(csv.DictReader(io.StringIO(path.read_text())))
    if any(not {"row", "budget", "seeds"} <= line.keys() for line in lines):
        raise UserError(f"{path}: is no table of ours; remove it, or choose another OUT=")
    return lines


def write_results(
    folder: Path, spec: Spec, setting: Setting, results: Mapping[str, RowResult]
) -> None:
    """Write the finished rows: NAME.csv, NAME.md and, of a curve, NAME.png.

    Args:
        folder: Where to.
        spec: The table.
        setting: What was asked.
        results: The finished rows.
    """
    if spec.curve:
        lines = _curve_lines(spec, setting, results, folder)
    else:
        lines = table_lines(spec, setting, results)
    write_text(folder / f"{spec.name}.csv", _csv(lines))
    write_text(folder / f"{spec.name}.md", _markdown(spec, setting, lines, results))


def table_lines(spec: Spec, setting: Setting, results: Mapping[str, RowResult]) -> list[Line]:
    """The finished rows in the paper's order.

    Below them stand the reference drawn with guidance, and what it must beat.
    """
    reference = results.get(spec.reference or "")
    against = None if reference is None else reference.measured()
    foretold = any(row.predicted is not None for row in spec.rows)
    lines = []
    for row in spec.rows:
        if row.name in results:
            shown = None if row.name == spec.reference else against
            line = _line(row.name, MODEL, results[row.name], shown)
            line |= {_PREDICTED: row.predicted} if foretold else {}
            line |= _facts(setting.steps(spec), results[row.name])
            lines.append(line | {f"paper {k}": row.paper.get(k) for k in PAPER})
    if reference is not None:
        for way in (GUIDED, *CONTROLS):
            if way not in reference.scores[0]:
                continue
            line = _line(way, way, reference, against) | _facts(setting.steps(spec), reference)
            lines.append(line | {f"paper {k}": None for k in PAPER})
    return lines


def _line(name: str, way: str, result: RowResult, against: Measured | None) -> Line:
    measured = result.measured(way)
    found = measured.intervals()
    line: Line = {"row": name}
    for column in COLUMNS:
        key = column.key
        if key in DISTANCES:
            if (distance := result.distance(key, way)) != "not measured" or key == "fvd":
                line[key] = distance
        elif key in found and isfinite(found[key].value):
            line |= _three(key, found[key])
        else:
            line |= {key: result.missing(key, way), f"{key}_low": None, f"{key}_high": None}
    for title, other in _BESIDE.items():
        gap = None
        if way == MODEL and other in result.scores[0]:
            gap = difference(measured, result.measured(other), "psnr")
        line |= _gap(f"over_{title}_psnr", gap)
    for key in PAIRED:
        gap = None
        if against is not None and key in against.means and key in measured.means:
            gap = difference(against, measured, key)
        line |= _gap(f"reference_minus_row_{key}", gap)
    return line | {"n_units": len(measured.unit), "n_windows": measured.n_windows}


def _facts(steps: int, result: RowResult) -> Line:
    facts = {"seeds": len(result.cells), "budget": steps, "hardware": result.hardware}
    return facts | result.made


def _three(key: str, interval: Interval) -> Line:
    ends = (interval.low, interval.high)
    low, high = (end if isfinite(end) else None for end in ends)
    return {key: interval.value, f"{key}_low": low, f"{key}_high": high}


def _gap(key: str, gap: Spread | None) -> Line:
    if gap is None:
        return dict.fromkeys((key, f"{key}_low", f"{key}_high", f"{key}_agree"))
    agree = int((np.sign(gap.by_seed) == np.sign(gap.value)).sum())
    return _three(key, gap.interval()) | {f"{key}_agree": f"{agree}/{len(gap.by_seed)}"}


def _curve_lines(
    spec: Spec, setting: Setting, results: Mapping[str, RowResult], folder: Path
) -> list[Line]:
    """One line a row and predicted frame; draws them, too."""
    rows = {row.name: results[row.name] for row in spec.rows if row.name in results}
    measured = {name: result.measured() for name, result in rows.items()}
    if spec.reference in rows:
        rows[_COPY] = rows[spec.reference]
        measured[_COPY] = rows[_COPY].measured(_COPY)
    lines: list[Line] = []
    for name, result in rows.items():
        curves = {k: curve(measured[name].curves[k]) for k in measured[name].curves}
        for frame in range(len(curves["psnr"])):
            line: Line = {"row": name, "frame": frame + 1}
            for key, intervals in curves.items():
                line |= _three(key, intervals[frame])
            line |= {} if "lpips" in curves else {"lpips": result.missing("lpips")}
            lines.append(line | {"n_units": len(measured[name].unit)})
            lines[-1] |= _facts(setting.steps(spec), result)
    _draw_curves(folder / f"{spec.name}.png", spec, measured)
    return lines


def _draw_curves(path: Path, spec: Spec, measured: Mapping[str, Measured]) -> None:
    """Rows less copy-last-frame: how hard each unit is would hide what rows differ by."""
    copied = measured.get(_COPY)
    drawn, what = {}, "PSNR, dB"
    if copied is not None:
        what = f"PSNR over {_COPY}, dB"
    for name, row in measured.items():
        if name != _COPY:
            values = row.curves["psnr"] - (0 if copied is None else copied.curves["psnr"])
            drawn[name] = Drift(*(_ends(curve(values), k) for k in ("value", "low", "high")))
    title = f"{spec.title}\nmean and 95 % interval over seeds and units, paired"
    draw_curves(path, drawn, title, first=spec.reference, what=what)


def _ends(intervals: Sequence[Interval], name: str) -> Any:
    return np.array([getattr(interval, name) for interval in intervals])


def _csv(lines: Sequence[Line]) -> str:
    text = io.StringIO()
    head = list(dict.fromkeys(key for line in lines for key in line))
    writer = csv.DictWriter(text, head, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _markdown(
    spec: Spec, setting: Setting, lines: Sequence[Line], results: Mapping[str, RowResult]
) -> str:
    first = lines[0]
    facts = {
        "data": setting.data,
        "config": spec.config,
        "budget": f"{first['budget']} optimizer steps a row",
        "seeds": first["seeds"],
        "n": f"{first['n_units']} units",
        "hardware": first["hardware"],
        "reference": spec.reference or "none; rows are tested on other recordings",
    }
    if setting.size is not None:
        facts["size"] = f"{setting.size} px"
    if setting.overrides:
        facts["flags"] = setting.overrides
    facts |= _made(results) | _told(results)
    text = [f"# {spec.title}", "", *(f"- {k}: {v}" for k, v in facts.items()), "", HOW, ""]
    shown = _columns(lines)
    text += ["| " + " | ".join(title for title, _ in shown) + " |"]
    text += ["|---" + "|---:" * (len(shown) - 1) + "|"]
    text += ["| " + " | ".join(cell(line) for _, cell in shown) + " |" for line in lines]
    if any(key.startswith("paper ") for key in first):
        text += ["", THEIRS]
    left = [row.name for row in spec.rows if row.name not in results]
    if left:
        text += ["", "Not finished yet: " + ", ".join(left) + "."]
    lacking = [v for line in lines for k, v in line.items() if k in _METRICS and isinstance(v, str)]
    if lacking:
        text += ["", "## Missing", "", *(f"- {reason}" for reason in dict.fromkeys(lacking))]
    return "\n".join(text) + "\n"


def _made(results: Mapping[str, RowResult]) -> dict[str, str]:
    """By what code and of what data the rows are."""
    facts = {}
    for key, title in MADE.items():
        found = list(dict.fromkeys(result.made[key] for result in results.values()))
        each = f"{digest(found)[:8]} (of all rows; that of each is in the csv)"
        facts[title] = each if key == "fingerprint" and len(found) > 1 else "; ".join(found)
    return facts


def _told(results: Mapping[str, RowResult]) -> dict[str, str]:
    """What tests say of how their numbers came about; of which rows, where it is not all."""
    facts = {}
    for key in TOLD:
        rows: dict[str, list[str]] = {}
        for name, result in results.items():
            if text := result.told(key):
                rows.setdefault(text, []).append(name)
        parts = [
            text if len(names) == len(results) else f"{', '.join(names)}: {text}"
            for text, names in rows.items()
        ]
        if parts:
            facts[key] = "; ".join(parts)
    return facts


_METRICS = {c.key: c for c in COLUMNS}
_GAPS = {
    "over_copy_psnr": "over copy, dB",
    "over_shuffled_psnr": "over shuffled, dB",
    "over_none_psnr": "over no-action, dB",
    "reference_minus_row_psnr": "reference minus row, dB",
}


def _columns(lines: Sequence[Line]) -> list[tuple[str, Any]]:
    """Titles, and what makes a line's cell below each."""
    shown: list[tuple[str, Any]] = [("row", lambda line: str(line["row"]))]
    for key in dict.fromkeys(key for line in lines for key in line):
        if key in _METRICS:
            column = _METRICS[key]
            shown.append((f"{column.title} {column.better}", _number(column)))
        elif key in _GAPS:
            shown.append((_GAPS[key], _difference(key)))
        elif key.startswith("paper ") or key in ("frame", _PREDICTED):
            shown.append((key, lambda line, k=key: _given(line.get(k))))
    return shown


def _given(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _number(column: Column) -> Any:
    def cell(line: Line) -> str:
        value, ends = line[column.key], [line.get(f"{column.key}{e}") for e in ("_low", "_high")]
        if not isinstance(value, float | int):
            return str(value).split(";")[0]
        interval = "" if None in ends else " " + bracket(ends, column.digits)
        return f"{value:.{column.digits}f}{interval}"

    return cell


def _difference(key: str) -> Any:
    def cell(line: Line) -> str:
        if line[key] is None:
            return ""
        ends = [line[f"{key}_low"], line[f"{key}_high"]]
        return f"{line[key]:+.2f} {bracket(ends, 2, signed=True)} {line[f'{key}_agree']}"

    return cell
