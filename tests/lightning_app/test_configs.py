"""Every YAML that a reader runs, through the real `main()`: fit, test, predict."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.actionsense_writer import write_actionsense
from helpers.tiny import LONG, ROWS, checkpoint, environment, write_robot
from torch import Tensor, nn

from data_modules.commands import read_settings
from data_modules.sources.detect import read_senses
from lightning_app.cli import main
from mssim import build

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
PRETRAINED = ROOT / "mssim" / "pretrained"
CPU = [
    *("--trainer.accelerator", "cpu", "--trainer.devices", "1", "--trainer.strategy", "auto"),
    *("--trainer.max_steps", "2", "--trainer.val_check_interval", "2"),
    *("--trainer.enable_progress_bar", "false", "--data.workers", "0"),
]
SMALL = ["--data.batch_size", "1", "--data.eval_batch_size", "2", "--data.eval_every", "100"]
SIMULATOR = ["--model.sampler.steps", "1", "--model.unet.width", "8"]
ROBOT = [
    # In quotes: YAML reads 2:4 as two minutes and four seconds.
    *("--data.sources.g1.split.train", "['0:2']", "--data.sources.g1.split.val", "['2:4']"),
    *("--data.sources.g1.split.test", "['4:6']"),
]
# As in the paper, but for the width of the network: the size itself is tested below.
NARROW = ["--model.unet.embedding", "32", "--model.encoder.projection", "[32]"]
# A process of its own, whose peak is the step's; seconds of its one core, whoever shares it.
MEASURED = """
import resource, sys, time
from mssim import build
from lightning_app.cli import main
from test_configs import StandIn
build.OpenClipTower = StandIn
main(sys.argv[1:])
print(time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


class StandIn:
    """In the place of ViT-H-14: as wide, as frozen, and of no weight."""

    width = 1024

    def __init__(self, *_: object) -> None:
        self.net = nn.Linear(3, 1024).requires_grad_(False)

    def images(self, video: Tensor) -> Tensor:
        return nn.functional.normalize(self.net(video.mean((-1, -2))), dim=-1)


@pytest.mark.parametrize("name", ["g1", "kitchen", "best", "quickstart", "tower"])
def test_a_shipped_schedule_follows_max_steps(name: str) -> None:
    """So that `--trainer.max_steps 20000`, as the README has it, is all that a longer run takes."""
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    schedule = config["model"]["init_args"]["lr_scheduler"]
    assert schedule["class_path"].endswith("OneCycleLR")
    assert "total_steps" not in schedule["init_args"]


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_robot(tmp_path_factory.mktemp("robot"))


@pytest.fixture(scope="module")
def actionsense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One short recording of each subject; below 8 seconds no label lasts a window of stride 3."""
    folder = tmp_path_factory.mktemp("actionsense") / "recordings"
    for number in range(6):
        write_actionsense(folder, f"S{number:02d}", seconds=8, seed=number, number=number)
    return folder


def words(name: str, source: str, data: Path, run: Path) -> list[str]:
    """What is common to all runs of a config here."""
    where = ["--run", str(run), "--data.store", str(data.parent / "stores")]
    where += [f"--data.sources.{source}.source.init_args.path", str(data)]
    return ["--config", str(CONFIGS / name), *where, *CPU, *SMALL]


def test_all_configs_are_tested_here() -> None:
    # test_claims.py reads the claims; test_conditioning.py runs the tower's config.
    names = {p.name for p in CONFIGS.glob("*.yaml")} - {"claims.yaml", "tower.yaml"}
    assert names == {
        *("g1.yaml", "encoder.yaml", "kitchen.yaml", "quickstart.yaml", "full.yaml", "best.yaml")
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "source", "more"),
    [
        ("g1.yaml", "g1", ROBOT),
        # Kitchen and ActionSense are of one format; tests/test_record_command.py has the kitchen's.
        ("kitchen.yaml", "kitchen", []),
        # At its real size: it starts from the released weights.
        ("quickstart.yaml", "kitchen", ["--model.unet.width", "32"]),
        ("full.yaml", "actionsense", NARROW),
        ("best.yaml", "actionsense", NARROW),
    ],
)
def test_a_simulator_s_config_runs(
    name: str,
    source: str,
    more: list[str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "OpenClipTower", StandIn)
    data = request.getfixturevalue("robot" if source == "g1" else "actionsense")
    run = tmp_path / "run"
    main(["fit", *words(name, source, data, run), *SIMULATOR, *more])
    # Where nothing validates, nothing is the best.
    kept = {"last"} if name == "quickstart.yaml" else {"best", "last"}
    assert {p.stem for p in (run / "checkpoints").iterdir()} == kept
    assert all(checkpoint(run, stem)["global_step"] == 2 for stem in kept)
    saved = ["--config", str(run / "config.yaml")]
    main(["test", *saved])
    guided = [] if name == "full.yaml" else ["guided"]
    rows = [row["row"] for row in json.loads((run / "metrics.json").read_text())]
    assert rows == ["model", *guided, *ROWS[1:], *LONG]
    main(["predict", *saved, "--data.horizon", "10", "--data.rollouts", "1"])
    assert len(list((run / "rollouts").glob("*.mp4"))) == 1 and (run / "index.html").exists()


@pytest.mark.parametrize(
    "file",
    [*CONFIGS.glob("*.yaml"), CONFIGS / "tables" / "kitchen.yaml", *PRETRAINED.rglob("*.yaml")],
    ids=lambda p: f"{p.parent.name}-{p.stem}",
)
def test_nothing_is_rolled_out_with_guidance_that_no_headline_row_has(file: Path) -> None:
    model = yaml.safe_load(file.read_text()).get("model", {})
    assert model.get("init_args", {}).get("sampler", {}).get("guidance", 0.0) == 0.0


def test_the_encoder_s_config_runs(robot: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    main(["fit", *words("encoder.yaml", "g1", robot, run), *ROBOT])
    assert checkpoint(run, "best")["global_step"] == 2
    main(["test", "--config", str(run / "config.yaml")])


@pytest.mark.parametrize("file", sorted((CONFIGS / "senses").glob("*.yaml")), ids=lambda p: p.stem)
def test_sets_of_senses_parse(file: Path) -> None:
    senses = read_senses(file)
    width = {"g1": 26, "actionsense": 2292 + 6 + 3 + 2, "h2o": 126}[file.stem]
    assert sum(s.width for s in senses) == width


@pytest.mark.parametrize("file", sorted((CONFIGS / "data").glob("*.yaml")), ids=lambda p: p.stem)
def test_data_files_serve_prepare_as_well(file: Path) -> None:
    settings = read_settings(file)
    assert list(settings.sources) == [file.stem] and settings.size in (32, 64)


@pytest.mark.slow
def test_the_paper_s_full_system_takes_a_step_within_16_gib(
    actionsense: Path, tmp_path: Path
) -> None:
    """All of `full.yaml` but its tower, batch 1, on a CPU."""
    given = ["fit", *words("full.yaml", "actionsense", actionsense, tmp_path / "run")]
    given += ["--trainer.fast_dev_run", "1", "--model.sampler.steps", "1"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *given],
        capture_output=True,
        text=True,
        env={**environment(), "PYTHONPATH": f"{ROOT / 'tests'}:{Path(__file__).parent}"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seconds, peak = done.stdout.splitlines()[-1].split()
    assert float(peak) < 16 and float(seconds) < 180
