"""Which long windows are rolled out: one from the start of each unit, or of some of them."""

from collections.abc import Iterator

import numpy as np

from data_modules.windows import Ask, Windows


class RolloutPlan:
    """One long window a unit, units spread evenly over the split, shared out over ranks.

    Args:
        windows: The test windows; a unit's first one says where its rollout starts.
        horizon: Frames to predict; fewer where the unit ends before.
        rollouts: Most units; all of them by default.
        rank: Of this process.
        world: Processes.
        batch_size: Most windows a batch; those of a batch predict equally many frames.
    """

    def __init__(
        self,
        windows: Windows,
        horizon: int,
        rollouts: int | None = None,
        rank: int = 0,
        world: int = 1,
        batch_size: int = 1,
    ) -> None:
        units, first = np.unique(windows.index.unit, return_index=True)
        count = len(units) if rollouts is None else min(rollouts, len(units))
        chosen = first[np.linspace(0, len(units) - 1, count).round().astype(int)]
        batches: list[list[int]] = []
        lengths: list[int] = []
        for window in chosen[rank::world].tolist():
            length = windows.frames_ahead(window, horizon)
            if lengths and lengths[-1] == length and len(batches[-1]) < batch_size:
                batches[-1].append(window)
            else:
                batches.append([window])
                lengths.append(length)
        self._asks = [Ask(np.array(b), 0, p) for b, p in zip(batches, lengths, strict=True)]

    def __len__(self) -> int:
        return len(self._asks)

    def asks(self) -> Iterator[Ask]:
        """This rank's rollouts."""
        yield from self._asks
