"""Noise as a function of names, not of call order: resumable, and equal on one rank or many."""

import hashlib

import torch
from torch import Tensor


def seed_of(*names: int) -> int:
    """A 63-bit seed from any integers, e.g. (seed, step, window)."""
    digest = hashlib.blake2b(repr(names).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generators(seed: int, step: int, window: Tensor) -> list[torch.Generator]:
    """One CPU generator a window, int64 (B,), seeded by (seed, step, window)."""
    return [torch.Generator().manual_seed(seed_of(seed, step, w)) for w in window.tolist()]


def normal(sources: list[torch.Generator], *shape: int) -> Tensor:
    """Standard normal numbers (B, *shape), each row from its own generator."""
    return torch.stack([torch.randn(shape, generator=g) for g in sources])


def uniform(sources: list[torch.Generator], *shape: int) -> Tensor:
    """Numbers in [0, 1), (B, *shape), each row from its own generator."""
    return torch.stack([torch.rand(shape, generator=g) for g in sources])
