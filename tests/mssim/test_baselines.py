"""The baselines of Table 2 in the encoder and the simulator: what all of them must do."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
from helpers.worlds import (
    BODY,
    ENCODER,
    HANDS,
    make_batch,
    make_simulator,
    make_square,
    noise_sources,
    train,
)
from torch import Tensor
from torch.nn import functional as F

from mssim.action.baselines import BindingKind
from mssim.action.baselines.mutex import HIDDEN, Mutex
from mssim.action.encoder import ActionEncoder, EncoderConfig, TextUse
from mssim.batch import Batch
from mssim.errors import UserError
from mssim.senses import Sense, SenseSet
from mssim.video.diffusion import SamplerConfig
from mssim.video.simulator import LossWeights

KINDS: tuple[BindingKind, ...] = get_args(BindingKind)
SAID = ["slice", "slice", "", "pour tea"]
# The square's place as two senses: a binding has to keep what both say.
PLACES = SenseSet([Sense("across", [1], "px"), Sense("down", [1], "px")])

each_kind = pytest.mark.parametrize("kind", KINDS)


def config_of(kind: BindingKind) -> EncoderConfig:
    return replace(ENCODER, binding=kind)


def make_encoder(kind: BindingKind, senses: SenseSet = BODY) -> ActionEncoder:
    torch.manual_seed(0)
    return ActionEncoder(senses, 1, config_of(kind)).eval()


def unit(*shape: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, ENCODER.feature, generator=g), dim=-1)


def felt_batch(presence: float = 0.7) -> Batch:
    return make_batch(BODY, presence=presence, text=SAID)


def hide_in_turn(presence: Tensor) -> Tensor:
    """In the place of `Mutex.keep`'s draw: window b hides sense b."""
    hidden = torch.eye(4, 3, dtype=torch.bool).unsqueeze(1)
    kept = presence & ~hidden
    return torch.where(kept.any(-1, keepdim=True), kept, presence)


SEEN, WORDS = unit(4, 12), unit(4, seed=5)[[0, 0, 1, 2]]


def test_the_paper_s_four_are_there() -> None:
    assert set(KINDS) == {"mutex", "imagebind", "languagebind", "neural-field"}


def test_ours_is_what_it_was() -> None:
    names = set(ActionEncoder(HANDS, 1, ENCODER).state_dict())
    tops = {".".join(n.split(".")[:2]) for n in names}
    assert tops == {
        "normalizer.mean_left",
        "normalizer.mean_right",
        "normalizer.std_left",
        "normalizer.std_right",
        "experts.encoders",
        "experts.decoders",
        "experts.heads",
        "anchor.gain",
    }


@each_kind
def test_one_feature_a_step_and_a_loss(kind: BindingKind) -> None:
    out = make_encoder(kind)(felt_batch(), SEEN, WORDS)
    assert out.features.shape == (4, 12, ENCODER.feature)
    assert out.features.isfinite().all() and out.features.std() > 1e-3
    assert out.ssl.shape == () and out.ssl > 0 and out.norm == 0


@each_kind
def test_the_order_of_senses_does_not_matter(kind: BindingKind) -> None:
    """A set in another order, with the same weights, gives the same features and loss."""
    encoder, batch = make_encoder(kind), felt_batch()
    turned = SenseSet([BODY["touch"], BODY["pose"], BODY["emg"]])
    other = ActionEncoder(turned, 1, config_of(kind)).eval()
    other.load_state_dict(encoder.state_dict())
    senses = {n: batch.senses[n] for n in turned.names}
    again = batch.with_senses(senses, batch.presence[:, :, [2, 0, 1]])
    one, two = encoder(batch, SEEN, WORDS), other(again, SEEN, WORDS)
    torch.testing.assert_close(one.features, two.features)
    torch.testing.assert_close(one.ssl, two.ssl)


