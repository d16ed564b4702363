"""Attached: what pictures carry beside their samples, put into packets where the encoder omits it, and messages about what is lost.

Note [T.35]: closed captions and HDR10+ are messages of ITU-T T.35 (ANSI/SCTE 128-1 section 8.1, CTA-861.4 annex S). HEVC holds them in SEI
messages (ITU-T H.265 D.2.6), AV1 in metadata OBUs (section 5.8.2). FFmpeg's libx264 and NVENC write captions; libx265 and
libsvtav1 write neither, so the messages are put into their packets here.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Iterable, Iterator

import av

from ..libav import library
from ..side_data import Kind, find_kinds, read_side_data
from .chroma_site import ChromaSite
from .containers import OutputFormat
from .stills import exif_of, needs_exif, with_exif

NAMES = {
    Kind.CAPTIONS: "closed captions", Kind.HDR10_PLUS: "HDR10+ metadata", Kind.DOLBY_VISION: "Dolby Vision metadata",
    Kind.HDR_VIVID: "HDR Vivid metadata", Kind.LCEVC: "LCEVC layer", Kind.ICC_PROFILE: "ICC profile", Kind.EXIF: "EXIF metadata",
    Kind.SPHERICAL: "spherical mapping", Kind.STEREO3D: "stereoscopic layout", Kind.AMBIENT_VIEWING: "ambient viewing environment",
    Kind.AFD: "active format description", Kind.S12M_TIMECODE: "time code of each picture", Kind.VIEW_ID: "second view",
}  # fmt: skip
_CAPTIONS = {"libx264", "libx265", "libsvtav1", "h264_nvenc", "hevc_nvenc", "mpeg2video"}
_OURS = ("libx265", "libsvtav1")  # Note [T.35]
_STILLS = {Kind.ICC_PROFILE: ("png", "mjpeg", "libwebp", "tiff"), Kind.EXIF: ("png", "mjpeg", "libwebp", "tiff")}
_OF_STREAM = {Kind.SPHERICAL, Kind.STEREO3D, Kind.AMBIENT_VIEWING}  # side_data.declare_side_data
_DESCRIBING = ("mp4", "mov", "matroska", "webm")


def find_lost(kinds: Iterable[int], encoder: str, output: OutputFormat) -> list[str]:
    """A message for each kind of side data that neither this encoder nor the container keeps."""
    named = {Kind.DOLBY_VISION if kind == Kind.DOLBY_VISION_RPU else kind for kind in kinds} & NAMES.keys()
    return [
        f"{NAMES[Kind(kind)]} dropped: {encoder} in {output.muxer} has no place for it"
        for kind in sorted(named)
        if not _is_kept(kind, encoder, output)
    ]


def _is_kept(kind: int, encoder: str, output: OutputFormat) -> bool:
    if kind == Kind.CAPTIONS:
        return encoder in _CAPTIONS
    if kind == Kind.HDR10_PLUS:
        return encoder in _OURS
    if kind in _OF_STREAM:
        return output.muxer in _DESCRIBING
    return output.images and encoder in _STILLS.get(Kind(kind), ())


class Attached:
    """Takes what frames carry on their way into the encoder, and puts it into the packets that come out."""

    def __init__(self, encoder: str, output: OutputFormat, *, site: ChromaSite | None = None) -> None:
        self.encoder, self.output = encoder, output
        self._site = site if site is not None and site.is_needed else None
        self.kinds: set[int] = set()  # of all frames so far
        self._messages: dict[int, list[bytes]] = {}  # T.35, by the pts of the frame
        self._stills: deque[dict[str, bytes]] = deque()  # EXIF and ICC, of each picture in order

    @property
    def lost(self) -> list[str]:
        """Messages about what was present and is not kept."""
        return find_lost(self.kinds, self.encoder, self.output)

    def take(self, frame: av.VideoFrame) -> None:
        """Remember what has to be in the packet of this frame."""
        kinds = find_kinds(frame)
        self.kinds.update(kinds)
        if self.output.images:
            wanted = needs_exif(frame, self.encoder)
            self._stills.append({"exif": exif_of(frame), "icc": read_side_data(frame, Kind.ICC_PROFILE) or b""} if wanted else {})
        elif kinds and frame.pts is not None and self.encoder in _OURS:
            readers = ((Kind.CAPTIONS, _read_captions), (Kind.HDR10_PLUS, _read_hdr10_plus))
            messages = [read(read_side_data(frame, kind) or b"") for kind, read in readers if kind in kinds]
            if messages:
                self._messages[frame.pts] = messages

    def put(self, packets: Iterable[av.Packet], *, size: tuple[int, int]) -> Iterator[av.Packet]:
        """The packets, with what their frames carried. size: (width, height) of the picture."""
        for packet in packets:
            messages = self._messages.pop(packet.pts or 0, None)
            stills = self._stills.popleft() if self._stills else None
            if messages is not None:
                put = _put_into_hevc if self.encoder == "libx265" else _put_into_av1
                yield _rewritten(packet, put(bytes(packet), messages))
            elif stills:
                yield _rewritten(packet, with_exif(bytes(packet), self.encoder, size=size, **stills))
            elif self._site is not None:
                yield _rewritten(packet, self._site.put_into(bytes(packet)))
            else:
                yield packet


def _rewritten(packet: av.Packet, data: bytes) -> av.Packet:
    """`packet` with other data."""
    result = av.Packet(data)
    result.pts, result.dts, result.duration, result.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    result.is_keyframe = packet.is_keyframe
    result.stream = packet.stream
    for side_data in packet.iter_sidedata():
        result.set_sidedata(side_data)
    return result


def _read_captions(data: bytes) -> bytes:
    """The T.35 message of captions: `data` is groups of three bytes. ANSI/SCTE 128-1 section 8.1"""
    count = min(len(data) // 3, 31)
    return b"\xb5\x00\x31GA94\x03" + bytes([0x40 | count, 0xFF]) + data[: 3 * count] + b"\xff"


def _read_hdr10_plus(data: bytes) -> bytes:
    """The T.35 message of HDR10+: `data` is FFmpeg's AVDynamicHDRPlus."""
    text, size = ctypes.c_void_p(), ctypes.c_size_t()
    if library().av_dynamic_hdr_plus_to_t35(data, ctypes.byref(text), ctypes.byref(size)) < 0:
        raise ValueError("FFmpeg cannot write this picture's HDR10+ metadata again.")
    try:
        return b"\xb5\x00\x3c\x00\x01\x04" + ctypes.string_at(text.value or 0, size.value)
    finally:
        library().av_free(text)


