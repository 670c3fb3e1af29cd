"""The losses of the baselines of Table 2, against plain loops in double precision."""

from math import exp, log
from typing import Any

import numpy as np
import pytest
import torch
from helpers.worlds import BODY
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mssim.action.baselines.base import Felt, masked_average
from mssim.action.baselines.contrast import TEMPERATURE, info_nce
from mssim.action.baselines.imagebind import ImageBind
from mssim.action.baselines.languagebind import LanguageBind
from mssim.action.baselines.mutex import Block, Mutex, masked_loss, match_loss
from mssim.action.baselines.neural_field import (
    NEIGHBOURS,
    NeuralField,
    axes,
    distances,
    fourier,
    grid,
    local_combination,
)
from mssim.action.fusion import mean_of
from mssim.senses import Sense

B, H, T, M, D = 3, 2, 5, 3, 6
Array = NDArray[np.float64]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_felt(seed: int = 0, captions: list[str] | None = None) -> Felt:
    g = torch.Generator().manual_seed(seed)
    real = torch.ones(B, T, dtype=torch.bool)
    real[1, 4] = False
    return Felt(
        features=numbers(B, T, M, D, seed=seed),
        actions={s.name: numbers(B, T, s.width, seed=seed + 1) for s in BODY},
        presence=torch.rand(B, T, M, generator=g) < 0.7,
        seen=F.normalize(numbers(B, T, D, seed=seed + 2), dim=-1),
        real=real,
        context=H,
        text=F.normalize(numbers(B, D, seed=seed + 3), dim=-1),
        captions=["slice", "slice", "pour"] if captions is None else captions,
    )


def double(value: Tensor) -> Array:
    return value.detach().double().numpy()


def nce(pairs: list[tuple[Array, Array, Any]]) -> float:
    """Both directions of InfoNCE over pairs (query, key, what it shows), term by term."""
    total = 0.0
    for q, k, thing in pairs:
        own = exp(float(q @ k) / TEMPERATURE)
        others = [(a, b) for a, b, shown in pairs if shown != thing]
        forth = own + sum(exp(float(q @ b) / TEMPERATURE) for _, b in others)
        back = own + sum(exp(float(a @ k) / TEMPERATURE) for a, _ in others)
        total += (-log(own / forth) - log(own / back)) / 2
    return total / len(pairs)


def unit(value: Array) -> Array:
    length = float(np.sqrt((value**2).sum()))
    return value / length


# Contrast


def test_info_nce_against_a_loop() -> None:
    q, k = F.normalize(numbers(7, D), dim=-1), F.normalize(numbers(7, D, seed=1), dim=-1)
    things = torch.tensor([0, 1, 2, 3, 4, 1, 1])
    same = things.unsqueeze(0) == things.unsqueeze(1)
    pairs = list(zip(double(q), double(k), things.tolist(), strict=True))
    assert info_nce(q, k, same, TEMPERATURE).item() == pytest.approx(nce(pairs), rel=1e-5)


def test_info_nce_of_pairs_that_are_all_alike_or_not_there() -> None:
    q = F.normalize(numbers(4, D), dim=-1).requires_grad_()
    assert info_nce(q, q, torch.ones(4, 4, dtype=torch.bool), TEMPERATURE).item() == 0
    none = info_nce(q[:0], q[:0], torch.ones(0, 0, dtype=torch.bool), TEMPERATURE)
    none.backward()
    assert none.item() == 0 and q.grad is not None


def test_imagebind_against_a_loop() -> None:
    felt = make_felt()
    expected = 0.0
    for m in range(M):
        pairs = [
            (unit(double(felt.features[b, t, m])), double(felt.seen[b, t]), (b, t))
            for b in range(B)
            for t in range(T)
            if felt.presence[b, t, m] and felt.real[b, t]
        ]
        expected += nce(pairs) / M
    out = ImageBind()(felt)
    assert out.loss.item() == pytest.approx(expected, rel=1e-5)
    for b in range(B):
        for t in range(T):
            here = [
                unit(double(felt.features[b, t, m])) for m in range(M) if felt.presence[b, t, m]
            ]
            mean = sum(here) / len(here) if here else np.zeros(D)
            np.testing.assert_allclose(double(out.features[b, t]), mean, rtol=1e-5, atol=1e-6)


