import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data_modules.recording import Clock, Entry, Span
from data_modules.store import Draft, Store
from data_modules.text import Captions
from data_modules.windows import Ask, Track, Windows, index_windows, uniform
from mssim.batch import Batch
from mssim.senses import Sense, SenseSet

SENSES = SenseSet(
    [
        Sense("pose", [2], "cm"),
        Sense("emg", [3], "raw", samples_per_frame=4),
        Sense("gone", [1], ""),
    ]
)
H, P = 2, 4
T = H + P


def add(store: Store, id: str, frames: int, spans: list[Span], absent: list[int]) -> None:
    """A recording whose values say where they come from."""

    def convert(entry: Entry, clock: Clock, draft: Draft) -> None:
        rng = np.random.default_rng(frames)
        pictures = rng.integers(0, 255, (frames, 8, 8, 3), dtype=np.uint8)
        draft.add_frames("eye", iter(pictures), frames)
        present = np.ones(frames, bool)
        present[absent] = False
        pose = np.stack([np.arange(frames), -np.arange(frames)], 1)[:, None]
        draft.add_sense("pose", pose.astype(np.float32), present)
        emg = np.arange(frames * 4, dtype=np.float32).reshape(frames, 4, 1) + np.zeros(3)
        draft.add_sense("emg", emg.astype(np.float32), np.ones(frames, bool))
        draft.finish(0.1, spans)

    store.add(Entry(id, "S00", (), frames), convert, Clock(SENSES, 8))


def make(tmp_path: Path, strides: list[int], every: int = 1, **more: Any) -> Windows:
    store = Store.create(tmp_path / "store", "toy", {})
    add(store, "a", 40, [Span(5, 20, "Slice a cucumber"), Span(22, 40, "Stir")], [10, 11])
    add(store, "b", 1, [Span(0, 1, "Look")], [])
    tracks = [Track(store, "a", 0, 0, 0), Track(store, "b", 1, 1, 2)]
    spans = [
        (t.unit, r.frames, r.spans, i) for i, t in enumerate(tracks) if (r := store.open(t.id))
    ]
    index = index_windows(spans, H, T, strides, every)
    captions = Captions("phrase", ["Slice a cucumber", "Stir", "Look"])
    return Windows(tracks, index, SENSES, H, ["eye"], captions, **more)


def ask(windows: Windows, ids: list[int] | NDArray[np.int64], epoch: int = 0, p: int = P) -> Batch:
    return windows[Ask(np.asarray(ids), epoch, p)]


def test_windows_stay_inside_their_span_and_are_all_there(tmp_path: Path) -> None:
    windows = make(tmp_path, [1, 3])
    index = windows.index
    expected = [
        (0, i, s, u)
        for u, (a, b) in enumerate([(5, 20), (22, 40)])
        for s in (1, 3)
        for i in range(a, b)
        if i + (T - 1) * s < b
    ]
    expected.append((1, -H, 1, 2))
    got = zip(index.track, index.start, index.stride, index.unit, strict=True)
    assert [tuple(map(int, row)) for row in got] == expected


def test_frames_and_actions_are_those_of_the_rows(tmp_path: Path) -> None:
    windows = make(tmp_path, [1, 3])
    recording = windows.tracks[0].store.open("a")
    order = np.random.default_rng(0).permutation(len(windows))
    batch = ask(windows, order)
    batch_rows = zip(order, range(len(order)), strict=True)
    for window, b in batch_rows:
        if windows.index.track[window] == 1:
            continue
        start, s = int(windows.index.start[window]), int(windows.index.stride[window])
        at = start + s * np.arange(T)
        np.testing.assert_array_equal(
            batch.frames["eye"][b].numpy(), recording.cameras["eye"][at].transpose(0, 3, 1, 2)
        )
        for j, row in enumerate(at.tolist()):
            rows = np.arange(row - s + 1, row + 1)
            there = [r for r in rows if r >= 0 and r not in (10, 11)]
            assert bool(batch.presence[b, j, 0]) == bool(there)
            mean = np.mean(there) if there else 0.0
            torch.testing.assert_close(
                batch.senses["pose"][b, j, 0], torch.tensor([mean, -mean], dtype=torch.float32)
            )
            samples = (rows[:, None] * 4 + np.arange(4)).ravel().reshape(4, s).mean(axis=1)
            np.testing.assert_allclose(batch.senses["emg"][b, j, :, 0], samples, rtol=1e-6)
        assert batch.interval[b].item() == np.float32(0.1) * s
    assert not batch.presence[:, :, 2].any() and not batch.senses["gone"].any()
    assert batch.window.tolist() == order.tolist()
    assert batch.unit.tolist() == windows.index.unit[order].tolist()


