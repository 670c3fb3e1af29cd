"""What a step over several frames holds: the last pose, the mean of a signal, the sum of steps."""

from pathlib import Path

import numpy as np
import pytest
from helpers import lerobot_writer as writer
from numpy.typing import NDArray

from data_modules.commands import read_settings
from data_modules.merging import merge, steps_present
from data_modules.prepare import store_path
from data_modules.recording import Clock, Entry, Span
from data_modules.sources.detect import SENSES, detect, read_senses
from data_modules.store import Draft, Store
from data_modules.text import Captions
from data_modules.windows import Ask, Track, Windows, index_windows
from mssim.batch import Batch
from mssim.senses import Merge, Sense, SenseSet

ROOT = Path(__file__).parents[2]
WAYS: tuple[Merge, ...] = ("mean", "sum", "last")


def expected(
    values: NDArray[np.float32], there: NDArray[np.bool_], how: Merge, samples: int
) -> NDArray[np.float64]:
    """One step, (K, d), from its rows (s, K, d), said in words: group by group."""
    stride = len(values)
    flat, here = values.reshape(stride * samples, -1).astype(float), np.repeat(there, samples)
    out = np.zeros((samples, flat.shape[1]))
    if not there.any() or (how == "sum" and not there.all()):
        return out
    for k in range(samples):
        group = np.arange(k * stride, (k + 1) * stride)
        kept = group[here[group]] if here[group].any() else np.flatnonzero(here)
        if how == "last":
            out[k] = flat[kept[-1]]
        else:
            out[k] = flat[kept].sum(axis=0) if how == "sum" else flat[kept].mean(axis=0)
    return out


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("samples", [1, 2, 5])
@pytest.mark.parametrize("size", [1, 3])
def test_every_way_does_what_it_says(how: Merge, samples: int, size: int) -> None:
    rng = np.random.default_rng(samples)
    for stride in (1, 2, 3, 4):
        for chance in (0.0, 0.3, 0.8):
            steps = 7
            there = rng.random(steps * stride) >= chance
            rows = rng.normal(size=(steps * stride, samples, size)).astype(np.float32)
            rows[~there] = 0
            out = np.full((steps, samples, size), np.nan, np.float32)
            merge(rows, None if there.all() else there, stride, how, out)
            presence = steps_present(there[:, None], stride, np.array([how == "sum"]))[:, 0]
            for t in range(steps):
                part = slice(t * stride, (t + 1) * stride)
                told = expected(rows[part], there[part], how, samples)
                np.testing.assert_allclose(out[t], told, rtol=1e-5, atol=1e-6)
                assert presence[t] == (there[part].all() if how == "sum" else there[part].any())


@pytest.mark.parametrize("how", WAYS)
def test_at_stride_one_rows_stay_as_they_are_bit_by_bit(how: Merge) -> None:
    rows = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
    out = np.empty_like(rows)
    merge(rows, np.array([1, 1, 0, 1, 1, 1], bool), 1, how, out)
    assert np.array_equal(out, rows)


def window(folder: Path, stride: int, senses: SenseSet, rows: NDArray[np.float32]) -> Batch:
    """The window from row 3 on, 24 rows long, of one recording whose senses are all `rows`."""
    store = Store.create(folder / "store", "toy", {})

    def convert(entry: Entry, clock: Clock, draft: Draft) -> None:
        draft.add_frames("eye", iter(np.zeros((len(rows), 4, 4, 3), np.uint8)), len(rows))
        for sense in senses:
            draft.add_sense(sense.name, rows[:, None], np.ones(len(rows), bool))
        draft.finish(0.1, [Span(0, len(rows), "x")])

    store.add(Entry("a", "S00", (), len(rows)), convert, Clock(senses, 4))
    length = 24 // stride
    index = index_windows([(0, len(rows), store.open("a").spans, 0)], 1, length, [stride], 1, 3)
    windows = Windows(
        [Track(store, "a", 0, 0, 0)], index, senses, 1, ["eye"], Captions("none", ["x"])
    )
    return windows[Ask(np.array([0]), 0, length - 1)]


def test_steps_over_the_floor_add_up_at_any_stride(tmp_path: Path) -> None:
    senses = SenseSet([Sense("root", [3], "cm and rad", merge="sum")])
    rows = np.random.default_rng(1).normal(0.87, 0.3, (40, 3)).astype(np.float32)
    # Step j ends at row 3 + j s: the first step of each window covers what was before row 3.
    whole = window(tmp_path / "1", 1, senses, rows).senses["root"][0]
    thrice = window(tmp_path / "3", 3, senses, rows).senses["root"][0]
    np.testing.assert_allclose(thrice[1:, 0], whole[1:22, 0].reshape(7, 3, 3).sum(1), rtol=1e-5)


def test_a_pose_is_that_of_its_frame_at_any_stride(tmp_path: Path) -> None:
    senses = SenseSet([Sense("pose", [3], "cm", merge="last")])
    rows = np.arange(120, dtype=np.float32).reshape(40, 3)
    batch = window(tmp_path, 3, senses, rows)
    np.testing.assert_array_equal(batch.senses["pose"][0, :, 0], rows[3 : 3 + 8 * 3 : 3])


def test_our_sets_say_what_is_a_movement_and_what_a_signal(tmp_path: Path) -> None:
    ways = {s.name: s.merge for s in read_senses(SENSES / "actionsense.yaml")}
    assert {n for n, w in ways.items() if w == "sum"} == {"root"}
    assert {n.split("_")[-1] for n, w in ways.items() if w == "mean"} == {"emg", "tactile"}
    robot = detect(writer.write_lerobot(tmp_path / "toy", episodes=1, frames=5))[1]
    for senses in (robot, *(read_senses(SENSES / f"{n}.yaml") for n in ("g1", "h2o"))):
        assert {s.merge for s in senses} == {"last"}


def test_configs_from_before_senses_said_how_they_merge_are_read() -> None:
    saved = [*ROOT.glob("configs/published/*/config.yaml"), *ROOT.glob("mssim/pretrained/*/*.yaml")]
    assert len(saved) >= 3
    for file in saved:
        settings = read_settings(file)
        if "merge:" not in file.read_text():
            assert {s.merge for s in settings.senses} == {"mean"}


def test_how_senses_merge_is_no_part_of_a_store(tmp_path: Path) -> None:
    paths = set()
    for how in WAYS:
        senses = SenseSet([Sense(s.name, s.shape, s.unit, merge=how) for s in writer.senses()])
        paths.add(store_path("toy", writer.source(tmp_path), Clock(senses, 16), tmp_path))
    assert len(paths) == 1
