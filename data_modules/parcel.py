"""Batches on their way out of worker processes, through shared memory that is used again.

A tensor that leaves a worker by torch's own way costs a new shared file, a handshake, and a page
fault for every 4 KiB on both sides: several times the reading of the batch. Here all tensors of a
batch lie in one slot of a shelf that is allocated once, and are copied out on arrival.
"""

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from mssim.batch import Batch

ALIGN = 64
"""Bytes; more than any element needs."""


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies: its first byte and how the bytes are read."""

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def of(self, memory: Tensor) -> Tensor:
        """The tensor, as a view of `memory`, uint8 (bytes,)."""
        typed = memory[self.start :].view(self.dtype)
        return typed.as_strided(self.shape, self.stride, typed.storage_offset())


@dataclass(frozen=True)
class Parcel:
    """What a worker sends: where a batch's tensors lie, and its text.

    Attributes:
        slot: On the shelf.
        size: Bytes in use.
        places: By field and, inside a dict, name.
        text: As `Batch.text`.
    """

    slot: int
    size: int
    places: dict[tuple[str, str], _Place]
    text: list[str]


class Shelf:
    """Shared memory for batches under way.

    Args:
        slots: How many batches may be under way.
        some: One of the batches to come.
        longer: How many times as many frames as `some` the longest batch has.
    """

    def __init__(self, slots: int, some: Batch, longer: float = 1.0) -> None:
        _, size = _lay_out(_tensors(some))
        self.slots = slots
        self._pin = torch.cuda.is_available()
        pages = math.ceil(longer * size / 4096) + 1  # whole ones, so that slots stay aligned
        self._memory = torch.zeros(slots, 4096 * pages, dtype=torch.uint8)
        self._memory.share_memory_()  # type: ignore[no-untyped-call]

    def put(self, slot: int, batch: Batch) -> Parcel | Batch:
        """In a worker: copy a batch into a slot; its tensors are dense, in any order of axes.

        One that does not fit goes torch's own way.
        """
        tensors = _tensors(batch)
        places, size = _lay_out(tensors)
        memory = self._memory[slot]
        if size > len(memory):
            return batch
        for key, tensor in tensors.items():
            places[key].of(memory).copy_(tensor)
        return Parcel(slot, size, places, batch.text)

    def take(self, parcel: Parcel) -> Batch:
        """The batch, copied out (to page-locked memory where there is a GPU): its slot is free."""
        memory = torch.empty(parcel.size, dtype=torch.uint8, pin_memory=self._pin)
        memory.copy_(self._memory[parcel.slot, : parcel.size])
        values: dict[str, Any] = {"text": parcel.text, "frames": {}, "senses": {}}
        for (field, name), place in parcel.places.items():
            if name:
                values[field][name] = place.of(memory)
            else:
                values[field] = place.of(memory)
        return Batch(**values)


def _lay_out(tensors: dict[tuple[str, str], Tensor]) -> tuple[dict[tuple[str, str], _Place], int]:
    """Places one after the other, and the bytes that they take in all."""
    places = {}
    size = 0
    for key, tensor in tensors.items():
        places[key] = _Place(size, tensor.dtype, tuple(tensor.shape), tensor.stride())
        size += -(-tensor.numel() * tensor.element_size() // ALIGN) * ALIGN
    return places, size


def _tensors(batch: Batch) -> dict[tuple[str, str], Tensor]:
    """All tensors of a batch by field and, inside a dict, name."""
    found: dict[tuple[str, str], Tensor] = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            found[field.name, ""] = value
        elif isinstance(value, dict):
            found.update({(field.name, name): tensor for name, tensor in value.items()})
    return found
