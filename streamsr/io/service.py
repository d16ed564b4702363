"""Service: the names of a broadcast's programme and its provider, which PyAV does not expose.

Read from the first packets of a transport stream: ISO/IEC 13818-1 section 2.4.4 (sections, PAT, PMT), ETSI EN 300 468 sections 5.2.3
(service description) and 6.2.33, annex A.2 (text).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_HEAD_BYTES = 4 << 20  # a service description comes at least every two seconds
_PACKET, _STAMPED = 188, 192  # bytes; with a time stamp in front (.m2ts)
_SERVICES_PID, _SERVICES_TABLE, _SERVICE_DESCRIPTOR = 0x11, 0x42, 0x48
_ISO_8859 = {number: f"iso8859-{number + 4}" for number in range(1, 12) if number != 8}
_MADE_UP = {"Service01", "FFmpeg"}  # what FFmpeg writes where nobody named anything


@dataclass(frozen=True, slots=True)
class Service:
    """Empty where it is not said."""

    name: str = ""
    provider: str = ""


def read_service(url: str, pid: int) -> Service:
    """The service of the programme whose video has this packet identifier; an empty one for what is no transport stream."""
    if url == "-" or not Path(url).is_file():
        return Service()
    facts = Path(url).stat()
    return _read(url, pid, facts.st_mtime_ns)


@lru_cache(maxsize=4)
def _read(url: str, pid: int, changed_ns: int) -> Service:
    with open(url, "rb") as file:
        data = file.read(_HEAD_BYTES)
    packets = list(_packets(data))
    services = {number: service for section in _sections(packets, _SERVICES_PID) for number, service in _services(section)}
    if not services:
        return Service()
    if len(services) > 1:
        for section in _sections(packets, 0):
            for at in range(8, len(section) - 7, 4):
                number, place = _number(section, at), _number(section, at + 2) & 0x1FFF
                if number in services and any(pid in _streams(pmt) for pmt in _sections(packets, place)):
                    return services[number]
    return next(iter(services.values()))


def _packets(data: bytes) -> Iterator[bytes]:
    for size, offset in ((_PACKET, 0), (_STAMPED, _STAMPED - _PACKET)):
        if len(data) >= 3 * size and all(data[at * size + offset] == 0x47 for at in range(3)):
            yield from (data[at : at + _PACKET] for at in range(offset, len(data) - _PACKET + 1, size))
            return


def _sections(packets: list[bytes], pid: int) -> Iterator[bytes]:
    """The whole sections of one packet identifier."""
    held = b""
    for packet in packets:
        if packet[0] != 0x47 or _number(packet, 1) & 0x1FFF != pid or not packet[3] & 0x10:
            continue
        payload = packet[4 + (1 + packet[4] if packet[3] & 0x20 else 0) :]
        if packet[1] & 0x40 and payload:  # a section begins behind the pointer
            held = payload[1 + payload[0] :]
        elif held:
            held += payload
        while len(held) >= 3 and held[0] != 0xFF:
            length = 3 + (_number(held, 1) & 0xFFF)
            if len(held) < length:
                break
            yield held[:length]
            held = held[length:]


def _services(section: bytes) -> Iterator[tuple[int, Service]]:
    if section[0] != _SERVICES_TABLE:
        return
    at = 11
    while at + 5 <= len(section) - 4:
        number, length = _number(section, at), _number(section, at + 3) & 0xFFF
        place, end = at + 5, at + 5 + length
        while place + 2 <= end:
            tag, size = section[place], section[place + 1]
            body = section[place + 2 : place + 2 + size]
            if tag == _SERVICE_DESCRIPTOR and len(body) >= 3:
                split = 2 + body[1]
                provider, name = body[2:split], body[split + 1 : split + 1 + body[split]] if split < len(body) else b""
                yield number, Service(*("" if text in _MADE_UP else text for text in (_text(name), _text(provider))))
            place += 2 + size
        at = end


def _streams(section: bytes) -> set[int]:
    """Packet identifiers of a programme."""
    if section[0] != 2 or len(section) < 16:
        return set()
    found, at = set(), 12 + (_number(section, 10) & 0xFFF)
    while at + 5 <= len(section) - 4:
        found.add(_number(section, at + 1) & 0x1FFF)
        at += 5 + (_number(section, at + 3) & 0xFFF)
    return found


def _text(data: bytes) -> str:
    if not data:
        return ""
    if data[0] == 0x10 and len(data) >= 3:
        charset, data = f"iso8859-{data[2]}", data[3:]
    elif data[0] in _ISO_8859:
        charset, data = _ISO_8859[data[0]], data[1:]
    elif data[0] < 0x20:
        charset, data = {0x11: "utf-16-be", 0x12: "euc-kr", 0x13: "gb2312", 0x14: "big5", 0x15: "utf-8"}.get(data[0], "latin-1"), data[1:]
    else:
        charset = "latin-1"  # nearly ISO 6937
    try:
        text = data.decode(charset, errors="replace")
    except LookupError:
        text = data.decode("latin-1")
    return "".join(letter for letter in text if letter.isprintable())


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")
