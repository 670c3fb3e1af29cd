"""The metric table: one row a way of predicting, the model first, intervals beside every number."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from data_modules.files import write_text
from lightning_app.rows import LONG, ROWS
from mssim.metrics.collect import Scores
from mssim.metrics.frames import SSIM_SIZE
from mssim.metrics.intervals import Interval
from mssim.metrics.perceptual import Missing, VideoDistance
from mssim.metrics.summary import CORRELATION, Summary, compare, per_unit, summarise

Row = dict[str, Any]

MODEL = "model"
NOT_MEASURED = Missing("not measured", "run `mssim test` with it")
HOW = (
    "Predicted frames only, in [0, 1], rounded to the 256 levels of a video file. Each number is "
    "a mean within a unit (activity instance or episode), then over units. PSNR is that of a "
    "unit's pooled error; PSNR/frame is the mean of single frames, each capped at 50 dB. Motion "
    "and gradient are predicted / true over all windows: below 1 is frozen or blurred, above 1 "
    "is restless or noisy. Gradient r is the correlation of predicted with true image gradients: "
    "noise raises the ratio and not r. FVD and KVD (squared MMD, cubic kernel) compare clips of "
    "context and predicted frames together in the features of I3D. In brackets, 95 % intervals "
    "over units: BCa bootstrap of 10,000 resamples, Student's t for means of fewer than 20 "
    "units; for FVD and KVD the spread of 200 resamples about the value, which leaves their bias "
    "at small N in."
)


@dataclass(frozen=True)
class Column:
    """How a metric is printed."""

    key: str
    title: str
    digits: int
    better: str


COLUMNS = (
    Column("psnr", "PSNR, dB", 2, "↑"),
    Column("mse", "MSE", 5, "↓"),
    Column("mae", "MAE", 4, "↓"),
    Column("psnr_frame", "PSNR/frame, dB", 2, "↑"),
    Column("ssim", "SSIM", 3, "↑"),
    Column("lpips", "LPIPS", 4, "↓"),
    Column("fvd", "FVD", 1, "↓"),
    Column("kvd", "KVD", 3, "↓"),
    Column("motion", "motion", 2, "→1"),
    Column("gradient", "gradient", 2, "→1"),
    Column(CORRELATION, "gradient r", 3, "↑"),
)


def build_table(
    rows: Mapping[str, Scores],
    lpips: str | Missing | None = None,
    fvd: Mapping[str, VideoDistance | Missing] | Missing | None = None,
    seed: int = 0,
    reference: str = MODEL,
) -> list[Row]:
    """Turn scores into rows of numbers.

    Args:
        rows: Scores by row, over the same windows; the reference among them.
        lpips: The backbone that gave the `lpips` scores, or why there are none.
        fvd: The distance by row, or why there is none.
        seed: Of the intervals.
        reference: The row that the others are compared with.

    Returns:
        The reference first, the others in order. A number that could not be had is the reason, as a
        string; an interval that could not be had is null. `ci` holds `[low, high]` by metric, and
        `model_minus_row`, `[mean, low, high]` by metric, paired over units: reference minus row.

    Raises:
        UserError: The rows did not score the same units, or no frame.
        ValueError: The reference is no row.
    """
    if reference not in rows:
        raise ValueError(f"a table needs the row {reference!r}, there are {sorted(rows)}")
    units = {name: per_unit(scores) for name, scores in rows.items()}
    order = [reference, *(name for name in rows if name != reference)]
    table = []
    for name in order:
        row = _row(name, summarise(units[name], seed=seed), lpips)
        row["frames"] = rows[name].mask.shape[1]
        _add_distance(row, fvd.get(name) if isinstance(fvd, Mapping) else fvd)
        if name != reference:
            paired = compare(units[reference], units[name], seed=seed)
            row["ci"]["model_minus_row"] = {
                key: [_number(i.value), *_ends(i)] for key, i in paired.items() if isfinite(i.value)
            }
        table.append(row)
    return table


def build_long_table(rows: Mapping[str, Scores], seed: int = 0) -> list[Row]:
    """As `build_table`, of rollouts; learned metrics are of windows alone and have no column."""
    table = build_table(rows, seed=seed, reference=LONG)
    return [{k: v for k, v in row.items() if k not in ("lpips", "fvd")} for row in table]


def blocks(table: Sequence[Row]) -> list[list[Row]]:
    """A table's rows by the windows that they were scored on: single windows, then rollouts.

    A block begins with its reference, which is compared with no row.
    """
    found: list[list[Row]] = []
    for row in table:
        if not found or "model_minus_row" not in row["ci"]:
            found.append([])
        found[-1].append(row)
    return found


def about(block: Sequence[Row]) -> str:
    """What the rows of a block were scored on."""
    if block[0]["row"] != LONG:
        return counts(block)
    return (
        f"Rollouts of {block[0]['frames']} frames from the start of each unit, as `mssim predict` "
        "shows them: every predicted frame is fed back, as many at a time as in training (long) or "
        f"one by one. {counts(block)}"
    )


def write_table(folder: Path, table: Sequence[Row], heading: Mapping[str, object]) -> None:
    """Write `metrics.json`, `metrics.csv` and `metrics.md`, each whole or not at all.

    Args:
        folder: Where to; made if need be.
        table: As `build_table` gives it.
        heading: Facts for the reader: seed, checkpoint, sampler, hardware, data, commit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "metrics.json", json.dumps(list(table), indent=1, allow_nan=False) + "\n")
    write_text(folder / "metrics.csv", _csv(table))
    write_text(folder / "metrics.md", _markdown(table, heading))


