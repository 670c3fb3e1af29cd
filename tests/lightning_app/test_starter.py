"""What `mssim data --yaml` writes is what `mssim fit --config` takes."""

from pathlib import Path

import yaml
from helpers.actionsense_writer import write_actionsense

from lightning_app.cli import main

QUICK = [
    "--trainer.max_steps=2",
    "--trainer.val_check_interval=2",
    "--trainer.enable_progress_bar=false",
    "--model.unet.width=8",
    "--data.batch_size=2",
]


def fitted(dataset: Path, folder: Path) -> dict[str, object]:
    """`mssim data` and `mssim fit` on a folder; returns the config that was written."""
    file, stores = folder / "mine.yaml", str(folder / "stores")
    main(["data", str(dataset), "--out", str(folder), "--yaml", str(file), "--size", "16"])
    run = ["--run", str(folder / "run"), "--data.store", stores]
    main(["fit", "--config", str(file), *run, *QUICK])
    assert (folder / "run" / "checkpoints" / "last.ckpt").exists()
    whole = yaml.safe_load(file.read_text())
    assert isinstance(whole, dict)
    return whole


def test_the_written_config_trains_on_a_lerobot_folder(toy: Path, tmp_path: Path) -> None:
    split = fitted(toy, tmp_path)["data"]["sources"]["toy"]["split"]  # type: ignore[index]
    assert split["by"] == "dataset"


def test_the_written_config_trains_on_actionsense(tmp_path: Path) -> None:
    for subject in ("S00", "S01", "S02"):
        write_actionsense(tmp_path / "worn", subject, seconds=14)
    data = fitted(tmp_path / "worn", tmp_path)["data"]
    assert data["sources"]["worn"]["split"]["test"] == ["S02"]  # type: ignore[index]
