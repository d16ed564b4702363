"""What --crop auto means for a file."""

from __future__ import annotations

import av

from ..options import Crop, SourceOptions
from .black_bars import NUM_MOMENTS, find_picture
from .frame_samples import can_look_ahead, spread_frames
from .tracks import codec_name

_BITMAP_TEXT = ("dvd_subtitle", "hdmv_pgs_subtitle", "dvb_subtitle", "xsub")


def settle_crop(
    url: str, options: SourceOptions, container: av.container.InputContainer, video: av.VideoStream, *, notes: list[str]
) -> Crop | None:
    """The part of the pictures that is kept; "auto" samples frames from the whole file. notes: receives messages about what is unusual."""
    if options.crop != "auto":
        return options.crop
    if not can_look_ahead(url):
        notes.append(f"no black bars were searched for: --crop auto needs a file, and {url} is not one")
        return None
    begin_s, end_s = options.start_s or 0.0, (container.duration or 0) / av.time_base
    span = begin_s, min(end_s, options.end_s or end_s)
    frames = spread_frames(url, options, video.index, span, NUM_MOMENTS)
    found = find_picture(frames, keeps_fields=options.deinterlace == "off")
    if found is not None and any(codec_name(stream) in _BITMAP_TEXT for stream in container.streams if stream.index != video.index):
        notes.append("bitmap subtitles were drawn for the picture with its bars, players may scale them: --crop off keeps the bars")
    return found
