"""What force decides: the same start and movements with a firm and a light hand, side by side.

python -m data_modules.kitchen.contrast OUT.png
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from data_modules.files import whole
from data_modules.kitchen.command.performer import perform, prepare, success
from data_modules.kitchen.sensing.camera import Camera
from data_modules.kitchen.world.names import Array
from data_modules.kitchen.world.subject import SUBJECTS

SIZE = 192
MOMENTS = (0.35, 0.6, 0.8, 1.0)
"""Of the labelled part, where frames are shown."""


@dataclass(frozen=True)
class Case:
    """An activity, and what is made lighter in it."""

    label: str
    grip: float = 1.0
    press: float = 1.0
    seed: int = 1

    @property
    def name(self) -> str:
        """What is said beside the light hand's frames."""
        what, share = ("press", self.press) if self.press < 1 else ("grip", self.grip)
        return f"{what} x {share:g}"


CASES = (
    Case("Clean a plate with a sponge", press=0.0),
    Case("Slice a cucumber", press=0.2),
    Case("Pour water from a pitcher into a glass", grip=0.0),
)


def main(out: Path, subject: str = "S00") -> None:
    """Perform every case twice and draw what was seen: two rows of frames a case."""
    figure = Figure(figsize=(2 * len(MOMENTS), 4.2 * len(CASES)), layout="constrained")
    axes = figure.subplots(2 * len(CASES), len(MOMENTS))
    for number, case in enumerate(CASES):
        for row, light in enumerate((False, True)):
            frames, worked = watch(case, subject, light)
            line = axes[2 * number + row]
            for axis, frame in zip(line, frames, strict=True):
                axis.imshow(frame)
                axis.set_xticks([])
                axis.set_yticks([])
            how = case.name if light else "as it is"
            line[0].set_ylabel(f"{how}: {'done' if worked else 'failed'}", fontsize=9)
        axes[2 * number][0].set_title(case.label, loc="left", fontsize=10)
    with whole(out) as temporary:
        figure.savefig(temporary, dpi=80)


def watch(case: Case, subject: str, light: bool) -> tuple[list[Array], bool]:
    """Frames (SIZE, SIZE, 3) at the moments, and whether it worked."""
    who, scales = SUBJECTS[subject], {}
    if light:
        scales = {"grip_scale": case.grip, "press_scale": case.press}
    count = int(prepare(who, case.label, case.seed)[1].labelled.sum())
    shown = {int(m * (count - 1)) for m in MOMENTS}
    frames: list[Array] = []
    camera, done = None, 0
    for tick in perform(who, case.label, case.seed, **scales):
        camera = camera or Camera(tick.world.model, SIZE)
        if tick.labelled:
            if done in shown:
                frames.append(camera.render(tick.world))
            done += 1
    return frames, success(case.label, tick.world)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    main(parser.parse_args().out)
