"""Small JPEG pictures of video frames, by FFmpeg's encoder, for a browser to show."""

from __future__ import annotations

from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

MAX_WIDTH = 1280
# FFmpeg's scale of 1 to 31. At 3 a 1280x720 picture takes 120 kB, and what upscaling changes still shows.
QUANTISER = 3


class JpegEncoder:
    """Encodes the frames of one stream, whatever their sizes and formats; not thread-safe. One thread, so as to stay out of the way."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._codec: VideoCodecContext | None = None
        self._num_encoded = 0

    def encode(self, frame: av.VideoFrame) -> bytes:
        """A JPEG file of the frame, at most MAX_WIDTH wide, with pixels of the shape that the frame's have. The frame is only read.

        Colours are converted from the frame's matrix and range to JFIF's (BT.601, full range); untagged frames are taken as
        FFmpeg takes them. HDR is not tone-mapped.
        """
        width, height = fit(frame.width, frame.height)
        picture = self._reformatter.reformat(
            frame, width, height, "yuvj420p", interpolation=Interpolation.AREA, threads=1,
            dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.JPEG,
            src_color_range=ColorRange.JPEG if int(frame.color_range) == 2 else None,
        )  # fmt: skip
        codec = self._codec
        if codec is None or (codec.width, codec.height) != (width, height):
            codec = self._codec = _open(width, height)
        if picture is frame:  # it was as wanted; its pts is not ours to write
            picture = av.VideoFrame.from_ndarray(frame.to_ndarray(), format="yuvj420p")
            picture.color_range = ColorRange.JPEG
        picture.pts, picture.time_base = self._num_encoded, codec.time_base
        self._num_encoded += 1
        (packet,) = codec.encode(picture)
        return bytes(packet)


def fit(width: int, height: int) -> tuple[int, int]:
    """The size within MAX_WIDTH, same aspect, both sides even and at least 2."""
    shrink = min(1.0, MAX_WIDTH / width)
    return max(round(width * shrink / 2) * 2, 2), max(round(height * shrink / 2) * 2, 2)


def _open(width: int, height: int) -> VideoCodecContext:
    codec = av.CodecContext.create("mjpeg", "w")
    assert isinstance(codec, VideoCodecContext)
    codec.width, codec.height, codec.pix_fmt, codec.time_base = width, height, "yuvj420p", Fraction(1, 25)
    codec.thread_count = 1
    codec.options = {"qmin": str(QUANTISER), "qmax": str(QUANTISER), "huffman": "default"}  # optimal tables: 3 % smaller, 20 % slower
    return codec
