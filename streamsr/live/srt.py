"""SRT through the system's libsrt: PyAV's wheels bring an FFmpeg without it.

Source of the numbers and structures: srtcore/srt.h of libsrt 1.4 and 1.5 (SRT_SOCKOPT, SRT_REJECT_REASON), socket(7).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from ..errors import UsageError
from .redaction import redact

PAYLOAD_BYTES = 1316  # seven packets of MPEG-TS, what everybody sends
_NAMES = ("libsrt-gnutls.so.1.5", "libsrt-openssl.so.1.5", "libsrt.so.1.5", "libsrt-gnutls.so.1.4", "libsrt.so.1", "libsrt.dylib")
_SNDSYN, _RCVSYN, _SNDTIMEO, _RCVTIMEO, _MAXBW, _LATENCY = 1, 2, 13, 14, 16, 23
_PASSPHRASE, _PBKEYLEN, _CONNTIMEO, _STREAMID = 26, 27, 36, 46
_WRONG_PASSWORD, _UNENCRYPTED = 10, 11
_REJECTED_BY_SERVER = range(1400, 1500)  # like HTTP's 4xx
_LOST, _WOULD_WAIT, _TIMEOUT = (2001, 2002, 5004, 5005, 5016), 6002, 6003
_POLL_S = 0.02
_MESSAGE_BYTES = 1500

_library: ctypes.CDLL | None = None
_loading = threading.Lock()


@dataclass(frozen=True, slots=True)
class SrtAddress:
    """srt://HOST:PORT?mode=...; options have FFmpeg's names and units."""

    host: str
    port: int
    mode: Literal["caller", "listener"] = "caller"
    latency_ms: int = 120
    passphrase: str = ""
    pbkeylen: int = 0
    streamid: str = ""
    maxbw: int = -1


