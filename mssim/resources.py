"""Files that come with the package: configs, sets of senses, released weights."""

from pathlib import Path

_HERE = Path(__file__).parent
PRETRAINED = _HERE / "pretrained"
"""One folder for each released simulator: weights, `config.json` and `config.yaml`."""
# A wheel carries `configs` inside the package; in a checkout it lies beside it.
CONFIGS = _HERE / "configs" if (_HERE / "configs").is_dir() else _HERE.parent / "configs"
"""Configs that commands can be given by name, and `senses/`, the sets of senses."""


def released() -> list[str]:
    """Names of the released simulators."""
    return sorted(p.parent.name for p in PRETRAINED.glob("*/model.safetensors"))


def find_config(name: str) -> Path:
    """The config that a name stands for: `kitchen`, `configs/kitchen.yaml`, `kitchen-32`.

    Args:
        name: A path, which wins if it is there; else the name of a packaged config or of a
            released simulator.

    Returns:
        The file; `name` itself where nothing is found, for the caller to complain about.
    """
    path = Path(name)
    if path.is_file() or path.is_absolute():
        return path
    inside = name.removeprefix("configs/").removesuffix(".yaml")
    for file in (CONFIGS / f"{inside}.yaml", PRETRAINED / inside / "config.yaml"):
        if inside and ".." not in path.parts and file.is_file():
            return file
    return path


def find_weights(path: Path) -> Path:
    """Weights by path, or those of a released simulator by its name.

    Args:
        path: A file, which wins if it is there, or a name such as `kitchen-32`.
    """
    if path.exists() or path.name not in released() or len(path.parts) > 1:
        return path
    return PRETRAINED / path.name / "model.safetensors"
