"""From configuration to networks: the one place where parts of `mssim` are put together."""

from dataclasses import dataclass
from typing import Literal

import torch

from mssim.action.encoder import ActionEncoder, EncoderConfig
from mssim.errors import UserError
from mssim.senses import SenseSet
from mssim.towers import OpenClipTower, SmallTower, Tower
from mssim.video.diffusion import Diffusion, DiffusionConfig
from mssim.video.simulator import VideoSimulator
from mssim.video.unet import SpaceTimeUNet, UNetConfig


@dataclass(frozen=True)
class TowerConfig:
    """What looks at frames and reads text.

    Args:
        kind: `small` is a convolutional net; `open_clip` is frozen and needs its weights.
        trained: Whether the video loss trains a small tower, or it keeps its random features.
        channels: Of the small tower's first layer.
        model: Architecture, for open_clip.
        pretrained: Weights tag or checkpoint file, for open_clip.
    """

    kind: Literal["small", "open_clip"] = "small"
    trained: bool = True
    channels: int = 16
    model: str = "ViT-H-14"
    pretrained: str = "laion2b_s32b_b79k"


def build_tower(config: TowerConfig, encoder: EncoderConfig) -> Tower:
    """The tower, of the encoder's feature width.

    Raises:
        UserError: The pretrained model has another width.
    """
    if config.kind == "small":
        small = SmallTower(encoder.feature, config.channels, text=encoder.reads_text)
        small.requires_grad_(config.trained)
        if small.words is not None and encoder.binding == "languagebind":
            small.words.requires_grad_(False)  # what binds does not move
        return small
    tower = OpenClipTower(config.model, config.pretrained)
    if tower.width != encoder.feature:
        raise UserError(
            f"encoder.feature: {encoder.feature}, but {config.model} has {tower.width}; "
            "set them equal"
        )
    return tower


def build_simulator(
    senses: SenseSet,
    sources: int,
    context: int,
    predict: int,
    encoder: EncoderConfig,
    tower: TowerConfig,
    unet: UNetConfig,
    diffusion: DiffusionConfig,
    drop_condition: float,
) -> VideoSimulator:
    """A simulator with fresh weights."""
    simulator = VideoSimulator(
        ActionEncoder(senses, sources, encoder),
        build_tower(tower, encoder),
        SpaceTimeUNet(unet, context, predict),
        Diffusion(diffusion),
        drop_condition=drop_condition,
    )
    # Channels last is what fast convolutions want, on CPUs and GPUs alike.
    simulator.net.to(memory_format=torch.channels_last)
    return simulator
