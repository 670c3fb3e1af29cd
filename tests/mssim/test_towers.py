"""Towers: unit features, words, and a frozen open_clip model that no checkpoint carries."""

import json
from pathlib import Path

import pytest
import torch
from helpers.worlds import ENCODER, HANDS, UNET, make_batch, noise_sources
from torch import Tensor

from mssim.action.encoder import ActionEncoder
from mssim.errors import UserError
from mssim.towers import OpenClipTower, SmallTower
from mssim.video.diffusion import Diffusion, DiffusionConfig, SamplerConfig
from mssim.video.simulator import LossWeights, VideoSimulator
from mssim.video.unet import SpaceTimeUNet


def small(text: bool = True, seed: int = 0) -> SmallTower:
    torch.manual_seed(seed)
    return SmallTower(16, channels=8, text=text)


@pytest.mark.parametrize("px", [8, 32])
def test_images_become_unit_features_one_by_one(px: int) -> None:
    tower, video = small(), make_batch(size=2, px=px).video()
    features = tower.images(video)
    assert features.shape == (2, 12, 16)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(2, 12))
    torch.testing.assert_close(tower.images(video[:, 3:4]), features[:, 3:4])
    assert (features[0, 0] - features[0, 1]).abs().max() > 1e-3


def test_words_become_unit_features_whatever_their_case_or_company() -> None:
    tower = small()
    features = tower.texts(["Slice a potato", "", "pour water", "slice a potato"])
    assert features.shape == (4, 16)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(4))
    torch.testing.assert_close(features[0], features[3])
    torch.testing.assert_close(tower.texts(["pour water"])[0], features[2])
    assert (features[0] - features[2]).abs().max() > 1e-2
    # crc32, unlike `hash`, is the same in every process: these two words are these two rows.
    rows = tower.words.weight[[1598, 1242]]  # type: ignore[union-attr]
    expected = torch.nn.functional.normalize(rows.mean(0), dim=0)
    torch.testing.assert_close(features[2], expected)


def test_a_tower_without_words_says_so() -> None:
    with pytest.raises(UserError, match="tower: made without text"):
        small(text=False).texts(["slice"])


@pytest.fixture(scope="module")
def open_clip_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a tiny architecture, known to open_clip from here on."""
    import open_clip

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "head_width": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2},
    }
    config["vision_cfg"] |= {"patch_size": 8}  # type: ignore[operator]
    config["text_cfg"] |= {"layers": 1}  # type: ignore[operator]
    path: Path = tmp_path_factory.mktemp("clip") / "mssim-tiny.json"
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)
    return "mssim-tiny"


@pytest.fixture(scope="module")
def clip(open_clip_model: str) -> OpenClipTower:
    torch.manual_seed(0)
    return OpenClipTower(open_clip_model, pretrained="")


def test_open_clip_gives_unit_features(clip: OpenClipTower) -> None:
    assert clip.width == 16
    images = clip.images(make_batch(size=2, px=8).video())
    texts = clip.texts(["slice a potato", "pour water"])
    assert images.shape == (2, 12, 16) and texts.shape == (2, 16)
    torch.testing.assert_close(images.norm(dim=-1), torch.ones(2, 12))
    torch.testing.assert_close(texts.norm(dim=-1), torch.ones(2))
    assert (images[0, 0] - images[0, 1]).abs().max() > 1e-3
    assert (texts[0] - texts[1]).abs().max() > 1e-3


def test_open_clip_sees_pixels_as_it_was_trained(clip: OpenClipTower) -> None:
    """At its own size, as its own preprocessing would show the same picture."""
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    video = make_batch(size=1, px=16).video()

    def show(v: Tensor) -> Tensor:
        mean, std = (torch.tensor(c) for c in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
        return (v * 0.5 + 0.5 - mean.view(3, 1, 1)) / std.view(3, 1, 1)

    with torch.no_grad():
        expected = clip._net.encode_image(show(video[0]), normalize=True)
    torch.testing.assert_close(clip.images(video)[0], expected, atol=1e-5, rtol=1e-4)


def test_open_clip_is_frozen_and_in_no_checkpoint(clip: OpenClipTower) -> None:
    torch.manual_seed(0)
    config = ENCODER.__class__(code=8, projection=[16], feature=16, dropout=0.0, text="expert")
    simulator = VideoSimulator(
        ActionEncoder(HANDS, 1, config),
        clip,
        SpaceTimeUNet(UNET, 4, 8),
        Diffusion(DiffusionConfig()),
    )
    assert not [n for n in simulator.state_dict() if "tower" in n]
    assert not [n for n, _ in simulator.named_parameters() if "tower" in n]
    simulator.train()
    assert not clip._net.training
    batch = make_batch(size=2, text=["slice a potato", "pour water"])
    simulator.loss(batch, LossWeights(), seed=0, step=0).total.backward()
    assert all(p.grad is None and not p.requires_grad for p in clip._net.parameters())
    out = simulator.sample(batch, SamplerConfig(steps=1), noise_sources(batch))
    assert out.shape == (2, 8, 3, 8, 8) and out.isfinite().all()


def test_weights_that_are_not_there_are_named(open_clip_model: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "none.pt")
    with pytest.raises(UserError, match=r"tower: open_clip .*none.pt.* path of a checkpoint") as e:
        OpenClipTower(open_clip_model, missing)
    assert "\n" not in str(e.value)
    with pytest.raises(UserError, match="tower: open_clip no-such-model"):
        OpenClipTower("no-such-model", "")
