"""streamsr info FILE"""

from __future__ import annotations

import argparse
import json

from ..live.redaction import redact, redact_text
from .terminal import show

HELP = "show the streams and tags of a file"
EPILOG = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(options: argparse.Namespace) -> int:
    """Print container, video and the other streams."""
    from ..io.describe import describe_source
    from ..io.source import open_source

    with open_source(options.file) as source:
        facts = describe_source(source)
    facts["file"] = redact(facts["file"])
    if options.json:
        print(redact_text(json.dumps(facts, indent=2, default=str)))
        return 0
    video = facts["video"]
    length = "unknown length" if facts["duration_s"] is None else f"{facts['duration_s']:.3f} s"
    show(f"{facts['file']}: {facts['format']}, {length}, starts at {facts['start_s']:.3f} s")
    show(f"  video #{video['index']}: {video['codec']} {video['width']}x{video['height']} {video['pix_fmt']}, {video['rate']} fps, "
          f"time base {video['time_base']}, pixel aspect {video['sar']}")  # fmt: skip
    show(f"    colour: matrix {video['matrix']}, primaries {video['primaries']}, transfer {video['transfer']}, range {video['range']}, "
          f"chroma {video['chroma_location']}")  # fmt: skip
    for name in ("mastering", "light_level", "rotation", "interlaced"):
        if video[name]:
            show(f"    {name}: {video[name]}")
    for stream in facts["streams"]:
        show(f"  {stream['type']} #{stream['index']}: {stream['codec']}{' (' + stream['language'] + ')' if stream['language'] else ''}")
    if facts["num_chapters"]:
        show(f"  {facts['num_chapters']} chapters")
    return 0
