"""Stills: EXIF and ICC profiles in pictures of formats whose FFmpeg encoders leave them out: JPEG, WebP and TIFF.

What FFmpeg took out of a picture's EXIF (the orientation is a display matrix of the frame then) its PNG encoder puts together again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction

import av

from ..side_data import Kind, add_side_data, read_side_data
from .tiff_tags import with_tags

UPRIGHT = ("png", "mjpeg", "libwebp", "tiff")  # encoders whose pictures say which way is up
_VP8X_ICC, _VP8X_ALPHA, _VP8X_EXIF = 0x20, 0x10, 0x08  # WebP container specification, "extended file format"


def needs_exif(frame: av.VideoFrame, encoder: str) -> bool:
    """Whether this picture has metadata that the encoder will not write."""
    if encoder == "mjpeg":
        return any(read_side_data(frame, kind) for kind in (Kind.EXIF, Kind.DISPLAY_MATRIX))
    kinds = (Kind.EXIF, Kind.ICC_PROFILE) if encoder == "tiff" else (Kind.EXIF, Kind.DISPLAY_MATRIX, Kind.ICC_PROFILE)
    return encoder in ("libwebp", "tiff") and any(read_side_data(frame, kind) for kind in kinds)


def exif_of(frame: av.VideoFrame) -> bytes:
    """The EXIF of a picture, a TIFF structure, with its orientation and the size of the frame; empty where it has neither."""
    carrier = av.VideoFrame(frame.width, frame.height, "gray")
    found = [(kind, read_side_data(frame, kind)) for kind in (Kind.EXIF, Kind.DISPLAY_MATRIX)]
    for kind, data in found:
        if data:
            add_side_data(carrier, kind, data)
    if not any(data for _, data in found):
        return b""
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = frame.width, frame.height, "gray", Fraction(25)
    encoder.options = {"compression_level": "1"}
    png = b"".join(bytes(packet) for packet in [*encoder.encode(carrier), *encoder.encode(None)])
    return next((data for name, data in _png_chunks(png) if name == b"eXIf"), b"")


def with_exif(data: bytes, encoder: str, *, exif: bytes, icc: bytes = b"", size: tuple[int, int] = (0, 0)) -> bytes:
    """An encoded picture with an EXIF structure; in WebP and TIFF with an ICC profile, too. size: (width, height) in pixels."""
    if encoder == "tiff":
        return with_tags(data, exif=exif, icc=icc)
    if encoder == "mjpeg":
        if not exif:
            return data
        assert data[:2] == b"\xff\xd8"
        segment = b"Exif\0\0" + exif
        if len(segment) + 2 > 0xFFFF:
            raise ValueError(f"{len(exif)} bytes of EXIF do not fit into a JPEG file, which holds 65527.")
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    chunks = dict(_riff_chunks(data))
    alpha = b"ALPH" in chunks or (b"VP8L" in chunks and bool(chunks[b"VP8L"][4] & 0x10))
    flags = (_VP8X_ICC if icc else 0) | (_VP8X_ALPHA if alpha else 0) | (_VP8X_EXIF if exif else 0)
    header = struct.pack("<I", flags) + struct.pack("<I", size[0] - 1)[:3] + struct.pack("<I", size[1] - 1)[:3]
    picture = [(name, body) for name, body in _riff_chunks(data) if name in (b"ALPH", b"VP8 ", b"VP8L")]
    ordered = [(b"VP8X", header), *([(b"ICCP", icc)] if icc else []), *picture, *([(b"EXIF", exif)] if exif else [])]
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2) for name, part in ordered)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 8 <= len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += size + 12


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        (size,) = struct.unpack("<I", data[at + 4 : at + 8])
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