def test_batch_has_the_documented_shapes_and_types(tmp_path: Path) -> None:
    batch = ask(make(tmp_path, [1]), [0, 3, 5])
    assert batch.frames["eye"].shape == (3, T, 3, 8, 8) and batch.frames["eye"].dtype == torch.uint8
    assert batch.senses["emg"].shape == (3, T, 4, 3)
    assert batch.presence.shape == (3, T, 3) and batch.presence.dtype == torch.bool
    assert batch.context_mask.shape == (3, H) and bool(batch.context_mask.all())
    assert batch.target_mask.shape == (3, P) and bool(batch.target_mask.all())
    assert batch.source.dtype == batch.subject.dtype == batch.window.dtype == torch.int64
    assert batch.interval.dtype == torch.float32 and batch.unit.dtype == torch.int64
    assert batch.text == ["slice a cucumber"] * 3


def test_rows_before_the_recording_are_absent(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store", "toy", {})
    add(store, "c", 30, [Span(0, 30, "x")], [])
    index = index_windows([(0, 30, store.open("c").spans, 0)], H, T, [3], 1)
    windows = Windows(
        [Track(store, "c", 0, 0, 0)], index, SENSES, H, ["eye"], Captions("none", ["x"])
    )
    batch = ask(windows, [0])
    assert batch.senses["pose"][0, 0, 0, 0] == 0.0 and batch.presence[0, 0, 0]
    # Of rows -2, -1, 0 only the last exists: its four samples fill the last groups of three.
    np.testing.assert_allclose(batch.senses["emg"][0, 0, :, 0], [1.5, 1.5, 0, 2])
    assert batch.text == [""]


def test_an_image_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    windows = make(tmp_path, [1])
    image = len(windows) - 1
    alone = ask(windows, [image])
    assert alone.length == H + 1 and alone.context == H
    assert not alone.context_mask.any() and alone.target_mask.tolist() == [[True]]
    picture = windows.tracks[1].store.open("b").cameras["eye"][0].transpose(2, 0, 1)
    np.testing.assert_array_equal(alone.frames["eye"][0, H], picture)
    assert not alone.frames["eye"][0, :H].any() and alone.presence[0, :, 0].tolist() == [0, 0, 1]
    mixed = ask(windows, [0, image])
    assert mixed.target_mask.tolist() == [[True] * P, [True] + [False] * (P - 1)]
    assert mixed.context_mask.tolist() == [[True] * H, [False] * H]
    assert not mixed.frames["eye"][1, H + 1 :].any() and mixed.presence[1].sum() == 2


def test_fewer_frames_may_be_predicted(tmp_path: Path) -> None:
    windows = make(tmp_path, [1, 3])
    whole, cut = ask(windows, [3, 12]), ask(windows, [3, 12], p=2)
    assert cut.length == H + 2 and cut.target_mask.shape == (2, 2)
    torch.testing.assert_close(cut.frames["eye"], whole.frames["eye"][:, : H + 2])
    torch.testing.assert_close(cut.senses["pose"], whole.senses["pose"][:, : H + 2])


def test_dropout_is_repeatable_and_spares_one_sense(tmp_path: Path) -> None:
    windows = make(tmp_path, [1], dropout=0.9, seed=3)
    ids = np.arange(len(windows) - 1)
    first, again, other = (ask(windows, ids, epoch) for epoch in (0, 0, 1))
    assert torch.equal(first.presence, again.presence)
    assert not torch.equal(first.presence, other.presence)
    kept = first.presence.any(dim=1)  # (B, M)
    assert kept.any(dim=1).all() and not kept.all(dim=1).any()
    assert 0 < kept[:, 0].sum() < len(ids)
    assert (
        not first.senses["pose"][~kept[:, 0]].any() and not first.senses["emg"][~kept[:, 1]].any()
    )
    shuffled = ask(windows, ids[::-1].copy(), 0)
    assert torch.equal(shuffled.presence.flip(0), first.presence)


def test_workers_get_no_arrays(tmp_path: Path) -> None:
    windows = make(tmp_path, [1])
    before = ask(windows, [0])
    sent = pickle.dumps(windows)
    assert len(sent) < 20_000
    assert torch.equal(ask(pickle.loads(sent), [0]).frames["eye"], before.frames["eye"])


def test_uniform_numbers_depend_on_every_key_and_are_uniform() -> None:
    draws = uniform(1, 2, np.arange(20_000))
    assert abs(draws.mean() - 0.5) < 0.01 and abs(draws.std() - 12**-0.5) < 0.01
    assert draws.min() >= 0 and draws.max() < 1
    assert abs(np.corrcoef(draws, uniform(1, 3, np.arange(20_000)))[0, 1]) < 0.03
    assert abs(np.corrcoef(draws, uniform(2, 2, np.arange(20_000)))[0, 1]) < 0.03
    assert abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]) < 0.03
