"""Position of the first chroma sample of 4:2:0, in luma samples from the first of these: (across, down). ITU-T H.273, figure 1."""

from __future__ import annotations

# by FFmpeg's names (AVChromaLocation)
FIRST_CHROMA_SAMPLE = {
    "left": (0, 0.5), "center": (0.5, 0.5), "topleft": (0, 0), "top": (0.5, 0), "bottomleft": (0, 1), "bottom": (0.5, 1),
}  # fmt: skip
