import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import lerobot_writer as writer
from helpers.actionsense_writer import write_actionsense
from jsonargparse import ArgumentParser
from PIL import Image

from data_modules.commands import data, plan, prepare
from data_modules.module import DataModule
from data_modules.overview import _channels, _runs, contact_sheet, overview
from data_modules.recording import Entry, Recording, Span
from data_modules.sources.detect import detect
from data_modules.splits import Split, resolve
from data_modules.starter import suggest_split
from mssim.errors import UserError
from mssim.senses import Sense, SenseSet

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return writer.write_lerobot(tmp_path_factory.mktemp("data") / "toy", episodes=3, frames=30)


@pytest.fixture(scope="module")
def worn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("actionsense")
    write_actionsense(root, "S02", seconds=14)
    return root


def recording(id: str, frames: int, spans: list[Span], **senses: np.ndarray) -> Recording:
    present = {n: np.arange(frames) % 4 != 0 for n in senses}
    eye = np.zeros((frames, 4, 4, 3), np.uint8)
    return Recording(id, "s", "S0", 0.5, {"eye": eye}, senses, present, tuple(spans), ("odd",))


def test_counts() -> None:
    senses = SenseSet([Sense("arm", [2], "rad"), Sense("gone", [3], "x")])
    values = np.zeros((40, 1, 2), np.float32)
    both = [
        recording(
            "a", 40, [Span(0, 12, "cut"), Span(12, 24, "stir"), Span(24, 36, "cut")], arm=values
        ),
        recording("b", 80, []),
    ]
    seen = overview(both, senses)
    assert (seen.recordings, seen.minutes, seen.subjects) == (2, 1.0, {"S0": 2})
    assert [(r.sense.name, r.recordings, r.share) for r in seen.senses] == [
        ("arm", 1, 0.25), ("gone", 0, 0.0),
    ]  # fmt: skip
    assert seen.labels == {"cut": (2, pytest.approx(0.2)), "stir": (1, pytest.approx(0.1))}
    assert seen.notes == ("a: odd", "b: odd")
    table = seen.table()
    assert "2 recordings, 1.0 minutes; subjects S0 (2)" in table
    assert "arm    2      rad   1              1           25.0 %" in table
    assert "cut    2          0.2" in table


def test_the_channels_that_vary_most_are_drawn_where_present() -> None:
    rng = np.random.default_rng(0)
    scale = np.array([1, 9, 1, 8, 7, 1, 6, 5, 4, 1], np.float32).reshape(2, 5)
    values = (rng.standard_normal((50, 2, 2, 5)) * scale).astype(np.float32)
    present = np.ones(50, bool)
    present[3] = False
    lines, total = _channels(values, present)
    assert total == 10 and lines.shape == (100, 6)
    assert np.isnan(lines[6:8]).all() and np.isfinite(np.delete(lines, [6, 7], axis=0)).all()
    np.testing.assert_array_equal(lines[0], values[0, 0].ravel()[[1, 3, 4, 6, 7, 8]])
    assert _runs(np.array([True, True, False, True])) == [(0, 2), (3, 4)]
    assert _runs(np.zeros(3, bool)) == []


