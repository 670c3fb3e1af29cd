"""EMA: a running average of the trained weights; what is validated, tested and shipped.

Lightning's own copies the whole module, averages integer buffers, and cannot run under FSDP2; this
one keeps a tensor for each trained parameter, sharded as it is.
"""

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

_RAW = "raw_state"


class EMA(Callback):
    """Averages every `every` steps with decay min(decay, (1 + n) / (10 + n)) after n updates.

    The warm-up matters: at .995 every 10 steps, 74 % of the average is still initial weights after
    600 steps. A checkpoint's `state_dict` holds the average, `raw_state` the weights in training.

    Args:
        decay: The paper's .995.
        every: Optimizer steps between updates; the paper's 10.
    """

    def __init__(self, decay: float = 0.995, every: int = 10) -> None:
        self.decay, self.every = decay, every
        self.updates = 0
        self._average: dict[str, Tensor] = {}
        self._kept: dict[str, Tensor] = {}
        self._last_step = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._average:
            self._average = {n: p.detach().clone() for n, p in _trained(pl_module)}
        self._average = {n: a.to(pl_module.device) for n, a in self._average.items()}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any
    ) -> None:
        step = trainer.global_step
        if step == self._last_step or step % self.every:
            return
        self._last_step = step
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            for name, parameter in _trained(pl_module):
                self._average[name].lerp_(parameter.to(self._average[name].dtype), 1 - decay)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap_in(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap_out(pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if not self._average:
            return
        state = checkpoint["state_dict"]
        raw = self._kept or {n: state[n] for n in self._average}
        checkpoint[_RAW] = {n: t.detach().clone() for n, t in raw.items()}
        checkpoint["ema_updates"] = self.updates
        state.update({n: a.detach().clone() for n, a in self._average.items()})

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """On resuming a fit: go on with both weights. Lightning calls this for `test`, too, which
        shall keep the average that it has loaded.
        """
        if _RAW not in checkpoint or trainer.state.fn != TrainerFn.FITTING:
            return
        self._average = {n: checkpoint["state_dict"][n].clone() for n in checkpoint[_RAW]}
        self.updates = checkpoint["ema_updates"]
        self._last_step = checkpoint["global_step"]
        with torch.no_grad():
            for name, parameter in _trained(pl_module):
                parameter.copy_(checkpoint[_RAW][name])

    def _swap_in(self, pl_module: pl.LightningModule) -> None:
        if not self._average or self._kept:
            return
        self._kept = {n: p.detach().clone() for n, p in _trained(pl_module)}
        self._write(pl_module, self._average)

    def _swap_out(self, pl_module: pl.LightningModule) -> None:
        if self._kept:
            self._write(pl_module, self._kept)
            self._kept = {}

    def _write(self, pl_module: pl.LightningModule, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in _trained(pl_module):
                parameter.copy_(weights[name])


def _trained(module: pl.LightningModule) -> list[tuple[str, torch.nn.Parameter]]:
    return [(n, p) for n, p in module.named_parameters() if p.requires_grad]
