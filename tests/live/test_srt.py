"""SRT in and out, calling and listening, against FFmpeg's program."""

from __future__ import annotations

from pathlib import Path

import pytest
from media import make_clip, streams, times, tone
from servers import Live, free_port, sender, system_ffmpeg

from streamsr.errors import SinkError, SourceError, UsageError
from streamsr.live.srt import load_libsrt, pack_address, parse_srt
from streamsr.options import LiveOptions

RATE = 10
X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", RATE, "-pix_fmt", "yuv420p"]
PATIENT = LiveOptions(max_latency_s=5, timeout_s=10)
SECRET = "correct horse".replace(" ", "-")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    system_ffmpeg(protocol="srt")
    try:
        load_libsrt()
    except OSError as error:
        pytest.skip(str(error))
    return make_clip(tmp_path / "in.ts", *X264, "-c:a", "aac", rate=str(RATE), num_frames=30 * RATE, inputs=tone(30))


def send(clip: Path, url: str) -> list[object]:
    return ["-re", "-i", clip, "-c", "copy", "-f", "mpegts", url]


def receive(url: str, path: Path) -> list[object]:
    return ["-i", url, "-map", "0", "-c", "copy", "-flush_packets", "1", "-y", path]


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["caller", "listener"])
def test_srt_in(clip: Path, tmp_path: Path, mode: str) -> None:
    other, port = {"caller": "listener", "listener": "caller"}[mode], free_port()
    query = f"passphrase={SECRET}&pbkeylen=16"
    with (
        Live(f"srt://127.0.0.1:{port}?mode={mode}&{query}", tmp_path / "out.mkv", live=PATIENT) as live,
        sender(*send(clip, f"srt://127.0.0.1:{port}?mode={other}&{query}")),
    ):
        live.until_out(2 * RATE)
        report = live.end()
    assert len(times(tmp_path / "out.mkv")) == report.num_out
    assert any("aac" in words for words in streams(tmp_path / "out.mkv"))
    assert SECRET not in str(report.as_dict())


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["caller", "listener"])
def test_srt_out(clip: Path, tmp_path: Path, mode: str) -> None:
    other, port, entry = {"caller": "listener", "listener": "caller"}[mode], free_port(), free_port()
    with (
        sender(*receive(f"srt://127.0.0.1:{port}?mode={other}", tmp_path / "out.ts")) as receiver,
        Live(f"udp://127.0.0.1:{entry}", f"srt://127.0.0.1:{port}?mode={mode}", live=PATIENT) as live,
        sender(*send(clip, f"udp://127.0.0.1:{entry}?pkt_size=1316")),
    ):
        live.until_out(3 * RATE)
        live.end()
        receiver.wait(30)
    shown = times(tmp_path / "out.ts")
    assert len(shown) > RATE
    assert any("128x96" in words for words in streams(tmp_path / "out.ts"))


@pytest.mark.network
@pytest.mark.slow
def test_a_wrong_passphrase_is_final(clip: Path, tmp_path: Path) -> None:
    port = free_port()
    with sender(*send(clip, f"srt://127.0.0.1:{port}?mode=listener&passphrase={SECRET}")):
        failure = Live(f"srt://127.0.0.1:{port}?passphrase=something-else", tmp_path / "out.mkv").fail()
    assert isinstance(failure, SourceError)
    assert "passphrase" in failure.message
    assert "something-else" not in str(failure)


@pytest.mark.network
@pytest.mark.slow
def test_nobody_there(clip: Path, tmp_path: Path) -> None:
    live = LiveOptions(timeout_s=1, reconnect=1, max_latency_s=5)
    assert isinstance(Live(f"srt://127.0.0.1:{free_port()}", tmp_path / "out.mkv", live=live).fail(), SourceError)
    waiting = Live(f"srt://127.0.0.1:{free_port()}?mode=listener", tmp_path / "out.mkv", live=live).fail()
    assert "nobody called within 1 s" in waiting.message
    assert isinstance(Live(clip, f"srt://127.0.0.1:{free_port()}", live=live).fail(), SinkError)


@pytest.mark.parametrize("url", [
    "srt://host", "srt://host:70000", "srt://host:9000?mode=both", "srt://:9000?mode=caller", "srt://host:9000?passphrase=short",
    "srt://host:9000?latency=soon", "srt://host:9000?colour=red", "srt://host:9000?pbkeylen=17",
])  # fmt: skip
def test_what_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        parse_srt(url)


def test_an_address_is_read_as_ffmpeg_reads_it() -> None:
    address = parse_srt("srt://10.0.0.5:9000?mode=caller&latency=200000&streamid=publish/cam&passphrase=longer-than-ten")
    assert (address.host, address.port, address.latency_ms, address.streamid) == ("10.0.0.5", 9000, 200, "publish/cam")
    assert parse_srt("srt://:9000").mode == "listener"


def test_addresses_are_packed_as_the_kernel_wants_them() -> None:
    assert pack_address("127.0.0.1", 9000)[2:] == b"\x23\x28\x7f\x00\x00\x01" + bytes(8)
    assert pack_address("::1", 9000)[2:] == b"\x23\x28" + bytes(4) + bytes(15) + b"\x01" + bytes(4)
