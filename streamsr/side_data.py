"""Side data: what FFmpeg attaches to a picture or to a stream beside the samples, read from FFmpeg itself, one kind at a time.

PyAV 18.1 reads all kinds of a picture at once. It raises ValueError for a kind newer than its own table (EXIF, LCEVC, a view's
number), and frees the metadata of an ICC profile twice, which ends the process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from enum import IntEnum
from functools import cache

import av

from .libav import codec_library, library, pointer


class Kind(IntEnum):
    """AVFrameSideDataType of libavutil/frame.h: the kinds that streamsr handles."""

    PANSCAN = 0
    CAPTIONS = 1  # ATSC A53: CEA-608 and CEA-708
    STEREO3D = 2
    DISPLAY_MATRIX = 6
    AFD = 7
    MOTION_VECTORS = 8
    MASTERING = 11
    GOP_TIMECODE = 12
    SPHERICAL = 13
    LIGHT_LEVEL = 14
    ICC_PROFILE = 15
    S12M_TIMECODE = 16
    HDR10_PLUS = 17
    ENCODER_PARAMETERS = 19
    UNREGISTERED_SEI = 20
    FILM_GRAIN = 21
    DOLBY_VISION_RPU = 23
    DOLBY_VISION = 24
    HDR_VIVID = 25
    AMBIENT_VIEWING = 26
    VIDEO_HINT = 27
    LCEVC = 28
    VIEW_ID = 29
    EXIF = 31


# AVPacketSideDataType of libavcodec/packet.h for what a container says of a whole stream, in the same bytes
STREAM_KINDS = {Kind.STEREO3D: 6, Kind.MASTERING: 20, Kind.SPHERICAL: 21, Kind.LIGHT_LEVEL: 22, Kind.AMBIENT_VIEWING: 35}


def read_side_data(video: av.VideoFrame, kind: int) -> bytes | None:
    """A copy of the side data of one kind; None where the picture has none."""
    entry = library().av_frame_get_side_data(pointer(video), kind)
    return ctypes.string_at(entry.contents.data, entry.contents.size) if entry else None


def find_kinds(video: av.VideoFrame) -> list[int]:
    """The kinds of side data that the picture has; Kind names those that are known."""
    get, frame = library().av_frame_get_side_data, pointer(video)
    return [kind for kind in range(_num_kinds()) if get(frame, kind)]


def remove_side_data(video: av.VideoFrame, kind: int) -> None:
    """Take the side data of one kind off the picture."""
    library().av_frame_remove_side_data(pointer(video), kind)


def add_side_data(video: av.VideoFrame, kind: int, data: bytes) -> None:
    """Attach a copy of `data`."""
    entry = library().av_frame_new_side_data(pointer(video), kind, len(data))
    if not entry:
        raise MemoryError(f"FFmpeg has no memory for {len(data)} bytes of side data.")
    ctypes.memmove(entry.contents.data, data, len(data))


def declare_side_data(context: av.VideoCodecContext, data: Mapping[Kind, bytes]) -> None:
    """Give an encoder that is not open yet the container's side data of the whole stream; kinds of a picture alone are left out.

    The parameters are taken from the encoder and given back with the side data, which is how FFmpeg copies them, too.
    """
    wanted = {STREAM_KINDS[kind]: value for kind, value in data.items() if kind in STREAM_KINDS}
    if not wanted:
        return
    codec, encoder = codec_library(), pointer(context)
    parameters = codec.avcodec_parameters_alloc()
    try:
        failed = codec.avcodec_parameters_from_context(parameters, encoder) < 0
        for kind, value in wanted.items():
            memory = library().av_malloc(len(value))
            ctypes.memmove(memory, value, len(value))
            held = parameters.contents
            lists = ctypes.byref(held, type(held).coded_side_data.offset), ctypes.byref(held, type(held).nb_coded_side_data.offset)
            failed |= not codec.av_packet_side_data_add(*lists, kind, memory, len(value), 0)
        if failed or codec.avcodec_parameters_to_context(encoder, parameters) < 0:
            raise MemoryError("FFmpeg has no memory for the side data of a stream.")
    finally:
        codec.avcodec_parameters_free(ctypes.byref(parameters))


@cache
def _num_kinds() -> int:
    kind = 0
    while library().av_frame_side_data_name(kind):
        kind += 1
    return kind
