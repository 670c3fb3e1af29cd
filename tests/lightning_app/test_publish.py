"""What is published tells nothing of the machine that made it."""

import re
from pathlib import Path

import pytest

from data_modules.files import homeless
from lightning_app.publish import TEXTS, main
from mssim.metrics import perceptual

ROOT = Path(__file__).parents[2]


def write_run(folder: Path, text: str) -> Path:
    run = folder / "work" / "runs" / "a"
    (run / "rollouts").mkdir(parents=True)
    for name in TEXTS:
        (run / name).write_text(text)
    (run / "drift.png").write_bytes(b"png")
    (run / "rollouts" / "x.gif").write_bytes(b"gif")
    return run


def test_no_home_path_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path, f"a: {tmp_path}/work/runs/a/b\nc: {tmp_path}/.cache; {tmp_path}, x\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "work")
    main(["--run", str(run), "--out", "published", "--gif"])
    out = tmp_path / "work" / "published" / "a"
    for name in TEXTS:
        assert (out / name).read_text() == "a: runs/a/b\nc: ~/.cache; ~, x\n"
    assert (out / "rollout.gif").read_bytes() == b"gif"


def test_a_run_without_a_test_is_not_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path, "x")
    (run / "metrics.md").unlink()
    with pytest.raises(SystemExit) as stop:
        main(["--run", str(run), "--out", str(tmp_path / "out")])
    assert stop.value.code == 2 and not (tmp_path / "out").exists()
    assert "metrics.md is not there; run `mssim test --config" in capsys.readouterr().err


def test_a_home_that_is_the_root_of_all_takes_no_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    monkeypatch.chdir("/")
    assert homeless("/data/a and b/c") == "/data/a and b/c"


def test_missing_weights_name_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    told = f"{perceptual.load_lpips('alex', 32)} {perceptual.load_i3d(12)}"
    assert "~/torch/hub/checkpoints" in told and str(tmp_path) not in told


def test_published_files_hold_no_home() -> None:
    files = [
        p for p in (ROOT / "configs").rglob("*") if p.suffix in (".json", ".md", ".yaml", ".csv")
    ]
    assert len(files) > 20
    found = [p for p in files if re.search(r"/root/|/home/\w|/Users/\w", p.read_text())]
    assert found == []