def test_the_sheet_shows_frames_at_their_times(tmp_path: Path) -> None:
    """A camera that turns from red to blue halfway, and a sense that is absent from then on."""
    frames = np.zeros((60, 8, 8, 3), np.uint8)
    frames[:30, ..., 0], frames[30:, ..., 2] = 255, 255
    present = np.arange(60) < 30
    drawn = Recording(
        "a", "s", "S0", 0.1, {"eye": frames}, {"arm": np.ones((60, 1, 2), np.float32)},
        {"arm": present}, (Span(0, 60, "turn"),),
    )  # fmt: skip
    file = tmp_path / "deep" / "sheet.png"
    contact_sheet(drawn, SenseSet([Sense("arm", [2], "rad"), Sense("leg", [2], "rad")]), file)
    picture = np.asarray(Image.open(file).convert("RGB")).astype(int)
    red = (picture[..., 0] > 250) & (picture[..., 1:] < 5).all(axis=-1)
    blue = (picture[..., 2] > 250) & (picture[..., :2] < 5).all(axis=-1)
    red_at, blue_at = np.flatnonzero(red.any(axis=0)), np.flatnonzero(blue.any(axis=0))
    assert len(red_at) > 300 and abs(len(red_at) / len(blue_at) - 1) < 0.05
    assert red_at.max() < blue_at.min()
    grey = (np.abs(picture - 230) < 3).all(axis=-1)
    low = grey[picture.shape[0] // 2 :]
    assert low[:, blue_at.max() - 50].any() and low[:, red_at.min() + 50].any()  # arm's end; leg
    assert list(file.parent.iterdir()) == [file]


def test_formats_are_recognised(toy: Path, worn: Path, tmp_path: Path) -> None:
    source, senses = detect(toy)
    assert type(source).__name__ == "LeRobotSource"
    assert [(s.name, s.shape, s.role) for s in senses] == [
        ("state", [4], "sensation"), ("action", [4], "command"),
    ]  # fmt: skip
    source, senses = detect(worn)
    assert type(source).__name__ == "ActionSenseSource" and len(senses) == 10
    with pytest.raises(UserError, match=r"neither a LeRobot dataset .* nor ActionSense recordings"):
        detect(tmp_path)
    with pytest.raises(UserError, match="is no folder; give the folder of a dataset"):
        detect(tmp_path / "none")


def test_data_tells_what_is_there(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data(toy, tmp_path / "out", tmp_path / "stores", size=16, limit=2, recording="episode_000001")
    told = capsys.readouterr().out
    assert "2 recordings, 0.1 minutes; subjects square (2)" in told
    assert "state   4            1              2           100.0 %" in told
    assert "Slide the square.    1          0.1" in told
    assert Image.open(tmp_path / "out" / "toy.png").size[0] > 1000
    assert "2 recordings, 0.1 minutes" in told and "--limit 3 reads all" in told
    assert "contact sheet of episode_000001" in told
    with pytest.raises(UserError, match=r"'episode_000009' is not in .* it has episode_000000 to"):
        data(toy, tmp_path, tmp_path / "stores", size=16, limit=2, recording="episode_000009")


def test_looking_leaves_nothing_but_the_picture(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look at a dataset wrote a store of seven times its size."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    data(toy, tmp_path / "out", tmp_path / "stores", size=16)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["toy.png"]
    assert not (tmp_path / "stores").exists()


def test_data_tells_all_that_a_config_names(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data(toy, tmp_path / "out", tmp_path / "stores", size=16)
    told = capsys.readouterr().out
    assert re.search(r"^top +32 x 32 +10 +all +16 x 16$", told, re.MULTILINE)
    assert re.search(
        r"^observation\.state +float32 +4\n +0:x 1:y 2:grip 3:light$", told, re.MULTILINE
    )
    assert re.search(r"^action +float32 +4$", told, re.MULTILINE)
    assert "splits declared: train (2), test (1)" in told
    assert "by dataset: train train; val none; test test" in told
    whole = yaml.safe_load(told[told.index("run: runs/toy") :])
    assert whole["data"]["sources"]["toy"]["source"]["init_args"]["path"] == str(toy)
    assert [s["name"] for s in whole["data"]["senses"]["senses"]] == ["state", "action"]
    assert {"model", "trainer", "ema"} <= set(whole)


def add_camera(root: Path, name: str) -> None:
    """A second camera of a v2.1 dataset, with the pictures of the first."""
    first = root / "videos/chunk-000" / writer.CAMERA
    shutil.copytree(first, first.with_name(f"observation.images.{name}"))
    file = root / "meta/info.json"
    info = json.loads(file.read_text())
    info["features"][f"observation.images.{name}"] = info["features"][writer.CAMERA]
    file.write_text(json.dumps(info))


def test_every_camera_is_drawn_and_one_is_named(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = shutil.copytree(toy, tmp_path / "two")
    data(two, tmp_path / "one", tmp_path / "stores", size=16)
    add_camera(two, "wrist")
    data(two, tmp_path / "both", tmp_path / "stores", size=16, yaml=tmp_path / "a.yaml")
    told = capsys.readouterr().out
    assert re.search(r"^wrist +32 x 32", told, re.MULTILINE)
    heights = [Image.open(tmp_path / f / "two.png").size[1] for f in ("one", "both")]
    assert heights[1] > heights[0] + 100
    text = (tmp_path / "a.yaml").read_text()
    assert "there are top, wrist" in text and "camera: top" in text
    with pytest.raises(UserError, match=r"a\.yaml is there already; remove it or name another"):
        data(two, tmp_path / "both", tmp_path / "stores", size=16, yaml=tmp_path / "a.yaml")


def test_one_bad_recording_does_not_hide_the_others(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = shutil.copytree(toy, tmp_path / "bad")
    next(bad.rglob("episode_000000.mp4")).write_bytes(b"no video")
    data(bad, tmp_path / "out", tmp_path / "stores", size=16)
    told = capsys.readouterr().out
    assert "2 recordings, 0.1 minutes" in told and "episode_000000: cannot be read: " in told
    for file in bad.rglob("*.mp4"):
        file.write_bytes(b"no video")
    with pytest.raises(UserError, match=r"episode_000000\.mp4"):
        data(bad, tmp_path / "out", tmp_path / "stores", size=16)


def test_a_split_is_proposed_for_every_number_of_recordings() -> None:
    def entries(count: int, subjects: int = 1) -> list[Entry]:
        return [Entry(f"e{i}", f"S{i % subjects}", (), 9) for i in range(count)]

    def lists(split: Split) -> tuple[list[str], ...]:
        return split.train, split.val, split.test

    assert lists(suggest_split(entries(1), None)) == (["0:1"], [], [])
    assert lists(suggest_split(entries(2), None)) == (["0:1"], [], ["1:2"])
    assert lists(suggest_split(entries(3), {"train": ["e0"]})) == (["0:1"], ["1:2"], ["2:3"])
    assert lists(suggest_split(entries(80), None)) == (["0:64"], ["64:72"], ["72:80"])
    people = suggest_split(entries(8, subjects=4), None)
    assert (people.by, *lists(people)) == ("subject", ["S0", "S1"], ["S2"], ["S3"])
    for count in range(1, 30):
        parts = resolve("s", suggest_split(entries(count), None), entries(count))
        assert sum(map(len, parts.values())) == count


def test_data_tells_of_actionsense(
    worn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data(worn, tmp_path / "out", tmp_path / "stores", size=16)
    told = capsys.readouterr().out
    assert "1 recordings" in told and "subjects S02 (1)" in told
    assert "left_tactile     32x32" in told and (tmp_path / "out").glob("*.png")


def write_config(folder: Path, toy: Path) -> Path:
    (folder / "senses").mkdir()
    listed = [{"name": s.name, "shape": s.shape, "unit": s.unit} for s in writer.senses()]
    (folder / "senses/toy.yaml").write_text(yaml.safe_dump({"senses": listed}))
    senses = {
        "arm": {"column": "observation.state", "start": 0, "stop": 2},
        "hand": {"column": "observation.state", "start": 2, "stop": 4},
    }
    source = {
        "class_path": "data_modules.sources.lerobot.LeRobotSource",
        "init_args": {"path": str(toy), "senses": senses},
    }
    split = {"by": "recording", "train": ["0:2"], "test": ["2:3"]}
    group = {
        "sources": {"squares": {"source": source, "split": split}},
        "senses": "senses/toy.yaml",
        "size": 16,
        "batch_size": 3,
    }
    (folder / "toy.yaml").write_text(yaml.safe_dump(group))
    return folder / "toy.yaml"


def test_prepare_and_fit_find_the_same_store(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, toy)
    prepare(toy, tmp_path / "stores", config)
    assert capsys.readouterr().out.endswith(": 3 of 3 recordings\n")
    before = sorted((tmp_path / "stores").rglob("meta.json"))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(DataModule, "data", sub_configs=True)
    arguments = ["--data", str(config), "--data.store", str(tmp_path / "stores")]
    module = parser.instantiate(parser.parse_args(arguments)).data
    module.prepare_data()
    assert sorted((tmp_path / "stores").rglob("meta.json")) == before and len(before) == 3
    assert capsys.readouterr().err == ""
    (tmp_path / "run.yaml").write_text("data: toy.yaml\nseed_everything: 3\n")
    assert plan(toy, tmp_path / "run.yaml", None, None)[2] == module.clock
    name, source, clock = plan(tmp_path, config, 8, 5.0)
    assert (name, source.path, clock.size, clock.rate) == ("squares", tmp_path, 8, 5.0)


def test_wrong_configs_are_told(toy: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, toy)
    whole = yaml.safe_load(config.read_text())
    two = {**whole, "sources": {"a": whole["sources"]["squares"], "b": whole["sources"]["squares"]}}
    cases = [
        (whole | {"senses": "senses/none.yaml"}, r"none\.yaml is not there; name a file of senses"),
        (whole | {"size": "big"}, r"bad\.yaml: .*big"),
        (two, rf"{tmp_path} is none of the sources of .*bad\.yaml, which are {toy}, {toy}"),
        ([1, 2], "holds no table"),
    ]
    for content, message in cases:
        (tmp_path / "bad.yaml").write_text(yaml.safe_dump(content))
        with pytest.raises(UserError, match=message) as caught:
            plan(tmp_path, tmp_path / "bad.yaml", None, None)
        assert "\n" not in str(caught.value)
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(UserError, match=r"bad\.yaml: not YAML"):
        plan(tmp_path, tmp_path / "bad.yaml", None, None)
    with pytest.raises(UserError, match="size: -1 must be above 0"):
        plan(toy, None, -1, None)


def test_numbers_out_of_range_are_told(toy: Path, tmp_path: Path) -> None:
    out = {"out": tmp_path}
    for name, value in (("limit", 0), ("limit", -1), ("jobs", 0), ("rate", float("nan"))):
        with pytest.raises(UserError, match=f"^{name}: {value} must be above 0$"):
            prepare(toy, **{**out, name: value})
    for name, value in (("limit", 0), ("seconds", 0.0), ("seconds", float("nan"))):
        with pytest.raises(UserError, match=f"^{name}: {value} must be above 0$"):
            data(toy, **{**out, name: value})


def test_configs_in_another_encoding_are_read_or_told(toy: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, toy)
    whole = plan(toy, config, None, None)[2]
    for file in (config, tmp_path / "senses/toy.yaml"):
        file.write_bytes(file.read_text().encode("utf-16"))
    assert plan(toy, config, None, None)[2] == whole
    for file in (tmp_path / "senses/toy.yaml", config):
        file.write_bytes("# Ärmel".encode("latin-1"))
        with pytest.raises(UserError, match=rf"{file.name}: not UTF-8 text .*save it as UTF-8"):
            plan(toy, config, None, None)
    with pytest.raises(UserError, match="is a folder, a file is needed"):
        plan(toy, tmp_path, None, None)


def test_the_commands_need_no_framework(toy: Path, tmp_path: Path) -> None:
    script = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from data_modules import commands
heavy = ("torch", "lightning", "open_clip", "scipy", "h5py", "matplotlib", "jsonargparse", "av")
at_import = [m for m in heavy if m in sys.modules]
commands.data(Path({str(toy)!r}), Path({str(tmp_path)!r}), Path({str(tmp_path)!r}), size=8)
print(json.dumps([at_import, [m for m in heavy[:3] if m in sys.modules]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [[], []]
