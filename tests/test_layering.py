"""The house's walls: who may import whom, how large a room may be, what lies at the top."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("mssim", "data_modules", "lightning_app")
ABOVE = {"mssim": {"data_modules", "lightning_app"}, "data_modules": {"lightning_app"}}
MATHS = {"torch", "einops", "numpy", "scipy", "torchmetrics", "diffusers"}
LAZY = {"open_clip", "lpips"}
FILES = {"safetensors", "yaml", "huggingface_hub"}
READS_FILES = {"checkpoint.py", "config.py", "pretrained.py"}
TOP = {
    "pyproject.toml",
    "lightning_app",
    "mssim",
    "data_modules",
    "configs",
    "tests",
    "Makefile",
    "README.md",
    "LICENSE",
    "CONTRIBUTING.md",
}
BODY, FILE = 50, 400
ROAD = ("world", "command", "sensing", "recorder")


def files(*packages: str) -> list[Path]:
    return sorted(p for package in packages for p in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every module that a file imports, and whether it does so when it is imported itself."""
    tree = ast.parse(path.read_text())
    inside = {
        id(n)
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)
        for n in ast.walk(f)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            names = [f"{node.module}.{a.name}" for a in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [ast.literal_eval(node.args[0])]
        for name in names:
            yield name, id(node) not in inside


def foreign(path: Path) -> Iterator[tuple[str, bool]]:
    """Top-level names of imported modules that are not Python's own."""
    for name, early in imports(path):
        top = name.split(".")[0]
        if top not in sys.stdlib_module_names:
            yield top, early


@pytest.mark.parametrize("package", ABOVE)
def test_imports_point_one_way(package: str) -> None:
    for path in files(package):
        upward = {top for top, _ in foreign(path)} & ABOVE[package]
        assert not upward, f"{path} imports {upward}"


@pytest.mark.parametrize("stretch", ROAD)
def test_nothing_on_the_kitchen_s_road_imports_backwards(stretch: str) -> None:
    later = {f"data_modules.kitchen.{name}" for name in ROAD[ROAD.index(stretch) + 1 :]}
    for path in files(f"data_modules/kitchen/{stretch}"):
        for name, _ in imports(path):
            assert not any(name.startswith(part) for part in later), f"{path} imports {name}"


def test_mssim_is_mathematics_alone_but_for_the_files_that_read_weights() -> None:
    for path in files("mssim"):
        for top, early in foreign(path):
            known = MATHS | {"mssim"} if early else MATHS | {"mssim"} | LAZY
            known |= FILES if path.name in READS_FILES else set()
            assert top in known, f"{path} imports {top}"


def test_lightning_is_met_in_two_places_below_the_application() -> None:
    """The DataModule is Lightning's; nothing else of `data_modules` knows it."""
    framework = {"lightning", "pytorch_lightning", "jsonargparse"}
    met = {p.name for p in files("data_modules") if {t for t, _ in foreign(p)} & framework}
    assert met == {"module.py", "commands.py"}


def test_modules_do_not_know_each_other() -> None:
    folder = "lightning_app.modules."
    for path in files("lightning_app/modules"):
        known = {n.removeprefix(folder).split(".")[0] for n, _ in imports(path) if folder in n}
        assert known <= {"base"}, f"{path} imports {known}"


def test_the_helpers_of_imports_see_what_they_should(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "import a.b\nfrom c import d\nimport os\n"
        "def f():\n    import e\n    importlib.import_module('g.h')\n"
    )
    assert sorted(foreign(path)) == [("a", True), ("c", True), ("e", False), ("g", False)]


@pytest.mark.parametrize("path", files(*PACKAGES, "tests"), ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_are_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]
            assert lines <= BODY, f"{node.name} has {lines} lines"


def test_the_top_level_holds_what_it_should_and_nothing_else() -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    names = {line.split("/")[0] for line in done.stdout.splitlines()}
    assert {n for n in names if not n.startswith(".")} <= TOP
    assert {"pyproject.toml", *PACKAGES, "configs", "tests", "Makefile", ".ci"} <= names
