"""One stream in and out over RTSP, with a server that works, dies, comes back, falls silent, and refuses."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from media import rows, streams, times
from servers import CAMERA, RATE, SILENT_CAMERA, VIDEO, Live, RtspServer, free_port, recorder

from streamsr.errors import SinkError, SourceError
from streamsr.options import LiveOptions

pytestmark = [pytest.mark.network, pytest.mark.slow]

BRISK = LiveOptions(max_latency_s=0.5, timeout_s=2)
PATIENT = LiveOptions(max_latency_s=5, timeout_s=10)


@pytest.fixture
def cameras(tmp_path: Path) -> Iterator[RtspServer]:
    play = {"/cam": CAMERA, "/silent": SILENT_CAMERA}
    record = {"/up": recorder(tmp_path / "up.mkv"), "/mute": recorder(tmp_path / "mute.mkv", audio=False)}
    with RtspServer(play=play, record=record) as server:
        yield server


def check_monotonic(path: Path, stream: str = "v:0") -> list[Fraction]:
    found = times(path, stream)
    assert all(a < b for a, b in pairwise(found)), found
    return found


def test_a_steady_stream_loses_nothing(cameras: RtspServer, tmp_path: Path) -> None:
    with Live(cameras.url("/cam"), cameras.url("/up")) as live:
        live.until_out(2 * RATE)
        report = live.end()
    assert report.dropped == {}
    assert report.num_held == 0
    assert report.reconnects == {"source": 0, "sink": 0}
    pictures = check_monotonic(tmp_path / "up.mkv")
    # GStreamer's server may drop the last ones with the connection
    assert report.num_out - 2 <= len(pictures) <= report.num_out
    # the server writes when a picture arrived, so only the mean says something
    assert float(pictures[-1] - pictures[0]) / (len(pictures) - 1) == pytest.approx(1 / RATE, rel=0.1)
    assert any("h264" in words and "128x96" in words for words in streams(tmp_path / "up.mkv"))
    heard = times(tmp_path / "up.mkv", "a:0")
    assert heard == sorted(set(heard))
    assert abs(heard[-1] - pictures[-1]) < 1


def test_a_camera_without_audio(cameras: RtspServer, tmp_path: Path) -> None:
    with Live(cameras.url("/silent"), cameras.url("/mute")) as live:
        live.until_out(RATE)
        live.end()
    assert len(check_monotonic(tmp_path / "mute.mkv")) >= RATE - 2


def test_a_server_that_dies_three_times_is_found_again(cameras: RtspServer, tmp_path: Path) -> None:
    with Live(cameras.url("/cam"), tmp_path / "out.mkv", live=BRISK) as live:
        for number in range(1, 4):
            live.until_out(RATE // 2)
            cameras.kill()
            live.until(lambda snapshot: snapshot["state"]["source"] == "lost")
            cameras.start()
            live.until(lambda snapshot, wanted=number: snapshot["reconnects"]["source"] == wanted)
        live.until_out(RATE)
        report = live.end()
    assert report.reconnects == {"source": 3, "sink": 0}
    assert report.num_held > 0  # the output went on
    pictures = check_monotonic(tmp_path / "out.mkv")
    assert len(pictures) == report.num_out + report.num_held
    # the gap is as long as it was on the wall, and filled: nowhere is there no picture for longer than the patience
    assert max(b - a for a, b in pairwise(pictures)) < BRISK.max_latency_s + 2
    check_monotonic(tmp_path / "out.mkv", "a:0")


def test_a_frozen_camera_counts_as_gone(cameras: RtspServer, tmp_path: Path) -> None:
    with Live(cameras.url("/cam"), tmp_path / "out.mkv", live=LiveOptions(max_latency_s=0.5, timeout_s=2)) as live:
        live.until_out(RATE)
        cameras.set("/cam", "v", "drop", "true")  # connected, audio goes on, no picture comes
        live.until(lambda snapshot: snapshot["state"]["source"] == "lost")
        cameras.set("/cam", "v", "drop", "false")
        live.until(lambda snapshot: snapshot["reconnects"]["source"] == 1)
        live.until_out(RATE)
        report = live.end()
    assert report.num_held >= RATE  # two seconds of silence, held from half a second on
    check_monotonic(tmp_path / "out.mkv")


def test_a_slate_is_shown_while_the_camera_is_gone(cameras: RtspServer, tmp_path: Path) -> None:
    options = LiveOptions(max_latency_s=0.3, timeout_s=2, on_loss="slate")
    with Live(cameras.url("/silent"), tmp_path / "out.mkv", live=options) as live:
        live.until_out(RATE)
        cameras.kill()
        live.until(lambda snapshot: snapshot["state"]["source"] == "lost")
        live.until(lambda snapshot: live.held() > 2 * RATE)
        live.end()
    shown = [row.md5 for row in rows(tmp_path / "out.mkv")]
    assert len(set(shown[-RATE:])) == 1  # a still card, unlike the bouncing ball


def test_stop_on_loss_ends_the_output(cameras: RtspServer, tmp_path: Path) -> None:
    with Live(cameras.url("/silent"), tmp_path / "out.mkv", live=LiveOptions(max_latency_s=5, timeout_s=2, on_loss="stop")) as live:
        live.until_out(RATE)
        cameras.kill()
        report = live.wait()
    assert report.ended_by == "source"
    assert report.num_held == 0
    assert len(check_monotonic(tmp_path / "out.mkv")) == report.num_out


def test_a_sink_that_dies_is_found_again_and_starts_with_a_key_frame(cameras: RtspServer, tmp_path: Path) -> None:
    record = {"/up": recorder(tmp_path / "second.mkv")}
    with RtspServer(record=record) as sink, Live(cameras.url("/cam"), sink.url("/up"), live=BRISK) as live:
        live.until_out(RATE)
        (tmp_path / "second.mkv").rename(tmp_path / "first.mkv")
        sink.kill()
        snapshot = live.until(lambda snapshot: snapshot["state"]["sink"] == "lost")
        assert snapshot["state"]["source"] == "connected"
        live.until(lambda snapshot: snapshot["dropped"].get("sink lost", 0) > 2)
        sink.start()
        live.until(lambda snapshot: snapshot["reconnects"]["sink"] == 1)
        live.until_out(2 * RATE)
        report = live.end()
    assert report.reconnects == {"source": 0, "sink": 1}
    assert report.dropped["sink lost"] > 2
    # decodes from the first picture on, as it could not from the middle of a group
    assert len(check_monotonic(tmp_path / "second.mkv")) >= 2 * RATE - 2
    check_monotonic(tmp_path / "first.mkv")


def test_a_wrong_password_is_final(tmp_path: Path) -> None:
    with RtspServer(play={"/cam": SILENT_CAMERA}, user=("admin", "right")) as server:
        failure = Live(server.url("/cam", "admin:hunter2"), tmp_path / "out.mkv").fail()
        assert isinstance(failure, SourceError)
        assert "401" in failure.message
        assert "hunter2" not in str(failure)
        with Live(server.url("/cam", "admin:right"), tmp_path / "out.mkv") as live:
            live.until_out(3)
            report = live.end()
    assert "right" not in str(report.as_dict())
    assert report.input == f"rtsp://***@127.0.0.1:{server.port}/cam"


def test_a_stream_that_does_not_exist_is_final(cameras: RtspServer, tmp_path: Path) -> None:
    failure = Live(cameras.url("/nothing"), tmp_path / "out.mkv").fail()
    assert "404" in failure.message


def test_a_closed_port_is_tried_again_as_often_as_asked(tmp_path: Path) -> None:
    url = f"rtsp://127.0.0.1:{free_port()}/cam"
    failure = Live(url, tmp_path / "out.mkv", live=LiveOptions(reconnect=1)).fail()
    assert isinstance(failure, SourceError)
    assert "Connection refused" in failure.message
    assert list(tmp_path.iterdir()) == []


def test_a_host_without_a_name_is_final(tmp_path: Path) -> None:
    failure = Live("rtsp://camera.invalid/stream", tmp_path / "out.mkv").fail()
    assert isinstance(failure, SourceError)
    assert "camera.invalid cannot be found" in failure.message


def test_a_sink_that_refuses_is_given_up_as_asked(cameras: RtspServer) -> None:
    live = Live(cameras.url("/cam"), f"rtsp://127.0.0.1:{free_port()}/up", live=LiveOptions(max_latency_s=5, reconnect=1))
    failure = live.fail()
    assert isinstance(failure, SinkError)
    assert "Connection refused" in failure.message


def test_a_camera_over_udp(cameras: RtspServer, tmp_path: Path) -> None:
    options = LiveOptions(max_latency_s=5, timeout_s=10, rtsp_transport="udp")
    with Live(cameras.url("/cam"), tmp_path / "out.mkv", live=options) as live:
        live.until_out(2 * RATE)
        live.end()
    check_monotonic(tmp_path / "out.mkv")
    check_monotonic(tmp_path / "out.mkv", "a:0")


def test_the_size_changes_within_a_session(cameras: RtspServer, tmp_path: Path) -> None:
    with Live(cameras.url("/silent"), tmp_path / "out.mkv", live=PATIENT) as live:
        live.until_out(RATE)
        cameras.set("/silent", "c", "caps", f"video/x-raw,width=128,height=96,framerate={RATE}/1")
        live.until_out(2 * RATE)
        report = live.end()
    assert report.reconnects == {"source": 0, "sink": 0}
    assert (report.result["width"], report.result["height"]) == (128, 96)
    assert len(check_monotonic(tmp_path / "out.mkv")) == report.num_out + report.num_held


def test_audio_that_the_output_cannot_hold_is_converted_and_stays_in_sync(tmp_path: Path) -> None:
    """G.711, as most cameras send it, into MPEG-TS; the server dies once, so the audio starts afresh behind a gap."""
    telephone = "audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay1 pt=0"
    pipeline = f"( {VIDEO.format(rate=RATE)} {telephone} )"
    with RtspServer(play={"/cam": pipeline}) as server, Live(server.url("/cam"), tmp_path / "out.ts", live=BRISK) as live:
        live.until_out(2 * RATE)
        server.kill()
        live.until(lambda snapshot: snapshot["state"]["source"] == "lost")
        server.start()
        live.until(lambda snapshot: snapshot["reconnects"]["source"] == 1)
        live.until_out(2 * RATE)
        report = live.end()
    assert any("converted to aac" in note for note in report.notes)
    pictures, heard = check_monotonic(tmp_path / "out.ts"), check_monotonic(tmp_path / "out.ts", "a:0")
    assert abs(heard[-1] - pictures[-1]) < 1  # had the gap been closed, audio would end as much earlier as the gap was long
    assert max(b - a for a, b in pairwise(heard)) > 0.5


def test_a_recording_as_mp4_plays_even_after_a_power_cut(cameras: RtspServer, tmp_path: Path) -> None:
    with Live(cameras.url("/cam"), tmp_path / "out.mp4", live=PATIENT) as live:
        live.until_out(3 * RATE)
        (tmp_path / "cut.mp4").write_bytes((tmp_path / "out.partial.mp4").read_bytes())
        report = live.end()
    assert len(check_monotonic(tmp_path / "cut.mp4")) >= RATE
    assert len(check_monotonic(tmp_path / "out.mp4")) == report.num_out


def test_a_source_that_stays_away_is_given_up_as_asked(cameras: RtspServer, tmp_path: Path) -> None:
    live = Live(cameras.url("/cam"), tmp_path / "out.mkv", live=LiveOptions(max_latency_s=0.5, timeout_s=2, reconnect=1))
    live.until_out(RATE)
    cameras.kill()
    failure = live.fail()
    assert isinstance(failure, SourceError)
    assert check_monotonic(tmp_path / "out.mkv")  # what there was is whole


def test_audio_that_falls_silent_holds_up_no_picture(cameras: RtspServer, tmp_path: Path) -> None:
    """FFmpeg's muxers would keep the pictures back for the audio, up to ten seconds."""
    with Live(cameras.url("/cam"), tmp_path / "out.ts", live=PATIENT) as live:
        live.until_out(RATE)
        cameras.set("/cam", "a", "drop", "true")
        out = live.until_out(3 * RATE)["frames_out"]
        (tmp_path / "now.ts").write_bytes((tmp_path / "out.partial.ts").read_bytes())
        live.end()
    assert len(check_monotonic(tmp_path / "now.ts")) >= out - RATE