@each_kind
def test_what_is_absent_counts_for_nothing(kind: BindingKind) -> None:
    encoder, batch = make_encoder(kind), felt_batch()
    wild = {
        name: value + 9.0 * (~batch.presence[:, :, m]).view(4, 12, *[1] * (value.ndim - 2))
        for m, (name, value) in enumerate(batch.senses.items())
    }
    one = encoder(batch, SEEN, WORDS)
    two = encoder(batch.with_senses(wild, batch.presence), SEEN, WORDS)
    torch.testing.assert_close(one.features, two.features)
    torch.testing.assert_close(one.ssl, two.ssl)


@each_kind
def test_a_missing_sense_leaves_features_of_the_same_kind(kind: BindingKind) -> None:
    """Each sense that is there is heard; without any, the feature is zero and gradients finite."""
    encoder, batch = make_encoder(kind), felt_batch(presence=1.0)
    batch.presence[:, :, 1] = False
    without = encoder(batch, SEEN, WORDS).features
    batch.presence[:, 3] = False
    batch.presence[2] = False
    out = encoder(batch, SEEN, WORDS)
    here = batch.presence.any(-1)
    assert (out.features[~here] == 0).all()
    torch.testing.assert_close(out.features[here], without[here])
    for m, name in enumerate(("pose", "emg", "touch")):
        batch.senses[name][0, 5] += 1.0
        change = (encoder(batch, SEEN, WORDS).features - out.features)[0, 5].abs().max()
        assert (change > 1e-4).item() is bool(batch.presence[0, 5, m])
        batch.senses[name][0, 5] -= 1.0
    (out.features.square().sum() + out.ssl).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@each_kind
def test_half_precision_tells_nearly_the_same(kind: BindingKind) -> None:
    encoder, batch = make_encoder(kind), felt_batch()
    exact = encoder(batch, SEEN, WORDS)
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder(batch, SEEN, WORDS)
    torch.testing.assert_close(rough.ssl.float(), exact.ssl, rtol=0.05, atol=0.05)
    torch.testing.assert_close(rough.features.float(), exact.features, rtol=0.1, atol=0.05)
    (rough.features.float().sum() + rough.ssl).backward()


@each_kind
def test_nothing_felt_at_all_costs_nothing(kind: BindingKind) -> None:
    encoder, batch = make_encoder(kind).train(), felt_batch(presence=0.0)
    out = encoder(batch, SEEN, WORDS)
    assert out.ssl == 0 and (out.features == 0).all()
    (out.features.sum() + out.ssl).backward()


@each_kind
def test_features_depend_on_no_company_and_no_future_frame(kind: BindingKind) -> None:
    encoder, batch = make_encoder(kind), felt_batch()
    whole = encoder(batch, SEEN, WORDS).features
    half = encoder(batch.rows(torch.tensor([1, 3])), SEEN[[1, 3], :4], WORDS[[1, 3]])
    torch.testing.assert_close(half.features, whole[[1, 3]])


@each_kind
def test_what_binds_gets_no_gradient_and_what_is_bound_does(
    kind: BindingKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mutex, "keep", lambda _, presence: hide_in_turn(presence))
    encoder, batch = make_encoder(kind).train(), felt_batch()
    seen, words = SEEN.clone().requires_grad_(), WORDS.clone().requires_grad_()
    out = encoder(batch, seen, words)
    out.ssl.backward()
    assert seen.grad is None and words.grad is None
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).any(), name


@each_kind
def test_every_parameter_of_a_simulator_gets_a_gradient(
    kind: BindingKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mutex, "keep", lambda _, presence: hide_in_turn(presence))
    simulator = make_simulator(BODY, encoder=config_of(kind)).train()
    batch = felt_batch()
    simulator.loss(batch, LossWeights(), seed=0, step=0).total.backward()
    frozen = {"tower.words.weight"}  # as `build_tower` makes it
    for name, parameter in simulator.named_parameters():
        if name not in frozen:
            assert parameter.grad is not None and (parameter.grad != 0).any(), name


def make_places(size: int, text: list[str]) -> Batch:
    """The moving square with its place told by two senses."""
    square = make_square(size, future=4, seed=3)
    place = square.senses["place"]
    senses = {"across": place[..., :1], "down": place[..., 1:]}
    here = square.presence.expand(-1, -1, 2).clone()
    return replace(square.with_senses(senses, here), text=text)


