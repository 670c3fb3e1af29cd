"""The multimodal baselines of the paper's Table 2, by name."""

from typing import Literal

from mssim.action.baselines.base import Binding, Bound, Felt
from mssim.action.baselines.imagebind import ImageBind
from mssim.action.baselines.languagebind import LanguageBind
from mssim.action.baselines.mutex import Mutex
from mssim.action.baselines.neural_field import NeuralField
from mssim.senses import SenseSet

__all__ = ["Binding", "BindingKind", "Bound", "Felt", "make_binding"]

BindingKind = Literal["mutex", "imagebind", "languagebind", "neural-field"]


def make_binding(kind: BindingKind, senses: SenseSet, code: int, feature: int) -> Binding:
    """A baseline with fresh weights.

    Args:
        kind: Which.
        senses: What is bound.
        code: Width of hidden layers.
        feature: D.

    Raises:
        UserError: The baseline cannot bind so few senses.
    """
    if kind == "mutex":
        return Mutex(senses, code, feature)
    if kind == "imagebind":
        return ImageBind()
    if kind == "languagebind":
        return LanguageBind()
    return NeuralField(senses, code, feature)