def parse_srt(url: str) -> SrtAddress:
    """Raises UsageError for invalid values."""
    shown = redact(url)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise UsageError(f"{shown}: {error}.") from error
    if port is None:
        raise UsageError(f"{shown} names no port.", hint="such as srt://host:9000 or srt://:9000?mode=listener")
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    known = {"mode", "latency", "passphrase", "pbkeylen", "streamid", "maxbw", "pkt_size", "transtype"}
    if given.keys() - known:
        raise UsageError(f"{shown}: unknown option {', '.join(sorted(given.keys() - known))}.", hint=f"known: {', '.join(sorted(known))}")
    mode = given.get("mode", "caller" if host else "listener")
    if mode not in ("caller", "listener") or (mode == "caller" and not host):
        raise UsageError(f"{shown}: mode is {mode!r}; it must be caller (with a host) or listener.")
    passphrase = given.get("passphrase", "")
    if passphrase and not 10 <= len(passphrase) <= 79:
        raise UsageError(f"{shown}: the passphrase has {len(passphrase)} characters; SRT wants 10 to 79.")
    try:
        latency_us, pbkeylen, maxbw = int(given.get("latency", 120_000)), int(given.get("pbkeylen", 0)), int(given.get("maxbw", -1))
    except ValueError as error:
        raise UsageError(f"{shown}: latency (microseconds), pbkeylen and maxbw are whole numbers.") from error
    if latency_us < 0 or pbkeylen not in (0, 16, 24, 32):
        raise UsageError(f"{shown}: latency must not be negative, and pbkeylen is 16, 24 or 32.")
    return SrtAddress(
        host, port, "caller" if mode == "caller" else "listener", -(-latency_us // 1000), passphrase, pbkeylen,
        given.get("streamid", ""), maxbw,
    )  # fmt: skip


class SrtFile:
    """An SRT connection as the file that PyAV reads or writes.

    timeout_s: of connecting (or of waiting for a caller), and of each read and write.
    Raises TimeoutError, ConnectionError, PermissionError for a wrong passphrase or a refused stream id, OSError where libsrt is missing.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self.name = redact(url)
        self._address = parse_srt(url)
        self._timeout_s = timeout_s
        self._library = load_libsrt()
        self._buffer = ctypes.create_string_buffer(_MESSAGE_BYTES)
        self._socket = -1
        try:
            self._socket = self._listen() if self._address.mode == "listener" else self._call()
        except BaseException:
            self.close()
            raise

    def seekable(self) -> bool:
        return False

    def read(self, _: int) -> bytes:
        """The next message; b"" at the end."""
        count = self._library.srt_recvmsg(self._socket, self._buffer, _MESSAGE_BYTES)
        if count >= 0:
            return self._buffer.raw[:count]
        if self._last_error() in _LOST:
            return b""
        raise self._error("read")

    def write(self, data: bytes) -> int:
        """Send everything in messages of at most PAYLOAD_BYTES."""
        for at in range(0, len(data), PAYLOAD_BYTES):
            piece = data[at : at + PAYLOAD_BYTES]
            if self._library.srt_send(self._socket, piece, len(piece)) < 0:
                raise self._error("write")
        return len(data)

    def close(self) -> None:
        if self._socket >= 0:
            self._library.srt_close(self._socket)
            self._socket = -1

    def _open(self) -> int:
        sock: int = self._library.srt_create_socket()
        address, wait_ms = self._address, round(self._timeout_s * 1000)
        numbers = {_SNDTIMEO: wait_ms, _RCVTIMEO: wait_ms, _CONNTIMEO: wait_ms, _LATENCY: address.latency_ms}
        if address.pbkeylen:
            numbers[_PBKEYLEN] = address.pbkeylen
        for option, number in numbers.items():
            self._set(sock, option, struct.pack("=i", number))
        if address.maxbw >= 0:
            self._set(sock, _MAXBW, struct.pack("=q", address.maxbw))
        if address.passphrase:
            self._set(sock, _PASSPHRASE, address.passphrase.encode())
        if address.streamid and address.mode == "caller":
            self._set(sock, _STREAMID, address.streamid.encode())
        return sock

    def _call(self) -> int:
        sock = self._socket = self._open()
        packed = pack_address(self._address.host, self._address.port)
        if self._library.srt_connect(sock, packed, len(packed)) >= 0:
            return sock
        reason = self._library.srt_getrejectreason(sock)
        words = self._library.srt_rejectreason_str(reason).decode()
        if reason in (_WRONG_PASSWORD, _UNENCRYPTED):
            raise PermissionError(errno.EACCES, "the passphrase is wrong, or only one side has one")
        if reason in _REJECTED_BY_SERVER:
            raise PermissionError(errno.EACCES, f"the server refuses ({reason - 1000}: {words})")
        raise ConnectionError(errno.ECONNREFUSED, self._words() if reason == 0 else words)

    def _listen(self) -> int:
        """Wait for one caller."""
        sock = self._socket = self._open()
        packed = pack_address(self._address.host or "0.0.0.0", self._address.port)
        self._set(sock, _RCVSYN, struct.pack("=i", 0))  # accept knows no timeout
        if self._library.srt_bind(sock, packed, len(packed)) < 0 or self._library.srt_listen(sock, 1) < 0:
            raise OSError(errno.EADDRINUSE, f"cannot listen: {self._words()}")
        end = time.monotonic() + self._timeout_s
        while True:
            peer: int = self._library.srt_accept(sock, None, None)
            if peer >= 0:
                break
            if self._last_error() != _WOULD_WAIT:
                raise ConnectionError(errno.ECONNABORTED, self._words())
            if time.monotonic() > end:
                raise TimeoutError(errno.ETIMEDOUT, f"nobody called within {self._timeout_s:g} s")
            time.sleep(_POLL_S)
        self._library.srt_close(sock)
        for option in (_RCVSYN, _SNDSYN):
            self._set(peer, option, struct.pack("=i", 1))
        return peer

    def _set(self, sock: int, option: int, value: bytes) -> None:
        if self._library.srt_setsockflag(sock, option, value, len(value)) < 0:
            raise OSError(errno.EINVAL, f"libsrt refuses option {option}: {self._words()}")

    def _last_error(self) -> int:
        code: int = self._library.srt_getlasterror(None)
        return code

    def _words(self) -> str:
        words: str = self._library.srt_getlasterror_str().decode(errors="replace")
        return words

    def _error(self, what: str) -> OSError:
        if self._last_error() == _TIMEOUT:
            return TimeoutError(errno.ETIMEDOUT, f"no {what} within {self._timeout_s:g} s")
        return ConnectionError(errno.ECONNRESET, self._words())


def load_libsrt() -> ctypes.CDLL:
    """The system's libsrt. Raises OSError with the way to get it."""
    global _library
    with _loading:
        if _library is None:
            found = ctypes.util.find_library("srt-gnutls") or ctypes.util.find_library("srt")
            for name in filter(None, (*_NAMES, found)):
                try:
                    library = ctypes.CDLL(name)
                    break
                except OSError:
                    continue
            else:
                raise OSError(errno.ENOENT, "SRT needs libsrt, which is not here (Debian: apt-get install libsrt1.5-gnutls)")
            library.srt_getlasterror_str.restype = library.srt_rejectreason_str.restype = ctypes.c_char_p
            library.srt_startup()
            library.srt_setloglevel(0)  # LOG_EMERG: what matters comes back as an error
            _library = library
    return _library


def pack_address(host: str, port: int) -> bytes:
    """A sockaddr_in or sockaddr_in6. Raises OSError for a host that is not known."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    head = struct.pack("=H", family) if sys.platform != "darwin" else struct.pack("=BB", 28 if family == socket.AF_INET6 else 16, family)
    if family == socket.AF_INET:
        return head + struct.pack("!H4s8x", port, socket.inet_aton(str(address[0])))
    flow, scope = (address[2], address[3]) if len(address) == 4 else (0, 0)
    raw = socket.inet_pton(socket.AF_INET6, str(address[0]).partition("%")[0])
    return head + struct.pack("!HI16s", port, flow, raw) + struct.pack("=I", scope)
