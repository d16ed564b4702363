"""What a live stream says of its source: silence is called silence, and a source that runs is never called gone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from media import make_clip, streamsr
from servers import Live

from streamsr.options import LiveOptions

pytestmark = [pytest.mark.network, pytest.mark.slow]

RATE = 10
X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", RATE, "-pix_fmt", "yuv420p"]


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a TCP server that deals with each connection by `serve`, one after the other, and keeps it open."""
    kept = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                kept.append(connection)
                serve(connection)

        threading.Thread(target=work, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    for connection in kept:
        connection.close()


@pytest.mark.parametrize("scheme", ["rtsp", "tcp"])
def test_a_silent_server_gives_no_answer_within_the_timeout(tmp_path: Path, scheme: str) -> None:
    with server(lambda _: None) as port:
        url = f"{scheme}://127.0.0.1:{port}/cam"
        outcome = streamsr("run", url, tmp_path / "out.mkv", "--model", "resize", "--timeout", "1", "--reconnect", "off")
    assert outcome.code == 3
    (line,) = [line for line in outcome.err.splitlines() if "no answer" in line]
    assert f"{url}: no answer within 1 s." in line
    assert line.count(url) == 1
    assert "nvalid data" not in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_runs_is_not_called_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It pauses for longer than the delay that is allowed, and stays connected."""
    clip = make_clip(tmp_path / "in.ts", *X264, rate=str(RATE), num_frames=2 * RATE).read_bytes()
    brisk = LiveOptions(max_latency_s=0.3, timeout_s=10)
    with (
        caplog.at_level("INFO", logger="streamsr"),
        server(lambda connection: connection.sendall(clip)) as port,
        Live(f"tcp://127.0.0.1:{port}", tmp_path / "out.mkv", live=brisk) as live,
    ):
        live.until_out(1)
        live.until(lambda now: now["frames_held"] > 0)
        live.end()
    assert [message for message in caplog.messages if "no new picture in time" in message]
    assert not [message for message in caplog.messages if "gone" in message or "lost" in message or "nothing comes" in message]


def test_a_source_in_time_needs_no_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip = make_clip(tmp_path / "in.ts", *X264, rate=str(RATE), num_frames=RATE)
    with caplog.at_level("INFO", logger="streamsr"), Live(clip, tmp_path / "out.mkv", live=LiveOptions(max_latency_s=5)) as live:
        report = live.wait()
    assert report.num_held == 0
    events = [message.partition(": ")[2].partition(" (")[0] for message in caplog.messages if message.startswith("test: ")]
    assert events == ["source connected", "sink connected"]
