"""Which windows a batch holds: a function of seed, rank and batch number, nothing else.

Loaders stand between a dataset and Lightning. They are no DataLoaders, because Lightning would put
a sampler of its own into one. Training is one endless run of batches of which each epoch takes the
next part; its place is saved and restored, so that a run that is cut short anywhere goes on with
the very next batch.
"""

import multiprocessing
import os
import pickle
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import cycle, islice
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, Protocol
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray
from torch._utils import ExceptionWrapper

from data_modules.parcel import Parcel, Shelf
from data_modules.prepare import end_with_parent
from data_modules.windows import Ask, Windows, uniform
from mssim.batch import Batch
from mssim.errors import UserError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    _Pipe = Connection[Any, Any]

PREFETCH = 3
"""Batches that each worker reads ahead."""


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
        self.predict = predict
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
        lengths = self.predict - self._shortest + 1
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
        self.predict = predict

    def __len__(self) -> int:
        return -(-len(self._windows) // self._batch)

    def asks(self) -> Iterator[Ask]:
        """This rank's batches."""
        for number in range(len(self)):
            at = number * self._batch
            yield Ask(self._windows[at : at + self._batch], 0, self.predict)


class Plan(Protocol):
    """The order in which a loader asks for batches; `predict` is the most frames one has."""

    predict: int

    def __len__(self) -> int: ...

    def asks(self) -> Iterator[Ask]: ...


class Loader:
    """The batches of a plan, the same ones at each iteration.

    Args:
        dataset: The windows.
        plan: Their order.
        workers: Processes that read; 0 reads here.
    """

    def __init__(self, dataset: Windows, plan: Plan, workers: int = 0) -> None:
        self.dataset = dataset
        self.plan = plan
        self._workers = workers

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Batch]:
        yield from self._read(self.plan.asks())

    def close(self) -> None:
        """End the workers now; the next iteration starts new ones."""
        crew = self.__dict__.pop("_crew", None)
        if crew is not None:
            crew.close()

    def _read(self, asks: Iterator[Ask]) -> Iterator[Batch]:
        run = islice(asks, len(self))
        if not self._workers or not len(self):
            return map(self.dataset.__getitems__, run)
        return self._crew.read(run)

    @cached_property
    def _crew(self) -> "_Crew":
        """The workers; they start with the first batch and stay."""
        first = self.dataset.__getitems__(next(self.plan.asks()))
        longer = (first.context + self.plan.predict) / first.length
        return _Crew(self.dataset, first, longer, self._workers)


class TrainLoader(Loader):
    """Training batches: each iteration is the next epoch, or the rest of what was resumed.

    Args:
        dataset: The windows.
        plan: Their order.
        workers: Processes that read; 0 reads here.
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


class _Crew:
    """Workers that read windows, each at the other end of a pipe.

    A DataLoader's queues cost several times the reading: threads that wait for one another's turn.

    Args:
        dataset: The windows.
        first: Some batch.
        longer: How many times as many frames the longest has.
        workers: How many.
    """

    def __init__(self, dataset: Windows, first: Batch, longer: float, workers: int) -> None:
        self._shelf = Shelf(workers * PREFETCH, first, longer)
        self._under_way: deque[int] = deque()  # slots, in the order in which they were asked for
        self._reading: object = None
        self._members: list[tuple[BaseProcess, _Pipe]] = []
        self.close = finalize(self, _dismiss, self._members, os.getpid())
        for _ in range(workers):
            ours, theirs = multiprocessing.Pipe()
            member = multiprocessing.Process(
                target=_work, args=(theirs, ours, dataset, self._shelf, os.getpid()), daemon=True
            )
            member.start()
            theirs.close()  # so that its end is noticed
            self._members.append((member, ours))

    def read(self, asks: Iterator[Ask]) -> Iterator[Batch]:
        """What is asked for, in order; ends what was being read."""
        self._reading = this = object()
        while self._under_way:
            self._receive()
        sent = map(self._send, cycle(range(self._shelf.slots)), asks)
        deque(islice(sent, self._shelf.slots), 0)
        while self._under_way:
            batch = self._receive()
            next(sent, None)  # into the slot that has just become free
            yield batch
            if self._reading is not this:
                raise RuntimeError("a loader is read from anew; this iteration is over")

    def _send(self, slot: int, ask: Ask) -> None:
        member, pipe = self._members[slot % len(self._members)]
        try:
            pipe.send((slot, ask))
        except OSError:
            raise _death(member) from None
        self._under_way.append(slot)

    def _receive(self) -> Batch:
        member, pipe = self._members[self._under_way.popleft() % len(self._members)]
        try:
            sent = pickle.loads(pipe.recv_bytes())
        except (EOFError, OSError):  # its end, or its end amid a message
            raise _death(member) from None
        if isinstance(sent, ExceptionWrapper):
            sent.reraise()  # type: ignore[no-untyped-call]
        return self._shelf.take(sent) if isinstance(sent, Parcel) else sent


def _work(pipe: "_Pipe", other: "_Pipe", dataset: Windows, shelf: Shelf, parent: int) -> None:
    """What runs in a worker."""
    other.close()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(parent)
    torch.set_num_threads(1)
    while True:
        try:
            slot, ask = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            desk = shelf.desk(slot)
            sent: object = desk.pack(dataset.read(ask, desk.empty))
        except Exception:
            sent = ExceptionWrapper(where="in a worker")  # type: ignore[no-untyped-call]
        pipe.send_bytes(pickle.dumps(sent))


def _dismiss(members: "list[tuple[BaseProcess, _Pipe]]", owner: int) -> None:
    if os.getpid() != owner:  # a fork
        return
    for member, _ in members:
        member.kill()  # it holds nothing that could be left half done
    for member, pipe in members:
        member.join()
        pipe.close()


def _death(member: BaseProcess) -> UserError:
    member.join()
    return UserError(
        f"a worker that reads data ended (exit code {member.exitcode}; -9: likely for want of "
        "memory); lower data.workers or data.batch_size"
    )


def _draws(windows: int, weight: float) -> int:
    return round(windows * weight)
