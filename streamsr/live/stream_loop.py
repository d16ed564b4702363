"""LiveRun: one stream from its first picture to its account.

Three threads and a process: LiveSource reads and decodes, this thread upscales and encodes, Publisher feeds the relay process
that writes. Between them stand a buffer where the newest frame wins and a queue that never makes anyone wait.

Note [On their way]: on a GPU a picture that waits is begun while those before it are computed or encoded, as many as the device
has room for. One that waits for nothing is alone there, and leaves as soon as it is done: latency comes before throughput.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

import av

from ..compare.result_check import ResultCheck
from ..errors import AccountError, Interrupted, SinkError, SourceError, StreamsrError
from ..options import LiveOptions, RunOptions
from .fallback_models import LiveModels
from .frame_buffer import FrameBuffer, TimedFrame
from .ledger import Ledger
from .live_encoder import LiveEncoder
from .live_report import LiveReport
from .live_source import LiveSource
from .observers import Observers
from .output_target import Target
from .publisher import Publisher
from .quality_ladder import Ladder
from .slate import make_slate
from .timeline import Timeline

_POLL_S = 0.1  # how soon a signal is noticed
_STATUS_EVERY_S = 10.0
_PATIENCE = 3  # frames that may be missing before the last one is shown again
_DRAIN_MOST = 8  # frames that are still upscaled after the end was asked for


@dataclass(slots=True)
class Flying:
    """A picture from its turn to its encoding."""

    picture: TimedFrame
    out_s: float
    late_s: float  # behind the source's clock when its turn came
    began: float


class LiveRun:
    """The state of one run."""

    def __init__(
        self, src: str, target: Target, report: LiveReport, models: LiveModels, options: RunOptions, live: LiveOptions,
        observers: Observers, stop: threading.Event,
    ) -> None:  # fmt: skip
        self.target, self.report, self.models, self.sink, self.live = target, report, models, options.sink, live
        self.telemetry, self.tap, self.log, self.stop = observers.telemetry, observers.tap, observers.log, stop
        telemetry, log, source = observers.telemetry, observers.log, options.source
        self.num_frames = source.num_frames
        self.timeline = Timeline()
        self.ledger = Ledger(report, telemetry, log)
        self.buffer = FrameBuffer(
            live.max_latency_s, late_s=lambda picture: self.timeline.late_s(picture.out_s, time.monotonic()),
            came=self.ledger.came, dropped=self.ledger.dropped,
        )  # fmt: skip
        self.source = LiveSource(src, source, live, self.timeline, self.buffer, telemetry=telemetry, log=log)
        self.encoder: LiveEncoder | None = None
        self.publisher: Publisher | None = None
        self.origin_s = 0.0  # output time of the first frame
        self.last_out_s = -1.0
        self.last: av.VideoFrame | None = None  # what was shown last
        self.slate: av.VideoFrame | None = None
        self.shown_at = 0.0
        self.is_holding = False
        self.session = 0
        self.audio_session: dict[int, int] = {}
        self.num_taken = 0
        self.flying: deque[Flying] = deque()  # what the models have and the encoder has not yet
        self.landed = 0.0  # when the last picture went out
        self.work_s = 0.0  # that it took
        self.is_draining = False
        self.check: ResultCheck | None = None
        if live.judge:
            self.check = ResultCheck(
                live.judge, device=options.upscale.device, threads=options.upscale.threads, waits=False, on_score=telemetry.scored
            )

    def run(self) -> LiveReport:
        started = time.monotonic()
        report, failure = self.report, None
        self.source.start()
        try:
            first = self._wait_for_first()
            with self.models:
                self._open(first)
                report.first_frame_s = time.monotonic() - started
                self._loop()
                self._drain()
                self.ledger.describe(self.source.facts, self.models, self.encoder)
        except StreamsrError as error:
            failure = error
            self.buffer.close()
            self.ledger.dropped("failed", len(self.flying) + (len(self.buffer) if report.num_in else 0))
        except KeyboardInterrupt:  # the second signal: at once
            if self.publisher is not None:
                self.publisher.kill()
            raise
        finally:
            self.source.close()
            if self.publisher is not None:
                self.publisher.close()
            if self.check is not None:
                self.check.close()
        report.elapsed_s = time.monotonic() - started
        self.ledger.close(self.source.facts, self.buffer, self.timeline)
        failure = failure or (self.publisher.failure if self.publisher else None)
        if report.ended_by == "source" and self.source.ended.is_set():  # it was given up, or just ended
            failure = failure or self.source.failure
        if failure is not None:
            report.ended_by = "failure"
            self.log.event("stream failed", level="error", account=report.line())  # who takes the error says why
            raise failure
        if not report.balanced:
            raise AccountError(report.line())
        return report

    def _wait_for_first(self) -> TimedFrame:
        while not self.stop.is_set():
            self._turn()
            picture = self.buffer.peek(_POLL_S)
            if picture is not None:
                return picture
            if self.source.ended.is_set():
                raise self.source.failure or SourceError(f"{self.report.input} ended before its first picture.")
        raise Interrupted("Interrupted before the first frame.")

    def _open(self, first: TimedFrame) -> None:
        """Everything that needs to know the picture: models, encoder, publisher."""
        facts = self.source.facts
        assert facts.tags is not None
        after = self.models.open(first.video)
        self.ladder = Ladder(self.models.names, self.live.max_latency_s)
        self.ladder.follow(self.models.step, time.monotonic())
        with self.source.opened:
            self.encoder = LiveEncoder(
                after, facts.tags, facts.rate, facts.audio_streams, self.target.format, self.sink.encode, is_network=self.target.is_network
            )
        if self.sink.strict and self.encoder.losses:
            raise SinkError(f"--strict: {'; '.join(self.encoder.losses)}.")
        if self.live.on_loss == "slate":
            self.slate = self.encoder.adapt(make_slate(self.live.slate, after.width, after.height))
        self.telemetry.model(self.models.name)
        self.publisher = Publisher(
            self.target, self.encoder.header, facts.rate, self.live, telemetry=self.telemetry, log=self.log, ledger=self.ledger
        )
        while self.publisher.state != "ready" and self.publisher.failure is None and not self.stop.is_set():
            self._turn()
            time.sleep(0.01)
        self.buffer.open()

    def _loop(self) -> None:
        assert self.publisher is not None
        next_status = time.monotonic() + _STATUS_EVERY_S
        while True:
            self._turn()
            picture = None if self.flying else self.buffer.take(min(_POLL_S, self._hold_in_s()))
            is_idle = picture is None and not self.flying
            self._carry_audio()
            self.telemetry.queue_depth(len(self.buffer))
            if picture is not None:
                self._begin(picture)
            if self.flying:
                self._begin_more()
                self._land()
            if self.publisher.failure is not None:
                raise self.publisher.failure
            if self._is_over(is_idle=is_idle):
                return
            if is_idle and self._hold_in_s() <= 0:
                self._hold()
            if time.monotonic() >= next_status:
                next_status += _STATUS_EVERY_S
                self.ledger.tell()

    def _turn(self) -> None:
        self.telemetry.turn()
        self.log.tick()

    def _is_over(self, *, is_idle: bool) -> bool:
        if self.stop.is_set():
            self.report.ended_by = "stop"
        elif self.num_frames is not None and self.num_taken >= self.num_frames:
            self.report.ended_by = "frames"
        elif is_idle and (self.source.ended.is_set() or (self.source.lost.is_set() and self.live.on_loss == "stop")):
            self.report.ended_by = "source"
        return self.report.ended_by != ""

    def _begin(self, picture: TimedFrame) -> None:
        """Begin to upscale a picture whose turn it is."""
        assert self.publisher is not None
        now = time.monotonic()
        late_s = self.timeline.late_s(picture.out_s, now)
        out_s = self.timeline.deliver(picture.out_s, now)
        if out_s is None:  # a payloader that cuts a picture in two gives both halves the same time
            self.ledger.dropped("same time" if picture.out_s == self.last_out_s else "late", 1)
            return
        self.last_out_s = out_s
        state = self.publisher.state
        if state != "ready":
            self.ledger.dropped(state, 1)
            return
        if picture.session != self.session:
            self.session = picture.session
            self.models.restart()
        if self.ladder.step != self.models.step and not self.flying:
            self._change_model()
        if self.num_taken == 0:
            self.origin_s = out_s
        self.num_taken += 1
        self.models.put(picture.video)
        self.flying.append(Flying(picture, out_s, late_s, now))

    def _begin_more(self) -> None:
        """Begin with pictures that wait while others are on their way, where there is room for it (on a GPU).

        None that would be late when the others have gone: until then a newer one may take its place. Neither where another model is next.
        """
        while self.flying and self.models.has_room and self.ladder.step == self.models.step and not self.is_draining:
            if self.num_frames is not None and self.num_taken >= self.num_frames:
                return
            picture = self.buffer.take_early(self.work_s * len(self.flying))
            if picture is None:
                return
            self._begin(picture)

    def _land(self) -> None:
        """Wait for the picture that was begun first, encode and send it."""
        assert self.publisher is not None
        assert self.encoder is not None
        before = self.models.step
        after = self.models.take()
        self._begin_more()  # it is computed while this one is encoded
        flown = self.flying[0]
        picture = flown.picture
        self.last, self.shown_at, self.is_holding = after, flown.began, False
        self.publisher.put(self.encoder.encode(after, flown.out_s - self.origin_s, key=self.publisher.needs_key, arrived=picture.arrived))
        self.flying.popleft()
        self.telemetry.engine_seconds(self.models.take_engine_s())
        if self.check is not None:
            self.check(picture.video, after)
        if self.tap is not None:
            self.tap.offer(picture.video, after, pixel_aspect=self.encoder.tags.sar)
        self._adapt(flown, before)

    def _adapt(self, flown: Flying, before: int) -> None:
        """See streamsr.live.quality_ladder. before: the step that the models were on when the picture had its turn."""
        now = time.monotonic()
        # of a picture that was begun before the last one went out, the time since: what they share counts once
        self.work_s, self.landed = now - max(flown.began, self.landed), now
        if self.models.step != before:
            self.ladder.follow(self.models.step, now)
            self._tell_model("quality lowered", reason=self.models.notes[-1])
        self.ladder.observe(
            flown.began, interval_s=flown.picture.interval_s, work_s=self.work_s, late_s=flown.late_s, dropped=self.ledger.take_late()
        )

    def _change_model(self) -> None:
        """Go to the ladder's step; nothing is on its way."""
        is_lower = self.ladder.step > self.models.step
        self.models.use(self.ladder.step)
        self._tell_model("quality lowered" if is_lower else "quality raised")

    def _tell_model(self, event: str, **fields: str) -> None:
        self.telemetry.model(self.models.name)
        self.log.event(event, level="warning" if event == "quality lowered" else "info", model=self.models.name, **fields)

    def _hold_in_s(self) -> float:
        """Seconds until the last picture has to be shown again."""
        if self.last is None:
            return _POLL_S
        interval_s = 1 / float(self.source.facts.rate)
        patience_s = interval_s
        if not self.is_holding:  # what comes within the delay that is allowed comes in time; a source known as lost sends nothing
            patience_s = max(_PATIENCE * interval_s, 0.0 if self.source.lost.is_set() else self.live.max_latency_s)
        return max(0.0, self.shown_at + patience_s - time.monotonic())

    def _hold(self) -> None:
        """Nothing comes: show the last picture again, so that the output goes on."""
        assert self.publisher is not None
        assert self.encoder is not None
        now = time.monotonic()
        # on the beat: a pass that took too long must not slow the rate down
        self.shown_at = max(self.shown_at + 1 / float(self.source.facts.rate), now - 1) if self.is_holding else now
        frame = self.slate if self.slate is not None and self.source.lost.is_set() else self.last
        if self.live.on_loss == "stop" or self.publisher.state != "ready" or frame is None:
            return
        out_s = self.timeline.hold(now)
        if out_s is None:
            return
        if not self.is_holding:
            words = "the source is gone" if self.source.lost.is_set() else "no new picture in time"
            self.log.event("holding", level="warning", url=self.report.input, words=f"{words}; the last one is shown again")
        self.is_holding = True
        self.ledger.held()
        self.publisher.put(self.encoder.encode(frame, out_s - self.origin_s, key=self.publisher.needs_key))

    def _carry_audio(self) -> None:
        assert self.publisher is not None
        assert self.encoder is not None
        for audio in self.source.take_audio():
            if self.num_taken == 0 or audio.out_s < self.origin_s:
                continue
            restart = self.audio_session.get(audio.number) != audio.session
            self.audio_session[audio.number] = audio.session
            self.publisher.put(self.encoder.carry(audio.packet, audio.number, audio.out_s - self.origin_s, restart=restart))

    def _drain(self) -> None:
        """Deliver what is in flight."""
        assert self.publisher is not None
        assert self.encoder is not None
        self.is_draining = True
        self.buffer.close()
        self.source.close()
        for _ in range(_DRAIN_MOST if self.report.ended_by != "frames" else 0):
            picture = self.buffer.take(0)
            if picture is None:
                break
            while self.flying and not self.models.has_room:
                self._land()
            self._begin(picture)
        while self.flying:
            self._land()
        self.ledger.dropped("at the end", len(self.buffer))
        self._carry_audio()
        self.publisher.put(self.encoder.finish())
