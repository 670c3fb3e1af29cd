"""README and published page keep their word: commands exist, files are there, numbers agree."""

import csv
import json
import re
import subprocess
from pathlib import Path

import pytest

from lightning_app.cli import DATA_COMMANDS, RESULT_COMMANDS, TRAINER_COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
RESULTS = (ROOT / "configs" / "published" / "README.md").read_text()
TEXT = f"{README}\n{RESULTS}"
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
_TIME = r"(?:about|under) (\d+) minutes"
PUBLISHED = sorted(p.parent for p in (ROOT / "configs" / "published").glob("*/metrics.json"))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command: str) -> None:
    words = command.split()
    if words[0] == "make":
        asked = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert asked.returncode == 0, asked.stderr
        return
    if words[0] == "tensorboard":  # it comes with Lightning's logger
        return
    assert words[0] == "mssim"
    assert words[1] in {**TRAINER_COMMANDS, **DATA_COMMANDS, **RESULT_COMMANDS}
    for name in re.findall(r"configs/\S+\.yaml", command):
        assert (ROOT / name).exists(), name


def test_files_are_there() -> None:
    published = ROOT / "configs" / "published"
    named = re.findall(r"`((?:configs|tests)/[\w./-]+)`", TEXT)
    links = [(ROOT, name) for name in [*named, *re.findall(r"\]\(([^)#]+)\)", README)]]
    links += [(published, name) for name in re.findall(r"\]\(([^)#]+)\)", RESULTS)]
    assert len(links) > 10
    assert [n for at, n in links if "://" not in n and not (at / n).exists()] == []


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda p: p.name)
def test_numbers_are_the_published(folder: Path) -> None:
    for row in json.loads((folder / "metrics.json").read_text()):
        assert readme_line(row) in TEXT, f"{folder.name}: {row['row']}"


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda p: p.name)
def test_published_folders_are_whole(folder: Path) -> None:
    names = {p.name for p in folder.iterdir()}
    needed = {
        "config.yaml",
        "command.txt",
        "metrics.json",
        "metrics.csv",
        "metrics.md",
        "drift.png",
    }
    assert needed <= names


def test_the_paper_s_table_is_the_published() -> None:
    """Table 1, and the verdict on each claim."""
    with (ROOT / "configs" / "published" / "tables" / "table-1.csv").open() as file:
        for line in csv.DictReader(file):
            assert table_line(line) in TEXT, line["row"]
    page = (ROOT / "configs" / "published" / "claims.md").read_text()
    verdicts = re.findall(r"^\| ([\w-]+): (.+?) \| \*\*(.+?)\*\* \|", page, re.MULTILINE)
    assert verdicts
    for _, says, outcome in verdicts:
        assert f"| {says} | {outcome} |" in TEXT, says


def table_line(line: dict[str, str]) -> str:
    """A row of `table-1.csv` as the README prints it."""
    gaps = [gap_of(line, name) for name in ("over_copy_psnr", "reference_minus_row_psnr")]
    theirs = line["paper PSNR"] and f"{float(line['paper PSNR']):.1f}"
    return " | ".join([f"| {line['row']}", f"{float(line['psnr']):.2f}", *gaps, f"{theirs} |"])


def gap_of(line: dict[str, str], name: str) -> str:
    if not line[name]:
        return ""
    value, low, high = (float(line[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def readme_line(row: dict[str, object]) -> str:
    """A row of `metrics.json` as the README prints it."""
    ci = row["ci"]
    assert isinstance(ci, dict)
    gap = ci.get("model_minus_row", {}).get("psnr")
    over = "" if gap is None else f"{gap[0]:+.2f} [{gap[1]:+.2f}, {gap[2]:+.2f}]"
    # Results of earlier versions have no correlation.
    correlation = f" {row['gradient_correlation']:.3f} |" if "gradient_correlation" in row else ""
    return (
        f"| {row['row']} | {row['psnr']:.2f} | {over} | {row['mse']:.5f} | {row['ssim']:.3f} "
        f"| {row['motion']:.2f} | {row['gradient']:.2f} |{correlation}"
    )


def test_readme_and_help_agree_on_times() -> None:
    """`make help` said 5 minutes where the README said 8."""
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    helped = dict(line.split(maxsplit=1) for line in listed.stdout.splitlines())
    compared = 0
    for line in re.findall(r"^make .*", TEXT, re.MULTILINE):
        target = line.split()[1]
        told = re.findall(_TIME, line.partition("#")[2])
        compared += bool(told)
        assert not told or told == re.findall(_TIME, helped[target]), target
    assert compared >= 2


def test_the_readme_says_how_to_open_tensorboard() -> None:
    assert re.search(r"^tensorboard +--logdir runs/", TEXT, re.MULTILINE)


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= 1100


def test_the_readme_s_python_is_what_the_wheel_s_test_runs() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert block == (ROOT / "tests" / "readme_example.py").read_text()