def test_languagebind_against_a_loop() -> None:
    """Windows 0 and 1 say the same: their steps are no negatives, window 2's are."""
    felt = make_felt()
    expected = 0.0
    assert felt.text is not None
    for m in range(M):
        pairs = [
            (unit(double(felt.features[b, t, m])), double(felt.text[b]), felt.captions[b])
            for b in range(B)
            for t in range(T)
            if felt.presence[b, t, m]
        ]
        expected += nce(pairs) / M
    assert LanguageBind()(felt).loss.item() == pytest.approx(expected, rel=1e-5)


def test_languagebind_leaves_out_windows_of_which_nothing_was_said() -> None:
    bind = LanguageBind()
    # One caption and silence: there is nothing to tell the caption from.
    assert bind(make_felt(captions=["slice", "", ""])).loss.item() == 0
    assert bind(make_felt(captions=["", "", ""])).loss.item() == 0
    assert bind(make_felt(captions=["slice", "", "pour"])).loss.item() > 0


# Mutex


def test_masked_loss_against_a_loop() -> None:
    felt = make_felt()
    guesses = {n: v + numbers(*v.shape, seed=9) for n, v in felt.actions.items()}
    hidden = ~felt.presence
    errors = [
        np.abs(double(guesses[n][b, t]) - double(felt.actions[n][b, t])).mean()
        for m, n in enumerate(felt.actions)
        for b in range(B)
        for t in range(T)
        if hidden[b, t, m]
    ]
    got = masked_loss(guesses, felt.actions, hidden).item()
    assert got == pytest.approx(float(np.mean(errors)), rel=1e-5)


def test_match_loss_against_a_loop() -> None:
    """Only steps to predict count, only real frames, only senses that are kept."""
    felt, tokens = make_felt(), numbers(B, T, M, D, seed=4)
    away = [
        ((double(tokens[b, t, m]) - double(felt.seen[b, t])) ** 2).sum()
        for b in range(B)
        for t in range(H, T)
        for m in range(M)
        if felt.presence[b, t, m] and felt.real[b, t]
    ]
    got = match_loss(tokens, felt, felt.presence).item()
    assert got == pytest.approx(float(np.mean(away)), rel=1e-5)


def test_mutex_adds_up_its_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    felt, mutex = make_felt(), Mutex(BODY, 8, D)
    kept = felt.presence.clone()
    kept[:, :, 0] &= ~kept[:, :, 1]
    monkeypatch.setattr(mutex, "keep", lambda presence: kept)
    tokens = felt.features.clone()
    for m, name in enumerate(felt.actions):
        tokens[:, :, m][~kept[:, :, m]] = mutex.hidden[name].detach()
    for block in mutex.blocks:
        tokens = block(tokens, kept)
    guesses = {n: mutex.guess[n](tokens[:, :, m]) for m, n in enumerate(felt.actions)}
    hidden = felt.presence & ~kept
    assert hidden.any()
    expected = masked_loss(guesses, felt.actions, hidden) + match_loss(tokens, felt, kept)
    out = mutex(felt)
    torch.testing.assert_close(out.loss, expected)
    torch.testing.assert_close(out.features, mean_of(tokens, kept))


def test_a_block_looks_at_what_is_kept_alone() -> None:
    """A step's tokens come out as if the others were not in the batch at all."""
    torch.manual_seed(0)
    block, tokens = Block(D), numbers(1, 1, M, D)
    kept = torch.tensor([[[True, False, True]]])
    torch.testing.assert_close(
        block(tokens, kept)[:, :, [0, 2]],
        block(tokens[:, :, [0, 2]], torch.ones(1, 1, 2, dtype=torch.bool)),
    )
    assert block(tokens, torch.zeros_like(kept)).isfinite().all()


