"""`streamsr run` with a live stream as a process: pipes, signals, slow and vanishing readers, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from media import STREAMSR, ffmpeg, make_clip, streams, times, tone
from servers import PATIENCE_S, SILENT_CAMERA, Live, RtspServer, free_port, sender

from streamsr.options import LiveOptions

pytestmark = [pytest.mark.network, pytest.mark.slow]

RATE = 10
PLAYS = 30_000  # bytes of a file that was killed: its header alone has 5000
X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", RATE, "-pix_fmt", "yuv420p"]
RESIZE = ["--model", "resize", "--max-latency", "5000"]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "in.ts", *X264, "-c:a", "aac", rate=str(RATE), num_frames=30 * RATE, inputs=tone(30))


def start(*arguments: object, **pipes: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*STREAMSR, "run", *map(str, arguments), *RESIZE], stderr=subprocess.PIPE, **pipes)  # type: ignore[call-overload]


def udp(clip: Path, port: int) -> list[object]:
    return ["-re", "-i", clip, "-c", "copy", "-f", "mpegts", f"udp://127.0.0.1:{port}?pkt_size=1316"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_good_end(clip: Path, tmp_path: Path, number: int) -> None:
    port = free_port()
    with sender(*udp(clip, port)):
        run = start(f"udp://127.0.0.1:{port}", tmp_path / "out.mkv", "--report", tmp_path / "report.json")
        end = time.monotonic() + PATIENCE_S
        while not list(tmp_path.glob("out.partial.mkv")) and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.5)
        run.send_signal(number)
        _, words = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 0, words
    assert b"account balanced" in words
    assert b"ended by stop" in words
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["ended_by"] == "stop"
    assert report["num_out"] == len(times(tmp_path / "out.mkv")) > 0
    assert [path.name for path in tmp_path.glob("*.partial.*")] == []


def test_a_pipe_in_and_a_pipe_out(clip: Path) -> None:
    arguments = [*STREAMSR, "run", "-", "-", "--live", "--format", "mpegts", "--input-format", "mpegts", *RESIZE]
    done = subprocess.run(arguments, input=clip.read_bytes(), capture_output=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert b"ended by source" in done.stderr
    # what came while the output was opened is not shown, the rest is, up to the last frame
    shown = ffmpeg("-f", "mpegts", "-i", "-", "-f", "framemd5", "-map", "0:v", "-", stdin=done.stdout).decode().splitlines()
    assert len([line for line in shown if not line.startswith("#")]) > 0


def test_a_reader_that_goes_ends_the_run(clip: Path) -> None:
    """`| ffplay -` whose window is closed."""
    port = free_port()
    with sender(*udp(clip, port)):
        run = start(f"udp://127.0.0.1:{port}", "-", "--format", "mpegts", stdout=subprocess.PIPE)
        assert run.stdout is not None
        assert run.stdout.read(188)[:1] == b"\x47"
        run.stdout.close()
        assert run.wait(PATIENCE_S) == 6
        assert run.stderr is not None
        assert b"Traceback" not in run.stderr.read()


def test_a_file_goes_out_at_its_own_pace(clip: Path, tmp_path: Path) -> None:
    port = free_port()
    with Live(f"udp://127.0.0.1:{port}", tmp_path / "out.mkv", live=LiveOptions(max_latency_s=5, timeout_s=5)) as live:
        run = start(clip, f"udp://127.0.0.1:{port}?pkt_size=1316", "--frames", 3 * RATE)
        live.until_out(RATE)
        _, words = run.communicate(timeout=PATIENCE_S)
        report = live.end()
    assert run.returncode == 0, words
    assert report.num_out <= 3 * RATE
    assert any("256x192" in text for text in streams(tmp_path / "out.mkv"))  # twice upscaled
    assert float(times(tmp_path / "out.mkv")[-1]) >= (RATE - 1) / RATE - 0.002  # of RATE pictures, the first at 0


def test_nothing_is_left_behind(clip: Path, tmp_path: Path) -> None:
    """The process that writes ends with the one that reads, also where that is killed."""
    port = free_port()
    with sender(*udp(clip, port)):
        run = start(f"udp://127.0.0.1:{port}", tmp_path / "out.mkv")
        end, partial = time.monotonic() + PATIENCE_S, tmp_path / "out.partial.mkv"
        while not partial.exists() or partial.stat().st_size < PLAYS:
            assert time.monotonic() < end
            time.sleep(0.05)
        relays = children(run.pid)
        assert len(relays) == 1
        run.kill()
        run.communicate()
        while any(Path(f"/proc/{pid}").exists() for pid in relays) and time.monotonic() < end:
            time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in relays)
    assert times(partial)  # and what it had plays


def test_a_consumer_that_stops_reading_holds_up_nothing(tmp_path: Path) -> None:
    """A TCP peer that accepts and never reads: frames are dropped, the source goes on, the connection is given up and tried again."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = []
    done = threading.Event()

    def accept() -> None:
        listener.settimeout(0.2)
        while not done.is_set():
            try:
                peer, _ = listener.accept()
            except TimeoutError:
                continue
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            accepted.append(peer)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    noise = SILENT_CAMERA.replace("pattern=ball", "pattern=snow").replace("width=64,height=48", "width=320,height=240")
    try:
        with RtspServer(play={"/cam": noise}) as server:
            # a few kilobytes on the way: the kernel would take megabytes
            url = f"tcp://127.0.0.1:{listener.getsockname()[1]}?send_buffer_size=8192"
            with Live(server.url("/cam"), url, live=LiveOptions(max_latency_s=5, timeout_s=2)) as live:
                live.until(lambda snapshot: snapshot["dropped"].get("sink slow", 0) + snapshot["dropped"].get("sink lost", 0) > 5)
                live.until(lambda snapshot: snapshot["reconnects"]["sink"] >= 1)
                snapshot = live.telemetry.snapshot()
                assert snapshot["state"]["source"] == "connected"
                assert snapshot["reconnects"]["source"] == 0
                live.end()
        assert len(accepted) >= 2
    finally:
        done.set()
        thread.join()
        for peer in accepted:
            peer.close()
        listener.close()


def children(pid: int) -> list[int]:
    """Processes whose parent is `pid`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(folder.name))
    return found


@pytest.mark.skipif(not os.path.exists("/proc/self/cmdline"), reason="no /proc here")
def test_no_process_shows_a_password(clip: Path, tmp_path: Path) -> None:
    with RtspServer(play={"/cam": SILENT_CAMERA}, user=("admin", "hunter2")) as server:
        run = start(server.url("/cam", "admin:hunter2"), tmp_path / "out.mkv")
        end = time.monotonic() + PATIENCE_S
        while not (tmp_path / "out.partial.mkv").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in [run.pid, *children(run.pid)]]
        run.send_signal(signal.SIGTERM)
        _, words = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 0, words
    assert len(lines) == 2
    assert all(b"hunter2" not in line for line in [*lines, words])
