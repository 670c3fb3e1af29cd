"""`python -m data_modules.bench`: windows a second at 64 px, ours beside decoding and copying.

    copy        the same frames copied from memory into a batch: what no loader can beat
    workers 0   our loader in this process, from a warm store
    workers 1   the same through one worker process
    decode      the same frames sought and decoded from mp4 by PyAV

All in one run, on the same random windows, of data made here: 8 recordings of 30 s at 10 Hz.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_modules.images import square_area
from data_modules.recording import Clock, Entry, Span
from data_modules.sampler import Loader, TrainPlan
from data_modules.store import Draft, Store
from data_modules.text import Captions
from data_modules.windows import Track, Windows, index_windows
from mssim.senses import Sense, SenseSet

SIZE, CONTEXT, LENGTH, BATCH = 64, 4, 12, 16
RECORDINGS, FRAMES, RATE = 8, 300, 10
VIDEO = 256
"""Pixels a side of the mp4 files: small for a camera, which favours decoding."""

SETS = {
    "26 numbers a frame (g1)": SenseSet(
        [Sense(n, [k], "rad") for n, k in (("a", 7), ("b", 7), ("c", 6), ("d", 6))]
    ),
    "2292 numbers a frame (ActionSense)": SenseSet(
        [Sense(f"pose{i}", [n, 3], "cm") for i, n in enumerate((24, 24, 28))]
        + [Sense(f"emg{i}", [8], "raw") for i in range(2)]
        + [Sense(f"touch{i}", [32, 32], "adc") for i in range(2)]
    ),
}


def main(seconds: float) -> None:
    """Measure and print.

    Args:
        seconds: How long to measure each.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        videos = [_write_video(root / f"{i}.mp4", i) for i in range(RECORDINGS)]
        for title, senses in SETS.items():
            print(f"{title}, {SIZE} px, {LENGTH} frames, batches of {BATCH}")
            store = _store(root / title.split()[0], senses)
            for stride in (1, 3):
                windows = _windows(store, senses, stride)
                for name, rate in _measure(windows, videos, seconds).items():
                    print(f"  stride {stride}  {name:<10}{rate:>9.0f} windows/s")


def _measure(windows: Windows, videos: list[Path], seconds: float) -> dict[str, float]:
    rng = np.random.default_rng(0)

    def draws() -> Iterator[NDArray[np.int64]]:
        while True:
            yield rng.integers(0, len(windows), BATCH)

    memory = [np.array(t.store.open(t.id).cameras["eye"]) for t in windows.tracks]
    batch = np.empty((BATCH, LENGTH, SIZE, SIZE, 3), np.uint8)

    def copy(ids: NDArray[np.int64]) -> None:
        for row, (track, rows) in zip(batch, _rows(windows, ids), strict=True):
            row[:] = memory[track][rows]

    def decode(ids: NDArray[np.int64]) -> None:
        for row, (track, rows) in zip(batch, _rows(windows, ids), strict=True):
            row[:] = _decode(videos[track], rows)

    plan = TrainPlan(
        np.zeros(len(windows), np.int64), [1.0], BATCH, LENGTH - CONTEXT, epoch_batches=50_000
    )
    loaders = [iter(Loader(windows, plan, workers)) for workers in (0, 1)]
    return {
        "copy": _rate(copy, draws(), seconds),
        "workers 0": _rate(lambda _: next(loaders[0]), draws(), seconds),
        "workers 1": _rate(lambda _: next(loaders[1]), draws(), seconds),
        "decode": _rate(decode, draws(), seconds),
    }


def _rate(
    read: Callable[[NDArray[np.int64]], object], draws: Iterator[NDArray[np.int64]], seconds: float
) -> float:
    """Windows a second, after two batches to warm up."""
    for _ in range(2):
        read(next(draws))
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        read(next(draws))
        done += BATCH
    return done / elapsed


def _rows(windows: Windows, ids: NDArray[np.int64]) -> Iterator[tuple[int, slice]]:
    """Track and rows of each window."""
    index = windows.index
    for i in ids.tolist():
        start, stride = int(index.start[i]), int(index.stride[i])
        yield int(index.track[i]), slice(start, start + (LENGTH - 1) * stride + 1, stride)


def _decode(file: Path, rows: slice) -> NDArray[np.uint8]:
    import av

    wanted = range(rows.start, rows.stop, rows.step)
    found = []
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        base = float(stream.time_base or 0)
        container.seek(int(rows.start / RATE / base), stream=stream)
        for frame in container.decode(stream):
            if frame.pts is not None and round(frame.pts * base * RATE) in wanted:
                picture = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                found.append(square_area(picture, SIZE))
                if len(found) == len(wanted):
                    break
    return np.stack(found)


def _store(folder: Path, senses: SenseSet) -> Store:
    """Recordings that are made up here."""
    store = Store.create(folder, "bench", {})
    for i in range(RECORDINGS):
        store.add(Entry(f"r{i}", "S00", (), FRAMES), _fill, Clock(senses, SIZE))
    return store


def _windows(store: Store, senses: SenseSet, stride: int) -> Windows:
    tracks = [Track(store, f"r{i}", 0, 0, i) for i in range(RECORDINGS)]
    spans = [(i, FRAMES, store.open(t.id).spans, i) for i, t in enumerate(tracks)]
    index = index_windows(spans, CONTEXT, LENGTH, [stride], 1)
    captions = Captions("phrase", ["stir"] * RECORDINGS)
    return Windows(tracks, index, senses, CONTEXT, ["eye"], captions)


def _fill(entry: Entry, clock: Clock, draft: Draft) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    draft.add_frames("eye", iter(frames), FRAMES)
    for sense in clock.senses:
        values = rng.standard_normal((FRAMES, 1, *sense.shape), dtype=np.float32)
        draft.add_sense(sense.name, values, np.ones(FRAMES, bool))
    draft.finish(1 / RATE, [Span(0, FRAMES, "stir")])


def _write_video(file: Path, seed: int) -> Path:
    """Moving noise as H.264, a key frame a second."""
    import av

    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    scene = noise.repeat(VIDEO // 8, axis=0).repeat(VIDEO // 8, axis=1)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width = stream.height = VIDEO
        stream.pix_fmt = "yuv420p"
        stream.options = {"g": str(RATE)}
        for i in range(FRAMES):
            frame = np.roll(scene, (i, 2 * i), axis=(0, 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="how long to measure each")
    main(parser.parse_args().seconds)
