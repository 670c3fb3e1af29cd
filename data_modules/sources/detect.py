"""Which source reads a folder: told from the names of the files in it.

A source is imported once it is the one, so that none waits for the libraries of the others.
"""

from pathlib import Path

import yaml

from data_modules.files import shown_path
from data_modules.sources.base import Source
from data_modules.sources.fields import read_text
from mssim.errors import UserError
from mssim.resources import CONFIGS
from mssim.senses import Sense, SenseSet

SENSES = CONFIGS / "senses"
"""The sets of senses that come with the package."""


def detect(path: Path) -> tuple[Source, SenseSet]:
    """The source that reads a folder, and the senses that it is read with by default.

    A LeRobot dataset gives each of its float vectors that start with `observation.` as a sensation
    and `action` as a command; ActionSense and H2O give all that their `configs/senses/*.yaml` list.

    Args:
        path: A dataset's folder.

    Raises:
        UserError: The folder is not there, or holds no format that is known.
    """
    if not path.is_dir():
        raise UserError(f"{path}: is no folder; give the folder of a dataset")
    if (path / "meta" / "info.json").exists():
        return _lerobot(path)
    from data_modules.sources.actionsense import ActionSenseSource

    if ActionSenseSource.matches(path):
        return ActionSenseSource(path), read_senses(SENSES / "actionsense.yaml")
    from data_modules.sources.h2o import H2OSource

    if H2OSource.matches(path):
        return H2OSource(path), read_senses(SENSES / "h2o.yaml")
    raise UserError(
        f"{path}: neither a LeRobot dataset (meta/info.json) nor ActionSense recordings "
        "(*_streamLog_*.hdf5) nor H2O's (subject*/*/*/cam4); give the folder that holds one of them"
    )


def read_senses(file: Path) -> SenseSet:
    """The set of senses in a YAML file.

    Raises:
        UserError: The file is not there or does not list senses.
    """
    try:
        listed = yaml.safe_load(read_text(file, "name a file of senses"))["senses"]
        return SenseSet([Sense(**sense) for sense in listed])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: not a list of senses ({' '.join(str(error).split())}); "
            f"see {shown_path(SENSES)} for how one looks"
        ) from None


def _lerobot(path: Path) -> tuple[Source, SenseSet]:
    from data_modules.sources.lerobot import LeRobotSource, default_senses

    bare = LeRobotSource(path, {})
    columns = default_senses(bare.info)
    senses = [
        Sense(name, [c.stop], "", 1, "command" if c.column == "action" else "sensation", "last")
        for name, c in columns.items()
    ]
    return LeRobotSource(path, columns), SenseSet(senses)
