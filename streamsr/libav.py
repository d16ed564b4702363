"""Libav: the public C functions of FFmpeg that PyAV does not expose, in the libraries that PyAV has loaded.

Note [Pointers]: where PyAV keeps its AVFrame, AVStream and AVCodecContext is written in the .pxd files that it ships: the first
field, behind Python's object header and Cython's table of methods. `library` checks that once, against what PyAV itself reports for a
frame. The only fields that are read or written by their place are the first ones of AVFrame, AVCodecParameters, AVStream and
AVHWDeviceContext, which FFmpeg changes with its major version alone.
"""

from __future__ import annotations

import ctypes
from functools import cache

import av
import av.frame
from av.codec.hwaccel import HWDeviceType

_FIRST_FIELD = 24  # bytes: object header, table of methods
_MAJOR = 62  # of libavcodec and libavformat, whose structures are described here
_MAJOR_UTIL = 60  # of libavutil


class SideDataEntry(ctypes.Structure):
    """The start of AVFrameSideData."""

    _fields_ = (("type", ctypes.c_int), ("data", ctypes.c_void_p), ("size", ctypes.c_size_t))


class Rational(ctypes.Structure):
    """AVRational."""

    _fields_ = (("num", ctypes.c_int), ("den", ctypes.c_int))


class Picture(ctypes.Structure):
    """The start of AVFrame."""

    _fields_ = (
        ("data", ctypes.c_void_p * 8), ("linesize", ctypes.c_int * 8), ("extended_data", ctypes.c_void_p), ("width", ctypes.c_int),
        ("height", ctypes.c_int), ("nb_samples", ctypes.c_int), ("format", ctypes.c_int), ("pict_type", ctypes.c_int),
        ("sample_aspect_ratio", Rational), ("pts", ctypes.c_int64), ("pkt_dts", ctypes.c_int64), ("time_base", Rational),
        ("quality", ctypes.c_int), ("opaque", ctypes.c_void_p), ("repeat_pict", ctypes.c_int), ("sample_rate", ctypes.c_int),
        ("buf", ctypes.c_void_p * 8), ("extended_buf", ctypes.c_void_p), ("nb_extended_buf", ctypes.c_int), ("side_data", ctypes.c_void_p),
        ("nb_side_data", ctypes.c_int), ("flags", ctypes.c_int), ("color_range", ctypes.c_int), ("color_primaries", ctypes.c_int),
        ("color_trc", ctypes.c_int), ("colorspace", ctypes.c_int), ("chroma_location", ctypes.c_int),
    )  # fmt: skip


class CodecParameters(ctypes.Structure):
    """The start of AVCodecParameters."""

    _fields_ = (
        ("codec_type", ctypes.c_int), ("codec_id", ctypes.c_int), ("codec_tag", ctypes.c_uint32), ("extradata", ctypes.c_void_p),
        ("extradata_size", ctypes.c_int), ("coded_side_data", ctypes.c_void_p), ("nb_coded_side_data", ctypes.c_int),
    )  # fmt: skip


class Stream(ctypes.Structure):
    """The start of AVStream."""

    _fields_ = (
        ("av_class", ctypes.c_void_p), ("index", ctypes.c_int), ("id", ctypes.c_int), ("codecpar", ctypes.POINTER(CodecParameters)),
        ("priv_data", ctypes.c_void_p), ("time_base", Rational), ("start_time", ctypes.c_int64), ("duration", ctypes.c_int64),
        ("nb_frames", ctypes.c_int64), ("disposition", ctypes.c_int), ("discard", ctypes.c_int), ("sample_aspect_ratio", Rational),
    )  # fmt: skip


class BufferReference(ctypes.Structure):
    """AVBufferRef."""

    _fields_ = (("buffer", ctypes.c_void_p), ("data", ctypes.c_void_p), ("size", ctypes.c_size_t))


class CudaDevice(ctypes.Structure):
    """The start of AVCUDADeviceContext."""

    _fields_ = (("context", ctypes.c_void_p), ("stream", ctypes.c_void_p))


class HardwareDevice(ctypes.Structure):
    """The start of AVHWDeviceContext."""

    _fields_ = (("av_class", ctypes.c_void_p), ("kind", ctypes.c_int), ("cuda", ctypes.POINTER(CudaDevice)))


class HeldContext(ctypes.Structure):
    """PyAV's CodecContext, up to the device that it opened."""

    _fields_ = (
        ("header", ctypes.c_byte * _FIRST_FIELD), ("context", ctypes.c_void_p), ("stream_index", ctypes.c_int), ("parser", ctypes.c_void_p),
        ("is_open", ctypes.c_int), ("codec", ctypes.c_void_p), ("hwaccel", ctypes.c_void_p), ("options", ctypes.c_void_p),
        ("device", ctypes.c_void_p),
    )  # fmt: skip


