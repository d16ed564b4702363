"""What the output containers can hold, and how an output's name or --format picks one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

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
    moves: bool = False  # all streams start later, by one amount, where a packet's time is below 0
    chapters: bool = False
    titles: bool = True  # holds metadata such as a title
    raw: str | None = None  # the only sensible video encoder
    images: bool = False
    options: tuple[tuple[str, str], ...] = ()  # muxer options
    audio_codecs: frozenset[str] | None = None  # codecs of audio that can be copied, where FFmpeg cannot tell


MP4 = OutputFormat("mp4", audio="aac", text="mov_text", rotation=True, chapters=True)
MOV = OutputFormat("mov", audio="aac", text="mov_text", rotation=True, chapters=True)
MATROSKA = OutputFormat("matroska", negative=False, audio="aac", text="subrip", rotation=True, attachments=True, chapters=True)
WEBM = OutputFormat("webm", negative=False, audio="libopus", text="webvtt", rotation=True, chapters=True)
# without copyts the muxer moves every programme
MPEGTS = OutputFormat("mpegts", moves=True, titles=False, audio="aac", options=(("mpegts_copyts", "1"),))
NUT = OutputFormat("nut", moves=True, tags=False, audio="aac", text="ass", raw="rawvideo", chapters=True)
Y4M = OutputFormat("yuv4mpegpipe", pts=False, tags=False, raw="wrapped_avframe")
RAWVIDEO = OutputFormat("rawvideo", pts=False, tags=False, raw="rawvideo")

BY_NAME = {"mp4": MP4, "mov": MOV, "matroska": MATROSKA, "webm": WEBM, "mpegts": MPEGTS, "nut": NUT, "y4m": Y4M,
           "rawvideo": RAWVIDEO}  # fmt: skip
BY_SUFFIX = {".mp4": MP4, ".m4v": MP4, ".mov": MOV, ".mkv": MATROSKA, ".webm": WEBM, ".ts": MPEGTS, ".m2ts": MPEGTS,
             ".mts": MPEGTS, ".nut": NUT, ".y4m": Y4M, ".yuv": RAWVIDEO}  # fmt: skip
IMAGE_ENCODERS = {".png": "png", ".jpg": "mjpeg", ".jpeg": "mjpeg", ".tif": "tiff", ".tiff": "tiff", ".webp": "libwebp",
                  ".bmp": "bmp", ".ppm": "ppm", ".pgm": "pgm"}  # fmt: skip


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
