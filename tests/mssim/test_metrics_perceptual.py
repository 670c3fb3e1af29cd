"""LPIPS and FVD: the distances against closed forms, the weights real or missing by name."""

from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
import torchvision
from scipy import linalg
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from mssim.errors import UserError
from mssim.metrics.collect import Rows
from mssim.metrics.perceptual import (
    I3D,
    ClipFeatures,
    Lpips,
    Missing,
    VideoDistance,
    clip_features,
    frechet_distance,
    kernel_distance,
    load_i3d,
    load_lpips,
    video_distance,
)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("an evaluation must not download")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))


def gaussians(n: int, m: int, d: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    mix = torch.randn(d, d, dtype=torch.float64)
    return torch.randn(n, d).double() @ mix, torch.randn(m, d).double() @ mix.T * 0.7 + 0.3


@pytest.mark.parametrize(("n", "d"), [(200, 12), (9, 30)], ids=["full rank", "fewer clips"])
def test_frechet_distance_matches_scipy_and_torchmetrics(n: int, d: int) -> None:
    x, y = gaussians(n, n + 5, d)
    a, b = np.cov(x.numpy(), rowvar=False), np.cov(y.numpy(), rowvar=False)
    offset = 1e-9 * np.eye(d)  # sqrtm needs a product of full rank
    root = np.real(linalg.sqrtm((a + offset) @ (b + offset)))
    want = ((x.mean(0) - y.mean(0)) ** 2).sum().item() + np.trace(a + b - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(want, rel=1e-4)

    class Given(nn.Module):
        num_features = d

        def forward(self, features: Tensor) -> Tensor:
            return features

    fid = FrechetInceptionDistance(feature=Given())
    fid.update(x, real=True)
    fid.update(y, real=False)
    assert frechet_distance(x, y) == pytest.approx(fid.compute().item(), rel=1e-4)


def test_frechet_distance_in_closed_form() -> None:
    x = torch.tensor([[-1.0], [1.0]])
    y = torch.tensor([[0.0], [6.0]])
    deviations = np.sqrt([2.0, 18.0])  # of two points, with N - 1
    assert frechet_distance(x, y) == pytest.approx(9 + (deviations[0] - deviations[1]) ** 2)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-12)


def test_kernel_distance_matches_numpy_and_is_unbiased() -> None:
    x, y = gaussians(20, 20, 5)
    a, b = x.numpy(), y.numpy()

    def kernel(u: np.ndarray, v: np.ndarray) -> float:
        return float((u @ v / 5 + 1) ** 3)

    pairs = [(i, j) for i in range(20) for j in range(20)]
    want = (
        np.mean([kernel(a[i], a[j]) for i, j in pairs if i != j])
        + np.mean([kernel(b[i], b[j]) for i, j in pairs if i != j])
        - 2 * np.mean([kernel(a[i], b[j]) for i, j in pairs])
    )
    assert kernel_distance(x, y) == pytest.approx(want)
    torch.manual_seed(1)
    draws = [kernel_distance(torch.randn(16, 8), torch.randn(16, 8)) for _ in range(400)]
    assert abs(np.mean(draws)) < 3 * np.std(draws) / 20
    assert (
        np.mean([frechet_distance(torch.randn(16, 8), torch.randn(16, 8)) for _ in range(50)]) > 1
    )


class Fake(nn.Module):
    """Clip (B, T, 3, S, S) to its mean colour and its motion."""

    def forward(self, clips: Tensor) -> Tensor:
        return torch.cat([clips.mean(dim=(1, 3, 4)), clips.diff(dim=1).mean(dim=(1, 3, 4))], dim=1)


def test_clips_are_context_and_prediction_through_an_injected_network() -> None:
    torch.manual_seed(0)
    context, true = torch.rand(24, 4, 3, 8, 8), torch.rand(24, 8, 3, 8, 8)
    metric = ClipFeatures()
    for part in (slice(0, 16), slice(12, 24)):  # windows 12 to 15 come twice
        index = torch.arange(24)[part]
        features = clip_features(Fake(), context[part], true[part] ** 2, true[part])
        metric.update(index, index // 4, features)
    rows: Rows = metric.compute()
    whole = Fake()(torch.cat([context, true], dim=1))
    torch.testing.assert_close(rows.values["true"], whole)
    distance = video_distance(rows, 12)
    assert isinstance(distance, VideoDistance)
    assert distance.n_clips == 24
    squared = Fake()(torch.cat([context, true**2], dim=1))
    assert distance.frechet.value == pytest.approx(frechet_distance(squared, whole))
    assert distance.kernel.value == pytest.approx(kernel_distance(squared, whole))
    assert distance.frechet.low < distance.frechet.value < distance.frechet.high
    assert distance == video_distance(rows, 12)
    assert not metric.state_dict()


def test_few_clips_are_told() -> None:
    one = Rows(
        torch.tensor([0]), torch.tensor([0]), dict.fromkeys(["true", "predicted"], torch.rand(1, 3))
    )
    assert isinstance(video_distance(one, 12), Missing)
    unit = Rows(
        torch.arange(4), torch.zeros(4), dict.fromkeys(["true", "predicted"], torch.rand(4, 3))
    )
    distance = video_distance(unit, 12)
    assert isinstance(distance, VideoDistance) and np.isnan(distance.frechet.low)


def test_missing_weights_are_named_with_their_remedy(tmp_path: Path) -> None:
    for backbone, file in (("alex", "alexnet-owt-7be5be79.pth"), ("vgg", "vgg16-397923af.pth")):
        missing = load_lpips(backbone, 64)  # type: ignore[arg-type]
        assert isinstance(missing, Missing)
        assert file in str(missing) and str(tmp_path / "hub" / "checkpoints") in str(missing)
    missing = load_i3d(12)
    assert isinstance(missing, Missing) and "i3d_torchscript.pt" in str(missing)
    short = load_i3d(8)
    assert isinstance(short, Missing) and "at least 9 frames, these have 8" in str(short)
    small = load_lpips("alex", 16)
    assert isinstance(small, Missing) and "at least 32 px, these have 16" in str(small)


def alexnet(path: Path) -> nn.Module:
    """Write AlexNet's convolutions under torchvision's names; the classifier is not used."""
    torch.manual_seed(0)
    model = torchvision.models.alexnet(weights=None)
    torch.save({k: v for k, v in model.state_dict().items() if k.startswith("features")}, path)
    return model.eval()


def test_lpips_from_a_backbone_file(tmp_path: Path) -> None:
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    model = alexnet(cache / "alexnet-owt-7be5be79.pth")
    network = load_lpips("alex", 32)
    assert isinstance(network, Lpips) and not network.train().network.training
    predicted, true = torch.rand(2, 3, 3, 32, 32), torch.rand(2, 3, 3, 32, 32)
    scores = network(predicted, true)
    assert scores.shape == (2, 3) and (scores > 0).all()
    torch.testing.assert_close(network(true, true), torch.zeros(2, 3))

    # By hand: shift and scale, ReLU outputs, unit length, difference, linear heads, mean.
    file = Path(lpips.__file__).parent / "weights/v0.1/alex.pth"
    heads = torch.load(file, weights_only=True, map_location="cpu")
    shift = torch.tensor([-0.030, -0.088, -0.188]).reshape(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).reshape(3, 1, 1)
    a, b = (((v[1, 2] * 2 - 1) - shift) / scale for v in (predicted, true))
    total, head = torch.zeros(()), 0
    with torch.no_grad():
        for layer in list(model.features)[:12]:
            a, b = layer(a.clone()), layer(b.clone())
            if isinstance(layer, nn.ReLU):
                unit = [v / (v.norm(dim=0, keepdim=True) + 1e-10) for v in (a, b)]
                weight = heads[f"lin{head}.model.1.weight"].reshape(-1, 1, 1)
                total, head = total + ((unit[0] - unit[1]) ** 2 * weight).sum(0).mean(), head + 1
    assert scores[1, 2].item() == pytest.approx(total.item(), rel=1e-4)


def test_wrong_weight_files_are_the_users_to_mend(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"not weights")
    other = tmp_path / "other.pt"
    torch.save({"features.0.weight": torch.zeros(1)}, other)
    for path in (broken, other):
        with pytest.raises(UserError, match="not alexnet weights") as told:
            load_lpips("alex", 64, path)
        assert "\n" not in str(told.value)
    with pytest.raises(UserError, match="not TorchScript") as told:
        load_i3d(12, broken)
    assert "\n" not in str(told.value)
    with pytest.raises(UserError, match="is not there"):
        load_i3d(12, tmp_path / "absent.pt")


class Script(nn.Module):
    """Takes what StyleGAN-V's I3D takes: (B, 3, T, 224, 224) in [-1, 1]."""

    def forward(self, x: Tensor, rescale: bool, resize: bool, return_features: bool) -> Tensor:
        assert x.shape[1] == 3 and x.shape[3] == 224 and x.shape[4] == 224
        assert return_features and not rescale and not resize
        return x.mean(dim=[3, 4]).flatten(1)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")
def test_i3d_is_given_frames_of_its_size_range_and_order(tmp_path: Path) -> None:
    path = tmp_path / "i3d.pt"
    torch.jit.script(Script()).save(path)
    network = load_i3d(12, path)
    assert isinstance(network, I3D)
    assert network.num_features == 400
    clips = torch.rand(2, 12, 3, 16, 16)
    want = (clips * 2 - 1).mean(dim=(3, 4)).transpose(1, 2).flatten(1)
    torch.testing.assert_close(network(clips), want, atol=1e-3, rtol=0)
