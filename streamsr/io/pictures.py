"""Pictures for display: frames as WebP, JPEG or PNG in memory. HDR is not tone-mapped."""

from __future__ import annotations

import base64
from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter


def encode_webp(frame: av.VideoFrame, *, width: int | None = None, quality: int = 95) -> bytes:
    """A WebP file of the frame, `width` pixels wide (default: its own width)."""
    options = {"quality": str(quality), "compression_level": "2"}
    return _encode(_reformat(frame, width, "yuv420p", ColorRange.MPEG), "libwebp", options)


def encode_jpeg(frame: av.VideoFrame, *, width: int | None = None, quantiser: int = 2) -> bytes:
    """A JPEG file of the frame with whole chroma. quantiser: FFmpeg's scale of 1 to 31, lower is better."""
    options = {"qmin": str(quantiser), "qmax": str(quantiser), "huffman": "default"}
    return _encode(_reformat(frame, width, "yuvj444p", ColorRange.JPEG), "mjpeg", options)


def encode_png(rgb_frame: av.VideoFrame) -> bytes:
    """A PNG file of an rgb24 frame."""
    return _encode(rgb_frame, "png", {"compression_level": "3"})


def to_rgb(frame: av.VideoFrame, *, width: int | None = None, height: int | None = None) -> av.VideoFrame:
    """The frame in rgb24, full range, by its matrix and range."""
    # NaN-safe defaults: what is untagged is taken as FFmpeg takes it
    return VideoReformatter().reformat(
        frame, width or frame.width, height or frame.height, "rgb24", interpolation=Interpolation.AREA if width else Interpolation.BICUBIC,
        src_color_range=ColorRange.JPEG if int(frame.color_range) == 2 else None, dst_color_range=ColorRange.JPEG,
    )  # fmt: skip


def ruin(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame visibly degraded: a sixth of its resolution, in blocks."""
    small = max(2, frame.width // 6), max(2, frame.height // 6)
    little = VideoReformatter().reformat(frame, *small, "rgb24", interpolation=Interpolation.AREA)
    return VideoReformatter().reformat(little, frame.width, frame.height, "rgb24", interpolation=Interpolation.POINT)


def data_url(data: bytes, kind: str) -> str:
    """The file as a URL that holds it."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _reformat(frame: av.VideoFrame, width: int | None, pix_fmt: str, color_range: ColorRange) -> av.VideoFrame:
    """In BT.601 of this range, as JFIF and WebP have it."""
    shrink = 1.0 if width is None else width / frame.width
    return VideoReformatter().reformat(
        frame, max(1, round(frame.width * shrink)), max(1, round(frame.height * shrink)), pix_fmt,
        interpolation=Interpolation.AREA if shrink < 1 else Interpolation.BICUBIC, dst_colorspace=Colorspace.ITU601,
        dst_color_range=color_range, src_color_range=ColorRange.JPEG if int(frame.color_range) == 2 else None,
    )  # fmt: skip


def _encode(picture: av.VideoFrame, encoder: str, options: dict[str, str]) -> bytes:
    codec = av.CodecContext.create(encoder, "w")
    assert isinstance(codec, VideoCodecContext)
    codec.width, codec.height, codec.pix_fmt, codec.time_base = picture.width, picture.height, picture.format.name, Fraction(1, 25)
    codec.thread_count = 1
    codec.options = options
    plain = av.VideoFrame.from_ndarray(picture.to_ndarray(), format=picture.format.name)  # whose pts and tags are ours to write
    plain.color_range, plain.pts, plain.time_base = picture.color_range, 0, codec.time_base
    return b"".join(bytes(packet) for packet in [*codec.encode(plain), *codec.encode(None)])
