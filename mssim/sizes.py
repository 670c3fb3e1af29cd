"""What a network holds and what a pass through it costs, by module.

FLOPs are those of matrix products, convolutions and attention, a multiplication and an addition
being two; what is done number by number is not counted, as is usual.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """FLOPs of a forward pass by module, and of forward and backward together.

    Attributes:
        forward: By the name of the module in which they are spent, not counting modules in it;
            only of modules that spend some.
        both: Forward and backward.
    """

    forward: dict[str, int]
    both: int


def parameters(module: nn.Module) -> dict[str, int]:
    """Numbers that a module learns or holds as weights, by name; what is shared counts once."""
    return {name: p.numel() for name, p in module.named_parameters()}


class _Pass(nn.Module):
    """A call through modules of `root` as a module itself: a counter then knows all names."""

    def __init__(self, root: nn.Module, run: Callable[[], Tensor]) -> None:
        super().__init__()
        self.root, self.run = root, run

    def forward(self) -> Tensor:
        return self.run()


def cost(root: nn.Module, run: Callable[[], Tensor]) -> Cost:
    """FLOPs of `run`, which goes through modules of `root` and returns what to differentiate."""
    with FlopCounterMode(display=False) as counter:
        out = _Pass(root, run)()
        counts = counter.get_flop_counts()
        if out.requires_grad:
            torch.autograd.backward(out.sum())
        both = counter.get_total_flops()
    whole = {name: sum(counts[name].values()) for name in sorted(counts)}
    spent = dict(whole)
    for name, flops in whole.items():
        # A list of modules is never called, so that the next module above it may be further up.
        above = name.rpartition(".")[0]
        while above and above not in spent:
            above = above.rpartition(".")[0]
        if above:
            spent[above] -= flops
    start = f"{_Pass.__name__}.root"
    mine = {k: v for k, v in spent.items() if f"{k}.".startswith(f"{start}.")}
    return Cost({k.removeprefix(start).removeprefix("."): v for k, v in mine.items()}, both)


def grouped(values: dict[str, int], group: Callable[[str], str]) -> dict[str, int]:
    """The sums of values over names of the same group, in the order in which groups come first."""
    sums: dict[str, int] = {}
    for name, value in values.items():
        sums[group(name)] = sums.get(group(name), 0) + value
    return sums
