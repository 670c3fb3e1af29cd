"""Which source reads a folder, however its folders are linked."""

from pathlib import Path

from helpers.actionsense_load import write
from helpers.h2o_writer import write_h2o

from data_modules.sources.actionsense import ActionSenseSource
from data_modules.sources.detect import detect
from data_modules.sources.h2o import H2OSource


def test_linked_experiment_folders_are_found_once(tmp_path: Path) -> None:
    write(tmp_path / "disk", 0.5)
    root = tmp_path / "data"
    root.mkdir()
    for name in ("S00", "again"):
        (root / name).symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "up").symlink_to(root)
    source, _ = detect(root)
    assert isinstance(source, ActionSenseSource) and len(source.entries()) == 1
    assert source.entries()[0].files[0].is_relative_to(root / "S00")


def test_linked_takes_are_found(tmp_path: Path) -> None:
    write_h2o(tmp_path / "disk", frames=12)
    root = tmp_path / "data"
    root.mkdir()
    for name in ("subject1", "label_split"):
        (root / name).symlink_to(tmp_path / "disk" / name)
    source, _ = detect(root)
    assert isinstance(source, H2OSource)
    assert [e.id for e in source.entries()] == ["subject1_h1_0", "subject1_k2_1"]
