"""Planes on a GPU from one library to another without a copy."""

from __future__ import annotations

from typing import Any


class Unstreamed:
    """Gives a plane on by DLPack without a stream: PyAV takes none and gives none. Both sides have to be at rest."""

    def __init__(self, plane: Any) -> None:
        self._plane = plane

    def __dlpack__(self, **_: object) -> Any:
        if hasattr(self._plane, "toDlpack"):  # a CuPy array, which would make the default stream wait for ours
            return self._plane.toDlpack()
        return self._plane.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        device: tuple[int, int] = self._plane.__dlpack_device__()
        return device