def _put_into_hevc(data: bytes, messages: Iterable[bytes]) -> bytes:
    """An access unit (Annex B) with SEI messages before its first slice."""
    at = 0
    while (at := data.find(b"\0\0\1", at)) >= 0 and at + 3 < len(data):
        if data[at + 3] >> 1 & 0x3F < 32:  # a slice
            break
        at += 3
    if at < 0:
        raise ValueError("A packet of HEVC holds no slice.")
    at -= at > 0 and data[at - 1] == 0  # a start code of four bytes
    return data[:at] + b"".join(map(_sei, messages)) + data[at:]


def _sei(message: bytes) -> bytes:
    """A NAL unit with one user_data_registered_itu_t_t35. ITU-T H.265 7.3.5"""
    body = b"\x04" + b"\xff" * (len(message) // 255) + bytes([len(message) % 255]) + message + b"\x80"
    escaped = bytearray()
    zeros = 0
    for byte in body:
        if zeros >= 2 and byte <= 3:
            escaped.append(3)
            zeros = 0
        escaped.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return b"\0\0\0\1\x4e\x01" + bytes(escaped)


def _put_into_av1(data: bytes, messages: Iterable[bytes]) -> bytes:
    """A temporal unit with metadata OBUs before its first frame. AV1 sections 5.3.2 and 5.8.2"""
    at = 0
    while at < len(data):
        kind, has_extension, has_size = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
        if kind in (3, 6) or not has_size:  # a frame or its header
            break
        size, length = _read_leb128(data, at + 1 + has_extension)
        at += 1 + has_extension + length + size
    return data[:at] + b"".join(b"\x2a" + _leb128(len(m) + 2) + b"\x04" + m + b"\x80" for m in messages) + data[at:]


def _read_leb128(data: bytes, at: int) -> tuple[int, int]:
    """(value, bytes read)"""
    value = 0
    for length in range(8):
        value |= (data[at + length] & 0x7F) << 7 * length
        if not data[at + length] & 0x80:
            return value, length + 1
    raise ValueError("A packet of AV1 holds a length of more than eight bytes.")


def _leb128(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
