"""What the output containers can hold, and how an output's name or --format picks one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from ..errors import UsageError


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """One way to write a result. Names of formats and codecs are FFmpeg's."""

    muxer: str
    audio: str | None = None  # encoder for audio that cannot be copied; None: no audio in here
    text: str | None = None  # encoder for text subtitles that cannot be copied
    rotation: bool = False  # holds a display matrix
    pts: bool = True  # holds timestamps; False: only a constant rate
    tags: bool = True  # holds colour tags and the like
    attachments: bool = False
    negative: bool = True  # holds times before 0
    cuts: bool = False  # what it holds before 0 is not shown
    moves: bool = False  # all streams start later, by one amount, where a packet's time is below 0
    chapters: bool = False
    titles: bool = True  # holds metadata such as a title
    services: bool = False  # holds the names of a broadcast's programme and of who sends it
    raw: str | None = None  # the only sensible video encoder
    images: bool = False
    options: tuple[tuple[str, str], ...] = ()  # muxer options
    audio_codecs: frozenset[str] | None = None  # codecs of audio that can be copied, where FFmpeg cannot tell
    audio_rate_hz: int | None = None  # the only one that it holds
    # of the pictures' clock; None: the source's. "rate": one tick a picture, so that only a constant rate can be held
    tick: Fraction | Literal["rate"] | None = None
    from_zero: bool = False  # the first picture is at 0, whatever time it has
    least_s: Fraction = Fraction(0)  # that a picture is shown


MP4 = OutputFormat("mp4", cuts=True, audio="aac", text="mov_text", rotation=True, chapters=True)
MOV = OutputFormat("mov", cuts=True, audio="aac", text="mov_text", rotation=True, chapters=True)
MATROSKA = OutputFormat("matroska", negative=False, audio="aac", text="subrip", rotation=True, attachments=True, chapters=True,
                        services=True)  # fmt: skip
WEBM = OutputFormat("webm", negative=False, audio="libopus", text="webvtt", rotation=True, chapters=True)
# without copyts the muxer moves every programme
MPEGTS = OutputFormat("mpegts", moves=True, titles=False, services=True, audio="aac", options=(("mpegts_copyts", "1"),))
NUT = OutputFormat("nut", moves=True, tags=False, audio="aac", text="ass", raw="rawvideo", chapters=True)
Y4M = OutputFormat("yuv4mpegpipe", pts=False, tags=False, raw="wrapped_avframe")
RAWVIDEO = OutputFormat("rawvideo", pts=False, tags=False, raw="rawvideo")
# an encoder's priming before 0 must not move the pictures
_UNMOVED = (("avoid_negative_ts", "disabled"),)
# AVI: what FFmpeg and players agree on; MXF (OP1a): SMPTE ST 377
AVI = OutputFormat("avi", audio="libmp3lame", from_zero=True, moves=True, tick="rate", options=_UNMOVED,
                   audio_codecs=frozenset({"mp3", "mp2", "ac3", "pcm_s16le", "pcm_u8", "pcm_s24le"}))  # fmt: skip
MXF = OutputFormat("mxf", audio="pcm_s24le", from_zero=True, moves=True, tick="rate", titles=False, options=_UNMOVED,
                   audio_codecs=frozenset({"pcm_s16le", "pcm_s24le"}), audio_rate_hz=48_000)  # fmt: skip
# a browser shows a picture of a GIF for less than 0.02 s as if it were one of 0.1 s, and FFmpeg reads it so
GIF = OutputFormat("gif", from_zero=True, moves=True, tags=False, titles=False, raw="gif", tick=Fraction(1, 100), least_s=Fraction(2, 100))
# delays are fractions of 16 bits: finer ticks would not hold long ones
APNG = OutputFormat("apng", from_zero=True, moves=True, tags=False, titles=False, raw="apng", tick=Fraction(1, 1000))

BY_NAME = {"mp4": MP4, "mov": MOV, "matroska": MATROSKA, "webm": WEBM, "mpegts": MPEGTS, "nut": NUT, "y4m": Y4M,
           "rawvideo": RAWVIDEO, "avi": AVI, "mxf": MXF, "gif": GIF, "apng": APNG}  # fmt: skip
BY_SUFFIX = {".mp4": MP4, ".m4v": MP4, ".mov": MOV, ".mkv": MATROSKA, ".webm": WEBM, ".ts": MPEGTS, ".m2ts": MPEGTS,
             ".mts": MPEGTS, ".nut": NUT, ".y4m": Y4M, ".yuv": RAWVIDEO, ".avi": AVI, ".mxf": MXF, ".gif": GIF, ".apng": APNG}  # fmt: skip
IMAGE_ENCODERS = {".png": "png", ".jpg": "mjpeg", ".jpeg": "mjpeg", ".tif": "tiff", ".tiff": "tiff", ".webp": "libwebp",
                  ".bmp": "bmp", ".ppm": "ppm", ".pgm": "pgm"}  # fmt: skip

# pictures that FFmpeg may read and streamsr does not write
_OTHER_PICTURES = {".avif", ".dds", ".exr", ".hdr", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".pam", ".pbm", ".pcx", ".psd",
                   ".qoi", ".tga"}  # fmt: skip


def is_picture_name(name: str) -> bool:
    """Whether a file is a picture, by its ending; it may hold an animation all the same."""
    suffix = Path(name).suffix.lower()
    return not name.startswith(".") and (suffix in IMAGE_ENCODERS or suffix in _OTHER_PICTURES)


def is_pattern(url: str) -> bool:
    """Whether a name stands for numbered images, as `frames/%05d.png` does; a lone per cent sign does not."""
    return re.search(r"%\d*d", Path(url).name) is not None


def reads_images(demuxer: str) -> bool:
    """Whether what FFmpeg opened with this demuxer is image files: one, or a numbered row of them."""
    return demuxer == "image2" or demuxer.endswith("_pipe")


def find_format(url: str, name: str | None) -> OutputFormat:
    """The OutputFormat of an output path, image pattern (`%05d.png`), single image or `-`. Raises UsageError."""
    if name is not None:
        if name not in BY_NAME:
            raise UsageError(f"Unknown --format {name!r}. Known: {', '.join(sorted(BY_NAME))}.")
        return BY_NAME[name]
    if url == "-":
        raise UsageError("An output on stdout needs --format.", hint=f"one of {', '.join(sorted(BY_NAME))}")
    suffix = Path(url).suffix.lower()
    if suffix in IMAGE_ENCODERS:
        pattern = is_pattern(url)
        options = (("atomic_writing", "1"),) if pattern else (("update", "1"),)
        return OutputFormat("image2", pts=False, tags=False, raw=IMAGE_ENCODERS[suffix], images=True, options=options)
    if suffix not in BY_SUFFIX:
        known = ", ".join(sorted({*BY_SUFFIX, *IMAGE_ENCODERS}))
        raise UsageError(f"Cannot tell the format of {url!r} from its ending {suffix!r}.", hint=f"known: {known}; or give --format")
    return BY_SUFFIX[suffix]
