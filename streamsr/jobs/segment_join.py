"""Join: finished segments become the output by copying packets; everything beside the video comes from the source.

Note [Decoding times]: each segment was encoded as if it were alone, so its encoder counted decoding times from its own
first frame, and with a variable frame rate these may overlap at a seam. They are made anew for the whole: with a delay of
d frames, the n-th packet is decoded when the (n-d)-th frame is shown, the first d as much earlier as the d-th is later.
d is the longest reordering of any segment. This is what an encoder that runs through writes, and never runs backward.
"""

from __future__ import annotations

import hashlib
import threading
from array import array
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av

from ..errors import Interrupted, SinkError
from ..io.attached import find_lost
from ..io.decoding import packet_seconds
from ..io.sink import Sink
from ..io.source import Source
from ..options import SinkOptions
from .job_spec import Result, Spec
from .segment_file import read_packets
from .segment_store import Store


def join(
    source: Source, spec: Spec, results: Sequence[Result], options: SinkOptions, *, size: tuple[int, int], pix_fmt: str,
    stop: threading.Event,
) -> Sink:  # fmt: skip
    """A Sink that holds the video of `results`, in order, and the other streams of `source`; commit it.

    size, pix_fmt: of the upscaled frames. Raises SinkError, and Interrupted when `stop` is set; the partial file is then
    gone, the segments are not.
    """
    sink = Sink(spec.target, source, av.VideoFrame(*size, pix_fmt), options)
    try:
        expected = bytes(sink.stream.codec_context.extradata or b"").hex()
        for result in results:
            sink.pts.extend(result.times())
            if result.name is not None and result.parameters != expected:
                hint = "was it made by another version of the encoder? --restart makes all segments again"
                raise SinkError(f"Segment {result.number} has other {result.encoder} parameters than the output.", hint=hint)
        sink.lose(find_lost({kind for result in results for kind in result.kinds}, sink.encoder, sink.format))
        video = _video(spec, results, sink.pts)
        waiting = next(video, None)
        for packet in source.packets():
            seconds = packet_seconds(packet)
            if stop.is_set():
                raise Interrupted("Interrupted.")
            while waiting is not None and seconds is not None and _decoding_seconds(waiting) <= seconds:
                sink.join([waiting])
                waiting = next(video, None)
            sink.copy([packet])
        while waiting is not None:
            if stop.is_set():
                raise Interrupted("Interrupted.")
            sink.join([waiting])
            waiting = next(video, None)
        sink.finish()
    except BaseException:
        sink.abandon(keep=False)
        raise
    return sink


def _video(spec: Spec, results: Sequence[Result], times: array[int]) -> Iterator[av.Packet]:
    """The packets of all segments with the decoding times of the whole."""
    decoding = _decoding_times(times, max((result.reorder for result in results), default=0))
    for packet in _packets(spec, results):
        time = next(decoding, None)
        packet.dts = packet.pts if time is None else time  # too many packets: the account says so
        yield packet


def _packets(spec: Spec, results: Sequence[Result]) -> Iterator[av.Packet]:
    store = Store(spec.folder)
    for result in results:
        if result.name is None:
            continue
        try:
            with store.open(result.name) as file:
                counted = _Counted(file)
                yield from read_packets(counted, spec.time_base)  # type: ignore[arg-type]
        except OSError as error:
            raise SinkError(f"{result.name} in {spec.folder} cannot be read: {error.strerror}.", hint="run it again") from error
        if counted.checksum != result.checksum:
            raise SinkError(f"{result.name} in {spec.folder} has changed.", hint="the same command makes that segment again")


def _decoding_times(times: array[int], delay: int) -> Iterator[int]:
    """See Note [Decoding times]; `times` ascend."""
    delay = min(delay, len(times) - 1)
    for number in range(len(times)):
        yield times[number - delay] if number >= delay else times[number] - (times[delay] - times[0])


def _decoding_seconds(packet: av.Packet) -> Fraction:
    assert packet.dts is not None
    return packet.dts * packet.time_base


class _Counted:
    """A file that sums up what was read from it."""

    def __init__(self, file: object) -> None:
        self._file = file
        self._checksum = hashlib.blake2b(digest_size=16)

    def read(self, size: int) -> bytes:
        data: bytes = self._file.read(size)  # type: ignore[attr-defined]
        self._checksum.update(data)
        return data

    @property
    def checksum(self) -> str:
        return self._checksum.hexdigest()
