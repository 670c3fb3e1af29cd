import gc
import multiprocessing
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import lerobot_writer as writer
from helpers.toy_data import module
from numpy.typing import NDArray

from data_modules.parcel import Parcel, Shelf
from data_modules.sampler import Loader
from data_modules.windows import Ask, Windows
from lightning_app.plain import plain
from mssim.batch import Batch
from mssim.errors import UserError


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    writer.write_lerobot(root / "a")
    return root


@pytest.fixture
def crew(toy: Path) -> Any:
    data = module(toy, workers=2)
    yield data.train_dataloader()
    data.teardown()


def some(count: int = 5) -> Ask:
    return Ask(np.arange(count), 0, 4)


def same(a: Batch, b: Batch) -> bool:
    senses = all(torch.equal(a.senses[k], b.senses[k]) for k in a.senses)
    return senses and torch.equal(a.frames["top"], b.frames["top"]) and a.text == b.text


def test_a_batch_is_read_straight_into_its_slot(toy: Path) -> None:
    windows = module(toy).train_dataloader().dataset
    here = windows.__getitems__(some())
    shelf = Shelf(2, here)
    made: list[NDArray[Any]] = []
    desk = shelf.desk(1)

    def empty(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        made.append(desk.empty(shape, dtype))
        return made[-1]

    sent = desk.pack(windows.read(some(), empty))
    assert isinstance(sent, Parcel) and len(made) == 1 + len(here.senses)
    got = shelf.take(pickle.loads(pickle.dumps(sent)))
    assert same(got, here)
    for array in made:  # what is taken out is a copy: the slot may be used again
        array.fill(1)
    assert same(got, here)
    starts = sorted(p.start for p in sent.places.values())
    assert all(s % 64 == 0 for s in starts) and len(set(starts)) == len(starts)


def test_a_batch_that_does_not_fit_is_sent_whole(toy: Path) -> None:
    windows = module(toy).train_dataloader().dataset
    shelf = Shelf(1, windows.__getitems__(some(1)))
    desk = shelf.desk(0)
    sent = desk.pack(windows.read(some(), desk.empty))
    assert isinstance(sent, Batch)
    assert same(pickle.loads(pickle.dumps(sent)), windows.__getitems__(some()))


def test_workers_end_with_their_loader_and_leave_nothing(toy: Path) -> None:
    shared, before = set(os.listdir("/dev/shm")), set(multiprocessing.active_children())
    loader = Loader(*(lambda one: (one.dataset, one.plan))(module(toy).train_dataloader()), 2)
    run = iter(loader)
    next(run)
    crew = set(multiprocessing.active_children()) - before
    assert len(crew) == 2
    loader.close()
    assert not any(member.is_alive() for member in crew)
    next(iter(loader))  # starts new ones
    crew = set(multiprocessing.active_children()) - before
    del loader, run
    gc.collect()
    assert not any(member.is_alive() for member in crew)
    assert set(os.listdir("/dev/shm")) <= shared


def test_a_worker_s_death_is_told_in_one_line(crew: Loader) -> None:
    before = set(multiprocessing.active_children())
    run = iter(crew)
    next(run)
    (*_, last) = sorted(set(multiprocessing.active_children()) - before, key=lambda p: p.pid or 0)
    os.kill(last.pid or 0, signal.SIGKILL)
    with pytest.raises(UserError, match=r"ended \(exit code -9.*data\.workers") as told:
        list(run)
    assert "\n" not in str(told.value)


def test_a_worker_s_error_is_raised_here(crew: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    first = next(crew.plan.asks())
    real = Windows.read

    def read(self: Windows, ask: Ask, empty: Any) -> Batch:
        if multiprocessing.parent_process() and ask.windows.tolist() == first.windows.tolist():
            raise UserError("a.npy: cut short; prepare again")
        return real(self, ask, empty)

    monkeypatch.setattr(Windows, "read", read)
    with pytest.raises(UserError) as told:
        next(iter(crew))
    assert plain(str(told.value)) == "a.npy: cut short; prepare again"


def test_an_iteration_that_is_given_up_leaves_the_next_one_whole(toy: Path) -> None:
    data = module(toy, workers=2)
    loader = data.test_dataloader()
    whole = [b.window.tolist() for b in loader]
    assert len(whole) > 1
    given_up = iter(loader)
    held = next(given_up)
    kept = held.frames["top"].clone()
    again = iter(loader)
    assert [b.window.tolist() for b in again] == whole
    assert torch.equal(held.frames["top"], kept)
    with pytest.raises(RuntimeError, match="read from anew"):
        next(given_up)
    data.teardown()
