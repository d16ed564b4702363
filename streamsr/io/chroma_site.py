"""ChromaSite: the place of chroma samples, put into the headers of what an encoder wrote, by FFmpeg's filters of packets.

Note [Site of NVENC]: FFmpeg tells NVENC the matrix, primaries, transfer and range, and not where chroma lies (FFmpeg 8.1;
tests/device/test_nvenc_driver.py). Decoders then take H.264 and HEVC for "left", and AV1 for unknown, so most HDR video ("topleft")
would change its site.
"""

from __future__ import annotations

import av
from av.bitstream import BitStreamFilterContext

# ITU-T H.264 table E-5 and figure E-1; H.265 E.3.1 has the same numbers. "left" is what decoders take where nothing is said
_LOCATION_TYPES = {"center": 1, "topleft": 2, "top": 3, "bottomleft": 4, "bottom": 5}
_POSITIONS = {"left": "vertical", "topleft": "colocated"}  # AV1 section 6.4.2 has no other
_FILTERS = {
    "h264_nvenc": ("h264", {site: f"h264_metadata=chroma_sample_loc_type={number}" for site, number in _LOCATION_TYPES.items()}),
    "hevc_nvenc": ("hevc", {site: f"hevc_metadata=chroma_sample_loc_type={number}" for site, number in _LOCATION_TYPES.items()}),
    "av1_nvenc": ("av1", {site: f"av1_metadata=chroma_sample_position={word}" for site, word in _POSITIONS.items()}),
}


class ChromaSite:
    """Of one encoded stream. location: FFmpeg's name of the site; where the encoder says it, or the codec cannot, data stays as it is."""

    def __init__(self, encoder: str, location: str) -> None:
        codec, filters = _FILTERS.get(encoder, ("", {}))
        found = filters.get(location)
        self._filter = BitStreamFilterContext(found, codec) if found is not None else None

    @property
    def is_needed(self) -> bool:
        return self._filter is not None

    def put_into(self, data: bytes) -> bytes:
        """A packet that has headers, or the headers alone, with the site."""
        if self._filter is None:
            return data
        return b"".join(bytes(packet) for packet in self._filter.filter(av.Packet(data)))