# Neural field


def make_field(code: int = 8) -> NeuralField:
    torch.manual_seed(0)
    return NeuralField(BODY, code, D).eval()


def gelu(x: Array) -> Array:
    from scipy.special import erf

    out: Array = x * 0.5 * (1 + erf(x / np.sqrt(2)))
    return out


def test_places_of_numbers() -> None:
    assert axes(BODY["emg"]) == [3, 2]
    places = grid([3, 2], rank=3)
    expected = [[a, b, 0.0] for a in (-1.0, 0.0, 1.0) for b in (-1.0, 1.0)]
    assert places.tolist() == expected
    assert grid([1, 2], rank=2).tolist() == [[0.0, -1.0], [0.0, 1.0]]
    waves = double(fourier(places, octaves=2))
    for i, place in enumerate(expected):
        row = [*place]
        for wave in (np.sin, np.cos):
            row += [wave(np.pi / 2 * 2**octave * x) for x in place for octave in range(2)]
        np.testing.assert_allclose(waves[i], row, atol=1e-6)


def test_every_number_of_a_sense_has_a_place_of_its_own() -> None:
    field = make_field()
    for sense in BODY:
        places = field.get_buffer(f"at_{sense.name}")
        assert len(places) == sense.width == len(places.unique(dim=0))
    assert not any(n.startswith("at_") for n in field.state_dict())


def test_the_field_by_hand() -> None:
    field, z = make_field(), numbers(2, D)
    weights = {n: double(p) for n, p in field.state_dict().items()}
    places = double(field.get_buffer("at_pose"))
    got = double(field.decode(z, "pose", torch.tensor([0, 7])))
    for i in range(2):
        turns = weights["modulate.weight"] @ double(z[i]) + weights["modulate.bias"]
        scales = turns.reshape(2, 2, 8)
        for j, c in enumerate((0, 7)):
            h = weights["enter.weight"] @ places[c] + weights["enter.bias"] + weights["which.pose"]
            for layer in range(2):
                h = weights[f"layers.{layer}.weight"] @ h + weights[f"layers.{layer}.bias"]
                h = gelu(h * (1 + scales[layer, 0]) + scales[layer, 1])
            value = float((weights["leave.weight"] @ h + weights["leave.bias"])[0])
            assert got[i, j] == pytest.approx(value, rel=1e-4, abs=1e-5)


def loop_distances(signals: dict[str, Array], shown: Tensor) -> Array:
    n = len(shown)
    out = np.full((n, n), np.inf)
    for i in range(n):
        for j in range(n):
            both = [
                ((value[i] - value[j]) ** 2).mean()
                for m, value in enumerate(signals.values())
                if shown[i, m] and shown[j, m]
            ]
            if i != j and both:
                out[i, j] = np.mean(both)
    return out


def test_distances_against_a_loop() -> None:
    signals = {s.name: numbers(6, s.width, seed=1) for s in BODY}
    shown = torch.rand(6, M, generator=torch.Generator().manual_seed(2)) < 0.5
    expected = loop_distances({n: double(v) for n, v in signals.items()}, shown)
    assert np.isinf(expected).sum() > 6 and np.isfinite(expected).sum() > 6
    np.testing.assert_allclose(double(distances(signals, shown)), expected, rtol=1e-5)


def barycentric(point: Array, around: Array) -> Array:
    """LLE by its Lagrangian: minimise ||x - sum w_j y_j||^2 + ridge ||w||^2, sum w_j = 1."""
    k = len(around)
    arms = around - point
    gram = arms @ arms.T
    gram += np.eye(k) * (1e-3 * np.trace(gram) + 1e-8)
    system = np.block([[2 * gram, np.ones((k, 1))], [np.ones((1, k)), np.zeros((1, 1))]])
    weights: Array = np.linalg.solve(system, np.append(np.zeros(k), 1.0))[:k]
    return weights @ around


