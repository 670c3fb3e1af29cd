"""`mssim fit | validate | test | predict`: LightningCLI with a run folder that holds everything."""

import ctypes
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError, Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from data_modules.files import locked, write_text
from data_modules.module import DataModule
from lightning_app.callbacks.ema import EMA
from lightning_app.callbacks.keep import Best, Last, is_trial, validation_is_due
from lightning_app.callbacks.progress import Progress
from lightning_app.callbacks.report import Report
from lightning_app.callbacks.watch import Watch
from lightning_app.checkpoint import AtomicCheckpointIO, folder_of
from lightning_app.flags import as_list, check_flags, check_watched, check_words, explained, loggers
from lightning_app.help import asked, help_on
from lightning_app.modules.action_encoder import ActionEncoder
from lightning_app.modules.base import MssimModule
from lightning_app.modules.image_text_tower import ImageTextTower
from lightning_app.modules.simulator import Simulator
from lightning_app.plain import plain
from lightning_app.resume import ELSEWHERE, check_same, is_finished
from mssim.checkpoint import LAST, RELEASED, check_fit, chosen, load_checkpoint
from mssim.errors import UserError
from mssim.resources import find_weights

__all__ = ["ActionEncoder", "ImageTextTower", "MssimCLI", "Simulator", "run_trainer"]


class _Finished(Exception):
    """There is nothing to train; the message says what to do next."""


