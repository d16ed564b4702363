"""The simulated GPU's memory: a pool as CuPy's, in which freed memory waits to be used again, and what is given back is gone.

An array is a SimArray; all views of an allocation share its `handle`, and with the last of them the memory goes back to the pool. What
was put on a stream or captured in a graph keeps none of it, as on a GPU, where kernels and graphs know addresses alone: who launches a
graph on freed memory is caught, and so is who gets memory again that another stream may still be using.
"""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Clock = Counter[int]
POISON = 0xA5
ALIGNMENT = 512  # of what CuPy's pool gives


class HazardError(AssertionError):
    """Memory that is touched by two that do not wait for each other, or by someone who does not own it any more."""


@dataclass
class Uses:
    """Who touched a piece of memory: (stream, its clock then); the host is stream 0."""

    written: tuple[int, int] | None = None
    read: dict[int, int] = field(default_factory=dict)


@dataclass(eq=False)
class Block:
    """A piece of device memory. generation: how often it was given out. is_gone: it is the pool's no more."""

    memory: np.ndarray
    uses: Uses = field(default_factory=Uses)
    generation: int = 0
    is_free: bool = False
    is_gone: bool = False

    @property
    def nbytes(self) -> int:
        return self.memory.nbytes


class Handle:
    """What the views of one allocation share."""

    def __init__(self, block: Block) -> None:
        self.block, self.generation = block, block.generation

    def check(self, what: str) -> None:
        if self.block.is_gone or self.block.is_free or self.block.generation != self.generation:
            raise HazardError(f"{what} touches memory that was freed")


@dataclass(frozen=True)
class Place:
    """What a graph knows of an array."""

    block: Block
    generation: int

    def check(self, what: str) -> None:
        if self.block.is_gone or self.block.is_free or self.block.generation != self.generation:
            raise HazardError(f"{what} touches memory that was freed, whose address it holds")


class SimArray(np.ndarray):
    """An array in the simulated GPU's memory; the host must not touch its samples."""

    handle: Handle | None = None

    def __array_finalize__(self, other: Any) -> None:
        self.handle = getattr(other, "handle", None)

    def __array_ufunc__(self, *_: object, **__: object) -> Any:
        raise HazardError("the host computes with memory of the GPU")

    def __array_function__(self, *_: object, **__: object) -> Any:
        raise HazardError("the host touches memory of the GPU")


def bare(array: Any) -> np.ndarray:
    """The samples, for what runs on the simulated GPU; keeps no memory."""
    return array.view(np.ndarray) if isinstance(array, np.ndarray) else array


class Pool:
    """budget: bytes. used, peak: that the device has given, the pool's own included."""

    def __init__(self, budget: int) -> None:
        self.budget, self.used, self.peak = budget, 0, 0
        self._free: dict[int, list[Block]] = {}
        self._blocks: weakref.WeakSet[Block] = weakref.WeakSet()

    def blocks(self) -> list[Block]:
        """All that the device has given."""
        return [block for block in self._blocks if not block.is_gone]

    def take(self, shape: tuple[int, ...], dtype: Any) -> SimArray:
        """Raises MemoryError, as CuPy does once it has given back all that it could."""
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        size = -(-max(nbytes, 1) // ALIGNMENT) * ALIGNMENT
        block = self._find(size)
        block.is_free = False
        block.generation += 1
        array = np.ndarray(shape, dtype, block.memory).view(SimArray)
        array.handle = Handle(block)
        weakref.finalize(array.handle, self._give_back, block)
        return array

    def _find(self, size: int) -> Block:
        for is_last_try in (False, True):
            if self._free.get(size):
                return self._free[size].pop()
            if self.used + size <= self.budget:
                self.used += size
                self.peak = max(self.peak, self.used)
                raw = np.empty(size + ALIGNMENT, np.uint8)
                raw.fill(POISON)
                start = -raw.ctypes.data % ALIGNMENT
                block = Block(raw[start : start + size])
                self._blocks.add(block)
                return block
            if not is_last_try:
                self.trim()
                gc.collect()
        raise MemoryError(f"{self.used} of {self.budget} bytes are used, {size} more are asked for")

    def _give_back(self, block: Block) -> None:
        block.is_free = True
        self._free.setdefault(block.nbytes, []).append(block)

    def trim(self) -> None:
        """What nobody uses is the device's again: gone for whoever still knows the address."""
        for blocks in self._free.values():
            for block in blocks:
                block.is_gone = True
                block.memory.fill(POISON)
                self.used -= block.nbytes
        self._free = {}
