"""What is said about a window: nothing, a verb, a phrase or a sentence.

    phrase     the activity as the dataset labels it, in lower case
    verb       its first word
    sentence   the phrase, how quickly it is done, and how firmly the hands hold
    varied     one of the three in training, drawn anew each epoch; else the phrase

Speed: a window of stride 1 is done `slowly`, one of stride 3 or more `quickly`. Grip: a window's
mean hand force, against the training windows of the same activity, more than one standard
deviation above their mean is `holding tightly`, below it `holding gently`. Only where there is a
tactile sense, which is one with `tactile` in its name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from data_modules.windows import WindowIndex

Level = Literal["none", "verb", "phrase", "sentence"]
Detail = Literal["none", "verb", "phrase", "sentence", "varied"]
SPOKEN: tuple[Level, ...] = ("verb", "phrase", "sentence")
GRIP_READS_AHEAD = (
    "how firmly the hands hold is said of the whole window, predicted frames included; held-action "
    "is not told"
)
_GRIP = {-1: ", holding gently", 0: "", 1: ", holding tightly"}


@dataclass(frozen=True)
class Captions:
    """Text of windows.

    Attributes:
        detail: How much is said; `varied` draws it for each window.
        units: The label of each unit.
        grip: int8 (n,) by window: -1 gently, 0 unremarkable or unknown, 1 tightly; None where
            nothing is known of any.
    """

    detail: Detail
    units: Sequence[str]
    grip: NDArray[np.int8] | None = None

    def of(
        self, ids: NDArray[np.int64], index: "WindowIndex", draw: NDArray[np.float64]
    ) -> list[str]:
        """Text of the windows `ids` (B,).

        Args:
            ids: Which windows.
            index: Where they lie.
            draw: In [0, 1), (B,): which detail each has where that is varied.
        """
        out = []
        for i, chance in zip(ids.tolist(), draw.tolist(), strict=True):
            label = self.units[int(index.unit[i])]
            grip = 0 if self.grip is None else int(self.grip[i])
            level = SPOKEN[int(chance * len(SPOKEN))] if self.detail == "varied" else self.detail
            out.append(caption(label, level, int(index.stride[i]), grip))
        return out


def caption(label: str, detail: Level, stride: int = 2, grip: int = 0) -> str:
    """Text of one window.

    Args:
        label: The activity as the dataset names it.
        detail: How much is said.
        stride: Of the window, for `sentence`.
        grip: -1, 0 or 1, for `sentence`.
    """
    phrase = " ".join(label.lower().split()).rstrip(".")
    if detail == "none" or not phrase:
        return ""
    if detail == "verb":
        return phrase.split()[0].strip(",;:")
    if detail == "phrase":
        return phrase
    speed = " slowly" if stride == 1 else " quickly" if stride >= 3 else ""
    return f"{phrase}{speed}{_GRIP[grip]}"


def without_grip(text: str) -> str:
    """A caption that says nothing of the grip, which was judged over frames still to come."""
    for words in _GRIP.values():
        text = text.removesuffix(words)
    return text


def grip_words(
    force: NDArray[np.float64], activity: NDArray[np.int64], mean: dict[int, tuple[float, float]]
) -> NDArray[np.int8]:
    """How firmly windows hold, int8 (n,).

    Args:
        force: Mean hand force of each window (n,); NaN where nothing is known.
        activity: Index of each window's activity (n,).
        mean: By activity, mean and standard deviation over the training windows.
    """
    centre = np.array([mean.get(int(a), (np.nan, 0.0))[0] for a in activity])
    spread = np.array([mean.get(int(a), (np.nan, 0.0))[1] for a in activity])
    with np.errstate(invalid="ignore"):
        tight, gentle = force > centre + spread, force < centre - spread
    return np.asarray(tight.astype(np.int8) - gentle.astype(np.int8), np.int8)


def force_by_activity(
    force: NDArray[np.float64], activity: NDArray[np.int64]
) -> dict[int, tuple[float, float]]:
    """Mean and standard deviation of the windows' force (n,) by activity (n,)."""
    out = {}
    for a in np.unique(activity):
        known = force[(activity == a) & np.isfinite(force)]
        if len(known):
            out[int(a)] = (float(known.mean()), float(known.std()))
    return out
