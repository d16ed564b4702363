"""Writing: the frames of one segment become packets in a file."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import av
import av.error

from ..errors import SinkError
from ..frame import sample_format
from ..io.containers import find_format
from ..io.encoder_settings import Encoding
from .job_spec import Result, Spec
from .segment_file import write_magic, write_packet
from .segment_reader import Part
from .segment_store import Draft, Store


@dataclass(frozen=True, slots=True)
class Note:
    """What the upscaler adds to a Result."""

    num_reused: int
    engine: str
    reason: str


class SegmentWriter:
    """Encodes one segment into a parcel."""

    def __init__(self, spec: Spec, part: Part, first: av.VideoFrame) -> None:
        self.spec, self.part = spec, part
        self._times = array("q")  # pts of each frame encoded
        self._packet_times = array("q")
        output = find_format(spec.target, spec.format)
        self.encoding = Encoding.choose(spec, (first.width, first.height), sample_format(first), output=output, wanted=spec.encode)
        self._draft: Draft | None = None
        try:
            # nothing is written to it: it gives the encoder the settings that the output's container will ask for
            self._container = av.open(os.devnull, "w", format=output.muxer)
            self._stream = self.encoding.add_stream(self._container)
            self._attached = self.encoding.open_codec(self._stream)
            self._draft = Store(spec.folder).create(f"{part.segment.number:05}")
            write_magic(self._draft)
        except (av.error.FFmpegError, OSError) as error:
            self.discard()
            raise self.encoding.explain(error, spec.target) from error

    def write(self, frame: av.VideoFrame) -> None:
        """Encode one frame."""
        assert frame.pts is not None
        try:
            self._times.append(frame.pts)
            frame = self.encoding.prepare(frame)
            self._attached.take(frame)
            self._keep(self._stream.encode(frame))
        except (av.error.FFmpegError, OSError) as error:
            self.discard()
            raise self.encoding.explain(error, self.spec.target) from error

    def finish(self, note: Note, *, complete: bool = True) -> Result:
        """Flush the encoder and the file, and free the encoder. Raises SinkError for a full disk, and where the encoder lost a frame."""
        assert self._draft is not None
        number = self.part.segment.number
        try:
            self._keep(self._stream.encode(None))
            if sorted(self._packet_times) != list(self._times):
                counts = f"{len(self._times)} frames in, {len(self._packet_times)} packets out"
                raise SinkError(f"{self.encoding.encoder} did not keep the frames of segment {number}: {counts}, or other times.")
            self._draft.publish()
        except (av.error.FFmpegError, OSError) as error:
            self.discard()
            raise self.encoding.explain(error, self.spec.target) from error
        except SinkError:
            self.discard()
            raise
        part, parameters = self.part, bytes(self._stream.codec_context.extradata or b"").hex()
        self._container.close()  # which frees the encoder; the garbage collector comes by much later
        return Result(
            number, self._draft.name, self._draft.size, self._draft.checksum, parameters=parameters, encoder=self.encoding.encoder,
            pts=self._times.tobytes(), num_decoded=part.num_decoded, num_upscaled=len(self._times),
            num_encoded=len(self._packet_times), num_missing=max(0, part.segment.num_frames - part.num_decoded),
            num_errors=part.num_errors, num_reused=note.num_reused, num_deinterlaced=part.num_deinterlaced,
            reorder=_reorder(self._packet_times), complete=complete, engine=note.engine, reason=note.reason,
            kinds=tuple(sorted(self._attached.kinds)),
        )  # fmt: skip

    def close_early(self) -> Result | None:
        """Make the existing part playable, after an interruption; None where that fails or nothing is there."""
        if self._draft is None:
            return None
        try:
            return self.finish(Note(0, "", ""), complete=False)
        except SinkError:
            return None

    def discard(self) -> None:
        if self._draft is not None:
            self._draft.discard()
            self._draft = None
            self._container.close()

    def _keep(self, packets: Iterable[av.Packet]) -> None:
        assert self._draft is not None
        base = self.spec.time_base
        for packet in self._attached.put(packets, size=(self.encoding.tags.width, self.encoding.tags.height)):
            assert packet.pts is not None
            pts = round(packet.pts * packet.time_base / base)
            self._packet_times.append(pts)
            write_packet(self._draft, packet, pts, round((packet.duration or 0) * packet.time_base / base))


def _reorder(times: array[int]) -> int:
    """How many packets the latest comes behind its place in presentation order."""
    places = {time: place for place, time in enumerate(sorted(times))}
    return max((number - places[time] for number, time in enumerate(times)), default=0)
