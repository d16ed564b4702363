"""Ports that watch, with more visitors than they have room for."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from streamsr.live import connections
from streamsr.live.endpoint import Endpoint
from streamsr.live.monitoring import Watch, WatchOptions
from streamsr.live.telemetry import StreamTelemetry

pytestmark = pytest.mark.network


@contextmanager
def idle(address: tuple[str, int], count: int, said: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections that send `said` and nothing more."""
    with ExitStack() as closing:
        opened = []
        for _ in range(count):
            opened.append(closing.enter_context(socket.create_connection(address, timeout=10)))
            if said:
                opened[-1].sendall(said)
        yield opened


@pytest.fixture
def watched() -> Iterator[tuple[str, int]]:
    with Watch(WatchOptions(metrics=Endpoint("127.0.0.1", 0))) as watch:
        watch.add(StreamTelemetry("cam"))
        host, port = watch.urls["metrics"].removeprefix("http://").rstrip("/").split(":")
        yield host, int(port)


def ask(address: tuple[str, int], path: str = "healthz") -> tuple[int, float]:
    """(status, seconds)."""
    started = time.monotonic()
    with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/{path}", timeout=10) as answer:
        return answer.status, time.monotonic() - started


HALVES = [b"", b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ", b"POST /healthz HTTP/1.1\r\nContent-Length: 9\r\n"]


@pytest.mark.parametrize("said", HALVES)
def test_health_is_answered_beside_idle_connections(watched: tuple[str, int], said: bytes) -> None:
    with idle(watched, 200, said) as opened:
        for path in ("healthz", "metrics"):
            status, seconds = ask(watched, path)
            assert status == 200
            assert seconds < 5
        opened[0].settimeout(10)
        assert opened[0].recv(100) == b""  # displaced, without a word


def test_idle_connection_is_closed_in_time(watched: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_S", 0.3)
    with idle(watched, 1, b"GET /metrics HTTP/1.1\r\n") as (slow,):
        slow.settimeout(10)
        assert slow.recv(100) == b""
    with socket.create_connection(watched, timeout=10) as kept:
        kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while kept.recv(4096):  # the answer, and then the end
            pass


def test_metrics_beyond_this_machine_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streamsr.live.monitoring.is_loopback", lambda *_, **__: False)
        Watch(WatchOptions(metrics=Endpoint("127.0.0.1", 0))).close()
    assert "tells everybody who reaches" in caplog.text


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_two_thousand_connections_while_a_stream_reconnects(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2200:
        pytest.skip(f"{hard} descriptors are too few for 2000 connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2200), hard))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone, port = free.getsockname()[1], 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)); from streamsr.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", limit, "run", f"tcp://127.0.0.1:{gone}", str(tmp_path / "out.ts"), "--metrics", str(port)]
    with (tmp_path / "err").open("wb") as words:
        process = subprocess.Popen(command, stderr=words)
    address = ("127.0.0.1", port)
    try:
        end = time.monotonic() + 30
        while True:
            try:
                assert ask(address)[0] == 200
                break
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.1)
        with idle(address, 2000):
            for _ in range(3):
                assert ask(address)[0] == 200
            assert len(os.listdir(f"/proc/{process.pid}/fd")) < 128
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(30)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    said = (tmp_path / "err").read_text()
    assert "source lost" in said
    assert "Traceback" not in said
    assert len(said.splitlines()) < 40
