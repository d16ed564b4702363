"""Demuxing: the packets of an open input, one after another, past damage and on one clock."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import av.error

from ..errors import SourceError
from .clock import Clock
from .coverage import Coverage
from .decoding import SourceCount, settle_time
from .input_container import has_restarts


class Demuxer:
    """Iterate once. Raises SourceError after more than `max_errors` failures.

    only: the one stream whose packets are wanted; None: all of them. shift: seconds taken off the input's times in messages.
    """

    def __init__(
        self, url: str, container: av.container.InputContainer, *, only: av.VideoStream | None, shift: Fraction, max_errors: int,
        count: SourceCount, coverage: Coverage,
    ) -> None:  # fmt: skip
        self._url, self._container, self._shift, self._max_errors = url, container, shift, max_errors
        self._wanted = [] if only is None else [only]  # [] is all of them
        self._count, self._coverage, self._clock = count, coverage, Clock()
        self._packets = self._carried_on() if has_restarts(container) else self._read()

    def __iter__(self) -> Iterator[av.Packet]:
        return self

    def __next__(self) -> av.Packet:
        return next(self._packets)

    @property
    def has_restarted(self) -> bool:
        """Whether the input's clock began anew so far."""
        return bool(self._clock.restarts)

    def _read(self) -> Iterator[av.Packet]:
        packets = self._container.demux(*self._wanted)
        failures = 0
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                self._coverage.is_at_end = True
                break
            except av.error.FFmpegError as error:
                failures += 1
                self._count.add_damage(error)
                # FFmpeg's demuxers go on after most errors; a generator that raised does not
                packets = self._container.demux(*self._wanted)
                if failures > self._max_errors:
                    raise SourceError(f"{self._url}: cannot be read further: {error}.") from error
                continue
            settle_time(packet, self._container)
            self._coverage.see(packet)
            yield packet

    def _carried_on(self) -> Iterator[av.Packet]:
        clock = self._clock
        yield from clock.carry_on(self._read())
        if clock.restarts:
            at = ", ".join(f"{float(time - self._shift):.3f} s" for time in clock.restarts[:5])
            self._count.notes.append(f"the input's clock starts anew {len(clock.restarts)} times, near {at}: it was continued there")
