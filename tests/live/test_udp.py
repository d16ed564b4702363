"""MPEG-TS over UDP: exact times, audio in sync, loss, and everything that may change in flight."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from media import MILLISECOND, ffmpeg, make_clip, pictures, rows, streams, times
from servers import Live, free_port, lossy_proxy, sender

from streamsr.options import LiveOptions, RunOptions, SourceOptions

pytestmark = [pytest.mark.network, pytest.mark.slow]

RATE = 10
X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", RATE, "-pix_fmt", "yuv420p"]
NOISE = ["-f", "lavfi", "-i", "anoisesrc=sample_rate=48000:seed=1:duration=20", "-c:a", "aac", "-shortest"]
PATIENT = LiveOptions(max_latency_s=5, timeout_s=10)


def make_ts(path: Path, *output: object, size: str = "64x48", rate: int = RATE, seconds: int = 20, audio: bool = True) -> Path:
    inputs, coding = (NOISE[:4], NOISE[4:]) if audio else ([], [])
    return make_clip(path, *X264, *coding, *output, size=size, rate=str(rate), num_frames=rate * seconds, inputs=inputs)


def send(clip: Path, port: int, *options: object) -> Sequence[object]:
    return ["-re", "-i", clip, *options, "-map", "0", "-c", "copy", "-f", "mpegts", f"udp://127.0.0.1:{port}?pkt_size=1316"]


def url(port: int) -> str:
    return f"udp://127.0.0.1:{port}"


def steps(path: Path) -> list[Fraction]:
    found = times(path)
    assert all(a < b for a, b in pairwise(found)), found
    return [b - a for a, b in pairwise(found)]


def assert_in_sync(clip: Path, out: Path) -> None:
    """All audio and all pictures of `out` are as far from each other as in `clip`, to the millisecond."""
    sent = {row.md5: row.pts for row in rows(clip, "a:0", copy=True)}
    heard = [row for row in rows(out, "a:0", copy=True) if row.md5 in sent]
    assert len(heard) > 100
    shift = sent[heard[0].md5] - heard[0].pts
    assert all(abs(sent[row.md5] - row.pts - shift) <= MILLISECOND for row in heard)
    shown = times(clip)
    assert all(min(abs(seen + shift - known) for known in shown) <= MILLISECOND for seen in times(out))


def test_times_are_the_sources_and_audio_stays_in_sync(tmp_path: Path) -> None:
    clip, port = make_ts(tmp_path / "in.ts"), free_port()
    with sender(*send(clip, port)), Live(url(port), tmp_path / "out.ts", live=PATIENT, num_frames=3 * RATE) as live:
        report = live.wait()
    assert report.dropped.keys() <= {"at the end"}
    assert_in_sync(clip, tmp_path / "out.ts")
    assert len(times(tmp_path / "out.ts")) == 3 * RATE
    assert all(abs(step - Fraction(1, RATE)) <= MILLISECOND for step in steps(tmp_path / "out.ts"))


def test_a_fifth_of_the_packets_lost(tmp_path: Path) -> None:
    clip, port = make_ts(tmp_path / "in.ts", size="320x240"), free_port()
    with lossy_proxy(port, loss=0.2) as entry, sender(*send(clip, entry)), Live(url(port), tmp_path / "out.mkv", live=PATIENT) as live:
        live.until_out(3 * RATE)
        report = live.end()
    assert report.num_corrupt_packets > 0 or report.num_out < 20 * RATE
    assert steps(tmp_path / "out.mkv")
    assert any("640x480" in words for words in streams(tmp_path / "out.mkv"))


def test_audio_gets_lost_alone(tmp_path: Path) -> None:
    """A source without audio after one with it: the output has an audio track that pauses."""
    first, second, port = make_ts(tmp_path / "a.ts"), make_ts(tmp_path / "b.ts", audio=False), free_port()
    with Live(url(port), tmp_path / "out.mkv", live=LiveOptions(max_latency_s=0.5, timeout_s=1)) as live:
        with sender(*send(first, port)):
            live.until_out(RATE)
        with sender(*send(second, port)):
            live.until_out(2 * RATE)
        live.end()
    assert steps(tmp_path / "out.mkv")


@pytest.mark.parametrize(("size", "shape"), [("128x96", "the same"), ("96x48", "wider")])
def test_another_size_keeps_the_outputs(tmp_path: Path, size: str, shape: str) -> None:
    first, second, port = make_ts(tmp_path / "a.ts"), make_ts(tmp_path / "b.ts", size=size), free_port()
    with Live(url(port), tmp_path / "out.mkv", live=LiveOptions(max_latency_s=0.5, timeout_s=1)) as live:
        with sender(*send(first, port)):
            live.until_out(RATE)
        with sender(*send(second, port)):
            live.until_out(2 * RATE)
        report = live.end()
    assert (report.result["width"], report.result["height"]) == (128, 96)
    assert steps(tmp_path / "out.mkv")
    last = ffmpeg("-sseof", "-0.3", "-i", tmp_path / "out.mkv", "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "gray", "-")
    top = last[: 128 * 8]  # the first rows
    assert len(last) == 128 * 96
    assert (max(top) < 24) == (shape == "wider")  # black bars above a wider picture


def test_another_rate_keeps_the_sources_times(tmp_path: Path) -> None:
    first, second, port = make_ts(tmp_path / "a.ts"), make_ts(tmp_path / "b.ts", rate=2 * RATE), free_port()
    with Live(url(port), tmp_path / "out.mkv", live=LiveOptions(max_latency_s=2, timeout_s=20)) as live:
        with sender(*send(first, port)):
            live.until_out(2 * RATE)
        with sender(*send(second, port)):
            live.until_out(4 * RATE)
        report = live.end()
    assert report.reconnects["source"] == 0
    found = steps(tmp_path / "out.mkv")
    assert found[RATE] == pytest.approx(1 / RATE, abs=0.002)
    assert found[-RATE] == pytest.approx(1 / (2 * RATE), abs=0.002)


def test_audio_that_arrives_late_stays_in_sync(tmp_path: Path) -> None:
    """Every packet of audio comes 1.2 s after the pictures that it belongs to."""
    clip, port = make_ts(tmp_path / "in.ts", "-streamid", "0:256", "-streamid", "1:257", seconds=7), free_port()
    data = clip.read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    due = [7 * at / len(packets) + (1.2 if (packet[1] & 31) << 8 | packet[2] == 257 else 0) for at, packet in enumerate(packets)]
    assert sum(late > 7 * at / len(packets) for at, late in enumerate(due)) > 100
    with Live(url(port), tmp_path / "out.ts", live=PATIENT) as live:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
            began = time.monotonic()
            for at in sorted(range(len(packets)), key=due.__getitem__):
                time.sleep(max(0.0, began + due[at] - time.monotonic()))
                sending.sendto(packets[at], ("127.0.0.1", port))
        live.until(lambda snapshot: snapshot["frames_out"] >= 3 * RATE)  # what came while it opened is not shown
        live.end()
    assert_in_sync(clip, tmp_path / "out.ts")


def test_frames_without_times_get_those_of_the_rate(tmp_path: Path) -> None:
    """Bare H.264, which has none."""
    port = free_port()
    clip = make_clip(tmp_path / "in.h264", *X264, rate=str(RATE), num_frames=20 * RATE)
    sending = ["-re", "-r", RATE, "-i", clip, "-c", "copy", "-f", "h264", f"tcp://127.0.0.1:{port}?listen=1"]
    options = SourceOptions(num_frames=3 * RATE, input_format="h264", input_rate=Fraction(RATE))
    with sender(*sending), Live(f"tcp://127.0.0.1:{port}", tmp_path / "out.mkv", live=PATIENT, options=RunOptions(source=options)) as live:
        live.wait()
    found = steps(tmp_path / "out.mkv")
    assert len(found) >= 2 * RATE
    assert sorted(found)[len(found) // 2] == pytest.approx(1 / RATE, abs=0.03)
    assert sum(found) == pytest.approx(len(found) / RATE, abs=1)


def test_another_codec_is_another_session(tmp_path: Path) -> None:
    first, port = make_ts(tmp_path / "a.ts", audio=False), free_port()
    second = tmp_path / "b.ts"
    ffmpeg(*pictures("64x48", str(RATE), 20 * RATE), "-c:v", "mpeg2video", "-g", RATE, second)
    with Live(url(port), tmp_path / "out.mkv", live=LiveOptions(max_latency_s=0.5, timeout_s=1)) as live:
        with sender(*send(first, port)):
            live.until_out(RATE)
        with sender(*send(second, port)):
            live.until(lambda snapshot: snapshot["reconnects"]["source"] >= 1)
            live.until_out(RATE)
        live.end()
    assert steps(tmp_path / "out.mkv")


def test_a_clock_that_jumps_back_goes_on(tmp_path: Path) -> None:
    """The encoder is started again behind the same port, within the timeout: one session, two clocks."""
    clip, port = make_ts(tmp_path / "in.ts"), free_port()
    with Live(url(port), tmp_path / "out.ts", live=LiveOptions(max_latency_s=0.5, timeout_s=20)) as live:
        with sender(*send(clip, port)):
            live.until_out(2 * RATE)
        with sender(*send(clip, port)):
            live.until_out(2 * RATE)
        report = live.end()
    assert report.reconnects["source"] == 0
    assert report.num_clock_jumps >= 1
    gaps = steps(tmp_path / "out.ts")
    assert max(gaps) < 3
    heard = times(tmp_path / "out.ts", "a:0")
    assert all(a < b for a, b in pairwise(heard))


def test_a_clock_that_wraps_goes_on(tmp_path: Path) -> None:
    """33 bits of 90 kHz end after 26.5 hours."""
    clip, port = make_ts(tmp_path / "in.ts"), free_port()
    late = ["-output_ts_offset", str(2**33 / 90_000 - 3), "-mpegts_copyts", "1"]
    with Live(url(port), tmp_path / "out.ts", live=LiveOptions(max_latency_s=2, timeout_s=5)) as live:
        with sender("-re", "-i", clip, "-map", "0", "-c", "copy", *late, "-f", "mpegts", f"udp://127.0.0.1:{port}?pkt_size=1316"):
            live.until_out(5 * RATE)
        report = live.end()
    assert report.num_out >= 5 * RATE
    assert max(steps(tmp_path / "out.ts")) < 2


def test_a_stream_that_begins_between_key_frames(tmp_path: Path) -> None:
    clip, port = make_ts(tmp_path / "in.ts", "-g", 3 * RATE, "-keyint_min", 3 * RATE), free_port()
    with sender(*send(clip, port)) as process:
        with Live("udp://127.0.0.1:1", tmp_path / "no.mkv"):
            pass  # time passes: what is sent now is lost
        with Live(url(port), tmp_path / "out.mkv", live=PATIENT) as live:
            live.until_out(RATE)
            live.end()
        assert process.poll() is None
    whole = {row.md5 for row in rows(tmp_path / "out.mkv")}
    assert len(whole) >= RATE - 1  # testsrc2 moves: no two pictures are the same, so none was made up
