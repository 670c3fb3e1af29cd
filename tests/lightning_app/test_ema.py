"""EMA: against its closed form, in and out of validation, on and on after resuming."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import lightning.pytorch as pl
import pytest
import torch
from helpers.tiny import checkpoint, write_config
from torch import Tensor, nn

from lightning_app.callbacks.ema import EMA
from lightning_app.cli import main
from lightning_app.modules.simulator import Simulator


class Model(pl.LightningModule):
    """One trained weight, one frozen, and a counter that no average makes sense of."""

    def __init__(self) -> None:
        super().__init__()
        self.trained = nn.Parameter(torch.zeros(3))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("count", torch.tensor(7))

    def set(self, value: float) -> None:
        with torch.no_grad():
            self.trained.fill_(value)


def at(step: int, doing: str = "fit") -> pl.Trainer:
    return cast(pl.Trainer, SimpleNamespace(global_step=step, state=SimpleNamespace(fn=doing)))


def run(ema: EMA, model: Model, values: list[float]) -> None:
    """As many steps as there are values, the weight being that value after each."""
    ema.on_fit_start(at(0), model)
    for step, value in enumerate(values, 1):
        model.set(value)
        ema.on_train_batch_end(at(step), model)


def closed_form(values: list[float], decay: float, every: int) -> float:
    """Sum of the weights w_n times what they are multiplied by afterwards; it starts at zero."""
    kept = values[every - 1 :: every]
    decays = [min(decay, (1 + n) / (10 + n)) for n in range(1, len(kept) + 1)]
    total = 0.0
    for n, value in enumerate(kept):
        later = torch.tensor(decays[n + 1 :], dtype=torch.float64).prod().item()
        total += value * (1 - decays[n]) * later
    return total


def saved(ema: EMA, model: Model) -> dict[str, Any]:
    content = {"state_dict": {k: v.clone() for k, v in model.state_dict().items()}}
    ema.on_save_checkpoint(at(0), model, content)
    return content


@pytest.mark.parametrize(("decay", "every"), [(0.995, 1), (0.995, 10), (0.3, 3)])
def test_the_average_has_its_closed_form(decay: float, every: int) -> None:
    values = torch.randn(64, generator=torch.Generator().manual_seed(0)).tolist()
    ema, model = EMA(decay, every), Model()
    run(ema, model, values)
    content = saved(ema, model)
    expected = torch.full((3,), closed_form(values, decay, every))
    torch.testing.assert_close(content["state_dict"]["trained"], expected)
    assert content["raw_state"].keys() == {"trained"}
    torch.testing.assert_close(content["raw_state"]["trained"], torch.full((3,), values[-1]))
    assert content["state_dict"]["count"] == 7 and content["ema_updates"] == 64 // every


def test_the_warm_up_forgets_the_first_weights() -> None:
    model = Model()
    model.set(100.0)
    ema = EMA(0.995, 10)
    ema.on_fit_start(at(0), model)
    for step in range(1, 601):
        model.set(1.0)
        ema.on_train_batch_end(at(step), model)
    # Without warm-up .995^60 = 74 % of the first weights would still be in it.
    assert saved(ema, model)["state_dict"]["trained"].max() < 1.01


def test_accumulated_batches_count_once() -> None:
    ema, model = EMA(0.9, 1), Model()
    ema.on_fit_start(at(0), model)
    for step, value in ((0, 5.0), (1, 1.0), (1, 1.0), (2, 2.0)):
        model.set(value)
        ema.on_train_batch_end(at(step), model)
    expected = torch.full((3,), closed_form([1.0, 2.0], 0.9, 1))
    torch.testing.assert_close(saved(ema, model)["state_dict"]["trained"], expected)


def test_validation_sees_the_average_and_gives_back_the_raw_weights() -> None:
    ema, model = EMA(0.9, 1), Model()
    run(ema, model, [1.0, 0.1, 1 / 3])
    raw = model.trained.detach().clone()
    ema.on_validation_start(at(3), model)
    average = model.trained.detach().clone()
    torch.testing.assert_close(average, torch.full((3,), closed_form([1.0, 0.1, 1 / 3], 0.9, 1)))
    inside = saved(ema, model)
    ema.on_validation_end(at(3), model)
    assert torch.equal(model.trained, raw) and not torch.equal(average, raw)
    # A checkpoint holds the same whether it is written during validation or after.
    after = saved(ema, model)
    for key in ("state_dict", "raw_state"):
        assert torch.equal(inside[key]["trained"], after[key]["trained"])


def test_resuming_goes_on_with_both_weights() -> None:
    values = [0.3, -1.0, 2.0, 0.7, 5.0, -2.0]
    whole, model = EMA(0.9, 2), Model()
    run(whole, model, values)
    first, half = EMA(0.9, 2), Model()
    run(first, half, values[:3])
    content = {**saved(first, half), "global_step": 3}
    second, fresh = EMA(0.9, 2), Model()
    fresh.load_state_dict(content["state_dict"])
    second.on_load_checkpoint(at(3), fresh, content)
    assert torch.equal(fresh.trained, half.trained)
    second.on_fit_start(at(3), fresh)
    for step, value in enumerate(values[3:], 4):
        fresh.set(value)
        second.on_train_batch_end(at(step), fresh)
    one, two = saved(whole, model), saved(second, fresh)
    assert torch.equal(one["state_dict"]["trained"], two["state_dict"]["trained"])
    assert one["ema_updates"] == two["ema_updates"] == 3


def test_testing_keeps_the_average_that_was_loaded() -> None:
    ema, model = EMA(0.9, 1), Model()
    run(ema, model, [1.0, 2.0])
    content = {**saved(ema, model), "global_step": 2}
    tested = Model()
    tested.load_state_dict(content["state_dict"])
    EMA(0.9, 1).on_load_checkpoint(at(2, "test"), tested, content)
    assert torch.equal(tested.trained, content["state_dict"]["trained"])
    assert not torch.equal(tested.trained, content["raw_state"]["trained"])


def test_a_checkpoint_holds_the_average_and_a_run_is_scored_with_it(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, dict[str, Tensor]] = {}

    def look(self: Simulator) -> None:
        seen["weights"] = {k: v.clone() for k, v in self.state_dict().items()}

    config = str(write_config(tmp_path, toy))
    main(["fit", "--config", config, "--trainer.max_steps", "3"])
    content = checkpoint(tmp_path / "run", "best")
    state, raw = content["state_dict"], content["raw_state"]
    assert raw.keys() < state.keys()
    moved = [k for k in raw if not torch.equal(raw[k], state[k])]
    assert len(moved) > 0.9 * len(raw)
    monkeypatch.setattr(Simulator, "on_test_epoch_start", look, raising=False)
    main(["test", "--config", str(tmp_path / "run" / "config.yaml")])
    assert seen["weights"].keys() == state.keys()
    assert all(torch.equal(seen["weights"][k], state[k]) for k in state)
