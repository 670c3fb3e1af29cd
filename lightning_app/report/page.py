"""`index.html`: everything that a run left, on one page that opens without a server."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import quote

from data_modules.files import shown_path, write_text
from lightning_app.report.curve import CURVE
from lightning_app.report.table import (
    HOW,
    MODEL,
    about,
    blocks,
    cell,
    difference,
    remedies,
    shown,
    title,
)
from lightning_app.rows import LONG
from mssim.errors import UserError

SENSES = "-senses"
"""Ends the name of an attribution plot."""
_FILES = ("config.yaml", "metrics.md", "metrics.csv", "metrics.json", CURVE)

STYLE = """
:root { --ink: #23272f; --faint: #6a7280; --rule: #e2e4e8; --paper: #fafaf8; --mark: #d6603c;
  --card: #fff; --wash: #fdf3ee; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --faint: #9aa3b2; --rule: #333843;
  --paper: #191b20; --card: #22252c; --wash: #33261f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem clamp(.8rem, 4vw, 1.5rem) 4rem; overflow-wrap: anywhere;
  max-width: 82rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
a { color: inherit; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.1rem; margin: 2.6rem 0 .8rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--rule); }
dl { display: flex; flex-wrap: wrap; gap: .3rem 1.8rem; margin: .6rem 0 0; font-size: .88rem; }
dl div { display: flex; gap: .45rem; min-width: 0; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin-top: .8rem; font-size: .88rem; }
dt { color: var(--faint); flex: none; } dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--faint); padding: 1.2rem 0 .4rem; }
th, td { padding: .45rem .5rem; text-align: right; vertical-align: top; white-space: nowrap;
  border-bottom: 1px solid var(--rule); }
th { font-weight: 600; } thead th { color: var(--faint); font-weight: 500; }
th:first-child { text-align: left; padding-left: .5rem; }
td small { display: block; color: var(--faint); font-size: .74rem; }
td.missing { color: var(--faint); font-size: .78rem; white-space: normal;
  min-width: 5.5rem; }
