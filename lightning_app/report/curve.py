"""The learning curve of a run, from what TensorBoard was told."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_modules.files import whole

CURVE = "learning.png"
_TRAIN, _MOST = "train/loss", 500


def write_curve(folder: Path, monitor: str = "val/psnr") -> bool:
    """Draw training loss and validation by optimizer step into `folder`/learning.png.

    Args:
        folder: The run's folder, whose `logs` are read.
        monitor: The validation's number.

    Returns:
        Whether there was anything to draw.
    """
    if not any((folder / "logs").glob("events*")):
        return False
    events = EventAccumulator(str(folder / "logs"), size_guidance={"images": 1, "scalars": _MOST})
    events.Reload()
    names = [n for n in (_TRAIN, monitor) if n in events.Tags()["scalars"]]
    if not names:
        return False
    figure = Figure(figsize=(7.4, 1.0 + 1.7 * len(names)), dpi=110, layout="constrained")
    axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        points = sorted((p.step + 1, p.value) for p in events.Scalars(name))
        mark = "" if name == _TRAIN else "o"
        axis.plot(*zip(*points, strict=True), marker=mark, markersize=3.5, color="#d1495b")
        axis.set_ylabel(name)
        axis.grid(axis="y", color="#e4e6ea")
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    axes[-1].set_xlabel("optimizer step")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    with whole(folder / CURVE) as temporary:
        figure.savefig(temporary, format="png")
    return True
