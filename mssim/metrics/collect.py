"""Gathering what was measured window by window, over batches and over ranks.

Letters: W windows gathered, B windows of a batch, P predicted frames.

Every window counts once however the ranks share them, since each row carries its window's index:
samplers may repeat windows to make ranks even, and may leave a rank without any.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from mssim.errors import UserError
from mssim.metrics.frames import NAMES


@dataclass(frozen=True)
class Rows:
    """One row a window, sorted by window, none twice.

    Attributes:
        window: int64 (W,), index of the window in its dataset.
        unit: int64 (W,), the activity instance or episode it was cut from.
        values: By name, float32 (W, D).
    """

    window: Tensor
    unit: Tensor
    values: dict[str, Tensor]


@dataclass(frozen=True)
class Scores:
    """Scores of predicted frames, sorted by window, none twice.

    Attributes:
        window: int64 (W,), index of the window in its dataset.
        unit: int64 (W,), the activity instance or episode it was cut from.
        values: By metric, float32 (W, P).
        mask: bool (W, P): the frame was there to be predicted. Others count nowhere.
    """

    window: Tensor
    unit: Tensor
    values: dict[str, Tensor]
    mask: Tensor


class PerWindow(Metric):
    """Keeps named rows of numbers for each window, gathered over ranks.

    Args:
        names: Names of the values.
        options: As `torchmetrics.Metric`.
    """

    full_state_update = False
    window: list[Tensor] | Tensor
    unit: list[Tensor] | Tensor

    def __init__(self, names: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self.names = tuple(names)
        for state in self._states():
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, window: Tensor, unit: Tensor, values: dict[str, Tensor]) -> None:
        """Add windows: `window` and `unit` int64 (B,), each value (B, D).

        Raises:
            ValueError: A value is missing or unknown.
        """
        if set(values) != set(self.names):
            raise ValueError(f"values {sorted(values)} came, {sorted(self.names)} were expected")
        rows = {"window": window.long(), "unit": unit.long()}
        # Flat, so that a rank without windows can join in without knowing D.
        rows |= {f"value_{name}": values[name].float().flatten() for name in self.names}
        for state, row in rows.items():
            getattr(self, state).append(row.detach())

    def compute(self) -> Any:
        """The gathered `Rows`.

        Raises:
            UserError: There are none.
        """
        window = dim_zero_cat(self.window) if len(self.window) else torch.empty(0)
        if not len(window):
            raise UserError("no window was scored; choose a split that holds at least one")
        unit = dim_zero_cat(self.unit)
        order = torch.argsort(window, stable=True)
        first = torch.ones_like(order, dtype=torch.bool)
        first[1:] = window[order][1:] != window[order][:-1]
        order = order[first]
        values = {}
        for name in self.names:
            flat: Tensor = dim_zero_cat(getattr(self, f"value_{name}"))
            values[name] = flat.reshape(len(window), -1)[order]  # (W, D)
        return Rows(window[order], unit[order], values)

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """As `Metric.sync`, with empty states of the right type where this rank saw no window."""
        for state in self._states():
            if not getattr(self, state):
                dtype = torch.float32 if state.startswith("value_") else torch.int64
                getattr(self, state).append(torch.empty(0, dtype=dtype, device=self.device))
        super().sync(*args, **kwargs)

    def _states(self) -> list[str]:
        return ["window", "unit", *(f"value_{name}" for name in self.names)]

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        # torchmetrics squeezes and clones every tensor of a result in place, which a frozen
        # dataclass refuses and which would drop the axes of a single window. In a box, it passes.
        boxed = super()._wrap_compute(lambda: _Box(compute()))

        @wraps(compute)
        def unboxed() -> Any:
            return boxed().value

        return unboxed


class WindowScores(PerWindow):
    """Scores of predicted frames by window, gathered over ranks; `compute` gives `Scores`.

    Args:
        names: The scores; add "lpips" where its weights are there.
        options: As `torchmetrics.Metric`.
    """

    def __init__(self, names: Sequence[str] = NAMES, **options: Any) -> None:
        super().__init__((*names, "mask"), **options)

    def update(  # type: ignore[override]
        self, window: Tensor, unit: Tensor, scores: dict[str, Tensor], target_mask: Tensor
    ) -> None:
        """Add windows.

        Args:
            window: int64 (B,).
            unit: int64 (B,).
            scores: By name, (B, P), as `mssim.metrics.frames.score_windows` gives them.
            target_mask: bool (B, P), which frames were there to be predicted.

        Raises:
            ValueError: A score is missing or unknown.
        """
        super().update(window, unit, {**scores, "mask": target_mask})

    def compute(self) -> Scores:
        """Every window once."""
        rows: Rows = super().compute()
        values = {name: value for name, value in rows.values.items() if name != "mask"}
        return Scores(rows.window, rows.unit, values, rows.values["mask"].bool())


class _Box:
    """Hides a value from `apply_to_collection`, which would take a dataclass apart."""

    def __init__(self, value: Any) -> None:
        self.value = value
