"""Which rollouts `mssim predict` shows: one from the start of each of several test units."""

from collections.abc import Iterator

import numpy as np

from data_modules.windows import Ask, Windows


class RolloutPlan:
    """One long window a unit, units spread evenly over the split, shared out over ranks.

    Args:
        windows: The test windows; a unit's first one says where its rollout starts.
        horizon: Frames to predict; fewer where the unit ends before.
        rollouts: Most units to show.
        rank: Of this process.
        world: Processes.
    """

    def __init__(
        self, windows: Windows, horizon: int, rollouts: int, rank: int = 0, world: int = 1
    ) -> None:
        units, first = np.unique(windows.index.unit, return_index=True)
        count = min(rollouts, len(units))
        chosen = first[np.linspace(0, len(units) - 1, count).round().astype(int)]
        asks = [Ask(np.array([w]), 0, windows.frames_ahead(int(w), horizon)) for w in chosen]
        self._asks = asks[rank::world]
        self.predict = max((a.predict for a in asks), default=horizon)

    def __len__(self) -> int:
        return len(self._asks)

    def asks(self) -> Iterator[Ask]:
        """This rank's rollouts."""
        yield from self._asks
