"""Show: a generated clip that plays again and again through the real Upscaler, in a thread, for somebody to watch."""

from __future__ import annotations

import threading
import time
from fractions import Fraction
from pathlib import Path

import av

from streamsr import Upscaler
from streamsr.live.monitoring import Watch
from streamsr.live.telemetry import StreamTelemetry


class Show:
    """Plays the clip at 25 fps to a Watch until the source is killed."""

    def __init__(self, name: str, watch: Watch, clip: Path, *, model: str = "resize") -> None:
        self.telemetry = StreamTelemetry(name)
        self.pixel_aspect = Fraction(1)
        self.tap = watch.add(self.telemetry)
        self._clip = clip
        self._upscaler = Upscaler(model, hint="latency")
        self._over = threading.Event()
        self._killed = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)
        self.telemetry.model(model)

    def start(self) -> Show:
        self.telemetry.state("sink", "connected")
        self.telemetry.state("source", "connected")
        self._thread.start()
        return self

    def kill_source(self) -> None:
        self.telemetry.state("source", "lost")
        self._killed.set()

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _play(self) -> None:
        while not self._over.is_set():
            with av.open(str(self._clip)) as container:
                for frame in container.decode(video=0):
                    began = time.monotonic()
                    if self._over.wait(0.04):
                        return
                    self.telemetry.turn()
                    if self._killed.is_set():
                        continue
                    self.telemetry.frame_in()
                    after = self._upscaler(frame)
                    self.telemetry.frame_out(time.monotonic() - began)
                    if self.tap is not None:
                        self.tap.offer(frame, after, pixel_aspect=self.pixel_aspect)