class SaveConfig(SaveConfigCallback):
    """Writes the run's one truth, `config.yaml`, when training starts and never else."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit" or not trainer.is_global_zero or is_trial(trainer):
            return
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        config = self.config.clone()
        # Where this training went on from is no part of the run; `test` would take it for its own.
        config["ckpt_path"] = None
        write_text(folder / "config.yaml", self.parser.dump(config, skip_none=False))


class MssimCLI(LightningCLI):
    """Our LightningCLI: links, forced callbacks, and the run folder."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Links are made when parsing, to direct arguments only, so saved configs stay loadable."""
        parser.add_argument("--run", type=Path, default=Path("runs/run"), help="The run's folder.")
        parser.add_lightning_class_args(EMA, "ema")
        parser.add_lightning_class_args(Best, "best")
        parser.add_lightning_class_args(Last, "last")
        parser.add_lightning_class_args(Report, "report")
        parser.add_lightning_class_args(Watch, "watch")
        parser.add_lightning_class_args(Progress, "progress")
        parser.link_arguments("data.senses", "model.init_args.senses")
        parser.link_arguments("data.use_senses", "model.init_args.use_senses")
        parser.link_arguments("data.sources", "model.init_args.sources", compute_fn=list)
        parser.link_arguments("data.context", "model.init_args.context")
        parser.link_arguments("data.predict", "model.init_args.predict")

    def instantiate_classes(self) -> None:
        """As the base class; what a constructor refuses is the user's to mend."""
        try:
            super().instantiate_classes()
        except MisconfigurationException as error:
            raise UserError(plain(explained(error))) from error
        except (ValueError, ImportError) as error:
            raise UserError(plain(str(error))) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A trainer whose logs, checkpoints and reports lie flat in the run folder."""
        run = self._run_folder()
        given = self._get(self.config_init, "trainer")
        check_flags(given)
        keeps = self.subcommand == "fit" and not given.fast_dev_run
        for name in ("best", "last"):
            self._get(self.config_init, name).dirpath = str((run / "checkpoints").resolve())
        # In a file or a pipe a bar is thousands of lines; `Progress` then prints a few of its own.
        draws = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        drawn = {"enable_progress_bar": draws, "enable_model_summary": False}
        kwargs |= {k: v for k, v in drawn.items() if given.get(k) is None}
        trainer: Trainer = super().instantiate_trainer(
            default_root_dir=run,
            logger=loggers(run, given.logger) if keeps else False,
            # Our loaders know their rank; Lightning must not put samplers of its own in them.
            use_distributed_sampler=False,
            plugins=[*as_list(given.plugins), AtomicCheckpointIO()],
            **kwargs,
        )
        return trainer

    def before_fit(self) -> None:
        """Go on where the run stopped.

        A broken `last.ckpt` ends this run, too: to go back to older weights is the user's to
        decide, by `--ckpt_path best`.
        """
        self._check_plan()
        path, last = self._named(), self._run_folder() / "checkpoints" / LAST
        if path is not None and path.suffix == RELEASED:
            raise UserError(
                f"{path}: weights alone, from which no training goes on; start a run of its own "
                f"with --ckpt_path null --model.init {path}"
            )
        if path is None and last.exists() and not is_trial(self.trainer):
            path = last
        if path is not None:
            self._check_same(path)
            content = self._take(path)
            if is_finished(content, self.trainer.max_steps, self.trainer.max_epochs):
                raise _Finished(self._next(content))
            print(f"resuming from {path}")
        elif isinstance(self.model, MssimModule):
            self.model.check_start()

    def before_validate(self) -> None:
        self._take(self._named() or chosen(self._run_folder()))

    def before_test(self) -> None:
        self._take(self._named() or chosen(self._run_folder()))

    def before_predict(self) -> None:
        self._take(self._named() or chosen(self._run_folder()))
        # Reports write them as they come; nobody needs them all at the end.
        self.config_init["predict"]["return_predictions"] = False

    def _named(self) -> Path | None:
        """The checkpoint that was asked for: a file, or the run's `best` or `last`."""
        name = self.config[self.subcommand].get("ckpt_path")
        if name in ("best", "last"):
            return self._run_folder() / "checkpoints" / f"{name}.ckpt"
        if name is None:
            return None
        found = find_weights(Path(name))
        if found.exists():
            return found
        # A released config names the weights that lie beside it.
        beside = [Path(str(f)).parent / name for f in self.config[self.subcommand].config or []]
        return next((p for p in beside if p.exists()), Path(name))

    def _check_plan(self) -> None:
        """See that the schedule is as long as the training, and that what is watched is there."""
        if isinstance(self.model, MssimModule):
            check_watched(getattr(self.trainer, "callbacks", []), self.model.measured)
            told = self.model.schedule.check(self.trainer.max_steps)
            if told is not None and self.trainer.is_global_zero:
                print(told)

    def _next(self, content: dict[str, Any]) -> str:
        """What to do with a run whose training is over, by its checkpoint."""
        step = content["global_step"]
        cut = (
            " (if a validation was due then, it was cut off)" if validation_is_due(content) else ""
        )
        run = self._run_folder()
        words = ["test", "predict"] if isinstance(self.model, Simulator) else ["test"]
        commands = [f"  mssim {word} {run}" for word in words]
        longer = f"  mssim fit --config {run / 'config.yaml'} --trainer.max_steps {2 * step}"
        return "\n".join(
            [f"{run}: training is finished, at step {step}{cut}; next:", *commands, longer]
        )

    def _take(self, path: Path) -> dict[str, Any]:
        """Start from this checkpoint, if it can be read and fits; its content."""
        content = load_checkpoint(path)
        check_fit(path, content["state_dict"], self.model.state_dict())
        # Set here, and not passed on, it is known when modules are set up.
        self.trainer.ckpt_path = str(path)
        self.config_init[self.subcommand]["ckpt_path"] = None
        return content

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            with self._held():
                super()._run_subcommand(subcommand)
        except _Finished as done:
            if self.trainer.is_global_zero:
                print(done)
        except MisconfigurationException as error:
            raise UserError(plain(str(error))) from error
        except RuntimeError as error:
            if str(error).startswith("DataLoader worker (pid"):
                # torch tells it by a signal, so that it may come from anywhere.
                fault = f"data.workers: {plain(str(error)).rstrip('. ')}, likely for want of memory"
                raise UserError(f"{fault}; lower data.workers or data.batch_size") from error
            if "Early stopping conditioned on metric" not in str(error):
                raise
            raise UserError(f"trainer.callbacks: {plain(str(error))}") from error
        except OSError as error:
            # A write that fails knows no file; all of ours go to the run's folder.
            if error.errno is not None and error.filename is None:
                error.filename = str(self._run_folder())
            raise

    @contextmanager
    def _held(self) -> Iterator[None]:
        """While training, nobody else trains in the run's folder; one left empty is removed."""
        if self.subcommand != "fit" or is_trial(self.trainer) or not self.trainer.is_global_zero:
            yield
            return
        run = self._run_folder()
        try:
            with locked(run, "`mssim fit`"):
                yield
        finally:
            with suppress(OSError):
                run.rmdir()

    def _run_folder(self) -> Path:
        config = self.config[self.subcommand] if self.subcommand else self.config
        files = config.get("config") or []
        first = Path(str(files[0])) if files and self.subcommand != "fit" else None
        return folder_of(first, Path(str(config.run)))

    def _check_same(self, weights: Path) -> None:
        """See that nothing has changed since these weights were trained that decides a number."""
        path = weights.parent.parent / "config.yaml"
        if not path.exists():
            return
        try:
            # Read as a config of today: an argument that came later had what is now its default.
            before = self._parser(self.subcommand).parse_path(str(path))
        except ArgumentError as error:
            raise UserError(
                f"{path}: {plain(str(error))}; {ELSEWHERE}, or remove the folder"
            ) from None
        own = path.parent.resolve() == self._run_folder().resolve()
        remedy = f"{ELSEWHERE}, or give the old values"
        if not own:
            remedy = f"start from its weights alone: --ckpt_path null --model.init {weights}"
        now = self.config[self.subcommand]
        check_same(path, self._settings(before), self._settings(now), remedy)

    def _settings(self, config: Namespace) -> dict[str, Any]:
        return dict(yaml.safe_load(self._parser(self.subcommand).dump(config, skip_none=False)))

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError:
            seed = self._get(self.config, "seed_everything")
            raise UserError(f"seed_everything: {seed} must lie in 0 to {2**32 - 1}") from None

    def _parse_ckpt_path(self) -> None:
        """Our checkpoints hold no hyperparameters: the config and flags are the one truth."""


