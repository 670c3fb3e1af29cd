import dataclasses
import gc
import json
import multiprocessing
import os
import signal
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from helpers import lerobot_writer as writer
from helpers.toy_data import module

from data_modules.sampler import Loader, TrainLoader
from data_modules.windows import Ask, Windows
from lightning_app.plain import plain
from mssim.batch import Batch
from mssim.errors import UserError


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    writer.write_lerobot(root / "a")
    return root


def test_workers_send_what_is_read_here(toy: Path) -> None:
    """Three epochs, in batches of unequal length."""
    alone, crew = (module(toy, workers=w, predict_min=2, horizon=20) for w in (0, 2))
    here, there = alone.train_dataloader(), crew.train_dataloader()
    for _ in range(3):
        mine, theirs = list(here), list(there)
        assert len(mine) == len(theirs) == 11
        for a, b in zip(mine, theirs, strict=True):
            assert a.text == b.text and list(a.senses) == list(b.senses)
            assert a.frames["top"].stride() == b.frames["top"].stride()
            tensors = zip(flat_tensors(a), flat_tensors(b), strict=True)
            assert all(torch.equal(x, y) and x.dtype == y.dtype for x, y in tensors)
    rollouts = [list(m.predict_dataloader()) for m in (alone, crew)]
    assert [b.length for b in rollouts[0]] == [b.length for b in rollouts[1]]
    assert torch.equal(rollouts[0][-1].frames["top"], rollouts[1][-1].frames["top"])


def flat_tensors(batch: Batch) -> list[torch.Tensor]:
    values = [getattr(batch, f.name) for f in dataclasses.fields(batch)]
    nested = [list(v.values()) if isinstance(v, dict) else [v] for v in values]
    return [t for part in nested for t in part if isinstance(t, torch.Tensor)]


def test_reading_draws_nothing_from_torch_s_own_generator(toy: Path) -> None:
    """Else what a model draws next would depend on how often its data were read."""
    for workers in (0, 1):
        loader = module(toy, workers=workers).train_dataloader()
        torch.manual_seed(0)
        list(loader)
        drawn = torch.rand(1)
        torch.manual_seed(0)
        assert torch.equal(drawn, torch.rand(1))


def test_workers_end_with_their_iteration(toy: Path) -> None:
    before = set(multiprocessing.active_children())
    run = iter(module(toy, workers=2).train_dataloader())
    next(run)
    crew = set(multiprocessing.active_children()) - before
    assert len(crew) == 2
    del run
    gc.collect()
    assert not any(member.is_alive() for member in crew)
    fit(toy, 3, workers=2)
    assert set(multiprocessing.active_children()) <= before


def test_a_signal_to_all_processes_is_for_the_one_that_trains(toy: Path) -> None:
    before = set(multiprocessing.active_children())
    run = iter(module(toy, workers=1).train_dataloader())
    next(run)
    (worker,) = set(multiprocessing.active_children()) - before
    assert os.getpgid(worker.pid or 0) != os.getpgid(0)
    os.kill(worker.pid or 0, signal.SIGINT)
    assert len(list(run)) == 10


