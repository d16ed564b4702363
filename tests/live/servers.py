"""Real peers on 127.0.0.1 for tests of live streams: GStreamer's RTSP server, FFmpeg's program, and sockets that misbehave."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import pytest

from streamsr.errors import StreamsrError
from streamsr.live.api import run_live
from streamsr.live.event_log import EventLog
from streamsr.live.live_report import LiveReport
from streamsr.live.observers import Observers
from streamsr.live.telemetry import StreamTelemetry
from streamsr.options import LiveOptions

PATIENCE_S = 60.0  # long past anything that comes at all, on a busy machine
RATE = 10  # frames a second of test cameras: little work
SYSTEM_PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).with_name("rtsp_server.py")

VIDEO = (
    "videotestsrc is-live=true pattern=ball ! capsfilter name=c caps=video/x-raw,width=64,height=48,framerate={rate}/1 ! "
    "x264enc tune=zerolatency key-int-max={rate} speed-preset=ultrafast sliced-threads=false threads=1 ! "
    "h264parse config-interval=-1 ! video/x-h264,alignment=au ! valve name=v ! rtph264pay name=pay0 pt=96"
)
AUDIO = (
    "audiotestsrc is-live=true wave=white-noise ! audio/x-raw,rate=48000,channels=1 ! avenc_aac ! aacparse ! "
    "valve name=a ! rtpmp4gpay name=pay1 pt=97"
)
CAMERA = f"( {VIDEO.format(rate=RATE)} {AUDIO} )"
SILENT_CAMERA = f"( {VIDEO.format(rate=RATE)} )"


def recorder(path: Path, *, audio: bool = True) -> str:
    """A pipeline that writes what is published to a Matroska file, readable while it grows."""
    heard = " rtpmp4gdepay name=depay1 ! aacparse ! mux." if audio else ""
    written = f"filesink location={path} buffer-mode=unbuffered async=false"
    return f"( rtph264depay name=depay0 ! h264parse ! matroskamux name=mux streamable=true ! {written}{heard} )"


@lru_cache
def _why_no_gstreamer() -> str | None:
    need = "gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer; Gst.init(None); "
    elements = "assert all(map(Gst.ElementFactory.find, ['x264enc', 'avenc_aac', 'rtph264pay', 'h264parse', 'matroskamux', 'valve']))"
    if not Path(SYSTEM_PYTHON).exists():
        return f"no {SYSTEM_PYTHON}"
    done = subprocess.run([SYSTEM_PYTHON, "-W", "ignore", "-c", f"import gi; {need}{elements}"], capture_output=True, check=False)
    return None if done.returncode == 0 else "GStreamer's RTSP server is not installed: see .ci/run for the Debian packages"


def _skip(name: str, why: str) -> NoReturn:
    """Skip the test, or fail where STREAMSR_REQUIRE names the peer."""
    if name in os.environ.get("STREAMSR_REQUIRE", ""):
        pytest.fail(why)
    pytest.skip(why)


def system_ffmpeg(*, protocol: str = "") -> str:
    """The FFmpeg program of the system, which speaks SRT; skips the test without it."""
    program = shutil.which("ffmpeg")
    if program is None:
        _skip("ffmpeg", "no ffmpeg program: apt-get install ffmpeg")
    if protocol:
        known = subprocess.run([program, "-hide_banner", "-protocols"], capture_output=True, check=True, text=True).stdout.split()
        if protocol not in known:
            _skip("ffmpeg", f"this ffmpeg has no {protocol}")
    return program


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RtspServer:
    """GStreamer's server in a process; skips the test where it is not installed."""

    def __init__(
        self, *, play: dict[str, str] | None = None, record: dict[str, str] | None = None, user: tuple[str, str] | None = None
    ) -> None:
        why = _why_no_gstreamer()
        if why is not None:
            _skip("gstreamer", why)
        self._order: dict[str, Any] = {"play": play or {}, "record": record or {}, "port": 0}
        if user is not None:
            self._order["user"] = user
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def url(self, path: str, login: str = "") -> str:
        return f"rtsp://{login and login + '@'}127.0.0.1:{self.port}{path}"

    def start(self) -> None:
        command = [SYSTEM_PYTHON, "-W", "ignore", str(SERVER), json.dumps(self._order)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port: int = json.loads(self._process.stdout.readline())["port"]
        self._order["port"] = self.port  # the same after a restart

    def kill(self) -> None:
        """As a power cut does it."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def set(self, mount: str, element: str, name: str, value: str) -> None:
        """Set a property of an element that runs."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{mount} {element} {name} {value}\n")
        self._process.stdin.flush()

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def node_module(name: str) -> Path:
    """The folder of a package of tests/live/package.json; skips the test where it is not installed."""
    folder = Path(os.environ.get("STREAMSR_NODE", Path(__file__).parent)) / "node_modules" / name
    if not folder.exists():
        _skip(name, f"no {name}: npm ci --prefix tests/live (Node.js 20 or newer)")
    return folder


