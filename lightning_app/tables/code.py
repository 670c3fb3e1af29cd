"""A numeric fingerprint of the code that a row is computed by: what it does, not how it is written.

Two training steps of the row's config on a fixed synthetic batch, and one sample, scored: a
refactoring keeps these numbers, a mended loss changes them. No data and no trained weights are
needed. Rounding differs from machine to machine, so numbers are compared and not hashed (`near`).
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from jsonargparse import ArgumentError
from lightning.pytorch.cli import LightningArgumentParser
from torch import Tensor

from data_modules.module import DataModule
from lightning_app.modules.base import MssimModule, groups
from lightning_app.modules.simulator import Simulator
from lightning_app.parsed import Parsed
from lightning_app.plain import plain
from lightning_app.tables.job import as_words
from mssim.batch import Batch
from mssim.errors import UserError
from mssim.metrics.frames import score_windows, unit_frames
from mssim.noise import generators
from mssim.senses import SenseSet

TOLERANCE = 5e-4
"""Relative; sums in another order, as another processor takes them, stay far below."""
Numbers = dict[str, float]
_DATA = ("data.size", "data.senses", "data.use_senses", "data.context", "data.predict")
_ELSEWHERE = (
    "model.seed",
    "model.init",
    "model.tower.checkpoint",
    "model.perception",
    "model.controls",
    "model.guided",
    "model.long",
)
"""What comes from files or names the noise, and says nothing of the code."""
_WINDOWS = 2
_SAID = ["slice a cucumber slowly, holding tightly", "pour"]


@dataclass(frozen=True)
class Code:
    """What the code makes of a config.

    Attributes:
        training: What two training steps logged.
        testing: What one sample after them is like; empty where the module draws none.
        pace: Seconds that a training step took for each window, on one thread of this machine.
    """

    training: Numbers
    testing: Numbers
    pace: float = field(default=0.0, compare=False)


@cache
def _parser(config: str) -> LightningArgumentParser:
    # Lightning 2.6 calls names that jsonargparse 5 will drop.
    warnings.filterwarnings("ignore", "(?is).*deprecat", module=r"lightning\.pytorch\.cli")
    return Parsed(["--config", config]).parser


def parts(words: list[str]) -> tuple[MssimModule, DataModule]:
    """The module and the data of `--config FILE` and flags, as `mssim fit` takes them.

    A frozen tower, which may not be trained yet, is a small one of the same code.

    Raises:
        UserError: The config or a flag is not what it should be.
    """
    parser = _parser(words[words.index("--config") + 1])
    try:
        parsed = parser.parse_args(words)
        tower = parsed.model.init_args.get("tower")
        if tower is not None and tower.kind != "small":
            tower.kind, tower.trained = "small", False
        made = parser.instantiate(parsed)
    except (ArgumentError, ValueError) as error:
        raise UserError(plain(str(error))) from None
    return made.model, made.data


def code_of(config: Path, flags: Mapping[str, Any]) -> Code:
    """The fingerprint of a config under flags by name; those that change no number are left out."""
    kept = {k: v for k, v in flags.items() if k in _DATA or k.startswith("model.")}
    kept = {k: v for k, v in kept.items() if not k.startswith(_ELSEWHERE)}
    return _cached(config.read_bytes(), "--config", str(config), *as_words(kept))


@cache
def _cached(content: bytes, *words: str) -> Code:
    return fingerprint(list(words))


def fingerprint(words: list[str]) -> Code:
    """The fingerprint of `--config FILE` and flags, on the CPU in full precision, on one thread."""
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(0)
        module, data = parts(words)
        batch = synthetic(data.senses, data.clock.size, data.context, data.predict)
        training, pace = _train(module, batch)
        return Code(training, _draw(module, batch), pace)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, and no fight for cores: work this small gains nothing from a second."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def synthetic(senses: SenseSet, size: int, context: int, predict: int) -> Batch:
    """Two windows that are always the same: pictures that move, senses that come and go."""
    generator = torch.Generator().manual_seed(0)
    b, t = _WINDOWS, context + predict
    pictures = torch.rand(b, 1, 3, size, size, generator=generator)
    shift = torch.linspace(0, 1, t).view(1, t, 1, 1, 1)
    frames = 127 + 100 * torch.sin(6 * (pictures + shift * pictures.roll(1, -1)))
    presence = torch.rand(b, t, len(senses), generator=generator) < 0.8
    values = {
        s.name: torch.randn(b, t, s.samples_per_frame, *s.shape, generator=generator)
        for s in senses
    }
    for m, (name, value) in enumerate(values.items()):
        values[name] = value * presence[:, :, m].view(b, t, *[1] * (value.ndim - 2))
    target = torch.ones(b, predict, dtype=torch.bool)
    target[-1, predict - predict // 4 :] = False
    index = torch.arange(b)
    return Batch(
        frames={"camera": frames.round().to(torch.uint8)},
        senses=values,
        presence=presence,
        context_mask=torch.ones(b, context, dtype=torch.bool),
        target_mask=target,
        text=_SAID,
        source=torch.zeros(b, dtype=torch.long),
        subject=index,
        interval=torch.tensor([0.1, 0.3]),
        window=index,
        unit=index,
    )


def _train(module: MssimModule, batch: Batch, steps: int = 2) -> tuple[Numbers, float]:
    """What training steps log, and their gradient; seconds of the last step a window."""
    found: Numbers = {}

    def note(stage: str, values: dict[str, Tensor], size: int) -> None:
        found.update({f"{name} {step}": float(v.detach()) for name, v in values.items()})

    # The module has no trainer here that could log.
    object.__setattr__(module, "log_all", note)
    optimizer = module.optimizer(groups(module))
    for group in optimizer.param_groups:
        # Adam moves by the sign of a gradient however small, and the sign of rounding is a toss.
        group |= {"eps": 1.0} if "eps" in group else {}
    module.train()
    begun = 0.0
    for step in range(1, steps + 1):
        begun = monotonic()
        torch.manual_seed(step)
        loss = module.training_step(batch, step)
        assert isinstance(loss, Tensor)
        optimizer.zero_grad()
        torch.autograd.backward([loss])
        norms = [p.grad.norm() for p in module.parameters() if p.grad is not None]
        found[f"gradient {step}"] = float(torch.stack(norms).norm())
        optimizer.step()
    return found, (monotonic() - begun) / batch.size


def _draw(module: MssimModule, batch: Batch) -> Numbers:
    if not isinstance(module, Simulator):
        return {}
    module.eval()
    sources = generators(0, 0, batch.window)
    drawn = module.simulator.sample(batch, module.sampler, sources)
    true = unit_frames(batch.video())
    h = batch.context
    scores = score_windows((drawn.clamp(-1, 1) + 1) / 2, true[:, h:], true[:, h - 1])
    found = {name: float(v[batch.target_mask].mean()) for name, v in scores.items()}
    return {"spread": float(drawn.std()), "step": float(drawn.diff(dim=1).abs().mean()), **found}


def near(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Are two sets of numbers the same but for rounding?"""
    if before.keys() != now.keys():
        return False
    return all(_near(before[k], now[k]) for k in now)


def _near(a: float, b: float) -> bool:
    return (a != a and b != b) or abs(a - b) <= TOLERANCE * max(abs(a), abs(b)) + 1e-6
