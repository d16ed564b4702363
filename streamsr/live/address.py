"""Where streams come from: the URL schemes, FFmpeg's options for each, and URLs that hold a password."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import UsageError
from ..io.input_container import open_input
from ..io.remote import is_store
from ..options import LiveOptions, SourceOptions
from .redaction import redact
from .srt import parse_srt

_SECOND_US = 1_000_000
INPUTS = ("rtsp", "rtsps", "rtmp", "rtmps", "rtmpt", "srt", "udp", "rtp", "tcp", "http", "https", "hls", "mmsh")
DEVICE = re.compile(r"/dev/video\d+")
_ENV = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")


def scheme_of(url: str) -> str | None:
    """The scheme of a URL in lower case, None for a path or "-"."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url)
    return found[1].lower() if found else None


def resolve(text: str) -> str:
    """The URL that is meant: `env:NAME` stands for the value of an environment variable, which `ps` does not show to others."""
    found = _ENV.fullmatch(text)
    if found is None:
        return text
    value = os.environ.get(found[1], "")
    if not value:
        raise UsageError(f"{text}: the environment variable {found[1]} is not set.")
    return value


def is_live(url: str) -> bool:
    """Whether an input is live by what it is called; http may still turn out to be a file."""
    return (scheme_of(url) is not None and not is_store(url)) or DEVICE.fullmatch(url) is not None


def check_input(url: str) -> None:
    """Raises UsageError for a scheme that streamsr does not read."""
    scheme = scheme_of(url)
    if scheme is not None and scheme not in INPUTS and scheme != "file" and not is_store(url):
        raise UsageError(f"{redact(url)}: unknown scheme {scheme!r}.", hint=f"known: {', '.join(INPUTS)}")
    if scheme in INPUTS and not re.match(r"[^/]+://[^/?#]", url):
        raise UsageError(f"{redact(url)} names no host.", hint=f"such as {scheme}://192.168.1.20/stream")
    if scheme == "srt":
        parse_srt(url)


def input_options(url: str, live: LiveOptions) -> dict[str, str]:
    """FFmpeg's options for reading: timeouts of its own below ours, and no more buffering than the delay allows."""
    scheme = scheme_of(url)
    timeout_us = str(round(live.timeout_s * _SECOND_US))
    options = {"fpsprobesize": "3", "max_delay": str(round(min(live.max_latency_s / 2, 0.5) * _SECOND_US))}
    if scheme in ("rtsp", "rtsps"):
        options |= {"rtsp_transport": live.rtsp_transport, "timeout": timeout_us}
    elif scheme in ("udp", "rtp"):
        # a loaded machine must not lose packets in the kernel; fifo_size counts packets of 188 bytes
        options |= {"buffer_size": str(4 << 20), "fifo_size": str((8 << 20) // 188), "overrun_nonfatal": "1"}
    elif scheme in ("http", "https"):
        options |= {"rw_timeout": timeout_us, "reconnect": "0"}
    elif scheme is not None:
        options |= {"rw_timeout": timeout_us}
    return options


def is_paced(url: str) -> bool:
    """Whether the source hands over as fast as it is read, in pieces or whole: HLS segments, files."""
    scheme = scheme_of(url)
    return scheme in ("http", "https", "hls", "file") or (scheme is None and url != "-" and Path(url).is_file())


def check_host(url: str) -> str | None:
    """A message about a host that does not resolve, else None. May take seconds: call it in a thread."""
    scheme = scheme_of(url)
    if scheme in (None, "file"):
        return None
    try:
        host = urlsplit(f"x://{url.partition('://')[2].rpartition('@')[2]}").hostname
        if not host:
            return None
        socket.getaddrinfo(host, None)
    except ValueError:
        return "this is no address"
    except OSError as error:  # FFmpeg would call it an input/output error
        return f"the host {host} cannot be found: {error.strerror}"
    return None


def is_file_behind(url: str, timeout_s: float) -> bool:
    """Whether an http URL is a file of known length (a film, an ended HLS stream), whose frames must not be dropped.

    Raises SourceError where it cannot be opened.
    """
    if scheme_of(url) not in ("http", "https"):
        return False
    with open_input(url, SourceOptions(timeout_s=timeout_s)) as container:
        return container.duration is not None and container.duration > 0
