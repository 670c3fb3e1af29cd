"""Multisensory world models: from what a body feels and does to what it will see next."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mssim.config import SimulatorConfig
    from mssim.errors import UserError
    from mssim.pretrained import PretrainedSimulator, load_example, load_simulator
    from mssim.senses import Sense, SenseSet
    from mssim.video.rollout import State
    from mssim.world import World

__version__ = "0.1.0"
__all__ = [
    "PretrainedSimulator",
    "Sense",
    "SenseSet",
    "SimulatorConfig",
    "State",
    "UserError",
    "World",
    "__version__",
    "load_example",
    "load_simulator",
]


def __getattr__(name: str) -> Any:
    """A name of `__all__`, imported once it is asked for: PyTorch is slow to import."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mssim import pretrained, world

    # What is not of its own, `pretrained` imports.
    return getattr(world if name == "World" else pretrained, name)
