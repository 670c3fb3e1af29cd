"""`mssim fit | validate | test | predict`: LightningCLI with a run folder that holds everything."""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

from data_modules.module import DataModule
from data_modules.store import write_text
from lightning_app.build import load_checkpoint
from lightning_app.callbacks.ema import EMA
from lightning_app.callbacks.report import Report
from lightning_app.checkpoint import LAST, AtomicCheckpointIO, chosen, folder_of
from lightning_app.modules.action_encoder import ActionEncoder
from lightning_app.modules.base import MssimModule
from lightning_app.modules.simulator import Simulator
from mssim.errors import UserError

__all__ = ["ActionEncoder", "MssimCLI", "Simulator", "run_trainer"]


class Best(ModelCheckpoint):
    """Keeps the weights that scored best in validation.

    Args:
        monitor: What is compared.
        mode: `max` or `min`.
    """

    def __init__(self, monitor: str = "val/psnr", mode: str = "max") -> None:
        super().__init__(
            monitor=monitor,
            mode=mode,
            filename="best",
            save_top_k=1,
            enable_version_counter=False,
            auto_insert_metric_name=False,
        )


class Last(ModelCheckpoint):
    """Keeps the newest weights, for resuming.

    Args:
        every: Optimizer steps between writes.
    """

    def __init__(self, every: int = 200) -> None:
        super().__init__(
            filename=LAST.removesuffix(".ckpt"),
            every_n_train_steps=every,
            save_top_k=1,
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        )


class SaveConfig(SaveConfigCallback):
    """Writes the run's one truth, `config.yaml`, when training starts and never else."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit" or not trainer.is_global_zero or _trial(trainer):
            return
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        text = self.parser.dump(self.config, skip_none=False)
        write_text(folder / "config.yaml", text)


class MssimCLI(LightningCLI):
    """Our LightningCLI: links, forced callbacks, and the run folder."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Links are made when parsing, to direct arguments only, so saved configs stay loadable."""
        parser.add_argument("--run", type=Path, default=Path("runs/run"), help="The run's folder.")
        parser.add_lightning_class_args(EMA, "ema")
        parser.add_lightning_class_args(Best, "best")
        parser.add_lightning_class_args(Last, "last")
        parser.add_lightning_class_args(Report, "report")
        parser.link_arguments("data.senses", "model.init_args.senses")
        parser.link_arguments("data.use_senses", "model.init_args.use_senses")
        parser.link_arguments("data.sources", "model.init_args.sources", compute_fn=list)
        parser.link_arguments("data.context", "model.init_args.context")
        parser.link_arguments("data.predict", "model.init_args.predict")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A trainer whose logs, checkpoints and reports lie flat in the run folder."""
        run = self._run_folder()
        logs = TensorBoardLogger(run, name="logs", version="", default_hp_metric=False)
        keeps = self.subcommand == "fit" and not self._get(self.config_init, "trainer.fast_dev_run")
        for name in ("best", "last"):
            self._get(self.config_init, name).dirpath = str(run / "checkpoints")
        trainer: Trainer = super().instantiate_trainer(
            default_root_dir=run,
            logger=logs if keeps else False,
            # Our loaders know their rank; Lightning must not put samplers of its own in them.
            use_distributed_sampler=False,
            plugins=[AtomicCheckpointIO()],
            **kwargs,
        )
        return trainer

    def before_fit(self) -> None:
        """Go on where the run stopped."""
        last = self._run_folder() / "checkpoints" / LAST
        if self._ckpt() is None and last.exists() and not _trial(self.trainer):
            self._check_same_model()
            load_checkpoint(last)
            print(f"resuming from {last}")
            self._set_ckpt(last)

    def before_validate(self) -> None:
        self._find_weights()

    def before_test(self) -> None:
        self._find_weights()

    def before_predict(self) -> None:
        self._find_weights()

    def _find_weights(self) -> None:
        path = self._ckpt()
        path = chosen(self._run_folder()) if path is None else Path(path)
        load_checkpoint(path)
        self._set_ckpt(path)

    def _ckpt(self) -> Any:
        return self.config[self.config.subcommand].get("ckpt_path")

    def _set_ckpt(self, path: Path) -> None:
        self.config_init[self.config.subcommand]["ckpt_path"] = str(path)

    def _run_folder(self) -> Path:
        config = self.config[self.config.subcommand] if self.subcommand else self.config
        files = config.get("config") or []
        first = Path(str(files[0])) if files and self.subcommand != "fit" else None
        return folder_of(first, Path(str(config.run)))

    def _check_same_model(self) -> None:
        path = self._run_folder() / "config.yaml"
        if not path.exists():
            return
        old, new = (_model_of(t) for t in (path.read_text(), self._dump()))
        changed = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
        if changed:
            raise UserError(
                f"{path}: the run there was trained with another model ({', '.join(changed)} "
                "differ); choose another --run, or remove the folder"
            )

    def _dump(self) -> str:
        parser, config = self._parser(self.subcommand), self.config[self.config.subcommand]
        return str(parser.dump(config, skip_none=False))

    def _parse_ckpt_path(self) -> None:
        """Our checkpoints hold no hyperparameters: the config and flags are the one truth."""


def _model_of(text: str) -> dict[str, Any]:
    """What the weights depend on, of a config."""
    model = yaml.safe_load(text)["model"]
    free = ("optimizer", "lr_scheduler", "sampler", "weights", "init_encoder", "perception")
    arguments = {k: v for k, v in model.get("init_args", {}).items() if k not in free}
    return {"class_path": model["class_path"].rsplit(".", 1)[-1], **arguments}


def _trial(trainer: Trainer) -> bool:
    """Is this a `fast_dev_run`, which leaves nothing behind?"""
    return bool(getattr(trainer, "fast_dev_run", False))


def run_trainer(words: list[str]) -> None:
    """Parse, build, run.

    Raises:
        UserError: A key, value, file or checkpoint is not as it should be.
    """
    _quiet()
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
        raise UserError(str(error)) from None


def _quiet() -> None:
    """Silence what is known, harmless, and not ours."""
    # Lightning 2.6 calls three names that jsonargparse 5 will drop (jsonargparse #21900).
    warnings.filterwarnings("ignore", message=".*deprecated.*", module=r"lightning\.pytorch\.cli")
    # Our loaders do their reading at memory-copy speed.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Lightning 2.6 asks torch for a name that torch 2.9 renamed.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    torch.set_float32_matmul_precision("high")
