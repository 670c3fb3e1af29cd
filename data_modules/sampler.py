"""Which windows a batch holds: a function of seed, rank and batch number, nothing else.

Loaders stand between a dataset and Lightning. Each iteration is one of a torch `DataLoader`; they
are none themselves, because Lightning would put a sampler of its own into one. Training is one
endless run of batches of which each epoch takes the next part; its place is saved and restored, so
that a run that is cut short anywhere goes on with the very next batch.
"""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import cycle, islice
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from data_modules.prepare import end_with_parent
from data_modules.windows import Ask, Windows, uniform
from mssim.batch import Batch
from mssim.errors import UserError


class TrainPlan:
    """Batches of shuffled training windows.

    A pass holds each window of source s `weights[s]` times: whole repeats, and a fresh random share
    for the fraction. An epoch is one pass without its ragged end, or `epoch_batches` batches of the
    endless run of passes.

    Args:
        source: int64 (n,), index of each window's source.
        weights: By source.
        batch_size: B on each rank.
        predict: P, frames to predict.
        predict_min: Where given, each batch predicts between this many and P.
        rank: Of this process.
        world: Processes.
        seed: Of the shuffling.
        epoch_batches: Batches an epoch on each rank.
        repeat: Where given, only the first so many batches, over and over.

    Raises:
        UserError: There are too few windows for one batch.
    """

    def __init__(
        self,
        source: NDArray[np.int64],
        weights: Sequence[float],
        batch_size: int,
        predict: int,
        predict_min: int | None = None,
        rank: int = 0,
        world: int = 1,
        seed: int = 0,
        epoch_batches: int | None = None,
        repeat: int | None = None,
    ) -> None:
        self._groups = [np.flatnonzero(source == s) for s in range(len(weights))]
        self._weights = list(weights)
        self._predict = predict
        self._shortest = predict if predict_min is None else predict_min
        self._batch, self._rank, self._world, self._seed = batch_size, rank, world, seed
        self._pass = sum(_draws(len(g), w) for g, w in zip(self._groups, weights, strict=True))
        together = batch_size * world
        self._fixed = epoch_batches is not None
        self._repeat = repeat
        self.batches = epoch_batches if epoch_batches is not None else self._pass // together
        if self._pass == 0 or self.batches == 0:
            raise UserError(
                f"{self._pass} training windows for batches of {together}; "
                "lower data.batch_size or train on more recordings"
            )

    def __len__(self) -> int:
        return self.batches

    def asks(self, place: int = 0) -> Iterator[Ask]:
        """This rank's batches, epoch after epoch, from batch `place` of the run on."""
        if self._repeat is not None:
            same = list(islice(self._asks(0), self._repeat))
            return islice(cycle(same), place % self._repeat, None)
        return self._asks(place)

    def _asks(self, place: int) -> Iterator[Ask]:
        epoch, first = divmod(place, self.batches)
        while True:
            windows = self.windows(epoch)
            for number in range(first, self.batches):
                at = (number * self._world + self._rank) * self._batch
                yield Ask(windows[at : at + self._batch], epoch, self._length(epoch, number))
            epoch, first = epoch + 1, 0

    def windows(self, epoch: int) -> NDArray[np.int64]:
        """The windows of an epoch over all ranks, in order."""
        total = self.batches * self._batch * self._world
        if not self._fixed:
            return self._shuffled(epoch)[:total]
        first = epoch * total
        passes = range(first // self._pass, (first + total - 1) // self._pass + 1)
        run = np.concatenate([self._shuffled(p) for p in passes])
        skip = first - passes[0] * self._pass
        return run[skip : skip + total]

    def _length(self, epoch: int, number: int) -> int:
        lengths = self._predict - self._shortest + 1
        return self._shortest + int(uniform(self._seed, epoch, number) * lengths)

    def _shuffled(self, number: int) -> NDArray[np.int64]:
        """One pass over the windows."""
        rng = np.random.default_rng([self._seed, number])
        drawn = []
        for group, weight in zip(self._groups, self._weights, strict=True):
            whole = int(weight)
            rest = _draws(len(group), weight) - whole * len(group)
            drawn += [group] * whole + [rng.permutation(group)[:rest]]
        return rng.permutation(np.concatenate(drawn))


class EvalPlan:
    """Every window exactly once over the ranks, in a fixed order.

    Args:
        windows: How many there are.
        batch_size: B.
        predict: P.
        rank: Of this process.
        world: Processes.

    Raises:
        UserError: There are fewer windows than processes.
    """

    def __init__(
        self, windows: int, batch_size: int, predict: int, rank: int = 0, world: int = 1
    ) -> None:
        if windows < world:
            # A rank without batches skips its loop, and the others wait for it for ever.
            raise UserError(
                f"{windows} windows to score on {world} processes; lower trainer.devices"
            )
        self._windows = np.arange(rank, windows, world)
        self._batch = batch_size
        self._predict = predict

    def __len__(self) -> int:
        return -(-len(self._windows) // self._batch)

    def asks(self) -> Iterator[Ask]:
        """This rank's batches."""
        for number in range(len(self)):
            at = number * self._batch
            yield Ask(self._windows[at : at + self._batch], 0, self._predict)


class Plan(Protocol):
    """The order in which a loader asks for batches."""

    def __len__(self) -> int: ...

    def asks(self) -> Iterator[Ask]: ...


class Loader:
    """The batches of a plan, the same ones at each iteration.

    Args:
        dataset: The windows that batches hold.
        plan: The order of the batches.
        workers: Processes that read; 0 reads in this one.
    """

    def __init__(self, dataset: Windows, plan: Plan, workers: int = 0) -> None:
        self.dataset = dataset
        self.plan = plan
        self._workers = workers
        # A DataLoader draws its workers' seeds; from torch's own generator, it would change what
        # a model draws after it.
        self._seeds = torch.Generator()

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Batch]:
        yield from self._read(self.plan.asks())

    def _read(self, asks: Iterator[Ask]) -> "DataLoader[Batch]":
        """The next batches, as many as an epoch has; workers live as long as the iteration."""
        return DataLoader(
            self.dataset,
            sampler=islice(asks, len(self)),
            batch_size=None,  # an ask is for a whole batch
            num_workers=self._workers,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=partial(_begin, os.getpid()),
            generator=self._seeds,
        )


def _begin(parent: int, worker: int) -> None:
    """In a worker, first of all: end when the process that reads from it does, not before."""
    # A signal to all, as Ctrl-C and `timeout` send, is for the parent, which finishes its step.
    os.setpgid(0, 0)
    end_with_parent(parent)


class TrainLoader(Loader):
    """Training batches: each iteration is the next epoch, or the rest of what was resumed.

    Args:
        dataset: The windows that batches hold.
        plan: The order of the batches.
        workers: Processes that read; 0 reads in this one.
    """

    plan: TrainPlan

    def __init__(self, dataset: Windows, plan: TrainPlan, workers: int = 0) -> None:
        super().__init__(dataset, plan, workers)
        self._place = 0

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._read(self.plan.asks(self._place)):
            self._place += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """The place after the last batch given out; Lightning keeps it in its checkpoints."""
        return {"place": self._place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved place."""
        self._place = int(state["place"])


def _draws(windows: int, weight: float) -> int:
    return round(windows * weight)
