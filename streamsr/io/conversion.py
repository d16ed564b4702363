"""From the pixel format of the frames to one that the encoder takes, and what the encoded numbers mean then."""

from __future__ import annotations

from dataclasses import replace

import av

from ..frame import find_layout, reformat
from .tags import UNSPECIFIED, Tags

_BT601 = 6
JFIF = {"mjpeg": 2, "libwebp": 1}  # image formats that say no matrix: it is BT.601, in this range


def encoded_tags(tags: Tags, pix_fmt: str, encoder: str) -> Tags:
    """The tags of the encoded pictures: pixels that change from RGB to YUV change their matrix and range."""
    before, after = find_layout(tags.pix_fmt), find_layout(pix_fmt)
    if pix_fmt == "pal8":  # colours of RGB
        return replace(tags, pix_fmt=pix_fmt, matrix=0, range=2)
    if before is not None and before.kind == "gray" and tags.matrix == 0:  # PNG's gray is said to be RGB; encoders take that at its word
        tags = replace(tags, matrix=UNSPECIFIED)
    if encoder in JFIF and after is not None and after.kind == "yuv":
        return replace(tags, pix_fmt=pix_fmt, matrix=_BT601, range=JFIF[encoder])
    if before is not None and after is not None and before.kind == "rgb" and after.kind != "rgb":
        return replace(tags, pix_fmt=pix_fmt, matrix=1, range=1, primaries=_or_709(tags.primaries), transfer=_or_709(tags.transfer))
    if before is not None and before.kind != "rgb" and av.VideoFormat(pix_fmt).is_rgb:
        return replace(tags, pix_fmt=pix_fmt, matrix=0, range=2)
    return replace(tags, pix_fmt=pix_fmt)


def convert(frame: av.VideoFrame, tags: Tags, *, recoloured: bool) -> av.VideoFrame:
    """`frame` in the pixel format of `tags`, with samples converted to match; recoloured: YUV of another matrix or range."""
    layout, target = find_layout(frame.format.name), find_layout(tags.pix_fmt)
    from_rgb = layout is not None and layout.kind == "rgb"
    to_rgb = av.VideoFormat(tags.pix_fmt).is_rgb
    if from_rgb and to_rgb:
        return reformat(frame, tags.pix_fmt)
    if from_rgb:
        return reformat(frame, tags.pix_fmt, dst_colorspace=_swscale_matrix(tags.matrix), dst_color_range=tags.range or None)
    before = int(frame.color_range) or 1
    if to_rgb:
        return reformat(frame, tags.pix_fmt, src_colorspace=_swscale_matrix(int(frame.colorspace)), src_color_range=before,
                              dst_color_range=2)  # fmt: skip
    if recoloured and target is not None and target.kind == "yuv":
        return reformat(
            frame, tags.pix_fmt, src_colorspace=_swscale_matrix(int(frame.colorspace)), dst_colorspace=_swscale_matrix(tags.matrix),
            src_color_range=before, dst_color_range=tags.range,
        )  # fmt: skip
    return reformat(frame, tags.pix_fmt, src_color_range=before, dst_color_range=before)


def _swscale_matrix(matrix: int) -> int:
    """swscale's number for an H.273 matrix; it knows no other than these, and takes BT.601 for the rest."""
    return matrix if matrix in (1, 4, 7, 9) else 5


def _or_709(code: int) -> int:
    return 1 if code == 2 else code
