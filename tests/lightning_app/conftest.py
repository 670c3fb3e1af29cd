"""One tiny dataset for all, and one run of it: trained, tested and shown."""

import sys
from pathlib import Path

import pytest
from helpers.tiny import write_config, write_toy

from lightning_app.cli import main


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset; its store is beside it, made by whoever comes first."""
    return write_toy(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def trained(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was fitted for 6 steps, tested, and shown; read it only."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["mssim"])
        main(["fit", "--config", str(write_config(folder, toy))])
        saved = str(folder / "run" / "config.yaml")
        main(["test", "--config", saved])
        main(["predict", "--config", saved, "--data.horizon", "12"])
    return folder / "run"