@each_kind
def test_a_simulator_learns_a_batch_by_heart(kind: BindingKind) -> None:
    """One window eight times, so that a step meets eight levels of noise."""
    same = torch.zeros(8, dtype=torch.long)
    batch = replace(make_places(1, ["go"]).rows(same), window=torch.arange(8))
    simulator = make_simulator(PLACES, encoder=config_of(kind), drop_condition=0.0)

    @torch.no_grad()
    def error() -> float:
        levels = [simulator.loss(batch, LossWeights(), seed=9, step=s).video for s in range(4)]
        return sum(level.item() for level in levels)

    before = error()
    train(simulator, [batch] * 40, lr=1e-2)
    assert error() < 0.7 * before


@pytest.mark.slow
@each_kind
def test_a_simulator_obeys_what_was_bound(kind: BindingKind) -> None:
    """Places are new in each frame: who draws the square where it is has understood the senses."""
    batch = make_places(16, ["go", "stay"] * 8)
    simulator = make_simulator(PLACES, encoder=config_of(kind))
    train(simulator, [batch] * 200, lr=1e-2)
    turned = {name: value.roll(1, 0) for name, value in batch.senses.items()}
    shuffled = batch.with_senses(turned, batch.presence)

    def error(actions: Batch, condition: bool = True) -> float:
        sampler = SamplerConfig(steps=4)
        drawn = simulator.sample(actions, sampler, noise_sources(batch), condition)
        return ((drawn - batch.video()[:, 4:]) ** 2).mean().item()

    own = error(batch)
    assert own < 0.7 * error(batch, condition=False)
    assert own < 0.5 * error(shuffled)


def test_mutex_hides_whole_senses_of_a_window_and_never_all() -> None:
    binding = Mutex(BODY, 8, 8)
    torch.manual_seed(0)
    presence = torch.rand(2000, 3, 3) < 0.6
    kept = binding.keep(presence)
    assert (kept <= presence).all()
    assert torch.equal(kept.any(-1), presence.any(-1))
    full = binding.keep(torch.ones(4000, 3, 3, dtype=torch.bool))
    assert (full == full[:, :1]).all()
    # All three are drawn with chance .3^3 and then all kept.
    assert (~full).float().mean().item() == pytest.approx(HIDDEN - HIDDEN**3, abs=0.02)


def test_mutex_hides_in_training_only() -> None:
    encoder, batch = make_encoder("mutex"), felt_batch(presence=1.0)
    one, two = (encoder(batch, SEEN).features for _ in range(2))
    assert torch.equal(one, two)
    encoder.train()
    assert not torch.equal(encoder(batch, SEEN).features, one)


def test_to_mutex_hidden_and_missing_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, batch = make_encoder("mutex").train(), felt_batch(presence=1.0)
    kept = torch.ones_like(batch.presence)
    kept[:, :, 0] = False
    monkeypatch.setattr(encoder.binding, "keep", lambda presence: kept)
    hidden = encoder(batch, SEEN).features
    missing = encoder.eval()(batch.with_senses(batch.senses, kept), SEEN).features
    torch.testing.assert_close(hidden, missing)


def test_mutex_needs_two_senses() -> None:
    with pytest.raises(UserError, match=r"mutex guesses .* only left; give data.use_senses"):
        make_encoder("mutex", HANDS.select(["left"]))


def test_languagebind_needs_words() -> None:
    with pytest.raises(UserError, match=r"is `languagebind`, but the batch has no text"):
        make_encoder("languagebind")(felt_batch(), SEEN)


@each_kind
@pytest.mark.parametrize("use", ["expert", "alone"])
def test_a_binding_has_its_own_way_with_text(kind: BindingKind, use: TextUse) -> None:
    with pytest.raises(UserError, match=f"encoder.text: `{use}`, but encoder.binding `{kind}`"):
        replace(ENCODER, text=use, binding=kind)


def test_who_reads_text() -> None:
    readers = {kind for kind in KINDS if config_of(kind).reads_text}
    assert readers == {"languagebind"}
    assert not ENCODER.reads_text and replace(ENCODER, text="expert").reads_text
