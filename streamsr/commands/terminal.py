"""What is shown on a terminal: file names, metadata and error texts are untrusted, so control characters are escaped."""

from __future__ import annotations

import re

from ..live.redaction import redact_text

# C0 without tab and line feed, DEL, C1 (CSI among them), and what turns the direction of text
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]|[\ud800-\udfff]")
MOST = 4000  # characters of one message


def printable(text: str) -> str:
    """The text with control characters as \\x1b and the like, truncated if very long."""
    if len(text) > MOST:
        text = f"{text[:MOST]}... ({len(text) - MOST} more characters)"
    return UNSEEN.sub(lambda found: f"\\x{ord(found[0]):02x}" if ord(found[0]) < 256 else f"\\u{ord(found[0]):04x}", text)


def show(text: str) -> None:
    """Print a result on stdout, without secrets and control characters."""
    print("\n".join(printable(line) for line in redact_text(text).split("\n")))
