"""From configuration to networks: the one place where parts of `mssim` are put together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from mssim.action.encoder import ActionEncoder, EncoderConfig
from mssim.checkpoint import check_fit, load_checkpoint
from mssim.errors import UserError
from mssim.senses import SenseSet
from mssim.towers import FrozenTower, OpenClipTower, SmallTower, Tower
from mssim.video.diffusion import Diffusion, DiffusionConfig
from mssim.video.simulator import VideoSimulator
from mssim.video.unet import SpaceTimeUNet, UNetConfig


@dataclass(frozen=True)
class TowerConfig:
    """What looks at frames and reads text.

    Args:
        kind: `small` is a convolutional net; `frozen` is one that `mssim fit --config
            configs/tower.yaml` has trained; `open_clip` is frozen, too, and needs its weights.
        trained: Whether the video loss trains a small tower, or it keeps its random features.
        channels: Of the small tower's first layer.
        checkpoint: Of the tower's run, for `frozen`; it is needed wherever the model is.
        model: Architecture, for open_clip.
        pretrained: Weights tag or checkpoint file, for open_clip.
    """

    kind: Literal["small", "frozen", "open_clip"] = "small"
    trained: bool = True
    channels: int = 16
    checkpoint: Path = Path("runs/tower/checkpoints/best.ckpt")
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
    tower: Tower
    if config.kind == "frozen":
        name, tower = f"tower.checkpoint {config.checkpoint}", load_tower(config.checkpoint)
    else:
        name, tower = config.model, OpenClipTower(config.model, config.pretrained)
    if tower.width != encoder.feature:
        raise UserError(
            f"encoder.feature: {encoder.feature}, but {name} has {tower.width}; set them equal"
        )
    return tower


def load_tower(path: Path) -> FrozenTower:
    """The tower of an `ImageTextTower`'s checkpoint, as wide as it was trained.

    Raises:
        UserError: The file is not there, not readable, or of another model.
    """
    remedy = "train a tower with `mssim fit --config configs/tower.yaml` and give its checkpoint"
    if not path.exists():
        raise UserError(f"tower.checkpoint: {path} is not there; {remedy}")
    try:
        state = load_checkpoint(path)["state_dict"]
    except UserError as error:
        raise UserError(f"tower.checkpoint: {str(error).split(';')[0]}; {remedy}") from None
    if "contrast.log_scale" not in state:
        raise UserError(f"tower.checkpoint: {path} is of another model; {remedy}")
    saved = {k.removeprefix("tower."): v for k, v in state.items() if k.startswith("tower.")}
    width, channels = len(saved["head.weight"]), len(saved["convs.0.weight"])
    net = SmallTower(width, channels, text=True)
    check_fit(path, saved, net.state_dict())
    net.load_state_dict(saved)
    return FrozenTower(net)


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
