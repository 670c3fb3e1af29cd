"""Stores are listed with size and owner, and failed tries leave none."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import lerobot_writer as writer

from data_modules.images import Crop
from data_modules.prepare import prepare
from data_modules.recording import Clock
from data_modules.store import Store
from data_modules.stores import list_stores
from lightning_app.cli import main
from mssim.errors import UserError

CLOCK = Clock(writer.senses(), 8)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return writer.write_lerobot(tmp_path_factory.mktemp("data") / "toy", episodes=2, frames=20)


def old(path: Path) -> Path:
    """As if it had been made an hour ago."""
    os.utime(path, (time.time() - 3600,) * 2)
    return path


def told(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    main(["data", "--stores", *map(str, words)])
    return capsys.readouterr().out


def test_failed_tries_leave_no_store(toy: Path, tmp_path: Path) -> None:
    bad = shutil.copytree(toy, tmp_path / "bad")
    for file in bad.rglob("*.mp4"):
        file.write_bytes(b"no video")
    with pytest.raises(UserError, match="episode_00000"):
        prepare("bad", writer.source(bad), CLOCK, tmp_path / "stores")
    assert not (tmp_path / "stores").exists()
    prepare("toy", writer.source(toy), CLOCK, tmp_path / "stores")
    with pytest.raises(UserError, match="episode_00000"):
        prepare("bad", writer.source(bad), CLOCK, tmp_path / "stores")
    assert [p.name[:4] for p in (tmp_path / "stores").iterdir()] == ["toy-"]


def test_a_try_that_fails_in_part_keeps_the_rest(toy: Path, tmp_path: Path) -> None:
    bad = shutil.copytree(toy, tmp_path / "bad")
    next(bad.rglob("episode_000000.mp4")).write_bytes(b"no video")
    with pytest.raises(UserError, match="episode_000000"):
        prepare("bad", writer.source(bad), CLOCK, tmp_path / "stores")
    (store,) = list_stores(tmp_path / "stores")
    assert (store.recordings, store.state) == (1, "ready")


def test_stores_are_listed_with_size_and_owner(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "stores"
    here = prepare("toy", writer.source(toy), CLOCK, root)
    away = shutil.copytree(toy, tmp_path / "away")
    prepare("away", writer.source(away), Clock(writer.senses(), 16, 5.0), root)
    shutil.rmtree(away)
    size = sum(p.stat().st_size for p in here.path.rglob("*") if p.is_file())
    lines = told(capsys, "--store", root).splitlines()
    by_name = {line.split("-")[0]: line for line in lines}
    assert f"{size / 1e6:.1f} MB  2           8 px, own rate     ready" in by_name["toy"]
    assert by_name["toy"].endswith(str(toy))
    assert "16 px, 5 a second  source gone" in by_name["away"]
    assert lines[-1].startswith("2 stores, ")


def test_dead_stores_are_removed_and_no_others(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "stores"
    kept = prepare("toy", writer.source(toy), CLOCK, root)
    signature = kept.signature
    old(Store.create(root / "dead-1", "dead", signature).path)
    Store.create(root / "young-1", "young", signature)
    busy = old(Store.create(root / "busy-1", "busy", signature).path)
    (busy / "recordings" / f".a.{os.getpid()}.0123").mkdir()
    ended = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True)
    crashed = Store.create(root / "crashed-1", "crashed", signature).path
    (crashed / "recordings" / f".a.{ended.stdout.strip()}.0123").mkdir()
    old(crashed)
    other = old(Store.create(root / "other-1", "other", signature).path)
    meta = json.loads((other / "store.json").read_text())
    (other / "store.json").write_text(json.dumps(meta | {"version": 99}))
    (root / "mine").mkdir()
    out = told(capsys, "--store", root)
    removed = [line for line in out.splitlines() if line.startswith("removed")]
    assert sorted(removed) == ["removed: crashed-1 (empty)", "removed: dead-1 (empty)"]
    left = {p.name for p in root.iterdir()}
    assert left == {kept.path.name, "young-1", "busy-1", "other-1", "mine"}
    assert "removed: other-1 (unreadable)" in told(capsys, "--store", root, "--remove", "other-1")


def test_what_cannot_be_removed_is_said(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare("toy", writer.source(toy), CLOCK, tmp_path)
    for words, said in (
        (["--remove", "none"], "no store 'none' in"),
        (["--store", tmp_path / "nowhere"], "nowhere: is no folder; name the one that holds"),
    ):
        with pytest.raises(SystemExit):
            main(["data", "--stores", "--store", str(tmp_path), *map(str, words)])
        assert said in capsys.readouterr().err


def test_cropped_and_letterboxed_stores_live_side_by_side(toy: Path, tmp_path: Path) -> None:
    """And those that were made before there was a choice keep their name."""
    wide = shutil.copytree(toy, tmp_path / "wide")
    for file in wide.rglob("*.mp4"):
        writer.write_video(file, [np.full((32, 64, 3), 200, np.uint8)] * 20)
    crops: list[Crop] = ["center", "none"]
    stores = [
        prepare("wide", writer.source(wide), Clock(writer.senses(), 16, None, crop), tmp_path / "s")
        for crop in crops
    ]
    assert "crop" not in stores[0].signature["clock"]
    assert stores[1].signature["clock"]["crop"] == "none"
    assert len(list_stores(tmp_path / "s")) == 2
    cut, whole = (s.open("episode_000000").cameras["top"][0].mean(axis=(1, 2)) for s in stores)
    assert (cut > 190).all()
    assert (whole[:4] == 0).all() and (whole[12:] == 0).all() and (whole[5:11] > 190).all()


def test_crop_is_a_setting_of_data_and_told_by_it(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = shutil.copytree(toy, tmp_path / "wide") / "meta/info.json"
    table = json.loads(info.read_text())
    table["features"][writer.CAMERA]["shape"] = [32, 64, 3]
    info.write_text(json.dumps(table))
    words = ["data", str(tmp_path / "wide"), "--out", str(tmp_path), "--size", "16"]
    main(words)
    cropped = capsys.readouterr().out
    assert "64 x 32 " in cropped and "the centre 32 x 32" in cropped and "crop: none" in cropped
    main([*words, "--crop", "none", "--yaml", str(tmp_path / "a.yaml")])
    assert "all, with black bars" in capsys.readouterr().out
    whole = yaml.safe_load((tmp_path / "a.yaml").read_text())
    assert whole["data"]["crop"] == "none"


def test_the_listing_is_found_from_the_help_of_data(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in ((["data"], "--stores"), (["data", "--stores"], "--remove")):
        with pytest.raises(SystemExit):
            main([*words, "--help"])
        assert said in capsys.readouterr().out
