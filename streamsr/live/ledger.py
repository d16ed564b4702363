"""Ledger: every incoming frame and its outcome, for the report, the counters and the log at once."""

from __future__ import annotations

import threading
import time

from .event_log import EventLog
from .fallback_models import LiveModels
from .frame_buffer import FrameBuffer
from .live_encoder import LiveEncoder
from .live_report import LiveReport
from .live_source import SourceFacts
from .packet_ipc import EncodedPacket
from .telemetry import StreamTelemetry
from .timeline import Timeline


class Ledger:
    """Books frames into a report; every method may be called from any thread."""

    def __init__(self, report: LiveReport, telemetry: StreamTelemetry, log: EventLog) -> None:
        self.report = report
        self._telemetry, self._log = telemetry, log
        self._lock = threading.Lock()
        self._num_late = 0

    def came(self) -> None:
        """A frame was decoded."""
        with self._lock:
            self.report.num_in += 1
        self._telemetry.frame_in()

    def dropped(self, reason: str, count: int) -> None:
        """Frames will not go out."""
        if not count:
            return
        with self._lock:
            in_all = self.report.dropped[reason] = self.report.dropped.get(reason, 0) + count
            self._num_late += count if reason == "late" else 0
        self._telemetry.dropped(reason, count)
        self._log.event("frames dropped", level="warning", reason=reason, in_all=in_all)

    def held(self) -> None:
        """A picture was shown again."""
        self.report.num_held += 1
        self._telemetry.frame_held()

    def delivered(self, parcel: EncodedPacket) -> None:
        """FFmpeg took a packet for the sink."""
        if parcel.stream == 0 and parcel.arrived is not None:
            with self._lock:
                self.report.num_out += 1
            self._telemetry.frame_out(time.monotonic() - parcel.arrived)

    def take_late(self) -> int:
        """How many frames were dropped for lateness since the last call."""
        with self._lock:
            count, self._num_late = self._num_late, 0
            return count

    def tell(self) -> None:
        """A status line."""
        now = self._telemetry.snapshot()
        self._log.event(
            "running", fps_in=now["fps_in"], fps_out=now["fps_out"], p99_s=now["latency_recent"]["p99_s"], dropped=now["dropped"],
            model=now["model"],
        )  # fmt: skip

    def describe(self, facts: SourceFacts, models: LiveModels, encoder: LiveEncoder | None) -> None:
        """Record the stream's properties while it is still open."""
        report, running = self.report, models.running
        report.model, report.engine, report.reason = models.name, running.engine, running.reason
        report.source = facts.tags.describe() if facts.tags else {}
        report.rate = float(facts.rate)
        report.num_quality_changes = models.num_changes
        report.notes = [*facts.notes, *models.notes]
        if encoder is not None:
            report.encoder, report.result = encoder.name, encoder.tags.describe()
            report.notes += encoder.losses

    def close(self, facts: SourceFacts, buffer: FrameBuffer, timeline: Timeline) -> None:
        """Take over what is known once all is closed."""
        report, now = self.report, self._telemetry.snapshot()
        report.reconnects = now["reconnects"]
        report.latency = {key: value for key, value in now["latency"].items() if key != "counts"}
        report.num_before_start = buffer.num_before
        report.num_clock_jumps = timeline.num_jumps
        report.num_corrupt_packets = facts.num_corrupt_packets
