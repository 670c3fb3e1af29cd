"""What a network holds and what a pass through it costs, by module.

FLOPs are those of matrix products, convolutions and attention, a multiplication and an addition
being two; what is done number by number is not counted, as is usual.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle


@dataclass(frozen=True)
class Cost:
    """FLOPs of a forward pass by module, and of forward and backward together.

    Attributes:
        forward: By the name of the module in which they are spent, not counting modules in it.
        both: Forward and backward.
    """

    forward: dict[str, int]
    both: int


def parameters(module: nn.Module) -> dict[str, int]:
    """Numbers that a module learns or holds as weights, by name; what is shared counts once."""
    return {name: p.numel() for name, p in module.named_parameters()}


def cost(root: nn.Module, run: Callable[[], Tensor]) -> Cost:
    """FLOPs of `run`, which goes through modules of `root` and returns what to differentiate."""
    with FlopCounterMode(display=False) as counter:
        with _metered(root, counter) as spent:
            out = run()
        if out.requires_grad:
            torch.autograd.backward(out.sum())
        both = counter.get_total_flops()
    return Cost(spent, both)


@contextmanager
def _metered(root: nn.Module, counter: FlopCounterMode) -> Iterator[dict[str, int]]:
    """Hooks on every module: what is counted between its call and its return, less its parts."""
    spent: dict[str, int] = {}
    begun: list[int] = []  # the count when each of the modules that are running began
    parts: list[int] = [0]  # and what the modules in it have spent
    handles: list[RemovableHandle] = []

    def attach(name: str, module: nn.Module) -> None:
        def begin(*_: object) -> None:
            begun.append(counter.get_total_flops())
            parts.append(0)

        def end(*_: object) -> None:
            whole = counter.get_total_flops() - begun.pop()
            spent[name] = spent.get(name, 0) + whole - parts.pop()
            parts[-1] += whole

        handles.append(module.register_forward_pre_hook(begin))
        handles.append(module.register_forward_hook(end))

    for name, module in root.named_modules():
        attach(name, module)
    try:
        yield spent
    finally:
        for handle in handles:
            handle.remove()


def grouped(values: dict[str, int], group: Callable[[str], str]) -> dict[str, int]:
    """The sums of values over names of the same group, in the order in which groups come first."""
    sums: dict[str, int] = {}
    for name, value in values.items():
        sums[group(name)] = sums.get(group(name), 0) + value
    return sums
