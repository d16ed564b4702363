"""The options of a muxer, and the metadata of the container that is written."""

from __future__ import annotations

from fractions import Fraction

import av

from .containers import OutputFormat
from .passthrough import COVERS, REELS, copy_metadata, reel_name
from .source import Source

_MP4_TAGS = {"title", "artist", "album_artist", "album", "date", "comment", "genre", "copyright", "composer", "description", "synopsis",
             "show", "episode_id", "network", "lyrics", "track", "disc", "compilation", "keywords", "grouping", "encoder",
             "creation_time", "language", "handler_name", "vendor_id", "media_type", "location", "location-eng"}  # fmt: skip
_BRANDS = {"major_brand", "minor_version", "compatible_brands", "encoder"}



def own_metadata(source: Source) -> set[str]:
    """Names of metadata that are no tags of mp4's own: the input's maker chose them."""
    return {name for name in source.container.metadata if name.lower() not in _MP4_TAGS | _BRANDS}


def holds_cover(source: Source, output: OutputFormat) -> bool:
    """Whether the output is an mp4 with a cover picture."""
    return output.muxer == "mp4" and any(codec in COVERS for codec in source.cover_codecs())


def muxer_options(output: OutputFormat, time_base: Fraction, *, has_own: bool, has_cover: bool, is_pipe: bool) -> dict[str, str]:
    """FFmpeg's options for the muxer. time_base: of the video; has_own: see `own_metadata`."""
    options = dict(output.options)
    if output.muxer in ("mp4", "mov"):
        options["movie_timescale"] = str(movie_timescale(time_base))
        if is_pipe:
            options["movflags"] = "frag_keyframe+empty_moov+default_base_moof"  # a pipe cannot go back to the header
        elif has_own and not has_cover:  # such a table of metadata has no place for a cover
            options["movflags"] = "use_metadata_tags"
    if output.muxer == "yuv4mpegpipe":
        options["strict"] = "-1"  # more than 8 bits
    return options


def copy_container_metadata(
    source: Source, container: av.container.OutputContainer, stream: av.VideoStream, output: OutputFormat
) -> None:
    """Metadata of the container and of its video, and the chapters, on the output's time line."""
    container.metadata.update({k: v for k, v in source.container.metadata.items() if k.lower() not in _BRANDS})
    if output.services:
        service = source.service
        names = {"service_name": service.name, "service_provider": service.provider}
        container.metadata.update({key: name for key, name in names.items() if name})
    reel = reel_name(source)
    if reel is not None and output.muxer in REELS:
        container.metadata.pop("reel_name", None)
        stream.metadata["reel_name"] = reel
    copy_metadata(source.stream, stream)
    stream.metadata.pop("alpha_mode", None)
    chapters = source.container.chapters()
    if chapters and output.chapters:
        for chapter in chapters:
            ticks = round(source.times.shift / chapter["time_base"]) if chapter["time_base"] else 0
            chapter["start"], chapter["end"] = max(0, chapter["start"] - ticks), chapter["end"] - ticks
        container.set_chapters([chapter for chapter in chapters if chapter["end"] > 0])


def movie_timescale(time_base: Fraction) -> int:
    """Ticks a second of an mp4's own clock, in which a late start is written; FFmpeg's 1000 would round it."""
    ticks = time_base.denominator
    while ticks < 10_000:
        ticks *= 2
    return ticks if ticks < 1 << 31 else 90_000
