"""Timeline: from the source's timestamps to the output's, which never go back, and how late a frame is.

Within one run of the source's clock, output time is media time plus a shift, the same for picture and audio, so they
stay in sync to the tick. Where the clock jumps, or after a reconnect, a new shift continues the output at the time that
has passed on the wall.

Note [Now]: `now + lead` is the output time that a frame would have which arrives undelayed at this moment. `lead` is the
largest (output time - arrival) of the last seconds: the frames that the network delayed least. Only packets that the reader had
to wait for can make it smaller: what lay in a socket already tells nothing of the source's clock.
"""

from __future__ import annotations

import threading
from typing import Literal

Kind = Literal["video", "audio"]

JUMP_S = 2.0  # so far ahead of the wall clock (or behind, going back) is a new clock and not jitter
BACK_S = 0.5  # a step back larger than any reordering
STALE_S = 1.0  # frames that stay behind the output for so long come from a source that paused: they are moved
STEP_S = 0.002  # between two frames at least: Matroska and FLV count milliseconds, and times must differ there too
WINDOW_S = 5.0  # of the arrivals that `lead` looks at; two such windows


class Timeline:
    """All times in seconds; `now` is the monotonic clock. Safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shift: float | None = None
        self._before: float | None = None  # the shift before a jump: the other kind of packet may not have jumped yet
        self._media: dict[Kind, float] = {}  # last media time of each kind
        self._lead: float | None = None
        self._window_lead: float | None = None
        self._window_start = 0.0
        self._last: float | None = None  # output time of the last frame delivered
        self._stale_since: float | None = None
        self.num_jumps = 0

    def new_session(self) -> None:
        """The source was connected again: its clock is unrelated to the previous one."""
        with self._lock:
            self._shift = self._before = None
            self._media.clear()

    def place(self, kind: Kind, media_s: float, now: float, *, fresh: bool = True) -> float:
        """The output time of media time `media_s`, which arrived now; fresh: the reader had waited for it."""
        with self._lock:
            target = now + self._lead if self._lead is not None else 0.0
            if self._shift is None:
                self._shift = target - media_s
            out = media_s + self._shift
            if self._before is not None and abs(media_s + self._before - target) < abs(out - target):
                out = media_s + self._before
            went_back = media_s < self._media.get(kind, media_s) - BACK_S
            if self._lead is not None and (out - target > JUMP_S or (went_back and abs(out - target) > BACK_S)):
                self._before, self._shift = self._shift, target - media_s
                self.num_jumps += 1
                out = target
            self._media[kind] = media_s
            if kind == "video" or self._lead is None:
                self._follow(out - now, now, fresh=fresh)
            return out

    def late_s(self, out_s: float, now: float) -> float:
        """How far a frame of this output time is behind the source's clock."""
        with self._lock:
            return 0.0 if self._lead is None else now + self._lead - out_s

    def deliver(self, out_s: float, now: float) -> float | None:
        """The output time of a frame that goes out next, STEP_S after the last one at least; None where the output is past it already."""
        with self._lock:
            if self._last is not None and out_s <= self._last:
                if self._stale_since is None:
                    self._stale_since = now
                if now - self._stale_since < STALE_S or self._shift is None or self._lead is None:
                    return None
                moved = max(now + self._lead, self._last + STEP_S)
                self._shift, self._before = self._shift + moved - out_s, None
                out_s = moved
                self.num_jumps += 1
            self._stale_since = None
            self._last = out_s if self._last is None else max(out_s, self._last + STEP_S)  # it may follow on a picture shown again
            return self._last

    def hold(self, now: float) -> float | None:
        """The output time of a frame that is shown again now; None where that is less than STEP_S after the last one."""
        with self._lock:
            if self._lead is None or (self._last is not None and now + self._lead < self._last + STEP_S):
                return None
            self._last = now + self._lead
            return self._last

    def _follow(self, lead: float, now: float, *, fresh: bool) -> None:
        """See Note [Now]."""
        if self._lead is None or lead > self._lead:
            self._lead = lead
        if not fresh:
            return
        if self._window_lead is None or now - self._window_start > WINDOW_S:
            if self._window_lead is not None:
                self._lead = max(self._window_lead, lead)
            self._window_lead, self._window_start = lead, now
        self._window_lead = max(self._window_lead, lead)
