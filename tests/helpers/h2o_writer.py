"""Writes takes as H2O's download holds them; nothing of the reader is used."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEAD = "id path action_label start_act end_act start_frame end_frame"
TEST_HEAD = "id path start_act end_act start_frame end_frame"


def joints(take: str, frame: int, hand: int) -> NDArray[np.float64]:
    """Both hands' joints (21, 3), in metres before the camera: a function of where it is asked."""
    rng = np.random.default_rng([sum(take.encode()), hand])
    drift = 0.1 * np.sin(0.05 * frame + np.arange(3))
    return np.round(rng.uniform(-0.1, 0.1, (21, 3)) + drift + [0, 0, 0.4], 8)


def shade(frame: int) -> int:
    """The grey of a frame's central square."""
    return 20 + 2 * frame


def write_take(
    root: Path, take: str, frames: int = 60, unseen: Sequence[int] = (), left_only: bool = False
) -> Path:
    """`root`/SUBJECT/PLACE/NUMBER/cam4, and return that.

    Args:
        root: The download's folder.
        take: e.g. `subject1/h1/0`.
        frames: How many.
        unseen: Frames in which the left hand is not annotated.
        left_only: Is the right hand never annotated?
    """
    folder = root / take / "cam4"
    for name in ("rgb256", "hand_pose"):
        (folder / name).mkdir(parents=True)
    for number in range(frames):
        picture = np.zeros((256, 455, 3), np.uint8)
        picture[:, 99:355] = shade(number)
        Image.fromarray(picture).save(folder / "rgb256" / f"{number:06d}.jpg", quality=95)
        line = []
        for hand in (0, 1):
            known = (number not in unseen) if hand == 0 else not left_only
            numbers = joints(take, number, hand).ravel() if known else np.zeros(63)
            line += [f"{int(known)}", *(f"{v:.8f}" for v in numbers)]
        (folder / "hand_pose" / f"{number:06d}.txt").write_text(" ".join(line))
    return folder


def write_h2o(root: Path, frames: int = 60) -> Path:
    """Four takes of three subjects with their action lists; the test list tells no labels."""
    write_take(root, "subject1/h1/0", frames, unseen=(3, 30))
    write_take(root, "subject1/k2/1", frames, left_only=True)
    write_take(root, "subject3/o1/0", frames)
    write_take(root, "subject4/h1/0", frames)
    last = frames - 1
    lists = {
        "train": [HEAD, f"1 subject1/h1/0 16 0 29 0 {last}", f"2 subject1/h1/0 8 31 59 0 {last}"],
        "val": [HEAD, f"1 subject3/o1/0 24 0 {last} 0 {last}"],
        "test": [TEST_HEAD, f"1 subject4/h1/0 6 {last} 0 {last}"],
    }
    lists["train"] += [f"3 subject1/k2/1 35 9 {last} 0 {last}", f"4 subject2/h1/0 1 0 9 0 {last}"]
    (root / "label_split").mkdir()
    for split, lines in lists.items():
        (root / "label_split" / f"action_{split}.txt").write_text("\n".join(lines) + "\n")
    return root
