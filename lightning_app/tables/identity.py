"""Is what lies in a folder what is asked for? What a training is named after, and what it was.

A folder's name says what was asked: config, flags, global batch. Its `what.json` also holds what it
was made by and of: the code's numbers (`code.py`) and a digest of the data. Numbers are compared
with a tolerance, so that another machine finds what this one made. Data that are not here, as where
finished rows were brought from elsewhere, are not held against a training.
"""

import hashlib
import json
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from data_modules.files import write_text
from lightning_app.tables.code import near

HARDWARE = ("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "data.workers")
"""Flags that say on what, and not what, is computed; how many devices there are is in the batch."""
BATCH = ("data.batch_size", "trainer.accumulate_grad_batches")
"""Flags that, with the number of processes, make the global batch."""
WHAT, _COMMITS = "what.json", "commits.txt"
_MADE = ("code", "data")
_HOUSE = Path(__file__).parents[2]
What = dict[str, Any]


def global_batch(config: Mapping[str, Any], flags: Mapping[str, Any]) -> int:
    """Windows that an optimizer step sees: devices x nodes x batch x accumulation.

    Args:
        config: As in its file.
        flags: By name without dashes; they win.
    """

    def value(flag: str, default: Any) -> Any:
        part: Any = config
        for key in flag.split("."):
            part = part.get(key) if isinstance(part, Mapping) else None
        found = flags.get(flag, part)
        return default if found is None else found

    processes = _devices(value("trainer.devices", "auto"), value("trainer.accelerator", "auto"))
    nodes, batch = value("trainer.num_nodes", 1), value("data.batch_size", 16)
    return int(processes * nodes * batch * value("trainer.accumulate_grad_batches", 1))


def _devices(asked: Any, accelerator: str) -> int:
    """How many devices Lightning will take."""
    if isinstance(asked, str) and "," in asked:
        asked = [part for part in asked.split(",") if part.strip()]
    if isinstance(asked, list):
        return len(asked)
    if asked not in ("auto", "-1", -1):
        return int(asked)
    return max(1, torch.cuda.device_count()) if accelerator in ("auto", "gpu", "cuda") else 1


def name_of(what: What) -> str:
    """The part of a folder's name that says what was asked."""
    return digest(_asked(what))


def find(folder: Path, name: str, what: What) -> tuple[Path, What, str | None]:
    """The folder below `folder` that holds just this, or one for it.

    Args:
        folder: Where to look.
        name: What its name begins with.
        what: What is asked, and by what code and of what data it is to be made.

    Returns:
        The folder; what it holds, or will hold; and why an earlier one is not it, if there is one.
    """
    files = [p / WHAT for p in folder.glob(f"{name}-*") if (p / WHAT).exists()]
    other = None
    for file in sorted(files, key=lambda p: p.stat().st_mtime, reverse=True):
        saved = read(file)
        reason = differs(saved, what)
        if reason is None:
            return file.parent, saved, None
        other = other or reason
    return folder / f"{name}-{digest(what)[:6]}", what, other


def differs(saved: What, now: What) -> str | None:
    """Why what was made is not what would be made now, in words; None if it is."""
    if _asked(saved) != _asked(now):
        return "other settings"
    if not near(saved.get("code", {}), now.get("code", {})):
        return "other code"
    if now["data"] is not None and saved.get("data") != now["data"]:
        return "other data"
    pairs = zip(saved.get("needs", []), now.get("needs", []), strict=True)
    found = [reason for pair in pairs if (reason := differs(*pair)) is not None]
    return f"{found[0]} of what it builds upon" if found else None


def read(file: Path) -> What:
    """What a folder holds; of one that does not say so in today's form, nothing."""
    try:
        saved = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return saved if isinstance(saved, dict) and "data" in saved else {}


def write(folder: Path, what: What) -> None:
    """Say in a folder what it holds, and note that today's commit worked in it."""
    write_text(folder / WHAT, text(what))
    if commit() not in (there := commits(folder)):
        write_text(folder / _COMMITS, "\n".join([*there, commit()]) + "\n")


def commits(folder: Path) -> list[str]:
    """The commits that worked in a folder, in order."""
    file = folder / _COMMITS
    return file.read_text().split() if file.exists() else []


@cache
def commit() -> str:
    """The commit of the house, with a + where files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=_HOUSE, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        found, changed = git("rev-parse", "--short=10", "HEAD"), git("status", "--porcelain")
    except OSError:
        return "unknown"
    return f"{found}{'+' if changed else ''}" if found else "unknown"


def short(numbers: Mapping[str, float]) -> str:
    """A fingerprint to print."""
    return digest({k: f"{v:.3g}" for k, v in numbers.items()})[:8]


def text(what: Any) -> str:
    """As JSON, always the same for the same."""
    return json.dumps(what, indent=1, sort_keys=True) + "\n"


def digest(what: Any) -> str:
    """Of anything that JSON can hold."""
    return hashlib.sha256(text(what).encode()).hexdigest()[:12]


def _asked(what: What) -> What:
    kept = {k: v for k, v in what.items() if k not in _MADE}
    return kept | ({"needs": [_asked(n) for n in kept["needs"]]} if "needs" in kept else {})
