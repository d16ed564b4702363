"""Publisher: keeps a relay connected to the sink and feeds it, from a thread of its own; no other thread waits for the sink."""

from __future__ import annotations

import json
import os
import select
import subprocess
import threading
import time
from collections import deque
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

from ..child_process import child_command
from ..errors import SinkError, StreamsrError
from ..options import LiveOptions
from .address import check_host
from .backoff import Backoff
from .event_log import EventLog
from .ledger import Ledger
from .output_target import Target
from .packet_ipc import EncodedPacket
from .redaction import redact, redact_text
from .relay import REFUSED, TAKEN
from .telemetry import StreamTelemetry

_MAX_WAITING_S = 2.0  # of video between us and a slow sink; more is dropped up to the next key frame
_POLL_S = 0.2
_DRAIN_S = 5.0  # at most, at the end
_START_S = 30.0  # until a relay is loaded, on a busy machine
# at the first connection these are mistakes, and trying again would only lock an account
_FINAL = ("HTTPUnauthorizedError", "HTTPForbiddenError", "HTTPNotFoundError", "HTTPBadRequestError", "ProtocolNotFoundError",
          "PermissionError", "UsageError", "ValueError")  # fmt: skip


class _LostError(Exception):
    """The sink does not take packets any more."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class Publisher:
    """Sends parcels to a target; reconnects on its own.

    header: of streamsr.live.live_encoder. rate: of the video, frames a second.
    ledger: receives each parcel that FFmpeg has taken, and the new pictures that will not arrive.
    """

    def __init__(
        self, target: Target, header: bytes, rate: Fraction, live: LiveOptions, *, telemetry: StreamTelemetry, log: EventLog, ledger: Ledger
    ) -> None:
        self.target = target
        self.path = target.path
        self.failure: StreamsrError | None = None  # why it ended for good
        self._order = header
        self._rate, self._live, self._telemetry, self._log = rate, live, telemetry, log
        self._ledger = ledger
        self._most = max(8, round(_MAX_WAITING_S * rate))
        self._lock = threading.Lock()
        self._waiting: deque[EncodedPacket] = deque()
        self._sent: deque[tuple[EncodedPacket, float]] = deque()  # and not taken yet, with the time
        self._connected = False
        self._needs_key = True
        self._closing = threading.Event()
        self._ended = False
        self._deadline = 0.0  # of what is waited for now: loading, connecting, the end
        self._was_connected = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        os.set_blocking(self._wake_read, False)
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="streamsr-publisher", daemon=True)
        self._thread.start()

    @property
    def state(self) -> str:
        """ "ready" where a new picture would be sent, else the reason why not: "sink lost" or "sink slow"."""
        with self._lock:
            if not self._connected:
                return "sink lost"
            return "sink slow" if self._needs_key and self._num_video() > self._most // 4 else "ready"

    @property
    def needs_key(self) -> bool:
        """Whether only a key frame makes sense next."""
        return self._needs_key

    def put(self, parcels: list[EncodedPacket]) -> None:
        """Queue parcels; never waits."""
        num_lost = 0
        with self._lock:
            for parcel in parcels:
                if parcel.stream == 0:
                    if self._connected and self._needs_key and parcel.is_key and self._num_video() <= self._most:
                        self._needs_key = False
                    elif self._num_video() >= self._most:
                        self._needs_key = True  # what follows would refer to what is left out
                if self._connected and not self._needs_key:
                    self._waiting.append(parcel)
                elif parcel.arrived is not None:
                    num_lost += 1
            reason = "sink slow" if self._connected else "sink lost"
        if num_lost:
            self._ledger.dropped(reason, num_lost)
        self._wake()

    def close(self) -> None:
        """Send what waits, end the output in order and rename a finished file."""
        self._closing.set()
        self._wake()
        self._thread.join(_DRAIN_S + self._live.timeout_s)
        if self._thread.is_alive():
            self.kill()

    def kill(self) -> None:
        """End the output where it is."""
        self._closing.set()
        if self._process is not None:
            self._process.kill()

    def _num_video(self) -> int:
        return sum(parcel.stream == 0 for parcel in self._waiting) + sum(parcel.stream == 0 for parcel, _ in self._sent)

    def _wake(self) -> None:
        with suppress(OSError):
            os.write(self._wake_write, b"w")

    def _run(self) -> None:
        backoff = Backoff(self._live.reconnect)
        while not self._closing.is_set():
            self._telemetry.state("sink", "connecting")
            started = time.monotonic()
            try:
                self._serve()
            except _LostError as loss:
                self._telemetry.state("sink", "lost")
                reason = redact_text(str(loss), self.target.url)
                if self._closing.is_set():
                    self._drop_all()
                    self.failure = self.failure or (None if self.target.is_network else SinkError(reason))
                    break
                backoff.succeeded(time.monotonic() - started if self._was_connected else 0.0)
                is_final = not self.target.is_network or (loss.final and not self._was_connected)
                wait_s = None if is_final else backoff.wait_s()
                self._drop_all()
                if wait_s is None:
                    kept = f"what came before is in {self.path}" if self.path != self.target.url and Path(self.path).exists() else None
                    self.failure = SinkError(f"{redact(self.target.url)}: {reason}.", hint=kept)
                    break
                self._log.event("sink lost", level="warning", url=self.target.url, reason=reason, next_try_s=wait_s)
                self._closing.wait(wait_s)
            except Exception as error:  # a fault of ours, or no room for a process: the loop raises it, rather than send to nobody
                self._drop_all()
                self.failure = SinkError(f"{redact_text(str(error), self.target.url)} ({type(error).__name__})")
                break
        self._telemetry.state("sink", "ended")

    def _serve(self) -> None:
        """One connection, until it is lost (raises) or closed by us (returns)."""
        check = check_host(self.target.url)
        if check is not None:
            raise _LostError(check, final=True)
        status_read, status_write = os.pipe()
        try:
            self._process = subprocess.Popen(
                child_command("streamsr.live.relay", str(status_write)), stdin=subprocess.PIPE, pass_fds=[status_write],
                stdout=None if self.path == "-" else subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(status_write)
        process = self._process
        assert process.stdin is not None
        try:
            self._pump(process, status_read)
            if self.path != self.target.url:
                os.replace(self.path, self.target.url)
        finally:
            with self._lock:
                self._connected, self._needs_key = False, True
            process.kill()
            with suppress(OSError):
                process.stdin.close()
            process.wait()
            os.close(status_read)

    def _first_bytes(self) -> bytes:
        url = "pipe:1" if self.path == "-" else self.path
        order = {
            "url": url, "muxer": self.target.format.muxer, "options": dict(self.target.format.options), "rate": str(self._rate),
            "timeout_s": self._live.timeout_s, "header_bytes": len(self._order), "cut_s": self.target.cut_s,
            "is_file": self.target.is_file,
        }  # fmt: skip
        return json.dumps(order).encode() + b"\n" + self._order

    def _pump(self, process: subprocess.Popen[bytes], status: int) -> None:
        assert process.stdin is not None
        pipe = process.stdin.fileno()
        os.set_blocking(pipe, False)
        pending = memoryview(self._first_bytes())
        words = b""
        self._deadline = time.monotonic() + _START_S
        closed = False
        while True:
            with self._lock:
                if not pending and self._waiting:
                    parcel = self._waiting.popleft()
                    self._sent.append((parcel, time.monotonic()))
                    pending = memoryview(parcel.pack())
                is_done = self._closing.is_set() and not pending and not self._waiting
                oldest = self._sent[0][1] if self._sent else None
            if is_done and not closed:
                process.stdin.close()
                closed, self._deadline = True, time.monotonic() + _DRAIN_S
            readable, writable, _ = select.select([status, self._wake_read], [pipe] if pending and not closed else [], [], _POLL_S)
            if self._wake_read in readable:
                with suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
            if writable:
                try:
                    pending = pending[os.write(pipe, pending) :]
                except BlockingIOError:
                    pass
                except BrokenPipeError:
                    pending = memoryview(b"")  # the relay has gone; its last words say why
            if status in readable:
                got = os.read(status, 65536)
                if not got:
                    raise _LostError("the connection ended")
                words = self._listen(words + got)
            now = time.monotonic()
            if self._ended:
                return
            if not self._connected and now > self._deadline:
                raise _LostError(f"no connection within {self._live.timeout_s:g} s")
            if closed and now > self._deadline:
                raise _LostError(f"did not end within {_DRAIN_S:g} s")
            # who reads a pipe may pause it for as long as he likes: frames are dropped meanwhile
            if self.target.is_network and oldest is not None and self._connected and now - oldest > self._live.timeout_s:
                raise _LostError(f"took nothing for {self._live.timeout_s:g} s")

    def _listen(self, words: bytes) -> bytes:
        """Act on what the relay said; returns the incomplete rest."""
        while words:
            if words[:1] in (TAKEN, REFUSED):
                taken, words = words[:1] == TAKEN, words[1:]
                with self._lock:
                    parcel, _ = self._sent.popleft()
                if taken:
                    self._ledger.delivered(parcel)
                elif parcel.arrived is not None:
                    self._ledger.dropped("refused", 1)
                continue
            line, newline, rest = words.partition(b"\n")
            if not newline:
                return words
            words = rest
            said = json.loads(line)
            if said["state"] == "connecting":  # it has been loaded, which takes long on a busy machine
                self._deadline = time.monotonic() + self._live.timeout_s
            elif said["state"] == "connected":
                with self._lock:
                    self._connected = self._needs_key = True
                self._telemetry.state("sink", "connected")
                self._log.event("sink connected", url=self.target.url)
                if self._was_connected:
                    self._telemetry.reconnected("sink")
                self._was_connected = True
            elif said["state"] == "file":
                self._log.event("file finished", path=said["path"])
            elif said["state"] == "ended":
                self._ended = True
            else:
                raise _LostError(said["reason"], final=said["kind"] in _FINAL)
        return b""

    def _drop_all(self) -> None:
        with self._lock:
            parcels = [*(parcel for parcel, _ in self._sent), *self._waiting]
            self._sent.clear()
            self._waiting.clear()
        count = sum(parcel.arrived is not None for parcel in parcels)
        if count:
            self._ledger.dropped("sink lost", count)
