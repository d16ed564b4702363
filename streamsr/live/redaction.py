"""What of a URL may be shown: the one place that knows which parts are secret."""

from __future__ import annotations

import re

MASK = "***"

# Parameters whose values are shown. A list of what is harmless and not of what is secret, because cameras and servers
# call a password pwd, psw, loginpas, auth, sig, jwt, streamid, ... and the next one something else.
SHOWN = frozenset({
    "buffer_size", "channel", "connect_timeout", "fifo_size", "latency", "linger", "listen", "localaddr", "localport", "maxbw", "mode",
    "overrun_nonfatal", "peerlatency", "pkt_size", "profile", "protocol", "rcvbuf", "rcvlatency", "reuse", "sndbuf", "stream", "subtype",
    "timeout", "tlpktdrop", "transport", "ttl", "video",
})  # fmt: skip
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_KEY_IN_PATH = re.compile(r"(?i)((?:pass|pwd|psw|key|token|secret|auth|user)[a-z]*[=:])[^/]*")

_KEY_BEFORE = re.compile(r"(?i)(pass|passw(or)?d|pwd|key|apikey|token|secret|auth|signature|sig|streamkey)s?")


def redact(url: str) -> str:
    """The URL without its secrets, for logs, reports, metrics and process titles. What is no URL comes back as it is.

    Masked as ***: everything before the last @ (user and password, whatever characters they hold); the values of all query
    parameters but those in SHOWN (tokens, keys, an SRT streamid or passphrase); the last part of an RTMP path (the stream
    key); `password=...` within a path (some cameras want it there); parts of a path that look like keys, or follow a part called
    key, token and the like; a password where a port should be; whatever follows a space.
    The result reveals nothing about the masked parts, not even their length.
    """
    scheme, found, rest = url.partition("://")
    if not found:
        return url
    _, found, rest = rest.rpartition("@")
    rest, spaced, _ = rest.partition(" ")
    place, asked, query = rest.partition("?")
    if not asked:
        place, asked, query = rest.partition("#")
    host, slash, path = place.partition("/")
    if not re.fullmatch(r"[^:\[\]]*(:\d*)?|\[[0-9A-Fa-f:.%a-z]*\](:\d*)?", host):
        host = MASK
    path = _redact_path(_KEY_IN_PATH.sub(rf"\1{MASK}", path))
    if scheme.lower().rpartition(":")[2].startswith("rtmp") and path.strip("/"):
        path = "/".join([*path.rstrip("/").split("/")[:-1], MASK])
    shown = f"{scheme}://{MASK + '@' if found else ''}{host}{slash}{path}{asked}{_redact_query(query)}"
    return f"{shown} {MASK}" if spaced else shown


def redact_text(text: str, *urls: str) -> str:
    """A text with every URL in it redacted, such as FFmpeg's error messages.

    urls: what is known to be in use. They are found whole, also where they hold spaces or quotes.
    """
    for url in sorted((url for url in urls if "://" in url), key=len, reverse=True):
        for form in (url, repr(url)[1:-1]):
            text = text.replace(form, redact(url))
    return _URL.sub(_redact_match, text)


def _redact_match(match: re.Match[str]) -> str:
    url = match[0].rstrip("'\",;:)]>.")  # the sentence's, not the URL's
    return redact(url) + match[0][len(url) :]


def _redact_path(path: str) -> str:
    """A path whose parts are shown where they are words: http://host/live/3fa85f6457174562b3fc2c963f66afa6/index.m3u8 holds a key."""
    parts = path.split("/")
    for index, part in enumerate(parts):
        if part and (_looks_random(part) or (index and _KEY_BEFORE.fullmatch(parts[index - 1]))):
            parts[index] = MASK
    return "/".join(parts)


def _looks_random(part: str) -> bool:
    """Long, of one piece, and letters and digits mixed: no name of a camera or a file."""
    stem = part.partition(".")[0] if part.count(".") == 1 else part
    if len(stem) < 16 or not re.fullmatch(r"[A-Za-z0-9_~%=.-]+", stem):
        return False
    num_digits = sum(letter.isdigit() for letter in stem)
    mixed = stem.lower() != stem != stem.upper()
    return num_digits < len(stem) and (num_digits >= 4 or (num_digits >= 1 and mixed and len(stem) >= 20))


def _redact_query(query: str) -> str:
    shown = []
    for part in query.split("&"):
        key, equals, value = part.partition("=")
        if value and key.lower() in SHOWN:
            shown.append(part)
        else:
            shown.append(f"{key}{equals}{MASK}" if equals else MASK if part else "")
    return "&".join(shown)
