"""`python -m lightning_app.summary --config configs/full.yaml`: a config's model in numbers.

Parameters and FLOPs by module, beside the paper's Tables 5 and 6. No weights are made for the
network and nothing is read but the config; a frozen tower is no part of the model.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jsonargparse import ArgumentError
from torch import Tensor

from data_modules.files import write_text
from lightning_app.parsed import Parsed
from lightning_app.plain import plain
from mssim.action.encoder import ActionEncoder, EncoderConfig, Encoding
from mssim.batch import Batch
from mssim.build import TowerConfig, build_tower
from mssim.errors import UserError
from mssim.senses import Sense, SenseSet
from mssim.sizes import cost, grouped, parameters
from mssim.video.diffusion import Diffusion, DiffusionConfig
from mssim.video.simulator import VideoSimulator
from mssim.video.unet import SpaceTimeUNet, UNetConfig

# Row, the paper's count, what the row really counts (by the released code), our modules.
TABLE_5 = (
    (
        "signal expert encoder",
        43_780_932,
        "cannot be reproduced: the released code has 47,322,948",
        ("encoder.experts.encoders",),
    ),
    (
        "signal projection",
        11_537_408,
        "three hyperplane layers of width 1024, 8 x 1024^2 + 3 (1024^2 + 1024), "
        "not the projections",
        (
            "encoder.experts.heads",
            "encoder.words",
            "encoder.anchor",
            "encoder.fusion",
            "encoder.binding",
        ),
    ),
    (
        "signal decoder",
        28_398_382,
        "five MLPs and two tactile decoders, batchnorm buffers included",
        ("encoder.experts.decoders",),
    ),
    (
        "video model",
        252_380_168,
        "the network of 126 million counted twice, as it lies in the state dict twice, "
        "and 13,000 buffer values",
        ("condition", "net"),
    ),
    ("total model", 336_096_890, "the released model truly has 218,120,461 parameters", ("",)),
)
TABLE_6 = 120_690_484
RELEASED = 1_823  # GFLOP, measured on it


@dataclass(frozen=True)
class Plan:
    """What of a config the model's sizes depend on.

    Attributes:
        senses: That are used.
        sources: How many.
        context: H.
        predict: P.
        size: Pixels a side.
        encoder: Of actions.
        tower: Of frames.
        unet: The network.
        diffusion: What the network's output means; no size depends on it.
    """

    senses: SenseSet
    sources: int
    context: int
    predict: int
    size: int
    encoder: EncoderConfig
    tower: TowerConfig
    unet: UNetConfig
    diffusion: DiffusionConfig


def read_plan(words: list[str]) -> Plan:
    """The plan of `--config FILE` and overrides, as `mssim fit` takes them.

    Raises:
        UserError: The config is not a simulator's.
    """
    config: Any = Parsed(words).config
    if not config.model.class_path.endswith("Simulator"):
        raise UserError(
            f"model: {config.model.class_path} has no summary; give a Simulator's config"
        )
    model, data = config.model.init_args, config.data
    senses = SenseSet([Sense(**vars(s)) for s in data.senses.senses])
    return Plan(
        senses.used(data.use_senses),
        len(data.sources),
        data.context,
        data.predict,
        data.size,
        EncoderConfig(**vars(model.encoder)),
        TowerConfig(**vars(model.tower)),
        UNetConfig(**vars(model.unet)),
        DiffusionConfig(**vars(model.diffusion)),
    )


def make(plan: Plan) -> VideoSimulator:
    """The model, its encoder on the CPU and the rest on torch's meta device, without memory."""
    encoder = ActionEncoder(plan.senses, plan.sources, plan.encoder)
    with torch.device("meta"):
        tower = build_tower(plan.tower, plan.encoder) if plan.tower.kind == "small" else None
        net = SpaceTimeUNet(plan.unet, plan.context, plan.predict)
        return VideoSimulator(encoder, tower, net, Diffusion(plan.diffusion))  # type: ignore[arg-type]


def window(plan: Plan) -> Batch:
    """One window in which every sense is there."""
    t = plan.context + plan.predict
    one = torch.zeros(1, dtype=torch.long)
    return Batch(
        frames={},
        senses={s.name: torch.randn(1, t, s.samples_per_frame, *s.shape) for s in plan.senses},
        presence=torch.ones(1, t, len(plan.senses), dtype=torch.bool),
        context_mask=torch.ones(1, plan.context, dtype=torch.bool),
        target_mask=torch.ones(1, plan.predict, dtype=torch.bool),
        text=["words"],
        source=one,
        subject=one,
        interval=torch.ones(1),
        window=one,
        unit=one,
    )


