"""Files that come with the package are found by name, and a file of one's own wins."""

from pathlib import Path

import pytest

from mssim.resources import CONFIGS, PRETRAINED, find_config, find_weights, released

KITCHEN = CONFIGS / "kitchen.yaml"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("kitchen", KITCHEN),
        ("kitchen.yaml", KITCHEN),
        ("configs/kitchen.yaml", KITCHEN),
        ("data/kitchen", CONFIGS / "data" / "kitchen.yaml"),
        ("kitchen-32", PRETRAINED / "kitchen-32" / "config.yaml"),
    ],
)
def test_a_packaged_config_is_found_by_name(
    name: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(name) == file and file.is_file()


@pytest.mark.parametrize("name", ["nothing", "", "../configs/kitchen", "/kitchen.yaml"])
def test_what_is_not_there_stays_as_it_was_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(name) == Path(name)
    assert find_weights(Path(name)) == Path(name)


def test_a_file_of_ones_own_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    for name in ("configs/kitchen.yaml", "kitchen-32"):
        Path(name).write_text("run: mine")
        assert find_config(name) == Path(name)
    assert find_weights(Path("kitchen-32")) == Path("kitchen-32")


def test_released_weights_are_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert released() == ["kitchen-32"]
    assert find_weights(Path("kitchen-32")) == PRETRAINED / "kitchen-32" / "model.safetensors"
    assert find_weights(Path("runs/kitchen-32")) == Path("runs/kitchen-32")
