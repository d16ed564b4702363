"""Cropping: the same part of every picture. The planes are views; no sample is changed or moved.

Note [Crop]
    Left and top are whole chroma samples (and in interlaced pictures whole pairs of rows of each field), so the siting of the chroma and
    the order of the fields are what they were; pixel aspect, rotation and colour tags are left alone. Side data on bars and on pan and
    scan, which was about the whole picture, is taken off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import av

from ..errors import UsageError
from ..options import Crop
from ..resample import FilterChain, GraphKey
from ..side_data import Kind, remove_side_data


def cropped(frames: Iterable[av.VideoFrame], crop: Crop) -> Iterator[av.VideoFrame]:
    """This part of each frame; of frames of another size than the first, the part that has the same share of each side."""
    whole: tuple[int, int] | None = None
    key: GraphKey | None = None
    chain: FilterChain | None = None
    for frame in frames:
        if whole is None:
            whole = frame.width, frame.height
        if chain is None or GraphKey.of(frame) != key:
            key = GraphKey.of(frame)
            width, height, left, top = fit_crop(crop, whole, frame)
            options = {"w": str(width), "h": str(height), "x": str(left), "y": str(top), "exact": "1"}
            chain = FilterChain(key, [("crop", options)])
        result = chain(frame)
        for kind in (Kind.AFD, Kind.PANSCAN):
            remove_side_data(result, kind)
        yield result


def chroma_step(frame: av.VideoFrame, *, interlaced: bool) -> tuple[int, int]:
    """The spacing, in luma columns and rows, of positions where a picture may be cut: Note [Crop]."""
    x, y = 64 // frame.format.chroma_width(64), 64 // frame.format.chroma_height(64)
    return x, 2 * y if interlaced else y


def check_crop(crop: Crop, frame: av.VideoFrame, *, url: str) -> None:
    """Raises UsageError for what cannot be cut out of this frame."""
    if crop.left + crop.width > frame.width or crop.top + crop.height > frame.height:
        raise UsageError(f"--crop {crop} reaches beyond the pictures of {url}, which are {frame.width}x{frame.height}.")
    steps = chroma_step(frame, interlaced=frame.interlaced_frame)
    if crop.left % steps[0] or crop.top % steps[1]:
        near = crop._replace(left=crop.left // steps[0] * steps[0], top=crop.top // steps[1] * steps[1])
        what = f"{'interlaced ' if frame.interlaced_frame else ''}{frame.format.name}"
        raise UsageError(f"--crop {crop} would divide chroma samples: in {what}, X and Y are multiples of {steps[0]} and {steps[1]}.",
                         hint=f"such as {near}")  # fmt: skip


def fit_crop(crop: Crop, whole: tuple[int, int], frame: av.VideoFrame) -> Crop:
    """The part of `frame` that `crop` is of a picture of the size `whole` (width, height)."""
    if whole == (frame.width, frame.height):
        return crop
    x, y = frame.width / whole[0], frame.height / whole[1]
    steps = chroma_step(frame, interlaced=frame.interlaced_frame)
    left, top = int(crop.left * x) // steps[0] * steps[0], int(crop.top * y) // steps[1] * steps[1]
    width, height = min(round(crop.width * x), frame.width - left), min(round(crop.height * y), frame.height - top)
    return Crop(max(1, width), max(1, height), left, top)