def passes(plan: Plan, simulator: VideoSimulator) -> tuple[dict[str, int], int]:
    """FLOPs of one training window: forward by module, and forward and backward in all."""
    batch, d, px = window(plan), plan.encoder.feature, plan.size
    h, p = plan.context, plan.predict
    seen = torch.randn(1, h + p, d).div(d**0.5)
    text = torch.randn(1, d) if plan.encoder.reads_text else None
    meta = batch.to("meta")

    def look() -> Tensor:
        frames = torch.zeros(1, h + p, 3, px, px, device="meta")
        past = simulator.tower.images(frames[:, :h])
        with torch.no_grad():  # as in training
            simulator.tower.images(frames[:, h:])
        return past

    def encode() -> Tensor:
        out: Encoding = simulator.encoder(batch, seen, text)
        return out.features.sum() + out.ssl + out.norm

    def draw() -> Tensor:
        features = torch.zeros(1, h + p, d, device="meta", requires_grad=True)
        past = seen[:, :h].to("meta").requires_grad_(simulator.tower is not None)
        modulation, tokens = simulator.condition(features, past, meta.context_mask)
        frames = torch.zeros(1, h + p, 3, px, px, device="meta")
        level = torch.zeros(1, p, device="meta")
        out, guess = simulator.net(
            frames[:, h:], level, frames[:, :h], meta.context_mask, meta.target_mask,
            meta.interval, modulation, tokens,
        )  # fmt: skip
        drawn: Tensor = out.sum()
        return drawn if guess is None else drawn + guess.sum()

    runs = [encode, draw] if simulator.tower is None else [look, encode, draw]
    costs = [cost(simulator, run) for run in runs]
    forward = {name: flops for c in costs for name, flops in c.forward.items()}
    return forward, sum(c.both for c in costs)


def room(name: str) -> str:
    """Which line of the summary a module or parameter belongs to."""
    parts = name.split(".")
    if parts[:2] == ["encoder", "experts"]:
        return ".".join(parts[:3])
    return ".".join(parts[: 2 if parts[0] in ("encoder", "net") else 1])


def summary(plan: Plan) -> tuple[str, list[dict[str, object]]]:
    """The model in numbers: as Markdown, and the lines of the paper's Table 5."""
    simulator = make(plan)
    held = grouped(parameters(simulator), room)
    rows = _beside(held)
    forward, both = passes(plan, simulator)
    spent = grouped(forward, room)
    total, flops = sum(held.values()), sum(spent.values())
    lines = [
        f"{plan.size} px, {plan.context} context frames, {plan.predict} predicted, "
        f"{len(plan.senses)} senses; GFLOP of one window, forward.",
        "",
        "| module | parameters | share | GFLOP | share |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in [*held, *(n for n in spent if n not in held)]:
        if held.get(name, 0) or spent.get(name, 0):
            lines.append(_line(name, held.get(name, 0), total, spent.get(name, 0), flops))
    lines += [_line("all", total, total, flops, flops), ""]
    lines += [
        f"A training sample, forward and backward: {both / 1e9:,.3f} GFLOP. "
        f"The released code's, at 64 px: {RELEASED:,} (forward 608).",
        "",
    ]
    if simulator.tower is None:
        lines += [f"The tower ({plan.tower.kind}) is frozen and no part of the model.", ""]
    return "\n".join([*lines, *_markdown(rows)]), rows


def _line(name: str, held: int, total: int, spent: int, flops: int) -> str:
    return (
        f"| {name} | {held:,} | {held / max(total, 1):.1%} "
        f"| {spent / 1e9:,.3f} | {spent / max(flops, 1):.1%} |"
    )


def _beside(held: dict[str, int]) -> list[dict[str, object]]:
    """Our counts beside the paper's."""
    rows: list[dict[str, object]] = []
    for row, paper, what, rooms in TABLE_5:
        ours = sum(n for name, n in held.items() if f"{name}.".startswith(tuple(rooms)))
        present = [r for r in rooms if any(f"{n}.".startswith(r) for n in held)] if rooms[0] else []
        modules = ", ".join(present) or "all"
        rows.append({"row": row, "ours": ours, "modules": modules, "paper": paper, "what": what})
    return rows


def _markdown(rows: list[dict[str, object]]) -> list[str]:
    lines = [
        "The paper's Table 5, and what its rows really count by its released code:",
        "",
        "| row | ours | our modules | paper | what the paper's is |",
        "|---|---:|---|---:|---|",
    ]
    return [
        *lines,
        *("| {row} | {ours:,} | {modules} | {paper:,} | {what} |".format(**row) for row in rows),
        "",
        f"The paper's Table 6: a policy network of {TABLE_6:,} parameters, which cannot be "
        "reproduced from its description. There is none here yet.",
        "",
    ]


def main(args: Sequence[str] | None = None) -> None:
    """Parse, count, print.

    Raises:
        SystemExit: With 2 on bad input, after one line on standard error.
    """
    parser = argparse.ArgumentParser(prog="summary", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", required=True, help="a Simulator's; overrides may follow")
    parser.add_argument(
        "--out", type=Path, help="Markdown file to write as well, and a csv beside it"
    )
    given, overrides = parser.parse_known_args(args)
    try:
        text, rows = summary(read_plan(["--config", given.config, *overrides]))
        if given.out is not None:
            write_text(given.out, f"`{given.config}`: {text}")
            write_text(given.out.with_suffix(".csv"), pd.DataFrame(rows).to_csv(index=False))
    except (UserError, OSError, ArgumentError) as error:
        print(f"summary: {' '.join(plain(str(error)).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    print(text)


if __name__ == "__main__":
    main()
