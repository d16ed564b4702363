"""Audio: copied where the container takes it, converted without loss where it can, never lost in silence."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from media import describe, ffmpeg, make_clip, pictures, streams, streamsr, tone, upscale

from streamsr.io.tracks import Track


def samples(path: object, *options: object) -> np.ndarray:
    """The decoded audio, int32 (samples, channels)."""
    channels = {"mono": 1, "stereo": 2, "5.1": 6, "5.1(side)": 6}
    layout = next(word for line in streams(path) if line.startswith("Audio") for word in line.split(", ") if word in channels)
    return np.frombuffer(ffmpeg(*options, "-i", path, "-map", "0:a:0", "-f", "s32le", "-"), "<i4").reshape(-1, channels[layout])


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "alac"), ("mov", "alac"), ("mkv", "truehd")])
def test_lossless_audio_stays_lossless(faults: Path, tmp_path: Path, suffix: str, codec: str) -> None:
    out = tmp_path / f"out.{suffix}"
    upscale(faults / "truehd.mkv", out)
    assert any(f"Audio: {codec}" in line for line in streams(out))
    before, after = samples(faults / "truehd.mkv"), samples(out)
    assert np.array_equal(before, after[: len(before)])


@pytest.mark.parametrize(("name", "suffix", "codec"), [
    ("truehd.mkv", "ts", "aac"), ("truehd.mkv", "webm", "opus"), ("eac3.mkv", "webm", "opus"), ("eac3.mkv", "mp4", "eac3"),
])  # fmt: skip
def test_surround_goes_everywhere(faults: Path, tmp_path: Path, name: str, suffix: str, codec: str) -> None:
    out = tmp_path / f"out.{suffix}"
    outcome = upscale(faults / name, out)
    assert any(f"Audio: {codec}" in line and "5.1" in line for line in streams(out))
    assert (f"converted to {'libopus' if codec == 'opus' else codec}" in outcome.err) is (codec != "eac3")
    before, after = samples(faults / name), samples(out)
    assert abs(len(after) - len(before)) <= 2 * 1536  # a frame at each end
    for channel in range(6):  # each channel is still the same one
        loudness = [float(np.sqrt(np.mean((part[:, channel] / 2.0**31) ** 2))) for part in (before, after)]
        assert loudness[1] == pytest.approx(loudness[0], rel=0.3, abs=0.02)


@pytest.mark.parametrize("codec", ["ac3", "dca"])
@pytest.mark.parametrize("suffix", ["webm", "mkv", "mp4"])
def test_side_channels_are_taken(tmp_path: Path, codec: str, suffix: str) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-c:a", codec, "-strict", "-2", "-af", "aformat=channel_layouts=5.1(side)", inputs=tone(0.5))
    upscale(clip, tmp_path / f"out.{suffix}")
    assert "5.1" in describe(tmp_path / f"out.{suffix}")


@pytest.mark.parametrize(("codec", "bits"), [("pcm_bluray", 24), ("pcm_bluray", 16), ("pcm_dvd", 16)])
def test_pcm_of_discs_stays_lossless_in_matroska(tmp_path: Path, codec: str, bits: int) -> None:
    name = "in.m2ts" if codec == "pcm_bluray" else "in.vob"
    video = ["-c:v", "libx264" if codec == "pcm_bluray" else "mpeg2video", "-pix_fmt", "yuv420p"]
    options = ["-c:a", codec, "-sample_fmt", "s32" if bits == 24 else "s16", "-ac", "2", "-ar", "48000"]
    clip = make_clip(tmp_path / name, *video, *options, *(["-mpegts_m2ts_mode", "1"] if codec == "pcm_bluray" else []), inputs=tone(0.5))
    upscale(clip, tmp_path / "out.mkv")
    assert any(f"Audio: pcm_s{bits}le" in line for line in streams(tmp_path / "out.mkv"))
    before, after = samples(clip), samples(tmp_path / "out.mkv")
    assert np.array_equal(before, after)


def test_channels_that_change_in_the_middle(tmp_path: Path) -> None:
    for name, channels in (("a", 2), ("b", 6), ("c", 1)):
        make_clip(tmp_path / f"{name}.ts", "-c:a", "ac3", "-ac", channels, "-g", "5", num_frames=25, inputs=tone(1))
    (tmp_path / "in.ts").write_bytes(b"".join((tmp_path / f"{name}.ts").read_bytes() for name in "abc"))
    upscale(tmp_path / "in.ts", tmp_path / "out.webm")
    found = samples(tmp_path / "out.webm")
    assert len(found) == pytest.approx(3 * 48000, abs=4000)
    for second in range(3):
        part = found[int((second + 0.3) * 48000) : int((second + 0.7) * 48000)] / 2.0**31
        assert np.sqrt(np.mean(part**2)) > 0.02, f"second {second} is silent"


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize("end", [["--frames", "5"], ["--end", "1.2"]])
def test_a_range_gets_all_of_its_uncompressed_audio(tmp_path: Path, suffix: str, end: list[str]) -> None:
    # one packet a second, none of which begins in the range
    ffmpeg(*pictures(num_frames=75), *tone(3, 48000), "-c:v", "libx264", "-pix_fmt", "yuv420p", "-af", "asetnsamples=n=44100",
           "-c:a", "pcm_s16le", "-ac", "2", tmp_path / "in.mkv")  # fmt: skip
    upscale(tmp_path / "in.mkv", tmp_path / f"out.{suffix}", "--start", "1", *end)
    found, whole = samples(tmp_path / f"out.{suffix}"), samples(tmp_path / "in.mkv")
    assert len(found) == pytest.approx(9600, abs=24)  # Matroska's times are half a millisecond off
    assert any(np.array_equal(found, whole[at : at + len(found)]) for at in range(48000 - 24, 48000 + 25))


def test_lost_packets_are_not_balanced(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-c:a", "pcm_s16le", num_frames=25, inputs=tone(1))
    real, first = Track.mux, []

    def repeat(self: Track, packet: av.Packet) -> None:
        first.append(packet.pts)
        packet.pts = packet.dts = first[0] if len(first) in (4, 6) else packet.pts
        real(self, packet)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Track, "mux", repeat)
        outcome = streamsr("run", clip, tmp_path / "out.mkv", "--model", "resize")
        first.clear()
        strict = streamsr("run", clip, tmp_path / "strict.mkv", "--model", "resize", "--strict")
    assert "balanced but for 2 lost packets of other streams" in outcome.err
    assert "was left out" in outcome.err
    assert strict.code == 6