def one_step(steps: int) -> str | None:
    """What a sampler of so few steps draws, in words for a heading; None where there is no need."""
    return "one step: conditional mean" if steps == 1 else None


def read_heading(folder: Path) -> dict[str, str]:
    """The facts that `write_table` put above the numbers."""
    head = (folder / "metrics.md").read_text().split("\n\n")[1]
    pairs = (line.removeprefix("- ").split(": ", 1) for line in head.splitlines())
    return dict(pair for pair in pairs if len(pair) == 2)


def shown(table: Sequence[Row]) -> list[Column]:
    """The columns in which any row has a number; `remedies` says what became of the others."""
    return [c for c in COLUMNS if any(isinstance(row.get(c.key), int | float) for row in table)]


def brief(table: Sequence[Row], folder: Path) -> str:
    """The table for a terminal: the model and what it must beat in four columns.

    Args:
        table: As `build_table` gives it.
        folder: Where the whole table lies.
    """
    psnr, *ratios = (c for c in COLUMNS if c.key in ("psnr", "motion", "gradient"))
    lines = [["row", psnr.title, "model minus row [95 %]", *(c.title for c in ratios)]]
    kept = [row for row in table if row["row"] in ROWS]
    for row in kept:
        gap = "" if row["row"] == MODEL else " ".join(difference(row, psnr)).strip()
        lines.append([row["row"], cell(row, psnr)[0], gap, *(cell(row, c)[0] for c in ratios)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = []
    for name, *cells in lines:
        padded = [c.rjust(w) for c, w in zip(cells, widths[1:], strict=True)]
        text.append("  ".join([name.ljust(widths[0]), *padded]).rstrip())
    more = len(table) - len(kept)
    rest = f"{more} more row{'s' * (more > 1)}, " if more else ""
    where = f"{rest}intervals and the other metrics: {folder / 'metrics.md'} (.csv, .json)"
    return "\n".join([*text, "", counts(table), where])


def title(column: Column, row: Row) -> str:
    """A column's title with what its numbers depend on."""
    if column.key == "lpips" and "lpips_backbone" in row:
        return f"LPIPS ({row['lpips_backbone']}) {column.better}"
    if column.key in ("fvd", "kvd") and "fvd_clips" in row:
        clips = f"N={row['fvd_clips']}, {row['fvd_frames']} frames"
        return f"{column.title} ({clips}) {column.better}"
    return f"{column.title} {column.better}"


def cell(row: Row, column: Column) -> tuple[str, str]:
    """A number and its interval as printed, or the reason why there is none and nothing."""
    value = row.get(column.key)
    if isinstance(value, str):
        return value.split(";")[0], ""
    if value is None:
        return "-", ""
    return f"{value:.{column.digits}f}", bracket(row["ci"].get(column.key), column.digits)


def difference(row: Row, column: Column) -> tuple[str, str]:
    """Model minus this row as printed: mean and interval, or dashes."""
    found = row["ci"].get("model_minus_row", {}).get(column.key)
    if found is None:
        return "-", ""
    return f"{found[0]:+.{column.digits}f}", bracket(found[1:], column.digits, signed=True)


def bracket(ends: Sequence[float | None] | None, digits: int, signed: bool = False) -> str:
    """`[low, high]`, or that the units are too few."""
    if ends is None or None in ends:
        return "[no interval]"
    sign = "+" if signed else ""
    return "[" + ", ".join(f"{end:{sign}.{digits}f}" for end in ends) + "]"


def remedies(table: Sequence[Row]) -> list[str]:
    """What to do about the missing numbers, each once."""
    cells = [row[c.key] for row in table for c in COLUMNS if isinstance(row.get(c.key), str)]
    return list(dict.fromkeys(cells))


def counts(table: Sequence[Row]) -> str:
    """How much was scored, and how often the cap of PSNR/frame was reached."""
    first = table[0]
    capped = max(row["capped"] for row in table)
    text = f"{_count(first['n_windows'], 'window')} of {_count(first['n_units'], 'unit')}."
    return text + (f" Up to {capped:.1%} of a row's frames reach the cap." if capped else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _row(name: str, summary: Summary, lpips: str | Missing | None) -> Row:
    row: Row = {"row": name}
    ends: dict[str, Any] = {}
    for key, interval in summary.intervals.items():
        row[key] = _number(interval.value)
        ends[key] = _ends(interval)
    if row["ssim"] is None:
        row["ssim"] = f"frames under {SSIM_SIZE} px; SSIM's window does not fit, use larger frames"
    for key in ("motion", "gradient"):
        if row[key] is None:
            row[key] = f"no true {key}; the ratio divides by it"
    if row.get(CORRELATION, 0.0) is None:
        row[CORRELATION] = "no true gradient; nothing to correlate with"
    if "lpips" in row:
        row["lpips_backbone"] = str(lpips)
    else:
        row["lpips"] = str(lpips or NOT_MEASURED)
    row |= {"capped": summary.capped, "n_windows": summary.n_windows, "n_units": summary.n_units}
    row["ci"] = ends
    return row


def _add_distance(row: Row, found: VideoDistance | Missing | None) -> None:
    if not isinstance(found, VideoDistance):
        row["fvd"] = str(found or NOT_MEASURED)
    else:
        row |= {"fvd": _number(found.frechet.value), "kvd": _number(found.kernel.value)}
        row |= {"fvd_clips": found.n_clips, "fvd_frames": found.n_frames}
        row["ci"] |= {"fvd": _ends(found.frechet), "kvd": _ends(found.kernel)}


def _number(value: float) -> float | None:
    return value if isfinite(value) else None


def _ends(interval: Interval) -> list[float | None]:
    return [_number(interval.low), _number(interval.high)]


def _csv(table: Sequence[Row]) -> str:
    columns = shown(table)
    head = ["row"]
    for c in columns:
        head += [c.key, f"{c.key}_low", f"{c.key}_high"]
    for c in columns:
        head += [f"model_minus_row_{c.key}{end}" for end in ("", "_low", "_high")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*head, "capped", "n_windows", "n_units"])
    for row in table:
        line: list[Any] = [row["row"]]
        for c in columns:
            line += [row.get(c.key), *row["ci"].get(c.key, [None, None])]
        for c in columns:
            line += row["ci"].get("model_minus_row", {}).get(c.key, [None] * 3)
        writer.writerow([*line, row["capped"], row["n_windows"], row["n_units"]])
    return text.getvalue()


def _markdown(table: Sequence[Row], heading: Mapping[str, object]) -> str:
    lines = ["# Metrics", "", *(f"- {key}: {value}" for key, value in heading.items()), ""]
    for number, block in enumerate(blocks(table)):
        name = str(block[0]["row"])
        lines += ["", f"## {name.capitalize()}", ""] if number else []
        lines += [about(block) + ("" if number else f" {HOW}"), ""]
        columns = shown(block)
        lines += _grid(
            ["row", *(title(c, block[0]) for c in columns)],
            [[r["row"], *(" ".join(cell(r, c)).strip() for c in columns)] for r in block],
        )
        paired = [c for c in columns if any(difference(r, c)[1] for r in block)]
        if paired:
            lines += ["", f"## {name.capitalize()} minus row, paired over units", ""]
            lines += _grid(
                ["row", *(f"{c.title} {c.better}" for c in paired)],
                [[r["row"], *(" ".join(difference(r, c)) for c in paired)] for r in block[1:]],
            )
    if remedies(table):
        lines += ["", "## Missing", "", *(f"- {text}" for text in remedies(table))]
    return "\n".join(lines) + "\n"


def _grid(head: list[str], body: list[list[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|---" + "|---:" * (len(head) - 1) + "|",
        *("| " + " | ".join(line) + " |" for line in body),
    ]
