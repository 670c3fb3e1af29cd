"""What every test needs: helpers on the path, one thread, an argv that no CLI reads."""

import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _plain_argv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["mssim"])


@pytest.fixture
def g1() -> Path:
    """The real humanoid recordings, where they are."""
    path = ROOT.parent / "shared" / "data" / "g1_bottle"
    if not path.exists():
        pytest.skip(f"real data not present at {path}")
    return path
