"""Handing planes on by DLPack: PyAV refuses a stream, and others ask for one."""

from __future__ import annotations

import av
import numpy as np
import pytest

from streamsr.io.dlpack import NO_WAIT, Unstreamed


class Strict:
    """Stands for a plane of a CUDA frame of PyAV: it refuses a stream."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, *, stream: int | None = None) -> object:
        if stream is not None:
            raise NotImplementedError("Pass stream=None and synchronize before calling __dlpack__.")
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


class Waiting(Strict):
    """Stands for an array of CuPy: it notes the stream that it is asked for."""

    asked: list[int | None]

    def __dlpack__(self, *, stream: int | None = None) -> object:
        self.asked = [stream]
        return self.array.__dlpack__()


def test_a_plane_that_refuses_a_stream_is_given_on_without_one() -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    with pytest.raises(NotImplementedError):
        Strict(array).__dlpack__(stream=1)
    given = np.from_dlpack(Unstreamed(Strict(array)))  # type: ignore[arg-type]
    assert np.array_equal(given, array)
    assert given.__array_interface__["data"][0] == array.__array_interface__["data"][0], "it was copied"


def test_an_array_is_told_not_to_wait() -> None:
    plane = Waiting(np.zeros((2, 2), np.uint8))
    Unstreamed(plane, stream=NO_WAIT).__dlpack__(stream=7)
    assert plane.asked == [-1]


def test_pyav_makes_a_frame_of_such_planes() -> None:
    """In one piece of memory with uv behind y at the same pitch, as NVENC wants it (streamsr.device.frame_slot)."""
    whole = np.arange(6 * 32, dtype=np.uint8).reshape(6, 32)
    y, uv = whole[:4, :8], whole[4:, :8].reshape(2, 4, 2)
    video = av.VideoFrame.from_dlpack((Unstreamed(y), Unstreamed(uv)), format="nv12")
    assert (video.width, video.height, video.format.name) == (8, 4, "nv12")
    assert [plane.line_size for plane in video.planes] == [32, 32]
    assert bytes(video.planes[1])[:8] == bytes(whole[4, :8])
