"""A run's state in files small enough to travel, and back into a run on another machine.

    NAME.last.ckpt.00, .01, ...   what resuming needs
    NAME.best.ckpt.00, .01, ...   the best averaged weights, for `mssim test`
    NAME.json                     the manifest: how far the job is, and each part's size and sum

The manifest is written last: a folder whose manifest and parts agree is whole.
"""

import fcntl
import hashlib
import io
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from data_modules.files import whole, write_text
from lightning_app.checkpoint import BEST, LAST, load_checkpoint
from mssim.errors import UserError

PART = 15_000_000
"""Bytes of a part, at most."""
Form = Literal["exact", "half", "weights"]
"""`exact` resumes bitwise; `half` has moments and averages in bfloat16; `weights` are the best
weights alone, from which no training resumes."""
# What Lightning asks of a checkpoint that is tested, and no more.
_SHIPPED = ("state_dict", "global_step", "epoch", "pytorch-lightning_version")


@dataclass(frozen=True)
class Part:
    """One file: a piece of a checkpoint."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """How far a job is, and what of its state is in the folder.

    Args:
        step: Optimizer steps done.
        tested: Is it finished and scored?
        form: Of what is kept.
        scores: The newest validation's, and its step.
        parts: By checkpoint.
    """

    step: int = 0
    tested: bool = False
    form: Form = "weights"
    scores: dict[str, float] = field(default_factory=dict)
    parts: dict[str, list[Part]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(p.size for parts in self.parts.values() for p in parts)


@dataclass(frozen=True)
class Packing:
    """One way to take a run's state along.

    Args:
        form: As in `Manifest`.
        files: Content by checkpoint's name.
    """

    form: Form
    files: dict[str, bytes]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files.values()))


def packings(run: Path, tested: bool) -> list[Packing]:
    """The ways to take a run's state along, smallest first.

    Args:
        run: The run's folder.
        tested: Nothing will go on from it, so that its weights are enough.
    """
    best, last = run / "checkpoints" / BEST, run / "checkpoints" / LAST
    newest = load_checkpoint(last)
    trained = newest.get("raw_state", {}).keys()
    # Before the first validation the newest weights are the best.
    content = load_checkpoint(best) if best.exists() else newest
    shipped = {k: content[k] for k in _SHIPPED}
    small, full = {BEST: _saved(narrow(shipped, trained))}, {BEST: _saved(shipped)}
    if tested:
        return [Packing("weights", small), Packing("weights", full)]
    half = {**small, LAST: _saved(narrow(newest, trained))}
    exact = {**full, LAST: last.read_bytes()}
    return [Packing("weights", small), Packing("half", half), Packing("exact", exact)]


def choose(offers: Mapping[str, list[Packing]], room: int) -> dict[str, Packing]:
    """One packing for each job, so that all fit in `room` bytes.

    That all can go on comes before that the first goes on bitwise; among equals, the first job is
    served first.
    """
    chosen = dict.fromkeys(offers, 0)
    total = sum(o[0].size for o in offers.values())
    for level in range(1, max((len(o) for o in offers.values()), default=1)):
        for name, offer in offers.items():
            if level < len(offer):
                more = offer[level].size - offer[chosen[name]].size
                if total + more <= room:
                    chosen[name], total = level, total + more
    return {name: offers[name][level] for name, level in chosen.items()}


def split(folder: Path, name: str, packing: Packing, about: Manifest) -> Manifest:
    """Write a job's parts and, once all are there, its manifest.

    Args:
        folder: Where to.
        name: The job's.
        packing: What.
        about: How far the job is.
    """
    parts: dict[str, list[Part]] = {}
    for file, content in packing.files.items():
        pieces = [content[i : i + PART] for i in range(0, len(content), PART)]
        parts[file] = [
            Part(f"{name}.{file}.{i:02}", len(piece), hashlib.sha256(piece).hexdigest())
            for i, piece in enumerate(pieces)
        ]
        for part, piece in zip(parts[file], pieces, strict=True):
            _write(folder / part.name, piece)
    manifest = Manifest(about.step, about.tested, packing.form, about.scores, parts)
    write_text(folder / f"{name}.json", json.dumps(asdict(manifest), indent=1) + "\n")
    named = {p.name for listed in parts.values() for p in listed}
    for file in (BEST, LAST):
        # Of an earlier, larger state; nothing lists them any more.
        for old in folder.glob(f"{name}.{file}.[0-9][0-9]"):
            if old.name not in named:
                old.unlink()
    return manifest


def read_manifest(folder: Path, name: str) -> Manifest:
    """A job's manifest; that of a job not begun where there is none.

    Raises:
        UserError: It cannot be read.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        return Manifest()
    try:
        table = json.loads(path.read_text())
        parts = {k: [Part(**p) for p in v] for k, v in table.pop("parts").items()}
        return Manifest(**table, parts=parts)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(
            f"{path}: not a whole manifest; copy the state of the last call again, or remove "
            f"{name}.* to start the job anew"
        ) from None


