"""Batches on their way out of worker processes, through shared memory that is used again.

A tensor that leaves a worker by torch's own way costs a new shared file, a handshake, and a page
fault for every 4 KiB on both sides: several times the reading of the batch. Here all tensors of a
batch lie in one slot of a shelf that is allocated once; a worker reads straight into it, and they
are copied out on arrival.
"""

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
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
        size = sum(_padded(tensor) for tensor in _tensors(some).values())
        self.slots = slots
        self._pin = torch.cuda.is_available()
        pages = math.ceil(longer * size / 4096) + 1  # whole ones, so that slots stay aligned
        self._memory = torch.zeros(slots, 4096 * pages, dtype=torch.uint8)
        self._memory.share_memory_()  # type: ignore[no-untyped-call]

    def desk(self, slot: int) -> "Desk":
        """In a worker: a free slot, to read a batch into."""
        return Desk(slot, self._memory[slot])

    def take(self, parcel: Parcel) -> Batch:
        """The batch, copied out (to page-locked memory where there is a GPU): its slot is free."""
        memory = torch.empty(parcel.size, dtype=torch.uint8, pin_memory=self._pin)
        # By NumPy: torch's threads would share the copy, then spin on the cores that workers need.
        memory.numpy()[:] = self._memory[parcel.slot, : parcel.size].numpy()
        values: dict[str, Any] = {"text": parcel.text, "frames": {}, "senses": {}}
        for (field, name), place in parcel.places.items():
            if name:
                values[field][name] = place.of(memory)
            else:
                values[field] = place.of(memory)
        return Batch(**values)


class Desk:
    """A slot of a shelf while a worker reads into it.

    Args:
        slot: Which.
        memory: Its bytes.
    """

    def __init__(self, slot: int, memory: Tensor) -> None:
        self._slot, self._memory, self._bytes, self._used = slot, memory, memory.numpy(), 0

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """As `np.empty`, in the slot as long as there is room."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        start = self._used
        if start + size > len(self._bytes):
            return np.empty(shape, dtype)
        self._used += -(-size // ALIGN) * ALIGN
        return self._bytes[start : start + size].view(dtype).reshape(shape)

    def pack(self, batch: Batch) -> Parcel | Batch:
        """The batch, its dense tensors in the slot: where they lie; itself if it does not fit."""
        places = {}
        for key, tensor in _tensors(batch).items():
            start = tensor.data_ptr() - self._memory.data_ptr()
            inside = 0 <= start < self._used
            if not inside:
                start = self._used
                self._used += _padded(tensor)
                if self._used > len(self._bytes):
                    return batch
            place = _Place(start, tensor.dtype, tuple(tensor.shape), tensor.stride())
            if not inside:
                place.of(self._memory).copy_(tensor)
            places[key] = place
        return Parcel(self._slot, self._used, places, batch.text)


def _padded(tensor: Tensor) -> int:
    """Bytes that a tensor takes in a slot."""
    return -(-tensor.numel() * tensor.element_size() // ALIGN) * ALIGN


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
