"""Where a server listens: HOST:PORT, read, checked and bound before anything else begins."""

from __future__ import annotations

import errno
import re
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from ..errors import UsageError

LOOPBACK = "127.0.0.1"
MIN_TOKEN = 8
TOKEN_OPTIONS = {"--preview": "--preview-token", "--listen": "--token"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A place to listen. host: a name or an address, IPv6 without brackets. port: 0 to 65535, 0 takes any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self}/"


def parse_endpoint(text: str) -> Endpoint:
    """Read `HOST:PORT`, `[IPv6]:PORT` or `PORT`, which is on 127.0.0.1. Raises ValueError that says what is wrong."""
    if re.fullmatch(r":\d+", text):
        raise ValueError(f"{text!r} does not say where: {LOOPBACK}{text} is this machine only, 0.0.0.0{text} is everybody")
    found = re.fullmatch(r"(?:\[(?P<six>[^\[\]]+)\]:|(?P<host>[^\s:/@\[\]]+):)?(?P<port>\d{1,5})", text, re.ASCII)
    if found is None:
        six, _, end = text.rpartition(":")
        raise ValueError(f"{text!r} is not HOST:PORT, {f'brackets: [{six}]:{end}' if _is_six(six) else 'such as 127.0.0.1:8080'}")
    host, port = found["six"] or found["host"] or LOOPBACK, int(found["port"])
    if port > 65535:
        raise ValueError(f"{text!r} has port {port}; ports end at 65535")
    if found["six"] and not _is_six(host):
        raise ValueError(f"{text!r}: {host!r} is not an IPv6 address")
    return Endpoint(host, port)


def is_loopback(endpoint: Endpoint, *, option: str) -> bool:
    """Whether only this machine reaches it; a name counts when each of its addresses does. Raises as `listen` does."""
    return all(ip_address(str(sockaddr[0]).partition("%")[0]).is_loopback for *_, sockaddr in _resolve(endpoint, option))


def check_access(endpoint: Endpoint, token: str | None, *, option: str) -> None:
    """Raises UsageError for a page with pictures that others than this machine reach without a token of some length."""
    if token is None and not is_loopback(endpoint, option=option):
        raise UsageError(
            f"{option} {endpoint} shows the pictures to everybody who reaches {endpoint.host}.",
            hint=f"add {TOKEN_OPTIONS[option]} TOKEN, which viewers have to know, or listen on {LOOPBACK}",
        )
    if token is not None and len(token) < MIN_TOKEN:
        raise UsageError(f"{TOKEN_OPTIONS[option]} has {len(token)} characters; it needs {MIN_TOKEN} or more.",
                         hint="python3 -c 'import secrets; print(secrets.token_urlsafe())' makes a good one")  # fmt: skip


def listen(endpoint: Endpoint, *, option: str) -> socket.socket:
    """A socket that listens there; connections wait until a server takes them.

    option: the option the address came from, for the message.
    Raises UsageError when the port is taken, needs privileges, or the host is unknown or not of this machine.
    """
    # of a name with addresses of both kinds the IPv4 one, which every client of that name tries too
    family, kind, protocol, _, sockaddr = min(_resolve(endpoint, option), key=lambda entry: entry[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restart does not wait for the last run's connections
        listener.bind(sockaddr)
        listener.listen(64)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            hint = f"stop the program that has it, or choose another port, such as {option} {_neighbour(endpoint)}"
            raise UsageError(f"{option} {endpoint}: the port is taken by another program.", hint=hint) from error
        if error.errno == errno.EACCES:
            hint = f"such as {option} {Endpoint(endpoint.host, 8080)}"
            raise UsageError(f"{option} {endpoint}: ports below 1024 need privileges.", hint=hint) from error
        hint = "`ip addr` lists this machine's addresses"
        raise UsageError(f"{option} {endpoint}: cannot listen there ({error.strerror}).", hint=hint) from error
    return listener


def bound(listener: socket.socket, endpoint: Endpoint) -> Endpoint:
    """The address with the port that it got."""
    return Endpoint(endpoint.host, int(listener.getsockname()[1]))


def _is_six(host: str) -> bool:
    try:
        return ip_address(host).version == 6
    except ValueError:
        return False


def _resolve(endpoint: Endpoint, option: str) -> list[tuple[Any, ...]]:
    try:
        return list(socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))
    except (OSError, UnicodeError) as error:  # UnicodeError: no name at all
        hint = f"such as {option} {LOOPBACK}:{endpoint.port}"
        raise UsageError(f"{option} {endpoint}: the host {endpoint.host!r} is unknown.", hint=hint) from error


def _neighbour(endpoint: Endpoint) -> Endpoint:
    return Endpoint(endpoint.host, endpoint.port + 1 if endpoint.port < 65535 else endpoint.port - 1)
