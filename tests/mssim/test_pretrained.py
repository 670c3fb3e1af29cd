"""The front door: a simulator is loaded from a folder, started, stepped; bad input is one line."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.worlds import BODY, EDM, ENCODER, UNET
from torch import Tensor

import mssim
from mssim.build import TowerConfig
from mssim.config import SimulatorConfig, from_table, to_table
from mssim.errors import UserError
from mssim.pretrained import PretrainedSimulator, load_simulator
from mssim.video.diffusion import SamplerConfig
from mssim.video.rollout import State

B, H, P, S = 2, 4, 8, 16
CONFIG = SimulatorConfig(
    senses=BODY.senses,
    sources=["kitchen", "lab"],
    size=S,
    rate=10.0,
    context=H,
    predict=P,
    encoder=ENCODER,
    tower=TowerConfig(channels=8),
    unet=UNET,
    diffusion=EDM,
    sampler=SamplerConfig(steps=2),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights and config, as `save_pretrained` writes them."""
    path = tmp_path_factory.mktemp("saved") / "tiny"
    torch.manual_seed(0)
    PretrainedSimulator(CONFIG).save_pretrained(path)
    return path


@pytest.fixture
def sim(folder: Path) -> PretrainedSimulator:
    return load_simulator(folder)


def frames(worlds: int = B, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (worlds, H, 3, S, S), generator=g, dtype=torch.uint8)


def felt(steps: int, worlds: int = B, seed: int = 1) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        s.name: torch.randn(worlds, steps, s.samples_per_frame, *s.shape, generator=g) for s in BODY
    }


def test_it_is_the_same_after_saving_and_loading(folder: Path, sim: PretrainedSimulator) -> None:
    assert sim.config == CONFIG
    again = PretrainedSimulator.from_pretrained(folder)
    drawn = []
    for one in (sim, again):
        one.start(frames(), felt(H), seed=3)
        drawn.append(one.step(felt(P)))
    assert torch.equal(*drawn)
    assert drawn[0].shape == (B, P, 3, S, S)
    assert drawn[0].dtype == torch.uint8


def test_it_is_a_world(sim: PretrainedSimulator) -> None:
    world: mssim.World[State] = sim
    state = sim.start(frames(), felt(H))
    first = world.step(felt(3))
    assert not torch.equal(world.state().frames, state.frames)
    world.reset(state)
    assert torch.equal(world.step(felt(3)), first)


def test_a_state_is_saved_and_forked(sim: PretrainedSimulator, tmp_path: Path) -> None:
    sim.start(frames(), felt(H))
    sim.step(felt(2))
    torch.save(sim.state().state_dict(), tmp_path / "state.pt")
    expected = sim.step(felt(P))
    saved = State(**torch.load(tmp_path / "state.pt", weights_only=True))
    sim.reset(saved.rows([1, 1, 1]))
    alike = {name: values[[1, 1, 1]] for name, values in felt(P).items()}
    for shown in sim.step(alike):
        torch.testing.assert_close(shown, expected[1], atol=1, rtol=0)


def test_what_is_given_at_the_start_matters(sim: PretrainedSimulator) -> None:
    def first(**changed: object) -> Tensor:
        given = {"frames": frames(), "senses": felt(H), **changed}
        sim.start(**given)
        return sim.step(felt(1))

    same = first()
    assert torch.equal(first(interval=0.1, source="kitchen", seed=0), same)
    changes = (
        *({"senses": None}, {"senses": {"pose": felt(H)["pose"]}}, {"frames": frames(seed=5)}),
        *({"interval": 0.5}, {"seed": 1}),
    )
    for changed in changes:
        assert not torch.equal(first(**changed), same), changed


def test_arrays_of_numpy_are_taken_too(sim: PretrainedSimulator) -> None:
    sim.start(frames(), felt(H))
    expected = sim.step(felt(2))
    sim.start(frames().numpy(), {k: v.double().numpy() for k, v in felt(H).items()})
    assert torch.equal(sim.step({k: v.double().numpy() for k, v in felt(2).items()}), expected)


def test_text_is_read_where_the_simulator_reads_it() -> None:
    encoder = replace(ENCODER, text="expert")
    sim = PretrainedSimulator(replace(CONFIG, encoder=encoder))
    drawn = []
    for text in ("slice a cucumber", ["slice a cucumber"] * B, "pour water"):
        sim.start(frames(), felt(H), text=text)
        drawn.append(sim.step(felt(1)))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_senses_left_out_of_a_step_are_absent(sim: PretrainedSimulator) -> None:
    sim.start(frames())
    sim.step({"touch": felt(2)["touch"]})
    assert sim.state().presence[0, -1].tolist() == [False, False, True]
    assert not sim.state().senses["pose"].any()