def join(folder: Path, manifest: Manifest, run: Path) -> None:
    """Make a run's checkpoints of a job's parts.

    Args:
        folder: Where the parts are.
        manifest: Which parts.
        run: The run's folder.

    Raises:
        UserError: A part is missing or torn.
    """
    # All are read before one is written: a torn part leaves the run as it was.
    joined = {
        file: b"".join(_read(folder, p) for p in parts) for file, parts in manifest.parts.items()
    }
    for file, content in joined.items():
        if manifest.form != "exact":
            content = _saved(widen(_loaded(content)))
        _write(run / "checkpoints" / file, content)


def narrow(checkpoint: dict[str, Any], trained: Collection[str]) -> dict[str, Any]:
    """A checkpoint with averages and the optimizer's moments in bfloat16.

    Weights in training stay as they are, and so does every buffer: statistics of senses are few,
    and all that the network sees goes through them.

    Args:
        checkpoint: Left as it is.
        trained: Names of the trained weights.
    """

    def cast(tensor: Tensor) -> Tensor:
        return tensor.bfloat16() if tensor.is_floating_point() and tensor.ndim else tensor

    state = checkpoint["state_dict"]
    narrowed = {n: cast(t) if n in trained else t for n, t in state.items()}
    moments = {k: _mapped(v, cast) for k, v in checkpoint.items() if k == "optimizer_states"}
    return {**checkpoint, "state_dict": narrowed, **moments}


def widen(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What `narrow` made, in float32 again."""
    widened = _mapped(checkpoint, lambda t: t.float() if t.dtype == torch.bfloat16 else t)
    return dict(widened)


@contextmanager
def locked(folder: Path, who: str) -> Iterator[int]:
    """Hold a folder, so that no other call works in it; nothing is left behind, however it ends.

    Args:
        folder: Made if need be.
        who: Works in it, for the message.

    Raises:
        UserError: It is held by another call, or by a process that one left behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder}: another {who} works there; wait for it, or choose another folder"
            ) from None
        try:
            yield handle
        finally:
            # A forked worker has the lock as well, and may end a moment later.
            fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)


def _mapped(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return {k: _mapped(v, change) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_mapped(v, change) for v in tree)
    return tree


def _saved(content: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _loaded(content: bytes) -> dict[str, Any]:
    loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return dict(loaded)


def _read(folder: Path, part: Part) -> bytes:
    path = folder / part.name
    content = path.read_bytes() if path.exists() else None
    if content is None or hashlib.sha256(content).hexdigest() != part.sha256:
        job = part.name.split(".")[0]
        fault = "missing" if content is None else f"torn ({len(content)} bytes of {part.size})"
        raise UserError(
            f"{path}: this part is {fault}; copy the state of the last call again, all of it, or "
            f"remove {job}.* there to start the job anew"
        )
    return content


def _write(path: Path, content: bytes) -> None:
    with whole(path) as temporary:
        temporary.write_bytes(content)
