"""Fleet: several streams in one process. Each has its own thread, its own end and its own faults; they share engines and servers."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ..device.device_selection import deal, find_devices
from ..errors import Interrupted, SinkError, SourceError, StreamsrError
from ..options import FOREVER
from ..report_file import write_report
from .engine_pool import EnginePool
from .event_log import EventLog
from .live_report import LiveReport
from .monitoring import Watch
from .observers import Observers
from .stream_config import StreamConfig
from .telemetry import PreviewTap, StreamTelemetry

AGAIN_S = 60.0  # until a stream that failed is started again, where it is to reconnect forever
_TURN_S = 1.0


class Member:
    """One stream of a fleet, in a thread."""

    def __init__(
        self, config: StreamConfig, pool: EnginePool, watch: Watch, *, after: Sequence[Member], device: str
    ) -> None:  # fmt: skip
        """device: which of several that the configuration may mean this stream has got."""
        self.config = config
        self.device = device
        self.report: LiveReport | None = None
        self.failure: StreamsrError | None = None
        self.telemetry = StreamTelemetry(config.name)
        self._pool, self._watch, self._after = pool, watch, after
        self._log = EventLog(config.name, urls=[config.src, config.dst])
        self._stop = threading.Event()
        self._forgetting = threading.Lock()
        self._forgotten = False
        self._thread = threading.Thread(target=self._run, name=f"stream {config.name}", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def is_recording(self) -> bool:
        """Whether it writes a file now that gets its name at the end."""
        return self.is_alive and self.config.is_recording and self.telemetry.snapshot()["state"]["sink"] == "connected"

    def stop(self) -> None:
        """Ask it to drain and end; returns at once."""
        self._stop.set()
        if not self.is_alive:
            self._forget()

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join()

    def _forget(self) -> None:
        """Nobody is to watch it any more."""
        with self._forgetting:
            if not self._forgotten:
                self._watch.remove(self.telemetry)
            self._forgotten = True

    def _run(self) -> None:
        for other in self._after:
            other.join()
            other._forget()
        tap = self._watch.add(self.telemetry)
        try:
            while not self._stop.is_set():
                self._once(tap)
                if not self._wants_again():
                    break
                self._log.event("starts again", level="warning", in_s=AGAIN_S)
                self._wait(AGAIN_S)
        finally:
            self.telemetry.state("source", "ended")
            self.telemetry.state("sink", "ended")
            self._log.close()
            if self._stop.is_set() or self.failure is None:  # a stream that failed stays in sight
                self._forget()

    def _once(self, tap: PreviewTap | None) -> None:
        """One run, whatever it ends with."""
        self.failure = None
        config = self.config if self.device == self.config.device else self.config.on(self.device)
        try:
            observers = Observers(self.telemetry, self._log, tap)
            self.report = config.run(opener=self._pool.member(), observers=observers, stop=self._stop)
        except Interrupted:
            self._log.event("ended", reason="stopped before its first picture")
            return
        except StreamsrError as error:
            self.failure = error
        except Exception as error:  # a fault of ours in one stream is not the others'
            self.failure = StreamsrError(f"{type(error).__name__}: {error}")
        if self.failure is not None:
            self._log.failure(self.failure)
            return
        assert self.report is not None
        self._log.event("ended", exit_code=0, reason=self.report.ended_by, account=self.report.line(), notes=self.report.notes)
        if config.report is not None:
            try:
                write_report(config.report, self.report.as_dict())
            except SinkError as error:
                self._log.event("report not written", level="error", file=config.report, reason=error.message)

    def _wants_again(self) -> bool:
        """A camera that was off, or a password that is set right later: asked again, but not so often that an account is locked."""
        return isinstance(self.failure, SourceError | SinkError) and self.config.live.reconnect == FOREVER and not self._stop.is_set()

    def _wait(self, seconds: float) -> None:
        while seconds > 0 and not self._stop.wait(min(seconds, _TURN_S)):
            self.telemetry.turn()
            seconds -= _TURN_S


class Fleet:
    """The streams of the moment; call it from one thread."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._pool = EnginePool()
        self._members: dict[str, Member] = {}

    @property
    def members(self) -> list[Member]:
        """In the order of their names in the file."""
        return list(self._members.values())

    @property
    def is_alive(self) -> bool:
        return any(member.is_alive for member in self.members)

    def changed(self, configs: Sequence[StreamConfig]) -> list[StreamConfig]:
        """Those of `configs` that are new, or other than before."""
        return [config for config in configs if config.name not in self._members or self._members[config.name].config != config]

    def check_recordings(self, configs: Sequence[StreamConfig]) -> None:
        """Raises SinkError where `apply` would start a stream on a file that is being recorded.

        With `overwrite` the new stream would replace that recording, and without it fail.
        """
        for config in self.changed(configs):
            for member in self.members:
                if member.is_recording and member.config.place == config.place:
                    raise SinkError(
                        f"[streams.{config.name}]: {config.dst} is being recorded by [streams.{member.config.name}], "
                        "and a reload never replaces a recording that grows.",
                        hint="give another output, or remove the stream first",
                    )

    def apply(self, configs: Sequence[StreamConfig]) -> dict[str, list[str]]:
        """Make these the streams, and start those that failed again: {"started": names, "drained": names, "kept": names}. Does not wait.

        What is drained is given up in order; a stream that takes over its name or its output waits for that.
        """
        before, self._pool.num_members = self._members, len(configs)
        changed = self.changed(configs)
        fresh = [config for config in configs if config in changed or before[config.name].failure is not None]
        kept = [config.name for config in configs if config not in fresh]
        going = [member for name, member in before.items() if name not in kept]
        for member in going:
            member.stop()
        drained = [member.config.name for member in going if member.is_alive]
        self._members = {}
        for config in configs:
            if config not in fresh:
                self._members[config.name] = before[config.name]
                continue
            after = [member for member in going if member.config.name == config.name or member.config.place == config.place]
            others = [member.device for member in self.members]
            others += [before[name].device for name in kept if name not in self._members]
            self._members[config.name] = Member(
                config, self._pool, self._watch, after=after, device=deal_stream(config, others)
            )
        return {"started": [config.name for config in fresh], "drained": drained, "kept": kept}

    def drain(self) -> None:
        """End all streams in order, side by side, and wait for that."""
        for member in self.members:
            member.stop()
        for member in self.members:
            member.join()

    def exit_code(self) -> int:
        """0, or that of the first stream that failed for good."""
        return next((member.failure.exit_code for member in self.members if member.failure is not None), 0)


def deal_stream(config: StreamConfig, taken: Sequence[str]) -> str:
    """The device of a stream: among those that its configuration names, or all GPUs, the one with the fewest streams. taken: theirs.

    Raises EngineError for "cuda:all" without a GPU.
    """
    if config.device == "auto":
        return "auto"
    return deal(find_devices(config.options.upscale), taken)
