"""Frame metadata, copied from the source picture to the result."""

from __future__ import annotations

import av

from streamsr.libav import picture_of
from streamsr.side_data import Kind, find_kinds

# Side data that no encoder takes from a frame: what it says of the whole video is in streamsr.io.tags, the rest is the decoder's own
_IDLE = {Kind.MASTERING, Kind.LIGHT_LEVEL, Kind.DISPLAY_MATRIX, Kind.UNREGISTERED_SEI, Kind.ENCODER_PARAMETERS, Kind.MOTION_VECTORS,
         Kind.ICC_PROFILE, Kind.AFD, Kind.GOP_TIMECODE, Kind.VIDEO_HINT, Kind.FILM_GRAIN, Kind.AMBIENT_VIEWING, Kind.SPHERICAL,
         Kind.STEREO3D, Kind.VIEW_ID, Kind.LCEVC, Kind.EXIF}  # fmt: skip
_POINT = 0x10  # swscale's nearest neighbour, the cheapest: the samples are written over


def needs_host(video: av.VideoFrame) -> bool:
    """Whether it has metadata that PyAV cannot set on a frame made from planes: captions, or that it is interlaced."""
    return video.interlaced_frame or any(kind not in _IDLE for kind in find_kinds(video))


def copy_metadata(
    source: av.VideoFrame, result: av.VideoFrame | None, *, size: tuple[int, int] = (0, 0), pix_fmt: str = ""
) -> av.VideoFrame:  # fmt: skip
    """`result` with the times and tags of `source`; None: a frame of `size` and `pix_fmt` with all its metadata, samples undefined."""
    if result is None and needs_host(source):
        result = source.reformat(width=size[0], height=size[1], format=pix_fmt, interpolation=_POINT)
    elif result is None:
        result = av.VideoFrame(*size, pix_fmt)
    result.pts, result.duration = source.pts, source.duration
    if source.time_base is not None:
        result.time_base = source.time_base
    result.colorspace, result.color_range = source.colorspace, source.color_range
    result.color_primaries, result.color_trc = source.color_primaries, source.color_trc
    result.pict_type = 0
    said, given = picture_of(result), picture_of(source)  # what PyAV does not expose
    said.chroma_location, said.sample_aspect_ratio = given.chroma_location, given.sample_aspect_ratio
    return result