def test_a_worker_s_error_is_raised_here(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = module(toy, workers=2).train_dataloader()
    first, real = next(loader.plan.asks()), Windows.__getitem__

    def read(self: Windows, ask: Ask) -> Batch:
        if multiprocessing.parent_process() and ask.windows.tolist() == first.windows.tolist():
            raise UserError("a.npy: cut short; prepare again")
        return real(self, ask)

    monkeypatch.setattr(Windows, "__getitem__", read)
    with pytest.raises(UserError) as told:
        next(iter(loader))
    assert plain(str(told.value)) == "a.npy: cut short; prepare again"


def test_an_iteration_that_is_given_up_leaves_the_next_one_whole(toy: Path) -> None:
    loader = module(toy, workers=2).test_dataloader()
    assert isinstance(loader, Loader)
    whole = [b.window.tolist() for b in loader]
    assert len(whole) > 1
    given_up = iter(loader)
    assert next(given_up).window.tolist() == whole[0]
    assert [b.window.tolist() for b in loader] == whole
    assert [b.window.tolist() for b in given_up] == whole[1:]


class Recorder(pl.LightningModule):
    """Learns nothing; writes down what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[list[int]] = []

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        self.seen.append(batch.window.tolist())
        return self.weight.sum()

    def validation_step(self, batch: Batch, _: int) -> None: ...

    def test_step(self, batch: Batch, _: int) -> None:
        self.seen.append(batch.window.tolist())

    def on_test_end(self) -> None:
        if self.trainer.world_size == 1:
            return
        folder = Path(self.trainer.default_root_dir)
        (folder / f"rank{self.global_rank}.json").write_text(json.dumps(self.seen))

    on_train_end = on_test_end

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(
    root: Path,
    steps: int,
    workers: int,
    checkpoint: Path | None = None,
    callback: pl.Callback | None = None,
) -> tuple[Recorder, pl.Trainer]:
    recorder = Recorder()
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=callback,
    )
    data = module(root, workers=workers)
    trainer.fit(
        recorder, datamodule=data, ckpt_path=checkpoint, weights_only=True if checkpoint else None
    )
    return recorder, trainer


class Snapshot(pl.Callback):
    """A checkpoint in passing, as ModelCheckpoint makes it."""

    def __init__(self, step: int, file: Path) -> None:
        self.step, self.file = step, file

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.file)


@pytest.mark.parametrize(("workers", "stop"), [(0, 4), (2, 15), (0, 11)])
def test_a_run_cut_short_goes_on_with_the_next_batch(
    toy: Path, tmp_path: Path, workers: int, stop: int
) -> None:
    """An epoch has 11 batches: stops lie within the first, at its end and within the second."""
    passing, ended = tmp_path / "passing.ckpt", tmp_path / "ended.ckpt"
    whole, _ = fit(toy, 26, workers, callback=Snapshot(stop, passing))
    part, trainer = fit(toy, stop, workers)
    trainer.save_checkpoint(ended)
    assert len(module(toy).train_dataloader()) == 11
    assert part.seen == whole.seen[:stop]
    for checkpoint in (passing, ended):
        rest, resumed = fit(toy, 26, workers, checkpoint)
        assert rest.seen == whole.seen[stop:] and resumed.global_step == 26
    assert len({tuple(w) for w in whole.seen}) == 26


def test_a_loader_keeps_its_place_without_lightning(toy: Path) -> None:
    def ids(loader: TrainLoader) -> list[list[int]]:
        return [b.window.tolist() for b in loader]

    data = module(toy)
    loader = data.train_dataloader()
    run = iter(loader)
    first = [next(run).window.tolist() for _ in range(3)]
    state = loader.state_dict()
    assert state == {"place": 3}
    other = data.train_dataloader()
    other.load_state_dict(json.loads(json.dumps(state)))
    fresh = data.train_dataloader()
    whole = ids(fresh) + ids(fresh)
    assert first + ids(other) == whole[:14] and len(whole) == 22
    test = data.test_dataloader()
    assert [b.window.tolist() for b in test] == [b.window.tolist() for b in test]


@pytest.mark.parametrize("stage", ["fit", "test"])
def test_two_ranks_see_what_one_would(toy: Path, tmp_path: Path, stage: str) -> None:
    trainer = pl.Trainer(
        max_steps=6,
        accelerator="cpu",
        devices=2,
        strategy="ddp_fork",
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    getattr(trainer, stage)(Recorder(), datamodule=module(toy))
    ranks = [json.loads((tmp_path / f"rank{r}.json").read_text()) for r in range(2)]
    if stage == "test":
        assert sorted(w for rank in ranks for batch in rank for w in batch) == list(range(24))
        return
    alone = module(toy)
    alone.batch_size = 10
    loader = alone.train_dataloader()
    run = [b.window.tolist() for _ in range(2) for b in loader][:6]
    assert [a + b for a, b in zip(*ranks, strict=True)] == run
