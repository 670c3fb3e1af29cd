"""The one LightningDataModule: every source, every model."""

import sys
from functools import cached_property
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from data_modules.checks import check_settings
from data_modules.digest import STALE, digests
from data_modules.images import Crop
from data_modules.layout import Layout, WindowPlan
from data_modules.notes import counted
from data_modules.prepare import catalogue, digest_of, prepare, store_path
from data_modules.recording import Clock
from data_modules.rollouts import RolloutPlan
from data_modules.sampler import EvalPlan, Loader, TrainLoader, TrainPlan
from data_modules.splits import NAMES, SourceConfig, check_apart, left_out, resolve
from data_modules.statistics import by_source
from data_modules.store import Store
from data_modules.text import Detail
from data_modules.windows import Windows
from mssim.errors import UserError
from mssim.senses import SenseSet


class DataModule(pl.LightningDataModule):
    """Windows of synchronised video and senses from one source or several.

    Args:
        sources: By name, the files and which of them train, validate and test.
        senses: The union of the sources' senses; each source fills those that it has.
        size: Pixels a side, S.
        rate: Frames a second; the source's own by default.
        store: Folder that holds the stores.
        crop: How pictures become square: `center` keeps the square in their centre, `none` all of
            them, between black bars.
        context: Context frames, H.
        predict: Frames to predict, P.
        predict_min: Where given, each training batch predicts between this many and `predict`.
        strides: Rows between the frames of a training window; 1 by default.
        start_every: Rows between the starts of training windows.
        eval_strides: Rows between the frames of a validation or test window, of `strides` each; the
            smallest of them by default.
        eval_every: Rows between the starts of validation and test windows.
        eval_skip: Rows at the beginning of each unit that those leave out. With one context frame
            and three rows less, the same frames are predicted as with four.
        text: How much is said about a window; `varied` is for training a text tower.
        use_senses: Only these senses of `senses`; all by default.
        absent: Senses that training has but validation, test and predict hide, as if a glove had
            come off. Where a tactile sense is hidden, no sentence there says how firm a grip is.
        past_actions: False hides all senses in the context's steps, in training too: a model then
            knows the past from frames alone.
        sense_dropout: Chance that a training window goes without a sense; it keeps one at least.
        batch_size: Training windows a batch, on each rank.
        eval_batch_size: Validation and test windows a batch.
        workers: Processes that read; 0 reads in the main process.
        seed: Of shuffling, dropout and predicted lengths.
        limit: Only the first so many recordings of each split.
        epoch_batches: Training batches an epoch; all windows once by default.
        horizon: Frames that `predict` rolls out, and that `test` scores of a rollout.
        rollouts: Most rollouts that `predict` shows.

    Raises:
        UserError: A number is out of range, or a split selects nothing or overlaps another.
    """

    def __init__(
        self,
        sources: dict[str, SourceConfig],
        senses: SenseSet,
        size: int = 64,
        rate: float | None = None,
        store: Path = Path("stores"),
        crop: Crop = "center",
        context: int = 4,
        predict: int = 8,
        predict_min: int | None = None,
        strides: list[int] | None = None,
        start_every: int = 1,
        eval_strides: list[int] | None = None,
        eval_every: int = 4,
        eval_skip: int = 0,
        text: Detail = "phrase",
        use_senses: list[str] | None = None,
        absent: list[str] | None = None,
        past_actions: bool = True,
        sense_dropout: float = 0.0,
        batch_size: int = 16,
        eval_batch_size: int = 16,
        workers: int = 0,
        seed: int = 0,
        limit: int | None = None,
        epoch_batches: int | None = None,
        horizon: int = 32,
        rollouts: int = 8,
    ) -> None:
        super().__init__()
        self.sources = sources
        self.senses = senses.used(use_senses)
        self.clock = Clock(senses, size, rate, crop)
        self.store = Path(store)
        self.context, self.predict, self.predict_min = context, predict, predict_min
        self.strides = [1] if strides is None else strides
        self.eval_strides = [min(self.strides, default=1)] if eval_strides is None else eval_strides
        self.start_every, self.eval_every, self.eval_skip = start_every, eval_every, eval_skip
        self.text: Detail = text
        self.absent = [] if absent is None else absent
        self.past_actions = past_actions
        self.sense_dropout = sense_dropout
        self.batch_size, self.eval_batch_size, self.workers = batch_size, eval_batch_size, workers
        self.seed, self.limit, self.epoch_batches = seed, limit, epoch_batches
        self.horizon, self.rollouts = horizon, rollouts
        self.tests_rollouts = False
        """Whether `test` also reads the first `horizon` frames of a unit; a model asks for it."""
        check_settings(self)

    def prepare_data(self) -> None:
        """Convert what the splits need and the stores lack."""
        splits = self._all_splits()
        for name, config in self._used.items():
            wanted = {i for ids in splits[name].values() for i in ids}
            there = catalogue(name, config.source, self.clock, self.store).entries
            for line in left_out(config.split, there, config.source.people):
                print(f"{name}: {line}", file=sys.stderr)
            prepare(name, config.source, self.clock, self.store, only=wanted)

    def setup(self, stage: str | None = None) -> None:
        """Open the stores and lay out the windows; who trains is told what was odd about files."""
        lines = counted(self._data.notes)
        if stage == "fit" and self._place()[0] == 0:
            for line in lines:
                print(line, file=sys.stderr)

    @property
    def datasets(self) -> dict[str, Windows]:
        """The windows of each split."""
        return self._data.windows

    @property
    def unit_names(self) -> list[str]:
        """`SOURCE/RECORDING#SPAN` of each unit: what `Batch.unit` counts."""
        return self._data.unit_names

    @property
    def unit_labels(self) -> list[str]:
        """What is done in each unit, as the dataset says."""
        return self._data.unit_labels

    @property
    def source_names(self) -> list[str]:
        """What `Batch.source` counts."""
        return list(self.sources)

    @property
    def subject_names(self) -> list[str]:
        """What `Batch.subject` counts."""
        return self._data.subjects

    def contents(self) -> dict[str, str]:
        """What each split holds, in short: equal for the same units with the same windows."""
        found = {}
        for split, windows in self.datasets.items():
            index = windows.index
            units = [self.unit_names[u] for u in np.unique(index.unit).tolist()]
            digest = digest_of([units, index.unit.tolist(), index.start.tolist()])[:8]
            found[split] = f"{len(windows)} windows of {len(units)} units ({digest})"
        return found

    def digests(self) -> dict[str, str] | None:
        """What the recordings of each split hold, in short; nothing is prepared for it.

        `STALE` where they are not prepared as they are now; None where neither they nor a store are
        there.
        """
        found: dict[str, list[str]] = {}
        for name, config in self.sources.items():
            try:
                ids = self._splits(name)
            except UserError:
                return None
            each = digests(name, config.source, self.clock, self.store, ids)
            for split, digest in each.items():
                found.setdefault(split, []).append(digest)
        return {k: STALE if STALE in v else "-".join(v) for k, v in found.items()}

    def statistics(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean and std by sense, each float32 (sources, *shape), from the training split only.

        No number's std is below a twentieth of its own range, see `statistics.FLOOR`; it is 1 where
        the number is constant, or the source lacks the sense. A source that trains nothing takes
        those of all training recordings together.

        Raises:
            UserError: No source has anything to train on.
        """
        self._check_trains()
        parts = [
            (self._data.stores[name], splits["train"]) if splits["train"] else None
            for name, splits in self._data.ids.items()
        ]
        found = by_source(parts, self.senses)
        return {
            n: (torch.from_numpy(mean), torch.from_numpy(std)) for n, (mean, std) in found.items()
        }

    def train_dataloader(self) -> TrainLoader:
        """Training batches; under `trainer.overfit_batches` only the first ones, over and over."""
        self._check_trains()
        plan = self._train_plan()
        share = getattr(self.trainer, "overfit_batches", 0)
        if share:
            few = share if isinstance(share, int) else max(int(share * len(plan)), 1)
            plan = self._train_plan(min(few, len(plan)))
        return TrainLoader(self.datasets["train"], plan, self.workers)

    def _train_plan(self, repeat: int | None = None) -> TrainPlan:
        rank, world = self._place()
        return TrainPlan(
            self.datasets["train"].source,
            [c.weight for c in self.sources.values()],
            self.batch_size,
            self.predict,
            self.predict_min,
            rank,
            world,
            self.seed,
            self.epoch_batches,
            repeat,
        )

    def val_dataloader(self) -> Loader | list[Loader]:
        """Validation windows; an empty list where no recordings are named for it."""
        if not any(splits["val"] for splits in self._data.ids.values()):
            return []
        self._windows("val")
        return self._eval_loader("val")

    def test_dataloader(self) -> Loader | list[Loader]:
        """Test windows; beside them, where `tests_rollouts`, one long window a unit."""
        windows = self._windows("test")
        short = self._eval_loader("test")
        if not self.tests_rollouts:
            return short
        plan = RolloutPlan(windows, self.horizon, None, *self._place(), self.eval_batch_size)
        return [short, Loader(windows, plan, self.workers)]

    def predict_dataloader(self) -> Loader:
        windows = self._windows("test")
        plan = RolloutPlan(windows, self.horizon, self.rollouts, *self._place())
        return Loader(windows, plan, self.workers)

    def _windows(self, split: str) -> Windows:
        """The windows of a split, of which there must be some."""
        windows = self.datasets[split]
        if not len(windows):
            raise UserError(self._data.why_none(split))
        return windows

    def _eval_loader(self, split: str) -> Loader:
        windows = self.datasets[split]
        plan = EvalPlan(len(windows), self.eval_batch_size, self.predict, *self._place())
        return Loader(windows, plan, self.workers)

    def _place(self) -> tuple[int, int]:
        """Rank and world size; alone where no trainer is attached."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _all_splits(self) -> dict[str, dict[str, list[str]]]:
        """By source, recording ids by split; all are seen to be right before anything is done."""
        found = {name: self._splits(name) for name in self.sources}
        check_apart(found, {name: c.source.path for name, c in self.sources.items()})
        return found

    @property
    def _used(self) -> dict[str, SourceConfig]:
        """The sources of which anything is used: of no others need the files be there."""
        return {n: c for n, c in self.sources.items() if not c.split.is_empty}

    def _splits(self, name: str) -> dict[str, list[str]]:
        config = self.sources[name]
        if config.split.is_empty:
            return {part: [] for part in NAMES}
        listed = catalogue(name, config.source, self.clock, self.store)
        count = listed.entries[0].key.get("cameras", 1)
        if count > 1:
            there = ", ".join(c.name for c in config.source.contents().cameras)
            raise UserError(
                f"data.sources.{name}.source.camera: {count} cameras are read, and a model sees "
                f"one; name one of {there}"
            )
        people = config.source.people
        return resolve(name, config.split, listed.entries, listed.splits, self.limit, people)

    def _check_trains(self) -> None:
        if not any(splits["train"] for splits in self._data.ids.values()):
            empty = " and ".join(f"sources.{name}.split.train is empty" for name in self.sources)
            raise UserError(f"{empty}; name the recordings to train on")
        for number, (name, splits) in enumerate(self._data.ids.items()):
            if splits["train"] and not (self.datasets["train"].source == number).any():
                raise UserError(self._data.why_none("train", name))

    @cached_property
    def _data(self) -> Layout:
        ids = self._all_splits()
        stores = {
            name: Store(store_path(name, c.source, self.clock, self.store))
            for name, c in self._used.items()
        }
        wanted = WindowPlan(
            self.senses,
            self.context,
            self.predict,
            self.strides,
            self.eval_strides,
            self.start_every,
            self.eval_every,
            self.eval_skip,
            self.text,
            self.sense_dropout,
            tuple(self.absent),
            self.past_actions,
            self.seed,
        )
        return Layout(wanted, ids, stores)
