import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from helpers import lerobot_writer as writer
from helpers.toy_data import config, module
from jsonargparse import ArgumentParser

from data_modules.module import DataModule
from data_modules.splits import SourceConfig, Split, resolve
from data_modules.windows import Ask
from mssim.errors import UserError
from mssim.senses import Sense, SenseSet

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    writer.write_lerobot(root / "a", "v2.1", seed=0)
    writer.write_lerobot(root / "b", "v3.0", episodes=3, seed=1)
    return root


def test_every_split_has_its_windows(toy: Path) -> None:
    data = module(toy, strides=[1, 2])
    per_train = 40 - 11 + 40 - 22
    lengths = {name: len(w) for name, w in data.datasets.items()}
    assert lengths == {"train": 2 * per_train, "val": 8, "test": 3 * 8}
    batches = list(data.test_dataloader())
    assert torch.cat([b.window for b in batches]).tolist() == list(range(24))
    units = torch.cat([b.unit for b in batches]).tolist()
    assert units == [3] * 8 + [4] * 8 + [5] * 8
    assert data.unit_names[3] == "a/episode_000003#0"
    assert data.unit_labels[3] == writer.TASKS[1] and batches[0].text[0] == "squeeze the square"
    assert data.subject_names == ["square"] and data.source_names == ["a"]
    first = next(iter(data.test_dataloader()))
    state = writer.states(3, 40)
    np.testing.assert_array_equal(first.senses["arm"][1, :, 0], state[4:16, :2])
    assert set(first.interval.tolist()) == {np.float32(0.1)}
    train = next(iter(data.train_dataloader()))
    assert train.size == 5 and set(train.unit.tolist()) <= {0, 1}


def test_sources_with_other_senses_mix(toy: Path) -> None:
    other = SourceConfig(
        writer.LeRobotSource(toy / "b", {"arm": writer.COLUMNS["arm"]}, subject="other"),
        Split("dataset", ["train"], [], ["test"]),
        weight=2.0,
    )
    data = module(toy, sources={"a": config(toy), "b": other})
    flat = list(data.train_dataloader())
    source, hand = (
        torch.cat(x) for x in zip(*[(b.source, b.presence[:, :, 1]) for b in flat], strict=True)
    )
    assert hand[source == 0].all() and not hand[source == 1].any()
    assert abs((source == 1).float().mean().item() - 2 / 3) < 0.05
    assert data.subject_names == ["other", "square"]
    mixed = next(b for b in flat if len(set(b.source.tolist())) == 2)
    assert mixed.subject.tolist() == [1 - s for s in mixed.source.tolist()]
    means, stds = data.statistics()["hand"]
    assert means[1].tolist() == [0, 0] and stds[1].tolist() == [1, 1]
    assert len(data.test_dataloader().dataset) == 24 + 8


def test_statistics_are_of_the_training_split_alone(toy: Path) -> None:
    data = module(toy)
    values = np.concatenate([writer.states(e, 40) for e in (0, 1)])
    mean, std = data.statistics()["arm"]
    assert mean.shape == std.shape == (1, 2) and mean.dtype == torch.float32
    np.testing.assert_allclose(mean[0], values.mean(0)[:2], atol=1e-5)
    np.testing.assert_allclose(std[0], values.std(0)[:2], atol=1e-5)
    cached = list((toy / "stores").glob("a-*/statistics-*.npz"))
    again = data.statistics()["arm"]
    assert torch.equal(again[0], mean)
    module(toy, sources={"a": config(toy, train=["0:1"], val=["1:3"])}).statistics()
    assert len(list((toy / "stores").glob("a-*/statistics-*.npz"))) == len(cached) + 1


def test_a_subset_of_senses_and_of_recordings(toy: Path) -> None:
    data = module(toy, use_senses=["hand"], limit=1)
    batch = next(iter(data.train_dataloader()))
    assert list(batch.senses) == ["hand"] and batch.presence.shape[2] == 1
    assert len(data.unit_names) == 3 and len(data.datasets["test"]) == 8
    with pytest.raises(UserError, match="no sense named 'foot'; there are arm, hand"):
        module(toy, use_senses=["foot"])