def test_local_combination_is_that_of_lle() -> None:
    z = numbers(8, D)
    near = torch.stack([torch.tensor([j for j in range(8) if j != i][:4]) for i in range(8)])
    got = local_combination(z, near)
    for i in range(8):
        np.testing.assert_allclose(
            double(got[i]), barycentric(double(z[i]), double(z[near[i]])), rtol=1e-3, atol=1e-4
        )


def test_a_flat_manifold_is_locally_linear() -> None:
    """Latents on a line through space are combinations of their neighbours, but for the ridge."""
    z = torch.linspace(-1, 1, 9).unsqueeze(1) * numbers(1, D)
    near = torch.tensor([[i - 1, i + 1] for i in range(1, 8)])
    padded = torch.cat([torch.tensor([[1, 2]]), near, torch.tensor([[7, 6]])])
    torch.testing.assert_close(local_combination(z, padded)[1:8], z[1:8], atol=1e-3, rtol=0)


def test_the_field_s_loss_against_a_loop() -> None:
    field, felt = make_field(), make_felt(seed=3)
    with torch.no_grad():
        field.log_alpha.fill_(-0.7)
    z = double(mean_of(felt.features, felt.presence))
    at = [(b, t) for b in range(B) for t in range(T) if felt.presence[b, t].any()]
    rows = np.stack([z[b, t] for b, t in at])
    shown = torch.stack([felt.presence[b, t] for b, t in at])
    signals = {n: np.stack([double(v[b, t]) for b, t in at]) for n, v in felt.actions.items()}
    apart = loop_distances(signals, shown)
    near = np.argsort(apart, axis=1)[:, :NEIGHBOURS]
    linear = np.stack([barycentric(rows[i], rows[near[i]]) for i in range(len(at))])

    def error(latents: Array, of: list[int]) -> float:
        total = 0.0
        for m, (name, value) in enumerate(signals.items()):
            points = torch.arange(value.shape[1])
            drawn = double(field.decode(torch.tensor(latents).float(), name, points))
            known = [((drawn[i] - value[i]) ** 2).mean() for i in of if shown[i, m]]
            total += float(np.mean(known)) if known else 0.0
        return total

    everyone = list(range(len(at)))
    surrounded = [i for i in everyone if np.isfinite(apart[i, near[i]]).all()]
    gaps = [
        abs(np.exp(-0.7) * ((rows[i] - rows[j]) ** 2).mean() - apart[i, j])
        for i in everyone
        for j in near[i]
        if np.isfinite(apart[i, j])
    ]
    expected = error(rows, everyone) + error(linear, surrounded) + float(np.mean(gaps))
    out = field(felt)
    assert out.loss.item() == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(double(out.features), z, rtol=1e-5, atol=1e-6)


def test_a_large_sense_is_compared_at_some_of_its_places() -> None:
    from mssim.action.baselines.neural_field import POINTS
    from mssim.senses import SenseSet

    field = NeuralField(SenseSet([Sense("skin", [16, 16], "adc")]), 8, D)
    drawn = field._points(256, torch.device("cpu"))
    assert len(drawn) == POINTS == len(drawn.unique())
    assert torch.equal(field.eval()._points(256, torch.device("cpu")), torch.arange(256))


def test_a_lonely_step_has_no_neighbours() -> None:
    field = make_field()
    felt = make_felt()
    felt.presence[:] = False
    felt.presence[0, 0] = True
    out = field(felt)
    assert out.loss.isfinite() and out.loss > 0
    out.loss.backward()
    assert field.log_alpha.grad is not None


def test_masked_average_of_nothing_is_zero() -> None:
    assert masked_average(torch.ones(3), torch.zeros(3, dtype=torch.bool)) == 0
    assert masked_average(torch.tensor([1.0, 5.0, 3.0]), torch.tensor([True, False, True])) == 2