class HeldDevice(ctypes.Structure):
    """PyAV's HWAccel, which has no table of methods, up to its AVBufferRef."""

    _fields_ = (
        ("header", ctypes.c_byte * 16), ("kind", ctypes.c_int), ("device", ctypes.c_void_p), ("codec", ctypes.c_void_p),
        ("config", ctypes.c_void_p), ("reference", ctypes.POINTER(BufferReference)),
    )  # fmt: skip


def pointer(held: object) -> int | None:
    """The address of the FFmpeg structure that an object of PyAV stands for. Note [Pointers]"""
    return ctypes.c_void_p.from_address(id(held) + _FIRST_FIELD).value


def picture_of(video: av.VideoFrame) -> Picture:
    """The AVFrame of a picture, to read and to write."""
    library()
    assert av.library_versions["libavutil"][0] == _MAJOR_UTIL, "FFmpeg has changed AVFrame: see Note [Pointers]"
    found = Picture.from_address(pointer(video) or 0)
    theirs = (video.width, video.height, int(video.color_range), int(video.color_primaries), int(video.color_trc), int(video.colorspace))
    ours = (found.width, found.height, found.color_range, found.color_primaries, found.color_trc, found.colorspace)
    assert ours == theirs, f"PyAV {av.__version__} keeps its frames in another way: see Note [Pointers]"
    return found


def stream_of(stream: av.stream.Stream) -> Stream:
    """The AVStream of a stream, to read and to write."""
    library()
    assert av.library_versions["libavformat"][0] == _MAJOR, "FFmpeg has changed AVStream: see Note [Pointers]"
    found = Stream.from_address(pointer(stream) or 0)
    assert found.index == stream.index, f"PyAV {av.__version__} keeps its streams in another way: see Note [Pointers]"
    return found


def cuda_device_of(context: av.CodecContext) -> CudaDevice:
    """The AVCUDADeviceContext of a decoder or encoder that was made with one, to read and to write."""
    assert av.library_versions["libavutil"][0] == _MAJOR_UTIL, "FFmpeg has changed AVHWDeviceContext: see Note [Pointers]"
    found = HeldContext.from_address(id(context))
    known = (id(context.codec), id(context.hwaccel), id(context.options))  # type: ignore[attr-defined]  # which its stub leaves out
    assert (found.codec, found.hwaccel, found.options) == known, f"PyAV {av.__version__} keeps its encoders in another way: Note [Pointers]"
    held = HeldDevice.from_address(found.device or 0)
    assert held.kind == HWDeviceType.cuda, f"PyAV {av.__version__} keeps its devices in another way: see Note [Pointers]"
    device = HardwareDevice.from_address(held.reference.contents.data)
    assert device.kind == HWDeviceType.cuda
    return device.cuda.contents  # type: ignore[no-any-return]


@cache
def library() -> ctypes.CDLL:
    """FFmpeg's functions: a search in a module of PyAV finds what the module is linked to."""
    found = ctypes.CDLL(av.frame.__file__)
    address, number = ctypes.c_void_p, ctypes.c_int
    for name, result, arguments in (
        ("av_frame_get_side_data", ctypes.POINTER(SideDataEntry), [address, number]),
        ("av_frame_new_side_data", ctypes.POINTER(SideDataEntry), [address, number, ctypes.c_size_t]),
        ("av_frame_remove_side_data", None, [address, number]),
        ("av_frame_side_data_name", ctypes.c_char_p, [number]),
        ("av_dynamic_hdr_plus_to_t35", number, [address, ctypes.POINTER(address), ctypes.POINTER(ctypes.c_size_t)]),
        ("av_malloc", address, [ctypes.c_size_t]),
        ("av_free", None, [address]),
    ):
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    video = av.VideoFrame(16, 16, "gray")
    plane = ctypes.c_void_p.from_address(pointer(video) or id(video)).value
    assert plane == video.planes[0].buffer_ptr, f"PyAV {av.__version__} keeps its frames in another way: see Note [Pointers]"
    return found


@cache
def codec_library() -> ctypes.CDLL:
    """The same for libavcodec."""
    library()
    assert av.library_versions["libavcodec"][0] == _MAJOR, "FFmpeg has changed AVCodecParameters: see Note [Pointers]"
    found = ctypes.CDLL(av.codec.context.__file__)
    address, number = ctypes.c_void_p, ctypes.c_int
    for name, result, arguments in (
        ("avcodec_parameters_alloc", ctypes.POINTER(CodecParameters), []),
        ("avcodec_parameters_free", None, [address]),
        ("avcodec_parameters_from_context", number, [address, address]),
        ("avcodec_parameters_to_context", number, [address, address]),
        ("av_packet_side_data_add", address, [address, address, number, address, ctypes.c_size_t, number]),
    ):
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    return found
