"""Ring: memory for results, lent to encoders and reused after they release it. It is never given back to the device before.

NVENC registers each surface by its address and keeps that registration, so a surface has to stay what it is for the encoder's life:
its memory must neither be freed nor become something else. Pinned pictures are lent in the same way, because pinning takes a
millisecond and more, and a copy as long.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from .device import DeviceArray

Planes = tuple[DeviceArray, ...]


class Ring:
    """make: one more piece of memory; raises DeviceMemoryError. view: new views of a piece, its planes."""

    def __init__(self, make: Callable[[], Any], view: Callable[[Any], Planes]) -> None:
        self._make, self._view = make, view
        self._free: deque[Any] = deque()  # whoever lets go of a plane, in whatever thread, puts its memory back
        self._num_made = 0

    @property
    def num_lent(self) -> int:
        return self._num_made - len(self._free)

    def take(self) -> Planes:
        """Planes of a piece that nobody uses. It is lent until all of these very arrays are gone, those that DLPack holds among them."""
        try:
            whole = self._free.popleft()
        except IndexError:
            whole = self._make()
            self._num_made += 1
        planes = self._view(whole)
        loan = _Loan()
        weakref.finalize(loan, self._free.append, whole).atexit = False
        for plane in planes:
            weakref.finalize(plane, _let_go, loan).atexit = False
        return planes


class _Loan:
    """Lives as long as any plane of a piece that was lent."""


def _let_go(loan: _Loan) -> None:
    """Called when a plane goes; the loan ends with the last of them."""
