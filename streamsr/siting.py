"""The chroma sample location of a frame, as FFmpeg reports it. PyAV does not expose it."""

from __future__ import annotations

import av
from streamsr_kernels.chroma_sites import FIRST_CHROMA_SAMPLE

from .libav import picture_of

CHROMA_LOCATIONS = tuple(FIRST_CHROMA_SAMPLE)
# AVChromaLocation, which leaves 0 to "unspecified"
_BY_NUMBER = dict(enumerate(("left", "center", "topleft", "top", "bottomleft", "bottom"), 1))


def find_chroma_location(video: av.VideoFrame) -> str:
    """One of CHROMA_LOCATIONS, or "unspecified"."""
    return _BY_NUMBER.get(picture_of(video).chroma_location, "unspecified")
