"""ActionEncoder: experts, their loss, the row of four, and one batch learnt by heart."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.worlds import BODY, ENCODER, HANDS, make_batch
from torch import Tensor, nn
from torch.nn import functional as F

from mssim.action.encoder import ActionEncoder, EncoderConfig
from mssim.action.experts import masked_mean, mlp, reconstruction_loss
from mssim.action.interaction import interact, norm_loss
from mssim.errors import UserError


def seen_features(size: int = 4, frames: int = 12, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(size, frames, ENCODER.feature, generator=g), dim=-1)


def make_encoder(config: EncoderConfig = ENCODER, seed: int = 0) -> ActionEncoder:
    torch.manual_seed(seed)
    return ActionEncoder(BODY, 1, config).eval()


def test_reconstruction_loss_against_a_loop() -> None:
    batch = make_batch(BODY, presence=0.5)
    actions = {n: v.flatten(2) for n, v in batch.senses.items()}
    decoded = {n: v + torch.randn_like(v) for n, v in actions.items()}
    expected = 0.0
    for m, name in enumerate(actions):
        errors = [
            np.mean((decoded[name][b, t] - actions[name][b, t]).numpy() ** 2)
            for b in range(4)
            for t in range(12)
            if batch.presence[b, t, m]
        ]
        expected += np.mean(errors)
    got = reconstruction_loss(decoded, actions, batch.presence).item()
    assert got == pytest.approx(expected, rel=1e-5)


def test_reconstruction_loss_ignores_absent_senses() -> None:
    batch = make_batch(BODY, presence=0.5)
    batch.presence[:, :, 1] = False  # a sense that is nowhere
    actions = {n: v.flatten(2) for n, v in batch.senses.items()}
    decoded = {n: (v + 1).requires_grad_() for n, v in actions.items()}
    loss = reconstruction_loss(decoded, actions, batch.presence)
    assert loss.item() == pytest.approx(2.0)  # one for each sense that is there
    loss.backward()
    for m, value in enumerate(decoded.values()):
        assert value.grad is not None
        assert (value.grad[~batch.presence[:, :, m]] == 0).all()
    wild = {
        n: v.detach() + 1e6 * ~batch.presence[:, :, m, None]
        for m, (n, v) in enumerate(decoded.items())
    }
    assert reconstruction_loss(wild, actions, batch.presence).item() == pytest.approx(2.0)


def test_masked_mean_counts_only_what_is_there() -> None:
    values = torch.arange(12.0).view(2, 3, 2)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    assert torch.equal(masked_mean(values, mask), torch.tensor([[2.0, 3.0], [0.0, 0.0]]))


def test_an_mlp_has_the_layers_it_was_asked_for() -> None:
    kinds = [type(layer) for layer in mlp([3, 4, 5, 6], dropout=0.1, norms=1)]
    assert kinds == [
        *(nn.Linear, nn.LayerNorm, nn.GELU, nn.Dropout),
        *(nn.Linear, nn.GELU, nn.Dropout),
        nn.Linear,
    ]


def test_each_expert_reads_its_own_sense() -> None:
    encoder, batch = make_encoder(), make_batch(BODY)
    codes = encoder.codes(batch)
    assert codes.shape == (4, 12, 3, ENCODER.code)
    batch.senses["emg"] += 1
    change = (encoder.codes(batch) - codes).abs().amax(dim=(0, 1, 3))
    assert change[1] > 0 and change[0] == 0 and change[2] == 0


def test_the_row_of_four_by_hand() -> None:
    encoder, batch, seen = make_encoder(), make_batch(BODY, presence=0.7), seen_features()
    out = encoder(batch, seen)
    context = seen[:, :4].mean(1)
    fused = encoder.fusion(encoder.align(encoder.codes(batch), context), batch.presence)
    # Context steps meet their own frame, future steps the mean of the context (section 7.4).
    vectors = torch.cat([seen[:, :4], context.unsqueeze(1).expand(-1, 8, -1)], dim=1)
    expected = interact(fused, vectors, "relaxed")
    torch.testing.assert_close(out.features, expected)
    everything = torch.ones(4, 12, dtype=torch.bool)
    torch.testing.assert_close(out.norm, norm_loss(expected, seen, everything))


def test_future_frames_never_reach_the_features() -> None:
    encoder, batch = make_encoder(), make_batch(BODY)
    one, two = seen_features(seed=1), seen_features(seed=1)
    two[:, 4:] = seen_features(seed=2)[:, 4:]
    assert torch.equal(encoder(batch, one).features, encoder(batch, two).features)
    assert encoder(batch, one).norm != encoder(batch, two).norm
    short = encoder(batch, one[:, :4])
    assert torch.equal(short.features, encoder(batch, one).features)
    assert short.norm == 0


def test_masked_context_frames_change_nothing() -> None:
    encoder, batch = make_encoder(), make_batch(BODY)
    batch.context_mask[:, :2] = False
    one, two = seen_features(seed=1), seen_features(seed=1)
    two[:, :2] = seen_features(seed=2)[:, :2]
    assert torch.equal(encoder(batch, one).features, encoder(batch, two).features)
    assert torch.equal(encoder(batch, one).norm, encoder(batch, two).norm)


def test_the_order_of_senses_does_not_matter_to_their_experts() -> None:
    """A set in another order, with the same weights, gives the same features: softmax fusion."""
    encoder, batch, seen = make_encoder(), make_batch(BODY, presence=0.7), seen_features()
    turned = BODY.__class__([BODY["touch"], BODY["pose"], BODY["emg"]])
    other = ActionEncoder(turned, 1, ENCODER).eval()
    other.load_state_dict(encoder.state_dict())
    senses = {n: batch.senses[n] for n in turned.names}
    presence = batch.presence[:, :, [2, 0, 1]]
    one, two = encoder(batch, seen), other(batch.with_senses(senses, presence), seen)
    torch.testing.assert_close(one.features, two.features)
    torch.testing.assert_close(one.ssl, two.ssl)


def test_words_are_one_more_expert_where_something_was_said() -> None:
    encoder = make_encoder(replace(ENCODER, text="expert"))
    batch = make_batch(BODY, text=["slice", "", "pour", ""])
    words, other = seen_features(seed=3)[:, 0], seen_features(seed=4)[:, 0]
    one = encoder(batch, seen_features(), words).features
    two = encoder(batch, seen_features(), other).features
    change = (one - two).abs().amax(dim=(1, 2))
    assert change[0] > 1e-3 and change[2] > 1e-3
    assert change[1] == 0 and change[3] == 0
    # Its tower is frozen; a head of its own learns what it is worth.
    one.sum().backward()
    grad = encoder.words[0].weight.grad
    assert grad is not None and grad.abs().sum() > 0


def test_text_alone_is_one_prompt_for_all_frames() -> None:
    encoder = make_encoder(replace(ENCODER, text="alone", interaction="none"))
    assert list(encoder.parameters()) == []
    words = seen_features(seed=3)[:, 0]
    out = encoder(make_batch(BODY, text=["slice"] * 4), seen_features(), words)
    assert torch.equal(out.features, words.unsqueeze(1).expand(-1, 12, -1))
    assert out.ssl == 0


@pytest.mark.parametrize("use", ["expert", "alone"])
def test_text_that_is_missing_is_named(use: str) -> None:
    config = replace(ENCODER, text=use)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"encoder.text is `{use}`"):
        make_encoder(config)(make_batch(BODY), seen_features())


@pytest.mark.parametrize(
    "change", [{"dropout": 1.0}, {"dropout": -0.1}, {"code": 0}, {"projection": [8, 0]}]
)
def test_sizes_that_cannot_be_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match="encoder"):
        replace(ENCODER, **change)  # type: ignore[arg-type]


def test_a_single_sense_needs_no_hidden_projection() -> None:
    encoder = ActionEncoder(HANDS.select(["left"]), 1, replace(ENCODER, projection=[]))
    batch = make_batch(HANDS.select(["left"]))
    assert encoder(batch, seen_features()).features.shape == (4, 12, ENCODER.feature)


def test_encoder_overfits_one_batch() -> None:
    """L_ssl + L_norm of one batch of noise fall to a twentieth."""
    encoder = make_encoder().train()
    batch, seen = make_batch(BODY, size=2, presence=0.8), seen_features(2)
    adam = torch.optim.Adam(encoder.parameters(), 1e-2, fused=True)
    losses = []
    for _ in range(150):
        adam.zero_grad()
        out = encoder(batch, seen)
        (out.ssl + out.norm).backward()
        adam.step()
        losses.append((out.ssl + out.norm).item())
    assert losses[0] > 2.0  # three senses of unit variance
    assert losses[-1] < losses[0] / 20