tr.model { background: var(--wash); } tr.model th { color: var(--mark); }
p.note, ul.note { color: var(--faint); font-size: .85rem; max-width: 58rem; }
.videos { display: grid; gap: 1.4rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr)); }
.strips { display: grid; gap: 1.4rem; grid-template-columns: minmax(0, 1fr); }
figure { margin: 0; min-width: 0; }
figcaption { color: var(--faint); font-size: .82rem; padding-top: .35rem; }
video, img { max-width: 100%; border: 1px solid var(--rule); border-radius: 6px; display: block; }
.videos video, .videos img { width: 100%; }
"""


def write_page(folder: Path, title: str, facts: Mapping[str, object]) -> Path:
    """Write `index.html` from what lies in `folder`: `metrics.json`, `drift.png`, `learning.png`
    and `rollouts/*.mp4`, `*.gif`, `*.png` with `*.json`, as `write_clip` writes it, beside them.
    Of what is not there yet, it says how to get it.

    Args:
        folder: The run's folder.
        title: Heading of the page.
        facts: Told below the heading: seed, checkpoint, sampler, data, commit.

    Returns:
        The path of the page.

    Raises:
        UserError: `metrics.json` is there and is not a table of `mssim test`.
    """
    told = "".join(
        f"<div><dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd></div>"
        for key, value in facts.items()
    )
    sections = [
        _metrics(folder) or _not_yet(folder, "Metrics", "test"),
        _drift(folder),
        _rollouts(folder) or _not_yet(folder, "Rollouts", "predict"),
        _learning(folder),
    ]
    body = "\n".join([_links(folder), *(section for section in sections if section)])
    page = folder / "index.html"
    text = (
        "<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n<dl>{told}</dl>\n{body}\n</body>\n</html>\n"
    )
    write_text(page, text)
    return page


def write_clip(stem: Path, activity: str, person: str, psnr: float) -> None:
    """Write `STEM.json`: what `STEM.mp4` shows, for the page.

    Args:
        stem: Of a rollout's files.
        activity: What is done.
        person: By whom.
        psnr: Of all its predicted frames pooled, dB.
    """
    told = {"activity": activity, "person": person, "psnr": psnr if isfinite(psnr) else None}
    write_text(stem.with_name(stem.name + ".json"), json.dumps(told, indent=1) + "\n")


def _links(folder: Path) -> str:
    """To the files that a page sums up."""
    there = [name for name in _FILES if (folder / name).exists()]
    if not there:
        return ""
    return "<nav>" + "".join(f"<a href='{name}'>{name}</a>" for name in there) + "</nav>"


def _not_yet(folder: Path, heading: str, command: str) -> str:
    config = shown_path(folder / "config.yaml")
    return (
        f"<h2>{heading}</h2>\n<p class='note'>Not there yet: "
        f"<code>mssim {command} --config {escape(config)}</code></p>"
    )


def _learning(folder: Path) -> str:
    if not (folder / CURVE).exists():
        return ""
    return (
        f"<h2>Learning curve</h2>\n<figure><img src='{CURVE}' width='820' "
        "alt='Training loss and validation by step'><figcaption>More: <code>tensorboard --logdir "
        f"{escape(shown_path(folder / 'logs'))}</code></figcaption></figure>"
    )


def _metrics(folder: Path) -> str:
    path = folder / "metrics.json"
    if not path.exists():
        return ""
    try:
        table = json.loads(path.read_text())
        if not table:
            raise ValueError("no rows")
        parts = []
        for number, block in enumerate(blocks(table)):
            note = about(block) + ("" if number else f" {HOW}")
            parts += [_numbers(block), _differences(block), f"<p class='note'>{escape(note)}</p>"]
        wanting = "".join(f"<li>{escape(text)}</li>" for text in remedies(table))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise UserError(f"{path} is not a metric table; run `mssim test` again") from None
    missing = f"<ul class='note'>{wanting}</ul>" if wanting else ""
    return "<h2>Metrics</h2>\n" + "\n".join(parts) + missing


def _numbers(table: Sequence[dict[str, Any]]) -> str:
    columns = shown(table)
    head = [escape(title(c, table[0])) for c in columns]
    lines = []
    for row in table:
        cells = []
        for c in columns:
            value, interval = cell(row, c)
            missing = " class='missing'" if isinstance(row.get(c.key), str) else ""
            cells.append(f"<td{missing}>{escape(value)}<small>{escape(interval)}</small></td>")
        lines.append((row["row"], cells))
    return _html_table("Mean over units, with 95 % interval", head, lines)


def _differences(table: Sequence[dict[str, Any]]) -> str:
    columns = [c for c in shown(table) if any(difference(row, c)[1] for row in table)]
    if not columns:
        return ""
    lines = []
    for row in table[1:]:
        pairs = [difference(row, c) for c in columns]
        cells = [f"<td>{escape(v)}<small>{escape(i)}</small></td>" for v, i in pairs]
        lines.append((row["row"], cells))
    head = [escape(f"{c.title} {c.better}") for c in columns]
    caption = f"{table[0]['row'].capitalize()} minus row, paired over units"
    return _html_table(caption, head, lines)


def _html_table(caption: str, head: list[str], lines: list[tuple[str, list[str]]]) -> str:
    top = "".join(f"<th scope='col'>{text}</th>" for text in head)
    body = "\n".join(
        f"<tr class='{'model' if name in (MODEL, LONG) else 'other'}'>"
        f"<th scope='row'>{escape(name)}</th>{''.join(cells)}</tr>"
        for name, cells in lines
    )
    return (
        f"<div class='scroll'><table><caption>{caption}</caption>\n"
        f"<thead><tr><th></th>{top}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _drift(folder: Path) -> str:
    if not (folder / "drift.png").exists():
        return ""
    return (
        "<h2>Drift</h2>\n<figure><img src='drift.png' width='820' "
        "alt='PSNR by predicted frame, every row'></figure>"
    )


def _rollouts(folder: Path) -> str:
    paths = [p for p in sorted((folder / "rollouts").glob("*")) if not p.name.startswith(".")]
    films = [p for p in paths if p.suffix == ".mp4"]
    films += [p for p in paths if p.suffix == ".gif" and p.with_suffix(".mp4") not in films]
    videos = "".join(_figure(folder, p) for p in films)
    strips = "".join(_figure(folder, p) for p in paths if p.suffix == ".png")
    if not videos and not strips:
        return ""
    return (
        "<h2>Rollouts</h2>\n<p class='note'>Grey frames are context, orange ones are predicted. "
        "Below the pictures, what the body sensed.</p>\n"
        f"<div class='videos'>{videos}</div>\n<div class='strips'>{strips}</div>"
    )


def _figure(folder: Path, path: Path) -> str:
    link = quote(path.relative_to(folder).as_posix())
    name = escape(_caption(path))
    if path.suffix == ".mp4":
        media = f"<video src='{link}' controls autoplay loop muted playsinline></video>"
    else:
        media = f"<img src='{link}' alt='{name}'>"
    more = f"<a href='{link}'>{path.suffix[1:]}</a>"
    if path.suffix == ".mp4" and path.with_suffix(".gif").exists():
        more += (
            f", <a href='{quote(path.with_suffix('.gif').relative_to(folder).as_posix())}'>gif</a>"
        )
    return f"<figure>{media}<figcaption>{name} ({more})</figcaption></figure>\n"


def _caption(path: Path) -> str:
    """Activity, person and PSNR where they are known, else the file's name."""
    senses = path.stem.endswith(SENSES)
    told = path.with_name(path.stem.removesuffix(SENSES) + ".json")
    if not told.exists():
        return path.stem.replace("_", " ")
    clip = json.loads(told.read_text())
    text = f"{clip['activity'] or 'no label'}, {clip['person']}"
    if senses:
        return f"{text}: what each sense adds"
    return text if clip["psnr"] is None else f"{text}: {clip['psnr']:.2f} dB"