def run_trainer(words: list[str]) -> None:
    """Parse, build, run.

    Raises:
        UserError: A key, value, file or checkpoint is not as it should be.
    """
    topic = asked(words)
    if topic is not None:
        print(help_on(words[0], topic))
        return
    check_words(words)
    _quiet()
    _keep_memory()
    strict = {"exit_on_error": False}
    try:
        MssimCLI(
            MssimModule,
            DataModule,
            subclass_mode_model=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            save_config_callback=SaveConfig,
            parser_kwargs=dict.fromkeys(("fit", "validate", "test", "predict"), strict) | strict,
            # Lightning warns where words are handed over that stand on the command line anyway.
            args=None if words == sys.argv[1:] else words,
        )
    except ArgumentError as error:
        raise UserError(f"{plain(str(error))}; see mssim {words[0]} --help") from None
    except UserError as error:
        raise UserError(plain(str(error))) from error


def _keep_memory() -> None:
    """Let the C library keep what tensors free, instead of giving it back page by page.

    On a CPU, pages taken anew at every operation cost a seventh of a training step.
    """
    trim_threshold, mmap_threshold = -1, -3  # names of mallopt(3), which only glibc has
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(trim_threshold, 2**30)
            library.mallopt(mmap_threshold, 2**30)


def _quiet() -> None:
    """Silence what is known, harmless, and not ours."""
    # Lightning 2.6 calls three names that jsonargparse 5 will drop (jsonargparse #21900).
    warnings.filterwarnings("ignore", "(?is).*deprecat", module=r"lightning\.pytorch\.cli")
    # Our loaders do their reading at memory-copy speed.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Lightning 2.6 asks torch for a name that torch 2.9 renamed.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    # `mssim test RUN` hands over other words than stand on the command line.
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    # A split may be empty.
    warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero")
    # That is what resuming is.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # Hardware in three lines, a hint at a paid service, and what `Trainer` was told to do.
    for name in ("pytorch.utilities.rank_zero", "fabric.utilities.seed"):
        logging.getLogger(f"lightning.{name}").setLevel(logging.WARNING)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    torch.set_float32_matmul_precision("high")