WRONG = [
    ({"frames": frames()[:, :2]}, r"frames: the shape is \(2, 2, 3, 16, 16\), needed is \(B, 4, 3"),
    ({"frames": frames().permute(0, 1, 3, 4, 2)}, r"needed is \(B, 4, 3, 16, 16\)"),
    ({"frames": frames().float()}, "torch.float32, needed is torch.uint8, 0 to 255"),
    (
        {"senses": {"tail": torch.zeros(B, H, 1, 3)}},
        "tail not known; the simulator knows pose",
    ),
    ({"senses": felt(H, worlds=1)}, r"senses: pose has the shape \(1, 4, 1, 4, 3\), needed is \(2"),
    ({"senses": {"emg": torch.zeros(B, H, 3, 2).int()}}, "emg has the type torch.int32"),
    ({"senses": {"emg": torch.full((B, H, 3, 2), torch.nan)}}, "emg has values that are no numb"),
    ({"source": "garden"}, "source: 'garden' is not known; there are kitchen, lab"),
    ({"interval": 0.0}, "interval: 0.0 must be a positive number of seconds"),
    ({"text": ["one"]}, "text: 1 strings, but there are 2 worlds"),
    ({"text": "pour"}, "this simulator was trained without text; leave it out"),
]


@pytest.mark.parametrize(("given", "told"), WRONG, ids=[t for _, t in WRONG])
def test_a_wrong_start_is_told_in_one_line(
    sim: PretrainedSimulator, given: dict[str, object], told: str
) -> None:
    with pytest.raises(UserError, match=told) as error:
        sim.start(**{"frames": frames(), **given})
    assert "\n" not in str(error.value)


def test_wrong_steps_are_told_in_one_line(sim: PretrainedSimulator) -> None:
    with pytest.raises(UserError, match=r"call start\(frames, senses\) first"):
        sim.step(felt(P))
    sim.start(frames(), felt(H))
    for actions, told in (
        ({}, "none is given; the simulator knows pose, emg, touch"),
        (felt(P + 1), "made for at most 8; predict fewer at a time"),
        ({**felt(P), "pose": felt(2)["pose"]}, r"emg has the shape|pose has the shape"),
        ({"pose": torch.zeros(3)}, r"pose has the shape \(3,\), needed is \(2, 1, 1, 4, 3\)"),
    ):
        with pytest.raises(UserError, match=told):
            sim.step(actions)
    with pytest.raises(UserError, match="state: "):
        state = sim.state()
        sim.reset(State(**{**state.state_dict(), "senses": {"tail": state.senses["pose"]}}))


def test_without_a_rate_the_interval_is_asked_for(sim: PretrainedSimulator) -> None:
    table = {**to_table(CONFIG), "rate": None}
    free = PretrainedSimulator(from_table(SimulatorConfig, table, "config"))
    with pytest.raises(UserError, match=r"interval: .* give the seconds between frames"):
        free.start(frames())
    assert free.start(frames(), interval=0.25).interval.tolist() == [0.25, 0.25]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"colour": 3}, "colour is not known; there are senses, sources, size"),
        ({"size": "big"}, "size: 'big' is not int"),
        ({"unet": {"width": 8.5}}, "unet: width: 8.5 is not int"),
        ({"encoder": {"fusion": "glue"}}, "encoder: fusion: 'glue' is not one of"),
        ({"senses": [{"name": "pose"}]}, r"senses\[0\]: shape is missing"),
        ({"sampler": {"steps": 0}}, "sampler.steps: 0 is not in"),
        ({"sampler": 3}, "sampler: 3 is no table of settings"),
    ],
)
def test_a_config_with_a_fault_is_told_by_field(
    folder: Path, tmp_path: Path, change: dict[str, object], told: str
) -> None:
    table = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**table, **change}))
    with pytest.raises(UserError, match=told):
        load_simulator(tmp_path)


def test_a_folder_with_a_fault_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: neither .*\(there are kitchen-32\)"):
        load_simulator("nowhere")
    with pytest.raises(UserError, match=r"neither config.json nor config.yaml"):
        load_simulator(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: not JSON"):
        load_simulator(tmp_path)
    other = {**json.loads((folder / "config.json").read_text()), "sources": ["kitchen"]}
    (tmp_path / "config.json").write_text(json.dumps(other))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match="does not fit this model"):
        load_simulator(tmp_path)


def test_the_released_simulator_is_loaded_without_lightning(tmp_path: Path) -> None:
    code = (
        "import sys, mssim; assert 'torch' not in sys.modules\n"
        "sim = mssim.load_simulator('kitchen-32')\n"
        "print(mssim.__version__, sim.config.size, len(sim.config.senses))\n"
        "assert not {'lightning', 'jsonargparse', 'lightning_app'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [mssim.__version__, "32", "10"]


def test_every_name_of_the_package_is_there() -> None:
    assert all(hasattr(mssim, name) for name in mssim.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = mssim.nonsense
