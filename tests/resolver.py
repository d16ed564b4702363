"""Run a command in a network namespace whose resolver records every question: LOG RESOLV_CONF COMMAND...

Start it in namespaces of its own (`unshare --mount --net`). Each name that is asked for becomes a line of LOG; the answer is
always that there is no such name. The exit code is the command's.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_NO_SUCH_NAME = struct.pack("!H", 0x8183)


def loopback_up() -> None:
    """Bring `lo` up, as `ip link set lo up` does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        (flags,) = struct.unpack("16xH14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def question(message: bytes) -> tuple[str, int]:
    """(the name that a DNS message asks for, where its question ends). Source: RFC 1035 section 4.1.2."""
    labels, at = [], 12
    while message[at]:
        labels.append(message[at + 1 : at + 1 + message[at]].decode("ascii", "replace"))
        at += 1 + message[at]
    return ".".join(labels), at + 5


def record(server: socket.socket, log: int) -> None:
    """Write down every question, and answer that there is no such name."""
    while True:
        message, peer = server.recvfrom(4096)
        name, end = question(message)
        os.write(log, f"{name}\n".encode())
        server.sendto(message[:2] + _NO_SUCH_NAME + message[4:6] + bytes(6) + message[12:end], peer)


def main(log: str, resolv_conf: str, *command: str) -> int:
    """Set the namespace up, run the command, and return its exit code."""
    loopback_up()
    with open(resolv_conf, "w") as file:
        file.write("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    subprocess.run(["mount", "--bind", resolv_conf, "/etc/resolv.conf"], check=True)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    written = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    threading.Thread(target=record, args=(server, written), daemon=True).start()
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
