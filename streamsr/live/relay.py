"""The process that writes one live output: started with the number of a status descriptor by streamsr.live.publisher.

A process of its own, because FFmpeg's writers can block where nothing can interrupt them (PyAV connects with Python's
lock held): the publisher ends a relay that hangs, and no thread of the stream ever waits for a network.

In on stdin: one JSON line with the order, the header of streamsr.live.live_encoder, then packets. Out on the status
descriptor: one JSON line for each state, and one byte for each packet that FFmpeg took or refused. The URL is never on
a command line.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from contextlib import closing
from fractions import Fraction
from typing import BinaryIO

import av

from ..io.disk import Disk, DiskFile
from .packet_ipc import unpack
from .recording import Recording, clear_hls
from .srt import PAYLOAD_BYTES, SrtFile

TAKEN, REFUSED = b".", b"!"
BUFFER_BYTES = 32768
_MAX_REFUSED = 50  # packets in a row


def relay(pipe: BinaryIO, status: int) -> None:
    """Carry out one order."""
    order = json.loads(pipe.readline())
    templates = av.open(io.BytesIO(pipe.read(order["header_bytes"])), format="nut")
    disk = Disk()

    def open_file(url: str) -> tuple[av.container.OutputContainer, list[av.stream.Stream]]:
        file: SrtFile | DiskFile | str = url
        if url.startswith("srt://"):
            file = SrtFile(url, timeout_s=order["timeout_s"])
        elif order["is_file"] and order["muxer"] != "hls":
            file = disk.open(url)
        # a message of SRT is one write: never larger than its payload
        size = PAYLOAD_BYTES if isinstance(file, SrtFile) else BUFFER_BYTES
        io_open = disk.lend if order["muxer"] == "hls" else None
        container = av.open(file, "w", format=order["muxer"], container_options=order["options"], buffer_size=size, io_open=io_open)
        streams = [container.add_stream_from_template(stream, opaque=True) for stream in templates.streams]
        for template, stream in zip(templates.streams, streams, strict=True):
            if isinstance(template, av.VideoStream) and isinstance(stream, av.VideoStream):
                stream.codec_context.framerate = Fraction(order["rate"])
        container.start_encoding()
        return container, list(streams)

    say(status, state="connecting")
    if order["muxer"] == "hls":
        clear_hls(order["url"])
    output: Output | Recording
    if order["cut_s"] is None:
        output = Output(*open_file(order["url"]))
    else:
        output = Recording(
            order["url"], order["cut_s"], open_file, settle=disk.settle, finished=lambda path: say(status, state="file", path=str(path))
        )
    with closing(output):
        say(status, state="connected")
        refused = 0
        for index, packet in unpack(pipe):
            try:
                output.mux(index, packet)
                refused = 0
            except (av.error.InvalidDataError, av.error.ArgumentError):  # damaged audio, or out of order: the others may be well
                refused += 1
                if refused > _MAX_REFUSED:
                    raise
            disk.check()
            os.write(status, REFUSED if refused else TAKEN)
    disk.settle()
    say(status, state="ended")


class Output:
    """One connection, file or playlist from the first packet to the last."""

    def __init__(self, container: av.container.OutputContainer, streams: list[av.stream.Stream]) -> None:
        self._container, self._streams = container, streams

    def mux(self, index: int, packet: av.Packet) -> None:
        packet.stream = self._streams[index]
        self._container.mux(packet)

    def close(self) -> None:
        self._container.close()


def say(status: int, **words: object) -> None:
    os.write(status, json.dumps(words).encode() + b"\n")


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal sends Ctrl-C to both; the publisher decides when this ends
        signal.signal(number, signal.SIG_IGN)
    status = int(sys.argv[1])
    try:
        relay(sys.stdin.buffer, status)
    except Exception as error:  # whatever it is, the publisher has to hear of it
        reason = getattr(error, "strerror", None) or str(error)
        if type(error) is OSError and error.filename:
            reason = f"{error.filename} cannot be written: {reason}"
        try:
            say(status, state="failed", reason=reason, errno=getattr(error, "errno", None), kind=type(error).__name__)
        except OSError:
            return 1  # nobody listens
        return 1
    return 0


if __name__ == "__main__":
    sys.stdout.flush()
    code = main()
    os._exit(code)  # a connection that is gone must not keep the interpreter from ending
