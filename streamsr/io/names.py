"""Names: which are URLs and which are files. One rule: a URL has "://" behind a plain scheme, and everything else is a file's name.

So `a:b.mp4` and `concat:a|b` are files, whatever FFmpeg would make of them; `file:///films/a.mp4` is the file that it names.
"""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

from ..errors import UsageError

_MAX_NAME_BYTES = 255  # of a file, on nearly all file systems
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FILE = re.compile(r"file:(//(localhost)?(?=/))?", re.IGNORECASE)
_WRAPPED = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)[:,].*://", re.DOTALL)


def is_url(name: str) -> bool:
    """Whether a name is a URL; a file's is not, neither is "-"."""
    return _SCHEME.match(name) is not None


def plain_name(name: str) -> str:
    """The path of a `file:` URL, the name itself else. Raises UsageError for FFmpeg's protocols around a URL."""
    if os.path.exists(name):
        return name
    long = max((len(os.fsencode(part)) for part in name.split("/")), default=0)
    if long > _MAX_NAME_BYTES and not is_url(name):
        raise UsageError(f"{name[:40]}...: a name of {long} bytes is too long.", hint=f"the limit is {_MAX_NAME_BYTES} bytes")
    found = _FILE.match(name)
    if found is not None:
        path = name[found.end() :]
        return unquote(path) if found.group(1) else path
    wrapped = _WRAPPED.match(name)
    if wrapped is not None and not is_url(name):
        raise UsageError(f"{name}: the protocol {wrapped.group(1)!r} is not taken.", hint="give the URL itself, or pipe the data into -")
    return name


def for_ffmpeg(name: str) -> str:
    """A name as FFmpeg takes it: it looks for a protocol in front of any colon or comma."""
    return f"file:{name}" if name != "-" and not is_url(name) and re.match(r"[A-Za-z0-9+.,-]*[:,]", name) else name


def follow_links(name: str) -> str:
    """Where an output goes that is a symbolic link: to what it names, as `cp` does; what is no link is itself."""
    return os.path.realpath(name) if not is_url(name) and os.path.islink(name) else name
