"""Observers: what watches one live stream."""

from __future__ import annotations

from dataclasses import dataclass

from .event_log import EventLog
from .telemetry import PreviewTap, StreamTelemetry


@dataclass(frozen=True, slots=True)
class Observers:
    """The counters of a stream, its log, and the preview where there is one."""

    telemetry: StreamTelemetry
    log: EventLog
    tap: PreviewTap | None = None
