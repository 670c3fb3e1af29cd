"""What a run keeps: its best weights and its newest."""

import signal
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from lightning_app.stop import Stopped, asked, wait
from mssim.checkpoint import BEST, LAST

_VALIDATION = "epoch_loop.val_loop.batch_progress"
_BEGUN = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
"""Batches of a validation whose first was begun."""
_TOGETHER = 8
"""Steps after which ranks ask one another whether one was told to stop."""


def is_trial(trainer: Trainer) -> bool:
    """Is this a `fast_dev_run`, which leaves nothing behind?"""
    return bool(getattr(trainer, "fast_dev_run", False))


def validation_is_due(checkpoint: dict[str, Any]) -> bool:
    """Is a validation, if one was due at a checkpoint's step, still to be done?"""
    progress = checkpoint.get("loops", {}).get("fit_loop", {}).get(_VALIDATION, {})
    return bool(progress.get("total") == _BEGUN)


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
            filename=BEST.removesuffix(".ckpt"),
            save_top_k=1,
            enable_version_counter=False,
            auto_insert_metric_name=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As the base class, which forgets the best score where the run's folder was moved."""
        score = state_dict["best_model_score"]
        if score is not None:
            path = str(Path(str(self.dirpath)) / BEST)
            self.best_model_path = self.kth_best_model_path = path
            self.best_model_score = self.kth_value = score
            self.best_k_models = {path: score}


class Last(ModelCheckpoint):
    """Keeps the newest weights, for resuming: every so often, before each validation, at the end,
    and when Ctrl-C or SIGTERM ends the training.

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
        self._step = 0
        self._whole = True
        self._validated = self._ended = False

    @property
    def state_key(self) -> str:
        """The same whatever `every` is."""
        return "Last"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """There is one file, and its name is known."""

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let a validation that is due at this step be done, from its beginning, on resuming.

        Lightning would leave it out, or score the windows that are left; it begins one anew whose
        first batch was begun, and none was done.
        """
        if self._ended or self._validated or trainer.state.fn != TrainerFn.FITTING:
            return
        progress = checkpoint["loops"]["fit_loop"][_VALIDATION]
        progress["total"].update(_BEGUN)
        progress["current"].update(dict.fromkeys(_BEGUN, 0))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        # What was resumed from is on disk. To write it again in the middle of accumulated
        # gradients would lose those.
        self._last_global_step_saved = self._step = trainer.global_step
        self._ended = False
        wait(True)

    def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
        self._validated = False

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated = True

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        super().on_train_batch_end(trainer, *args, **kwargs)
        # Not whole is a step in the middle of accumulated gradients.
        self._whole, self._step = trainer.global_step != self._step, trainer.global_step
        number = self._asked(trainer) if self._whole else None
        if number is not None:
            self._keep(trainer)
            self._stop(trainer, number)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_start(trainer, pl_module)
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not self._whole:
            return
        self._keep(trainer)
        # All is kept, so nothing need be waited for; but ranks stop together.
        if trainer.world_size == 1:
            wait(False)
            if (number := asked()) is not None:
                self._stop(trainer, number)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            wait(True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        wait(False)
        self._ended = True
        self._keep(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        wait(False)

    def _keep(self, trainer: Trainer) -> None:
        if not is_trial(trainer):
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))

    def _stop(self, trainer: Trainer, number: int) -> None:
        file = Path(str(self.dirpath)) / LAST
        told = f"{file} is saved at step {trainer.global_step}, and the same command goes on"
        raise Stopped(number, told)

    def _asked(self, trainer: Trainer) -> int | None:
        """The signal that ends this training after this step, on all ranks alike."""
        number = asked()
        if trainer.world_size == 1:
            return number
        # Asking the others costs a message, so not after every step.
        if trainer.global_step % _TOGETHER:
            return None
        stops = trainer.strategy.reduce_boolean_decision(number is not None, all=False)
        return (number or signal.SIGTERM) if stops else None
