"""The frame account: what is lost, moved or recoloured is exit code 4; what is good passes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest
from media import ffmpeg, make_clip, streamsr, times, tone, upscale

import streamsr as package
from streamsr.account import Account, check_counts, check_pts, verify
from streamsr.errors import AccountError
from streamsr.io.encoder_settings import Encoding
from streamsr.io.sink import Sink
from streamsr.upscaling.upscaler import Upscaler

COLOUR = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(
        tmp_path_factory.mktemp("account") / "in.mkv", "-vf", f"format=yuv420p,{COLOUR}", "-c:a", "aac", inputs=tone(), num_frames=12
    )


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts", "webm", "nut"])
def test_verify_passes_a_good_result(clip: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    upscale(clip, out, *(["--encoder", "libvpx-vp9"] if suffix == "webm" else []))
    outcome = streamsr("verify", clip, out)
    assert outcome.code == 0, outcome.out
    assert "account balanced" in outcome.out


def edited(clip: Path, folder: Path, *arguments: object) -> Path:
    out = folder / "edited.mkv"
    ffmpeg("-i", clip, *arguments, out)
    return out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-vf", "select='not(eq(n,5))'", "-fps_mode", "passthrough"], "12 frames in, 11 out"),
        (["-vf", "select='lt(n,11)'", "-fps_mode", "passthrough"], "12 frames in, 11 out"),
        (["-vf", "setpts='PTS+eq(N,6)*0.01/TB'", "-fps_mode", "passthrough", "-enc_time_base", "1:1000"], "differ: 1 frames, first #6"),
        (["-vf", "setpts='PTS*1.02'", "-fps_mode", "passthrough", "-enc_time_base", "1:1000"], "differ"),
        (["-vf", "setparams=colorspace=bt470bg"], "matrix bt709 became bt470bg"),
        (["-vf", "setparams=range=pc"], "range tv became pc"),
        (["-vf", "setparams=color_trc=smpte2084"], "transfer bt709 became smpte2084"),
        (["-vf", "setsar=2"], "sar 1 became 2"),
        (["-an"], "1 audio streams in, 0 out"),
    ],
    ids=["dropped", "last-dropped", "moved", "slower", "matrix", "range", "transfer", "shape", "silent"],
)
def test_verify_catches(clip: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    outcome = streamsr("verify", clip, edited(clip, tmp_path, *arguments))
    assert outcome.code == 4, outcome.out
    assert words in outcome.out
    assert "NOT BALANCED" in outcome.out


def test_verify_catches_audio_out_of_step(clip: Path, tmp_path: Path) -> None:
    ffmpeg("-i", clip, "-itsoffset", "0.2", "-i", clip, "-map", "0:v", "-map", "1:a", "-c", "copy", tmp_path / "late.mkv")
    outcome = streamsr("verify", clip, tmp_path / "late.mkv")
    assert outcome.code == 4, outcome.out
    assert "audio" in outcome.out


def test_verify_of_a_missing_file_is_an_input_error(clip: Path, tmp_path: Path) -> None:
    outcome = streamsr("verify", clip, tmp_path / "none.mp4")
    assert outcome.code == 3
    assert "none.mp4" in outcome.err


def test_verify_prints_json(clip: Path, tmp_path: Path) -> None:
    upscale(clip, tmp_path / "out.mkv")
    account = json.loads(streamsr("verify", clip, tmp_path / "out.mkv", "--json").out)
    assert account["ok"] is True
    assert account["num_decoded"] == 12
    assert account["problems"] == []


def test_verify_of_the_library_tells_what_is_wrong(clip: Path, tmp_path: Path) -> None:
    account = verify(clip, edited(clip, tmp_path, "-vf", "select='not(eq(n,5))'", "-fps_mode", "passthrough"))
    assert not account.ok
    assert account.problems == ["differ: 12 frames in, 11 out"]


def assert_unbalanced(clip: Path, out: Path, *words: str) -> None:
    with pytest.raises(AccountError) as caught:
        package.run(clip, out, model="resize")
    assert caught.value.exit_code == 4
    for word in words:
        assert word in caught.value.message
    assert not out.exists()
    assert out.with_name(f"{out.stem}.partial{out.suffix}").exists()


def test_lost_packet_is_caught(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mux = Sink._mux

    def lose(self: Sink, packets: list[av.Packet]) -> None:
        mux(self, [packet for packet in packets if packet.pts != 200])

    monkeypatch.setattr(Sink, "_mux", lose)
    assert_unbalanced(clip, tmp_path / "out.mkv", "12 encoded, 11 muxed")


def test_packet_lost_behind_the_count_is_caught(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(self: Sink, packets: list[av.Packet]) -> None:
        for packet in packets:
            assert packet.pts is not None
            self.muxed_pts.append(round(packet.pts * packet.time_base / self.time_base))
            if packet.pts != 200:
                self.container.mux(packet)

    monkeypatch.setattr(Sink, "_mux", lose)
    assert_unbalanced(clip, tmp_path / "out.mkv", "12 frames in, 11 out")


def test_lost_frame_is_caught(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Upscaler.stream

    def lose(self: Upscaler, frames: Iterator[av.VideoFrame], *, like: object = None) -> Iterator[av.VideoFrame]:
        for number, frame in enumerate(stream(self, frames)):
            if number != 4:
                yield frame

    monkeypatch.setattr(Upscaler, "stream", lose)
    assert_unbalanced(clip, tmp_path / "out.mkv", "frames lost: 12 decoded")


def test_moved_time_is_caught(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def move(self: Sink, packets: list[av.Packet]) -> None:
        for packet in packets:
            assert packet.pts is not None
            self.muxed_pts.append(round(packet.pts * packet.time_base / self.time_base))
            if packet.pts == 200:
                packet.pts = 207
            self.container.mux(packet)

    monkeypatch.setattr(Sink, "_mux", move)
    assert_unbalanced(clip, tmp_path / "out.mkv", "differ: 1 frames, first #5")


def test_wrong_colour_word_is_caught(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_stream = Encoding.add_stream

    def recolour(self: Encoding, container: av.container.OutputContainer) -> av.VideoStream:
        stream = add_stream(self, container)
        stream.codec_context.colorspace = 5
        return stream

    monkeypatch.setattr(Encoding, "add_stream", recolour)
    outcome = streamsr("run", clip, tmp_path / "early.mkv", "--model", "resize")
    assert outcome.code == 6  # before any work
    assert "would lose tags: matrix bt709 became bt470bg" in outcome.err
    monkeypatch.setattr("streamsr.jobs.job.rehearse", lambda *_: None)
    assert_unbalanced(clip, tmp_path / "out.mkv", "matrix bt709 became bt470bg")


def test_lost_audio_packets_are_caught(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamsr.io.tracks import Track

    mux = Track.mux

    def lose(self: Track, packet: av.Packet) -> None:
        if self.num_packets == 6:
            self.num_packets += 1
        else:
            mux(self, packet)

    monkeypatch.setattr(Track, "mux", lose)
    assert_unbalanced(clip, tmp_path / "out.mkv", "audio")


def test_unbalanced_account_is_exit_code_4(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mux = Sink._mux
    monkeypatch.setattr(Sink, "_mux", lambda self, packets: mux(self, list(packets)[0 if "rehearsal" in self.path else 1 :]))
    outcome = streamsr("run", clip, tmp_path / "out.mkv", "--model", "resize")
    assert outcome.code == 4
    assert "NOT BALANCED" in outcome.err
    assert "out.partial.mkv" in outcome.err
    assert not (tmp_path / "out.mkv").exists()


def test_equal_counts_balance() -> None:
    account = Account(num_decoded=3, num_upscaled=3, num_encoded=3, num_muxed=3)
    check_counts(account)
    assert account.ok


@pytest.mark.parametrize("name", ["num_decoded", "num_upscaled", "num_encoded", "num_muxed"])
def test_each_count_counts(name: str) -> None:
    account = Account(num_decoded=3, num_upscaled=3, num_encoded=3, num_muxed=3)
    setattr(account, name, 2)
    check_counts(account)
    assert account.problems


def test_a_difference_of_half_a_tick_is_no_difference() -> None:
    account = Account()
    check_pts(account, [Fraction(0), Fraction(1, 3)], [Fraction(0), Fraction(333, 1000)], tolerance=Fraction(1, 2000))
    assert account.timestamps == "equal"


def test_result_of_ffmpeg_itself_is_accepted(clip: Path, tmp_path: Path) -> None:
    ffmpeg("-i", clip, "-c", "copy", tmp_path / "copy.ts")
    assert times(tmp_path / "copy.ts")[0] > 1  # FFmpeg's mpegts muxer starts at 1.4 s
    assert verify(clip, tmp_path / "copy.ts").ok