def test_predicted_length_and_sense_dropout_are_for_training_alone(toy: Path) -> None:
    data = module(toy, predict_min=2, sense_dropout=0.5)
    train = list(data.train_dataloader())
    assert {b.length for b in train} <= set(range(6, 13)) and len({b.length for b in train}) > 2
    presence = torch.cat([b.presence[:, 0] for b in train])
    assert 0.4 < presence.float().mean() < 0.85 and presence.any(dim=1).all()
    assert all(b.length == 12 and b.presence.all() for b in data.test_dataloader())


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"train": ["0:4"]}, r"sources\.a\.split: episode_000002 is in train and in val"),
        (
            {"val": ["9:12"]},
            r"split\.val: recording '9:12' selects nothing; there are 6 recordings",
        ),
        (
            {"by": "subject", "train": ["S1"]},
            r"subject 'S1' selects nothing; there are subjects sq",
        ),
        (
            {"by": "dataset", "train": ["all"]},
            r"dataset 'all' selects .* declared splits train, test",
        ),
    ],
)
def test_wrong_splits_are_told(toy: Path, split: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        module(toy, sources={"a": config(toy, **split)})


def test_nothing_to_train_on_is_told_when_training_asks(toy: Path) -> None:
    data = module(toy, sources={"a": config(toy, train=[])})
    assert len(data.test_dataloader()) > 0
    for asks in (data.statistics, data.train_dataloader):
        with pytest.raises(UserError, match=r"sources\.a\.split\.train is empty"):
            asks()


def test_splits_by_id_subject_and_declaration(toy: Path) -> None:
    entries = writer.source(toy / "a").entries()
    ids = [e.id for e in entries]
    split = Split("recording", ["episode_000004", ":2"], [], ["-"])
    assert resolve("a", Split("recording", [ids[4], ":2"]), entries)["train"] == [
        *ids[:2],
        ids[4],
    ]
    assert resolve("a", Split("subject", ["square"]), entries, limit=2)["train"] == ids[:2]
    with pytest.raises(UserError, match="recording '-' selects nothing"):
        resolve("a", split, entries)


def test_numbers_out_of_range_are_told(toy: Path) -> None:
    cases = {
        "size": 0,
        "predict": 0,
        "strides": [0],
        "sense_dropout": 1.0,
        "predict_min": 9,
        "limit": 0,
        "epoch_batches": 0,
    }
    for name, value in cases.items():
        with pytest.raises(UserError, match=rf"data\.{name}: "):
            module(toy, **{name: value})
    with pytest.raises(UserError, match="no test windows"):
        module(toy, sources={"a": config(toy, test=[])}).test_dataloader()
    assert module(toy, sources={"a": config(toy, val=[])}).val_dataloader() == []


def test_sentences_say_how_firmly_a_hand_holds(toy: Path) -> None:
    touch = {"left_tactile": writer.Columns("observation.state", 0, 1)}
    source = SourceConfig(writer.LeRobotSource(toy / "a", touch), Split(train=["0:2"], test=["2:"]))
    senses = SenseSet([Sense("left_tactile", [1], "adc")])
    data = module(toy, sources={"a": source}, senses=senses, text="sentence", strides=[1, 3])
    texts = {t for b in data.train_dataloader() for t in b.text}
    tails = {t.split("square ")[1] for t in texts}
    assert {"slowly", "quickly", "slowly, holding tightly", "slowly, holding gently"} <= tails
    batch = next(iter(data.test_dataloader()))
    window = batch.senses["left_tactile"].mean(dim=(1, 2, 3))
    firm = [window[i].item() for i, t in enumerate(batch.text) if t.endswith("tightly")]
    rest = [window[i].item() for i, t in enumerate(batch.text) if t.endswith("slowly")]
    assert not firm or min(firm) > max(rest)


def test_a_grip_is_judged_by_what_training_calls_typical(toy: Path) -> None:
    """Not by the test split: a person who always grips hard would then be called ordinary."""
    touch = {"left_tactile": writer.Columns("observation.state", 0, 1)}
    split = Split(train=["0:2"], val=["2:3"], test=["3:4"])
    source = SourceConfig(writer.LeRobotSource(toy / "a", touch), split)
    senses = SenseSet([Sense("left_tactile", [1], "adc")])
    data = module(toy, sources={"a": source}, senses=senses, text="sentence", eval_every=1)

    def read(loader: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        batches = list(loader)
        texts = [t for b in batches for t in b.text]
        felt = [b.senses["left_tactile"].double().mean(dim=(1, 2, 3)) for b in batches]
        activity = [t.split(" slowly")[0] for t in texts]
        grip = [1 if t.endswith("tightly") else -1 if t.endswith("gently") else 0 for t in texts]
        return torch.cat(felt).numpy(), np.array(activity), np.array(grip)

    def judged(felt: np.ndarray, typical: np.ndarray) -> np.ndarray:
        tight, gentle = (felt - typical.mean()) * [[1], [-1]] > typical.std()
        return tight.astype(int) - gentle.astype(int)

    train = data.datasets["train"]
    force, activity, _ = read([train[Ask(np.arange(len(train)), 0, 8)]])
    ours, theirs = [], []
    for loader in (data.val_dataloader(), data.test_dataloader()):
        felt, doing, grip = read(loader)
        for name in set(doing):
            mine = doing == name
            ours += [*(grip[mine] == judged(felt[mine], force[activity == name]))]
            theirs += [*(grip[mine] == judged(felt[mine], felt[mine]))]
    assert all(ours) and not all(theirs)


def test_absent_senses_are_hidden_where_nothing_is_trained(toy: Path) -> None:
    data, whole = module(toy, absent=["hand"], horizon=12), module(toy, horizon=12)
    hidden = [*data.val_dataloader(), *data.test_dataloader(), *data.predict_dataloader()]  # type: ignore[misc]
    seen = [*whole.val_dataloader(), *whole.test_dataloader(), *whole.predict_dataloader()]  # type: ignore[misc]
    for batch, other in zip(hidden, seen, strict=True):
        assert other.presence.all() and other.senses["hand"].any()
        assert batch.presence[..., 0].all() and not batch.presence[..., 1].any()
        assert not batch.senses["hand"].any()
        assert torch.equal(batch.senses["arm"], other.senses["arm"])
        assert torch.equal(batch.frames["top"], other.frames["top"])
    for batch, other in zip(data.train_dataloader(), whole.train_dataloader(), strict=True):
        assert batch.presence.all() and torch.equal(batch.senses["hand"], other.senses["hand"])


def test_absent_senses_are_hidden_by_workers_too(toy: Path) -> None:
    data = module(toy, absent=["arm"], past_actions=False, workers=1)
    for batch in data.test_dataloader():
        assert not batch.presence[..., 0].any() and not batch.senses["arm"].any()
        assert not batch.presence[:, :4].any() and batch.presence[:, 4:, 1].all()


def test_without_past_actions_the_context_is_frames_alone(toy: Path) -> None:
    data, whole = module(toy, past_actions=False), module(toy)
    pairs = [(data.train_dataloader(), whole.train_dataloader())]
    pairs += [(data.test_dataloader(), whole.test_dataloader())]  # type: ignore[list-item]
    for mine, theirs in pairs:
        for batch, other in zip(mine, theirs, strict=True):
            assert not batch.presence[:, :4].any() and batch.presence[:, 4:].all()
            assert batch.context_mask.all()
            assert torch.equal(batch.frames["top"], other.frames["top"])
            for name, values in batch.senses.items():
                assert not values[:, :4].any() and other.senses[name][:, :4].any()
                assert torch.equal(values[:, 4:], other.senses[name][:, 4:])


def test_unknown_absent_senses_are_told(toy: Path) -> None:
    with pytest.raises(
        UserError, match=r"data\.absent: no sense named 'foot' is used; there are arm"
    ):
        module(toy, absent=["arm", "foot"])
    said = r"data\.absent: no sense named 'arm' is used; there are hand$"
    with pytest.raises(UserError, match=said):
        module(toy, use_senses=["hand"], absent=["arm"])


def test_no_sentence_tells_the_grip_of_a_hidden_hand(toy: Path) -> None:
    touch = {"left_tactile": writer.Columns("observation.state", 0, 1)}
    source = SourceConfig(writer.LeRobotSource(toy / "a", touch), Split(train=["0:2"], test=["2:"]))
    senses = SenseSet([Sense("left_tactile", [1], "adc")])
    told = {}
    for absent in ([], ["left_tactile"]):
        data = module(
            toy, sources={"a": source}, senses=senses, text="sentence", eval_every=1, absent=absent
        )
        told[bool(absent)] = {t for b in data.test_dataloader() for t in b.text}
        assert any("holding" in t for b in data.train_dataloader() for t in b.text)
    assert any("holding" in t for t in told[False])
    assert told[True] == {t.split(",")[0] for t in told[False]}


def test_windows_of_one_and_of_four_context_frames_predict_the_same_frames(toy: Path) -> None:
    few = module(toy, context=1, eval_every=2, eval_skip=3).datasets
    many = module(toy, context=4, eval_every=2).datasets
    for split in ("val", "test"):
        one, four = few[split].index, many[split].index
        assert len(one) and np.array_equal(one.start + 1, four.start + 4)
        assert np.array_equal(one.unit, four.unit)
    assert len(few["train"]) > len(many["train"])


def test_varied_captions_are_drawn_by_seed_epoch_and_window(toy: Path) -> None:
    data = module(toy, text="varied", strides=[1, 3], start_every=1)
    windows = data.datasets["train"]
    ids = np.arange(len(windows))
    first, again, later = (windows[Ask(ids, e, 8)].text for e in (0, 0, 1))
    assert first == again != later
    known = [" ".join(writer.TASKS[e].lower().rstrip(".").split()) for e in (0, 1)]
    level = {"verb": 0, "phrase": 0, "sentence": 0}
    for unit, stride, text in zip(windows.index.unit, windows.index.stride, first, strict=True):
        phrase = known[unit % 2]
        said = {phrase.split()[0]: "verb", phrase: "phrase"}
        said[phrase + (" slowly" if stride == 1 else " quickly")] = "sentence"
        level[said[text]] += 1
    assert min(level.values()) > 0.2 * len(ids)
    # The company that a window has in its batch changes nothing.
    few = ids[::-3]
    assert windows[Ask(few, 0, 8)].text == [first[i] for i in few]
    other = module(toy, text="varied", strides=[1, 3], seed=1).datasets["train"]
    assert other[Ask(ids, 0, 8)].text != first
    assert {t for b in data.test_dataloader() for t in b.text} == set(known)


def test_yaml_makes_the_module(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "senses").mkdir()
    (tmp_path / "data").mkdir()
    listed = [
        {"name": "arm", "shape": [2], "unit": "rad"},
        {"name": "hand", "shape": [2], "unit": "rad"},
    ]
    (tmp_path / "senses/toy.yaml").write_text(yaml.safe_dump({"senses": listed}))
    columns = {"column": "observation.state", "start": 0, "stop": 2}
    source = {
        "class_path": "data_modules.sources.lerobot.LeRobotSource",
        "init_args": {"path": str(toy / "a"), "senses": {"arm": columns}},
    }
    split = {"by": "recording", "train": ["0:2"], "test": ["3:"]}
    group = {"sources": {"a": {"source": source, "split": split}}, "senses": "../senses/toy.yaml"}
    (tmp_path / "data/toy.yaml").write_text(yaml.safe_dump(group))
    (tmp_path / "run.yaml").write_text("data: data/toy.yaml\n")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(DataModule, "data", sub_configs=True)
    for arguments in (
        ["--config", str(tmp_path / "run.yaml")],
        ["--data", str(tmp_path / "data/toy.yaml")],
    ):
        parsed = parser.parse_args(
            [*arguments, "--data.predict", "3", "--data.store", str(tmp_path), "--data.size", "32"]
        )
        data = parser.instantiate(parsed).data
        assert data.senses == writer.senses() and data.predict == 3
        assert isinstance(data.sources["a"].source, writer.LeRobotSource)
    data.prepare_data()
    data.setup()
    assert len(data.datasets["train"]) == 2 * (40 - 6)


def test_the_published_data_file_reads_the_real_recordings(g1: Path, tmp_path: Path) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(DataModule, "data", sub_configs=True)
    file = str(ROOT / "configs/data/g1.yaml")
    arguments = ["--data", file, "--data.limit", "1", "--data.store", str(tmp_path)]
    arguments += ["--data.sources.g1.source.init_args.path", str(g1)]
    data = parser.instantiate(parser.parse_args(arguments)).data
    data.prepare_data()
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch.frames["cam_high"].shape[1:] == (12, 3, 32, 32) and bool(batch.presence.all())
    assert [s.width for s in data.senses] == [7, 7, 6, 6]
    assert data.unit_names == [f"g1/episode_{i:06d}#0" for i in (0, 63, 70)]


def test_training_from_a_store_imports_no_reader(toy: Path) -> None:
    module(toy)
    script = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from data_modules.module import DataModule
from data_modules.sources.lerobot import Columns, LeRobotSource
from data_modules.splits import SourceConfig, Split
from mssim.senses import Sense, SenseSet
root = Path({str(toy)!r})
columns = {{n: Columns("observation.state", i, i + 2) for n, i in (("arm", 0), ("hand", 2))}}
split = Split("recording", ["0:2"], ["2:3"], ["3:"])
senses = SenseSet([Sense("arm", [2], "rad"), Sense("hand", [2], "rad")])
data = DataModule({{"a": SourceConfig(LeRobotSource(root / "a", columns), split)}}, senses,
                  size=16, store=root / "stores")
data.prepare_data()
data.setup()
batch = next(iter(data.train_dataloader()))
readers = ("av", "h5py", "pyarrow", "open_clip", "pandas")
print(json.dumps([batch.size, [m for m in readers if m in sys.modules]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [16, []]
