"""The model in numbers, against counts by hand."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from helpers.tiny import build, write_config
from torch import Tensor, nn

from lightning_app.summary import Plan, main, make, passes, read_plan, room
from mssim.action.baselines import BindingKind
from mssim.sizes import cost, grouped, parameters

ROOT = Path(__file__).parents[2]
# Of `helpers.tiny`: two senses of 2 numbers, code 16, one hidden projection of 16, D = 16.
ENCODER = 2 * (2 * 16 + 3 * 16 * 16)
DECODER = 2 * (2 * 16 * 16 + 16 * 2)
HEAD = 2 * (2 * 16 * 16)
TOWER = [(3, 8, 8), (8, 16, 4), (16, 32, 2), (32, 32, 1)]  # channels in, out, pixels a side after


class Nest(nn.Module):
    """A product of its own beside a layer, which is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(self.inner(x))
        return x @ x.T


@pytest.fixture
def plan(toy: Path, tmp_path: Path) -> Plan:
    return read_plan(["--config", str(write_config(tmp_path, toy))])


def test_flops_are_where_they_are_spent() -> None:
    found = cost(Nest(), lambda: Nest()(torch.ones(4, 3)))
    assert found.forward == {}  # another's modules are not this one's
    nest = Nest()
    found = cost(nest, lambda: nest(torch.ones(4, 3)))
    layer = 2 * 4 * 3 * 5 * 2
    assert found.forward == {"": 2 * 4 * 3 * 4, "inner": 0, "inner.0": layer, "inner.2": layer}
    # Each product costs two more backward, but the first layer's input needs no gradient.
    assert found.both == 3 * (2 * layer + 96) - layer // 2


def test_what_is_shared_counts_once() -> None:
    layer = nn.Linear(3, 3)
    assert sum(parameters(nn.Sequential(layer, layer)).values()) == 12


def test_parameters_by_hand(plan: Plan) -> None:
    held = grouped(parameters(make(plan)), room)
    norms = 2 * 2 * 2 * 16  # two senses, two norms of gain and bias
    assert held["encoder.experts.encoders"] == ENCODER + 2 * 4 * 16 + norms
    assert held["encoder.experts.decoders"] == DECODER + 2 * (2 * 16 + 2)
    assert held["encoder.experts.heads"] == HEAD + 2 * 2 * 16 + norms // 2
    assert held["encoder.anchor"] == 16
    convs = sum(9 * a * b + b + 2 * b for a, b, _ in TOWER)
    assert held["tower"] == convs + 4 * 32 * 16 + 16
    assert "encoder.fusion" not in held and held["condition"] > 0


def test_parameters_are_those_of_the_real_model(toy: Path, tmp_path: Path, plan: Plan) -> None:
    real = build(write_config(tmp_path, toy)).model.simulator
    assert parameters(make(plan)) == {n: p.numel() for n, p in real.named_parameters()}


def test_flops_by_hand(plan: Plan) -> None:
    forward, _ = passes(plan, make(plan))
    spent = grouped(forward, room)
    steps = plan.context + plan.predict
    assert spent["encoder.experts.encoders"] == 2 * steps * ENCODER
    assert spent["encoder.experts.decoders"] == 2 * steps * DECODER
    assert spent["encoder.experts.heads"] == 2 * steps * HEAD
    # q k^T and its product with v, of head width 1: D x D each, for each step and sense.
    assert spent["encoder.anchor"] == 2 * 2 * steps * 2 * 16 * 16
    convs = sum(2 * 9 * a * b * px * px for a, b, px in TOWER)
    assert spent["tower"] == steps * (convs + 2 * 4 * 32 * 16)


def test_the_network_costs_the_same_on_a_cpu(plan: Plan) -> None:
    """The meta device takes other roads through attention; the count must not."""
    torch.manual_seed(0)
    meta = make(plan)
    real = make(plan)
    real.net = type(real.net)(plan.unet, plan.context, plan.predict)
    b, h, p, px, e = 1, plan.context, plan.predict, plan.size, plan.unet.embedding
    found = []
    for net, device in ((meta.net, "meta"), (real.net, "cpu")):
        with torch.device(device):
            words = (
                torch.zeros(b, p, 3, px, px),
                torch.zeros(b, p),
                torch.zeros(b, h, 3, px, px),
                torch.ones(b, h, dtype=torch.bool),
                torch.ones(b, p, dtype=torch.bool),
                torch.ones(b),
                torch.zeros(b, p, e),
                torch.zeros(b, p, 5, e),
            )
        found.append(cost(net, lambda net=net, words=words: net(*words)[0]))  # type: ignore[misc]
    assert found[0].forward == found[1].forward and found[0].both == found[1].both
    assert found[0].both > 2.5 * sum(found[0].forward.values())


@pytest.mark.parametrize("kind", get_args(BindingKind))
def test_baselines_have_a_summary(
    kind: BindingKind, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = str(write_config(tmp_path, toy)), tmp_path / "summary.md"
    main(["--config", config, "--out", str(out), "--model.encoder.binding", kind])
    printed = capsys.readouterr().out
    assert out.read_text() == f"`{config}`: {printed.rstrip(chr(10))}\n"
    ours = printed.split("Table 5")[0]
    assert "| encoder.binding |" in ours and "decoders" not in ours and "anchor" not in ours


def test_the_paper_s_numbers_are_the_paper_s(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--config", str(write_config(tmp_path, toy))])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    table = {cells[1].strip(): cells for cells in (row.split("|") for row in rows)}
    paper = {
        name: int(table[name][4].replace(",", ""))
        for name in ("signal expert encoder", "signal projection", "signal decoder", "video model")
    }
    assert sum(paper.values()) == 336_096_890
    assert int(table["total model"][4].replace(",", "")) == 336_096_890
    assert table["total model"][2] == table["all"][2]


def test_only_a_simulator_has_a_summary(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--config", str(write_config(tmp_path, toy, model="ActionEncoder"))])
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("summary: model: ") and "give a Simulator's config" in said
    with pytest.raises(SystemExit):
        main(["--config", str(tmp_path / "nowhere.yaml")])
    assert "nowhere.yaml" in capsys.readouterr().err


@pytest.mark.slow
def test_the_published_summary_is_what_the_command_writes(tmp_path: Path) -> None:
    """Where it is not, `make table-5` renews it."""
    config, out = "configs/full.yaml", tmp_path / "table-5.md"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        main(["--config", config, "--out", str(out)])
    for file in (out, out.with_suffix(".csv")):
        published = ROOT / "configs" / "published" / "tables" / file.name
        assert file.read_text() == published.read_text()
