"""What a video stream declares about its pictures, apart from the samples: size, shape, colour, HDR, rotation.

Source of the byte layouts: libavutil/mastering_display_metadata.h (AVMasteringDisplayMetadata,
AVContentLightMetadata) and libavutil/display.h; of the names: ITU-T H.273 as FFmpeg spells them.
"""

from __future__ import annotations

import struct
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

import av

from ..libav import picture_of, stream_of
from ..side_data import STREAM_KINDS, Kind, find_kinds, read_side_data
from ..siting import find_chroma_location

UNSPECIFIED = 2
PQ, HLG = 16, 18

MATRICES = {0: "gbr", 1: "bt709", 2: "unknown", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco",
            9: "bt2020nc", 10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c", 14: "ictcp"}  # fmt: skip
PRIMARIES = {1: "bt709", 2: "unknown", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film",
             9: "bt2020", 10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "ebu3213"}  # fmt: skip
TRANSFERS = {1: "bt709", 2: "unknown", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100",
             10: "log316", 11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12",
             16: "smpte2084", 17: "smpte428", 18: "arib-std-b67"}  # fmt: skip
RANGES = {0: "unknown", 1: "tv", 2: "pc"}


@dataclass(frozen=True, slots=True)
class Mastering:
    """SMPTE ST 2086: chromaticities as (x, y) of red, green, blue and white, luminances in cd/m2; None where absent."""

    primaries: tuple[tuple[float, float], ...] | None
    luminance: tuple[float, float] | None  # (min, max)

    @classmethod
    def parse(cls, data: bytes) -> Mastering:
        numbers = struct.unpack("=22i", data[:88])
        values = [numbers[i] / numbers[i + 1] if numbers[i + 1] else 0.0 for i in range(0, 20, 2)]
        xy = tuple((values[i], values[i + 1]) for i in range(0, 8, 2))
        return cls(xy if numbers[20] else None, (values[8], values[9]) if numbers[21] else None)


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags that have to survive. Codes are H.273's numbers; `chroma_location` is FFmpeg's name for it."""

    width: int
    height: int
    pix_fmt: str
    sar: Fraction  # sample aspect ratio, 1 where unknown
    matrix: int
    primaries: int
    transfer: int
    range: int  # 0 unknown, 1 limited ("tv"), 2 full ("pc")
    chroma_location: str
    display_matrix: tuple[int, ...] | None
    mastering: Mastering | None
    light_level: tuple[int, int] | None  # (MaxCLL, MaxFALL) in cd/m2
    stream_data: tuple[tuple[Kind, bytes], ...] = ()  # what FFmpeg says of the whole stream, for containers that hold it
    kinds: tuple[int, ...] = ()  # of side data of the first picture

    @property
    def hdr(self) -> bool:
        return self.transfer in (PQ, HLG)

    @property
    def rotation(self) -> int:
        """Counter-clockwise degrees, 0, 90, 180 or 270 for the usual matrices."""
        if self.display_matrix is None:
            return 0
        a, b = self.display_matrix[0], self.display_matrix[1]
        if abs(a) >= abs(b):
            return 0 if a >= 0 else 180
        return 270 if b > 0 else 90

    def describe(self) -> dict[str, Any]:
        """Names instead of numbers, for display and JSON."""
        words = asdict(self)
        words.update(
            sar=str(self.sar), matrix=MATRICES.get(self.matrix, str(self.matrix)), range=RANGES[self.range],
            primaries=PRIMARIES.get(self.primaries, str(self.primaries)),
            transfer=TRANSFERS.get(self.transfer, str(self.transfer)), rotation=self.rotation,
        )  # fmt: skip
        for name in ("display_matrix", "stream_data", "kinds"):
            del words[name]
        return words


def read_tags(stream: av.VideoStream, frame: av.VideoFrame) -> Tags:
    """The tags of a stream whose first decoded picture is `frame`: the picture's own tags take precedence over the container's."""
    context = stream.codec_context
    light = read_side_data(frame, Kind.LIGHT_LEVEL)
    mastering = read_side_data(frame, Kind.MASTERING)
    matrix = read_side_data(frame, Kind.DISPLAY_MATRIX)
    kinds = find_kinds(frame)
    full_range = frame.format.name.startswith("yuvj")
    return Tags(
        width=frame.width,
        height=frame.height,
        pix_fmt=frame.format.name,
        sar=_pixel_aspect(stream, frame) or context.sample_aspect_ratio or Fraction(1),
        matrix=_known(frame.colorspace, context.colorspace),
        primaries=_known(frame.color_primaries, context.color_primaries) or UNSPECIFIED,  # 0 is reserved
        transfer=_known(frame.color_trc, context.color_trc) or UNSPECIFIED,
        range=2 if full_range else int(frame.color_range) or int(context.color_range),
        chroma_location=find_chroma_location(frame),
        display_matrix=struct.unpack("=9i", matrix) if matrix else None,
        mastering=Mastering.parse(mastering) if mastering else None,
        light_level=struct.unpack("=2I", light[:8]) if light else None,
        stream_data=tuple((kind, read_side_data(frame, kind) or b"") for kind in STREAM_KINDS if kind in kinds),
        kinds=tuple(kinds),
    )


def _pixel_aspect(stream: av.VideoStream, frame: av.VideoFrame) -> Fraction | None:
    """The container's, else the picture's: a decoder with threads may say that of a later one already."""
    for found in (stream_of(stream).sample_aspect_ratio, picture_of(frame).sample_aspect_ratio):
        if found.num > 0 and found.den > 0:
            return Fraction(found.num, found.den)
    return None


def scaled_tags(tags: Tags, width: int, height: int, pix_fmt: str) -> Tags:
    """`tags` for the same pictures at another size and pixel format."""
    return replace(tags, width=width, height=height, pix_fmt=pix_fmt)


def _known(first: int, second: int) -> int:
    return int(first) if int(first) != UNSPECIFIED else int(second)
