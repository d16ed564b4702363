"""Memory that is given back: what glibc's allocator does with large blocks."""

from __future__ import annotations

import ctypes
import sys

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h
_LARGE = 8 << 20  # bytes: planes of 3840x2160, none of 1920x1080


def return_large_blocks() -> None:
    """Let each block of 8 MiB or more go back to the system when it is freed.

    By itself glibc keeps such blocks for later, once one was freed: planes of 3840x2160, of several sizes, then hold a third more memory
    than is in use. Zeroing fresh pages takes one to two ms for a plane. Nothing happens where the allocator is another.
    """
    if sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_MMAP_THRESHOLD, _LARGE)