class Live:
    """`run_live` in a thread, with the plain resize and small pictures; patient, as the machine may be busy."""

    def __init__(self, src: object, dst: object, *, live: LiveOptions | None = None, **options: Any) -> None:
        self.telemetry = StreamTelemetry("test")
        self.report: LiveReport | None = None
        self.failure: StreamsrError | None = None
        self.stop = threading.Event()
        self.live = live or LiveOptions(max_latency_s=5, timeout_s=10)

        def work() -> None:
            try:
                self.report = run_live(
                    str(src), str(dst), model=options.pop("model", "resize"), live=self.live, stop=self.stop,
                    observers=Observers(self.telemetry, EventLog("test", urls=[str(src), str(dst)])), **options,
                )  # fmt: skip
            except StreamsrError as error:
                self.failure = error

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def until(self, check: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the counters satisfy `check`; returns them."""
        end = time.monotonic() + PATIENCE_S
        while True:
            snapshot = self.telemetry.snapshot()
            if check(snapshot):
                return snapshot
            assert self._thread.is_alive(), f"ended early: {self.failure or self.report}"
            assert time.monotonic() < end, snapshot
            time.sleep(0.02)

    def until_out(self, count: int) -> dict[str, Any]:
        """Wait for `count` more frames to go out."""
        before = self.telemetry.snapshot()["frames_out"]
        return self.until(lambda snapshot: snapshot["frames_out"] >= before + count)

    def held(self) -> int:
        """Frames shown again so far."""
        return self.telemetry.snapshot()["frames_held"]

    def end(self) -> LiveReport:
        """Stop it as Ctrl-C does; the account has to balance."""
        self.stop.set()
        report = self.wait()
        assert report.balanced, report.line()
        return report

    def wait(self) -> LiveReport:
        """Until it ends by itself."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        if self.failure is not None:
            raise self.failure
        assert self.report is not None
        return self.report

    def fail(self) -> StreamsrError:
        """Until it fails by itself."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        assert self.failure is not None, self.report
        return self.failure

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(PATIENCE_S)


@contextmanager
def lossy_proxy(target_port: int, *, loss: float, seed: int = 1) -> Iterator[int]:
    """A UDP port whose packets go on to `target_port`, but for a share `loss` of them."""
    chance = random.Random(seed)
    inlet, outlet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    inlet.bind(("127.0.0.1", 0))
    inlet.settimeout(0.1)
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            try:
                data = inlet.recv(65536)
            except TimeoutError:
                continue
            if chance.random() >= loss:
                outlet.sendto(data, ("127.0.0.1", target_port))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield inlet.getsockname()[1]
    finally:
        done.set()
        thread.join()
        inlet.close()
        outlet.close()


@contextmanager
def sender(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """FFmpeg's program sending something, ended with the test."""
    process = subprocess.Popen([system_ffmpeg(), "-v", "error", "-nostdin", *map(str, arguments)], stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
