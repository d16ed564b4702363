"""LiveSource: keeps a session with the source, in a thread of its own, and sorts what comes onto the output's time line."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import av

from ..errors import SourceError, StreamsrError, UsageError
from ..io.tags import Tags
from ..options import LiveOptions, SourceOptions
from .address import is_live
from .backoff import Backoff
from .event_log import EventLog
from .frame_buffer import FrameBuffer, TimedFrame
from .redaction import redact_text
from .source_session import Arrival, RefusedError, Session
from .telemetry import StreamTelemetry
from .timeline import Timeline

_MAX_AUDIO_PACKETS = 4000  # packets that wait for the loop; a minute of AAC


@dataclass(slots=True)
class AudioPacket:
    """A packet of audio on its way."""

    packet: av.Packet
    number: int  # which of the source's audio_streams
    out_s: float
    session: int


@dataclass(slots=True)
class SourceFacts:
    """What was learned of the source over all its sessions."""

    tags: Tags | None = None  # of the first picture
    rate: Fraction = Fraction(25)
    audio_streams: Sequence[av.AudioStream] = ()  # of the running session
    num_sessions: int = 0
    num_corrupt_packets: int = 0
    num_repaired_pts: int = 0
    num_deinterlaced: int = 0
    notes: list[str] = field(default_factory=list)


class LiveSource:
    """Reads `url` until `stop`; what was read waits in `buffer` (pictures) and `take_audio`.

    ended: set when no more will come; `failure` then says why, None where the source just ended.
    """

    def __init__(
        self, url: str, options: SourceOptions, live: LiveOptions, timeline: Timeline, buffer: FrameBuffer, *, telemetry: StreamTelemetry,
        log: EventLog,
    ) -> None:  # fmt: skip
        self.url, self.options, self.live = url, options, live
        self.timeline, self.buffer = timeline, buffer
        self.facts = SourceFacts()
        self.failure: StreamsrError | None = None
        self.ended = threading.Event()
        self.lost = threading.Event()  # no session now; not set before the first one
        self.opened = threading.Lock()  # held while a session opens or closes: who looks at `facts.audio_streams` takes it
        self._telemetry, self._log = telemetry, log
        self._stop = threading.Event()
        self._audio: deque[AudioPacket] = deque(maxlen=_MAX_AUDIO_PACKETS)
        self._audio_codecs: list[tuple[str, int, int]] = []
        self._thread = threading.Thread(target=self._run, name="streamsr-source", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the session; a read that waits is left behind, it ends with its timeout or with the process."""
        self._stop.set()
        self._thread.join(1.0)

    def take_audio(self) -> list[AudioPacket]:
        """Audio received since the last call, in order."""
        audio_streams = []
        while self._audio:
            audio_streams.append(self._audio.popleft())
        return audio_streams

    def _run(self) -> None:
        backoff = Backoff(self.live.reconnect)
        while not self._stop.is_set():
            self._telemetry.state("source", "connecting")
            started = time.monotonic()
            before = self.facts.num_sessions
            failure: StreamsrError | None = None
            try:
                self._serve()
            except SourceError as error:
                failure = error
            except UsageError as error:  # of options that only the pictures could show to be wrong
                self.failure = error
                break
            except Exception as error:  # a fault of ours must not end the thread in silence: the loop raises it
                self.failure = SourceError(f"{redact_text(str(error), self.url)} ({type(error).__name__})")
                break
            if self._stop.is_set():
                break
            had_session = self.facts.num_sessions > before
            backoff.succeeded(time.monotonic() - started if had_session else 0.0)
            wait_s = backoff.wait_s()
            if wait_s is None or not is_live(self.url) or (isinstance(failure, RefusedError) and self.facts.num_sessions == 0):
                self.failure = failure
                break
            self._telemetry.state("source", "lost")
            self.lost.set()
            reason = failure.message if failure is not None else "the source ended the stream"
            self._log.event("source lost", level="warning", url=self.url, reason=reason, next_try_s=wait_s)
            self.buffer.wake()
            self._stop.wait(wait_s)
        self._telemetry.state("source", "ended")
        self.ended.set()
        self.buffer.wake()

    def _serve(self) -> None:
        """One session, until it ends (returns) or is lost (raises)."""
        session = Session(self.url, self.options, self.live)
        facts = self.facts
        number = facts.num_sessions + 1
        try:
            with self.opened:
                facts.audio_streams = session.audio_streams
            self.timeline.new_session()
            is_known = facts.tags is not None
            for arrival in session.arrivals():
                if self._stop.is_set():
                    return
                if number > facts.num_sessions and arrival.audio is None:
                    self._connected(session, arrival, number)
                self._sort(arrival, session, number, is_known=is_known)
        finally:
            with self.opened:
                facts.audio_streams = ()
                facts.num_corrupt_packets += session.count.num_corrupt_packets
                facts.num_repaired_pts += session.count.num_repaired_pts
                facts.num_deinterlaced += session.count.num_deinterlaced
                session.close()

    def _connected(self, session: Session, arrival: Arrival, number: int) -> None:
        """The first picture of a session is there."""
        facts = self.facts
        assert isinstance(arrival.item, av.VideoFrame)
        tags = session.tags(arrival.item)
        if facts.tags is None:
            facts.rate = session.rate
            self._audio_codecs = session.audio_codecs
            if session.num_silent:
                facts.notes.append(f"{session.num_silent} announced audio stream(s) had not begun at the start and were left out")
            if self.options.crop == "auto":
                facts.notes.append("black bars stay: --crop auto is for files; --crop WxH+X+Y is for live streams, too")
            facts.tags = tags
        else:
            self._telemetry.reconnected("source")
        facts.num_sessions = number
        self.lost.clear()
        self._telemetry.state("source", "connected")
        self._log.event(
            "source connected", url=self.url, video=session.stream.codec_context.name, size=f"{tags.width}x{tags.height}",
            rate=float(session.rate), audio=[codec for codec, *_ in session.audio_codecs],
        )  # fmt: skip

    def _sort(self, arrival: Arrival, session: Session, number: int, *, is_known: bool) -> None:
        item = arrival.item
        if isinstance(item, av.VideoFrame):
            out_s = self.timeline.place("video", arrival.media_s, arrival.arrived, fresh=arrival.fresh)
            self.buffer.put(TimedFrame(item, out_s, arrival.arrived, number, 1 / float(session.rate)))
            return
        assert arrival.audio is not None
        codecs, known = session.audio_codecs, self._audio_codecs
        if is_known and (arrival.audio >= len(known) or codecs[arrival.audio] != known[arrival.audio]):
            words = f"audio {arrival.audio} changed from one session to the next and was left out"
            if words not in self.facts.notes:
                self.facts.notes.append(words)
            return
        out_s = self.timeline.place("audio", arrival.media_s, arrival.arrived, fresh=arrival.fresh)
        self._audio.append(AudioPacket(item, arrival.audio, out_s, number))
