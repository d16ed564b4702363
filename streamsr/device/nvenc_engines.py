"""How many encoders a GPU has, asked of NVENC itself, in a process of its own: a driver that fails there takes nothing with it.

FFmpeg and NVML do not tell. Structures and numbers: nvEncodeAPI.h of the Video Codec SDK 12.1, which later drivers take as well.

    python -m streamsr.device.nvenc_engines 0     prints the number for GPU 0
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from functools import cache

from ..child_process import child_command
from ..gpu_context import current_context, load_driver

TIMEOUT_S = 20.0
_API = 12 | 1 << 24  # version 12.1, the first with NUM_ENCODER_ENGINES
_NUM_ENCODER_ENGINES = 49  # of NV_ENC_CAPS
_CUDA = 1  # NV_ENC_DEVICE_TYPE_CUDA
_NUM_FUNCTIONS = 41 + 277  # of the list, with those to come
_GET_CAPS, _DESTROY, _OPEN = 7, 27, 29  # places in it


class _Guid(ctypes.Structure):
    _fields_ = (("a", ctypes.c_uint32), ("b", ctypes.c_uint16), ("c", ctypes.c_uint16), ("d", ctypes.c_uint8 * 8))


class _Functions(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("reserved", ctypes.c_uint32), ("functions", ctypes.c_void_p * _NUM_FUNCTIONS))


class _Session(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_uint32), ("device_type", ctypes.c_uint32), ("device", ctypes.c_void_p), ("reserved", ctypes.c_void_p),
        ("api_version", ctypes.c_uint32), ("reserved1", ctypes.c_uint32 * 253), ("reserved2", ctypes.c_void_p * 64),
    )  # fmt: skip


class _Query(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("caps", ctypes.c_uint32), ("reserved", ctypes.c_uint32 * 62))


_H264 = _Guid(0x6BC82762, 0x4E63, 0x4CA4, (0xAA, 0x85, 0x1E, 0x50, 0xF3, 0x21, 0xF6, 0xBF))


@cache
def count_engines(gpu: int) -> int:
    """The encoders on GPU number `gpu`; 0 where it has none, or where the driver does not say (before version 530)."""
    try:
        done = subprocess.run(child_command(__name__, str(gpu)), capture_output=True, text=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdigit() else 0


def ask_nvenc(gpu: int) -> int:
    """The same, in this process. Raises OSError without NVENC's library, RuntimeError with NVENC's status for what it refuses."""
    library = ctypes.CDLL("nvEncodeAPI64.dll" if sys.platform == "win32" else "libnvidia-encode.so.1")
    listed = _Functions(version=_version(2))
    _check("NvEncodeAPICreateInstance", library.NvEncodeAPICreateInstance(ctypes.byref(listed)))
    if load_driver() is None:
        raise RuntimeError("the driver does not start")
    with current_context(gpu) as context:
        session, encoder, number = _Session(_version(1), _CUDA, context, None, _API), ctypes.c_void_p(), ctypes.c_int()
        _check("OpenEncodeSessionEx", _function(listed, _OPEN)(ctypes.byref(session), ctypes.byref(encoder)))
        try:
            query = _Query(_version(1), _NUM_ENCODER_ENGINES)
            _check("GetEncodeCaps", _function(listed, _GET_CAPS)(encoder, _H264, ctypes.byref(query), ctypes.byref(number)))
        finally:
            _function(listed, _DESTROY)(encoder)
    return number.value


def _version(number: int) -> int:
    """NVENCAPI_STRUCT_VERSION."""
    return _API | number << 16 | 7 << 28


def _function(listed: _Functions, place: int) -> ctypes._FuncPointer:
    return ctypes.CFUNCTYPE(ctypes.c_int)(listed.functions[place])


def _check(name: str, status: int) -> None:
    if status:
        raise RuntimeError(f"NVENC's {name} answers {status}")


if __name__ == "__main__":
    print(ask_nvenc(int(sys.argv[1])))
