"""The wheel, in an empty folder: nothing of the checkout is needed to use what it installs."""

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "tests" / "readme_example.py"
RECORD = "record --out recordings --subjects S05 --minutes 0.3 --size 32 --seed 1"
TEST = (
    "test kitchen-32 --data.sources.kitchen.source.init_args.path recordings --data.store stores "
    "--run scored --data.eval_every 16 --model.controls [copy-last-frame]"
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed"
    ),
]


def run(*words: object, cwd: Path, **options: str) -> str:
    """What a command prints; none of it sees the checkout."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | options
    done = subprocess.run(
        [str(w) for w in words], cwd=cwd, env=env, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment's `bin`: the wheel in it, and beside it what the wheel needs."""
    folder = tmp_path_factory.mktemp("wheel")
    path = os.environ.get("PYTHONPATH", "")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=ROOT, PYTHONPATH=path)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    # Before the environment is beside it: pip must not see, and replace, the checkout's own.
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=folder)
    site = next((folder / "venv" / "lib").glob("python*/site-packages"))
    # A path file of a path file is not read, so the checkout's editable install stays out.
    (site / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


def test_the_package_is_whole_there(bare: Path, tmp_path: Path) -> None:
    code = (
        "import mssim, data_modules, lightning_app\n"
        "from mssim.resources import CONFIGS, find_config, released\n"
        "from data_modules.sources.detect import SENSES, read_senses\n"
        "print(mssim.__file__, mssim.__version__, len(read_senses(SENSES / 'actionsense.yaml')))\n"
        "assert find_config('kitchen').is_file() and find_config('configs/g1.yaml').is_file()\n"
        "assert released() == ['kitchen-32'] and not (CONFIGS / 'published').exists()\n"
        "from pathlib import Path\n"
        "assert all((Path(p.__file__).parent / 'py.typed').is_file()\n"
        "           for p in (mssim, data_modules, lightning_app))"
    )
    told = run(bare / "python", "-c", code, cwd=tmp_path).split()
    assert Path(told[0]).is_relative_to(bare.parent)
    assert told[1:] == ["0.1.0", "10"]


def test_configs_are_named_there(bare: Path, tmp_path: Path) -> None:
    told = run(bare / "mssim", *["fit", "--config", "kitchen", "--print_config"], cwd=tmp_path)
    assert "path: runs/kitchen/recordings" in told and "name: left_tactile" in told
    code = (
        "from lightning_app.tables.spec import read_spec\n"
        "from mssim.resources import CONFIGS, find_config\n"
        "for file in (CONFIGS / 'tables').glob('*-*.yaml'):\n"
        "    spec = read_spec(find_config(f'configs/tables/{file.stem}.yaml'))\n"
        "    assert spec.config == CONFIGS / 'tables' / 'kitchen.yaml', spec"
    )
    run(bare / "python", "-c", code, cwd=tmp_path)


def test_the_readme_s_python_runs_there(bare: Path, tmp_path: Path) -> None:
    lines = run(bare / "python", EXAMPLE, cwd=tmp_path).splitlines()
    errors = {line.rpartition(" ")[0]: float(line.split()[-1]) for line in lines[1:]}
    assert errors["as it was"] < errors["nobody moves"] / 2


def test_the_released_simulator_is_scored_there(bare: Path, tmp_path: Path) -> None:
    run(bare / "mssim", *RECORD.split(), cwd=tmp_path)
    run(bare / "mssim", *TEST.split(), cwd=tmp_path)
    assert "copy-last-frame" in (tmp_path / "scored" / "metrics.md").read_text()
    run(bare / "mssim", "data", "recordings", "--yaml", "mine.yaml", cwd=tmp_path)
    assert (tmp_path / "mine.yaml").is_file()
