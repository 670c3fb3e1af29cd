"""Held-out recordings: a source that tests and trains nothing, normalised as what trained was."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import lerobot_writer as writer
from helpers.toy_data import config, module

from data_modules.commands import read_settings
from data_modules.module import DataModule
from data_modules.splits import SourceConfig, Split
from mssim.errors import UserError


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    for seed, name in enumerate(("a", "b", "c")):
        writer.write_lerobot(root / name, "v3.0" if name == "b" else "v2.1", 3, seed=seed)
    return root


def held_out(root: Path, name: str) -> SourceConfig:
    return SourceConfig(writer.source(root / name), Split(test="all"))


def two(root: Path, **more: SourceConfig) -> DataModule:
    trains = config(root, train=["0:2"], val=["2:3"], test=[])
    return module(root, sources={"a": trains, "b": held_out(root, "b"), **more})


def test_a_folder_can_test_and_train_nothing(toy: Path) -> None:
    data = two(toy)
    tested = {data.unit_names[u] for b in data.test_dataloader() for u in b.unit.tolist()}
    assert tested == {f"b/episode_{i:06d}#0" for i in range(3)}
    assert {s for b in data.train_dataloader() for s in b.source.tolist()} == {0}
    assert {s for b in data.test_dataloader() for s in b.source.tolist()} == {1}


def test_held_out_recordings_are_normalised_as_the_trained_ones(toy: Path) -> None:
    alone = two(toy).statistics()
    for mean, std in alone.values():
        assert torch.equal(mean[0], mean[1]) and torch.equal(std[0], std[1])
    other = config(toy, "c", train=["0:1"], val=[], test=[])
    together = two(toy, c=other).statistics()
    rows = np.concatenate([writer.states(0, 40), writer.states(1, 40), writer.states(0, 40, 2)])
    for place, name in ((slice(0, 2), "arm"), (slice(2, 4), "hand")):
        mean, std = together[name]
        np.testing.assert_allclose(mean[1], rows.mean(0)[place], atol=1e-5)
        np.testing.assert_allclose(std[1], rows.std(0)[place], atol=1e-5)
        assert torch.equal(mean[0], alone[name][0][0]) and not torch.equal(mean[0], mean[2])


def test_all_is_every_recording_in_any_split_and_never_in_two(toy: Path) -> None:
    data = module(toy, sources={"a": SourceConfig(writer.source(toy / "a"), Split(train="all"))})
    assert len(data.unit_names) == 3 and len(data.datasets["train"]) == 3 * (40 - 11)
    both = SourceConfig(writer.source(toy / "a"), Split(train=["0:1"], test="all"))
    with pytest.raises(UserError, match=r"episode_000000 is in train and in test"):
        module(toy, sources={"a": both})


def test_where_nothing_trains_it_is_told(toy: Path) -> None:
    data = module(toy, sources={n: held_out(toy, n) for n in ("a", "b")})
    for asks in (data.statistics, data.train_dataloader):
        with pytest.raises(UserError, match=r"a\.split\.train is empty and sources\.b\.split\.tr"):
            asks()


def test_a_source_of_which_nothing_is_used_need_not_be_there(toy: Path, tmp_path: Path) -> None:
    shutil.copytree(toy / "b", tmp_path / "b")
    gone = SourceConfig(writer.source(tmp_path / "gone"), Split())
    data = module(tmp_path, sources={"gone": gone, "b": held_out(tmp_path, "b")})
    assert data.source_names == ["gone", "b"]
    assert {s for b in data.test_dataloader() for s in b.source.tolist()} == {1}


def test_yaml_says_all_in_one_word(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(
        "sources: {b: {source: {class_path: data_modules.sources.lerobot.LeRobotSource, "
        f"init_args: {{path: {toy / 'b'}, senses: {{}}}}}}, "
        "split: {val: ['0:1'], test: all}}}\n"
        "senses: {senses: [{name: arm, shape: [2], unit: rad}]}\n"
    )
    split = read_settings(tmp_path / "toy.yaml").sources["b"].split
    assert split.takes_all("test") and not split.takes_all("val")
    assert split.items("val") == ["0:1"] and split.items("train") == []
