"""Planes on a GPU from one library to another without a copy."""

from __future__ import annotations

from typing import Any

NO_WAIT = -1  # DLPack's "stream" for arrays that are at rest already


class Unstreamed:
    """Gives a plane on by DLPack whatever stream is asked for. Both sides have to be at rest.

    Planes of PyAV refuse to be asked for a stream (`options` is then empty); arrays of CuPy make the default stream wait for
    theirs unless they are told NO_WAIT.
    """

    def __init__(self, plane: Any, **options: int) -> None:
        self._plane, self._options = plane, options

    def __dlpack__(self, **_: object) -> Any:
        return self._plane.__dlpack__(**self._options)

    def __dlpack_device__(self) -> tuple[int, int]:
        device: tuple[int, int] = self._plane.__dlpack_device__()
        return device
