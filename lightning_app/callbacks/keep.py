"""What a run keeps: its best weights and its newest."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_app.checkpoint import BEST, LAST


def is_trial(trainer: Trainer) -> bool:
    """Is this a `fast_dev_run`, which leaves nothing behind?"""
    return bool(getattr(trainer, "fast_dev_run", False))


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
    """Keeps the newest weights, for resuming: every so often, and at the end.

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

    @property
    def state_key(self) -> str:
        """The same whatever `every` is."""
        return "Last"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """There is one file, and its name is known."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        # What was resumed from is on disk. To write it again in the middle of accumulated
        # gradients would lose those.
        self._last_global_step_saved = trainer.global_step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._should_skip_saving_checkpoint(trainer):
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))
