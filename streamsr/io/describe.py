"""The contents of an open input, as text."""

from __future__ import annotations

from typing import Any

import av

from .source import Source


def describe_source(source: Source) -> dict[str, Any]:
    """The contents of the input, for display and JSON; times in seconds."""
    stream = source.stream
    return {
        "file": source.url,
        "format": source.container.format.name,
        "duration_s": source.duration_s,
        "start_s": (source.container.start_time or 0) / av.time_base,
        "metadata": dict(source.container.metadata),
        "num_chapters": len(source.container.chapters()),
        "video": {
            "index": stream.index, "codec": stream.codec_context.codec.canonical_name, "profile": stream.profile,
            "rate": str(source.rate), "time_base": str(source.time_base), "num_frames": source.expected_frames,
            "interlaced": source.interlaced, **source.tags.describe(),
        },
        "streams": [
            {
                "index": other.index, "type": other.type, "language": other.language, "metadata": dict(other.metadata),
                "codec": other.codec_context.codec.canonical_name if other.codec_context is not None else "unknown",
            }
            for other in source.other_streams
        ],
    }  # fmt: skip
