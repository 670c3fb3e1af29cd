"""The person alone, as a model to plan on: built once for each subject."""

from functools import lru_cache
from typing import Any

from data_modules.kitchen.world import physics
from data_modules.kitchen.world.subject import Subject


@lru_cache(maxsize=16)
def person_model(subject: Subject) -> Any:
    """The MuJoCo model of a subject without furniture and objects; not to be changed."""
    return physics.person_model(subject)
