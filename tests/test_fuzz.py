"""Packets with flipped bytes, seeded: every run ends in time with a documented exit code, and 0 means that the account balances."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from media import make_clip, streamsr, times, tone

CODECS = {
    "h264.mp4": ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "8", "-c:a", "aac"],
    "h264.ts": ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "8", "-c:a", "mp2"],
    "hevc.mkv": ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p", "-c:a", "flac"],
    "vp8.webm": ["-c:v", "libvpx", "-c:a", "libopus"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-c:a", "libvorbis"],
    "av1.mkv": ["-c:v", "libsvtav1", "-preset", "12", "-pix_fmt", "yuv420p"],
    "mpeg2.mpg": ["-c:v", "mpeg2video", "-c:a", "mp2"],
    "mpeg4.avi": ["-c:v", "mpeg4", "-c:a", "libmp3lame"],
    "ffv1.nut": ["-c:v", "ffv1", "-c:a", "pcm_s16le"],
    "mjpeg.mov": ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "pcm_s16le"],
}
DOCUMENTED = (0, 3, 6)  # done, input, or audio that the output's container refuses
SEEDS = range(3)


@pytest.fixture(scope="module")
def clips_of_all_codecs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    for name, options in CODECS.items():
        inputs = tone(1.0) if "-c:a" in options else []
        make_clip(folder / name, *options, num_frames=24, inputs=inputs)
    return folder


def flip(source: Path, target: Path, seed: int, share: float) -> None:
    """Copy packets; in `share` of them some bytes become noise. Where the muxer refuses one, it is left out."""
    random = np.random.default_rng(seed)
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        streams = {
            stream.index: after.add_stream_from_template(stream, opaque=True)
            for stream in before.streams
            if stream.type in ("video", "audio")
        }
        for packet in before.demux():
            if not packet.size or packet.stream.index not in streams:
                continue
            data = bytearray(bytes(packet))
            if random.random() < share:
                for place in random.integers(0, len(data), size=random.integers(1, 8)):
                    data[place] = random.integers(256)
                if random.random() < 0.2:
                    del data[len(data) // 2 :]
            copy = av.Packet(bytes(data))
            copy.pts, copy.dts, copy.time_base, copy.is_keyframe = packet.pts, packet.dts, packet.time_base, packet.is_keyframe
            copy.duration = packet.duration
            copy.stream = streams[packet.stream.index]
            try:
                after.mux(copy)
            except av.error.FFmpegError:
                continue


def check(source: Path, out: Path) -> None:
    outcome = streamsr("run", source, out, "--model", "resize", "--scale", "1", "--encoder", "libx264", "--preset", "ultrafast")
    assert outcome.code in DOCUMENTED, outcome.err
    assert "Traceback" not in outcome.err
    if outcome.code == 0:
        assert "account balanced" in outcome.err
        assert f"{len(times(out))} muxed" in outcome.err
    else:
        assert not out.exists()


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("seed", SEEDS)
def test_flipped_packets_end_in_order(clips_of_all_codecs: Path, tmp_path: Path, name: str, seed: int) -> None:
    source = tmp_path / f"bad{Path(name).suffix}"
    flip(clips_of_all_codecs / name, source, seed, share=(0.1, 0.4, 1.0)[seed])
    check(source, tmp_path / "out.mkv")


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("seed", SEEDS)
def test_flipped_bytes_of_the_file_end_in_order(clips_of_all_codecs: Path, tmp_path: Path, name: str, seed: int) -> None:
    random = np.random.default_rng(100 + seed)
    data = bytearray((clips_of_all_codecs / name).read_bytes())
    for place in random.integers(0, len(data), size=(3, 30, 300)[seed]):
        data[place] = random.integers(256)
    source = tmp_path / f"bad{Path(name).suffix}"
    source.write_bytes(data)
    check(source, tmp_path / "out.mkv")


def test_files_cut_anywhere_end_in_order(clips_of_all_codecs: Path, tmp_path: Path) -> None:
    for name in ("h264.ts", "vp9.webm", "mpeg4.avi", "ffv1.nut"):
        data = (clips_of_all_codecs / name).read_bytes()
        source = tmp_path / f"cut{Path(name).suffix}"
        source.write_bytes(data[: len(data) * 3 // 5])
        check(source, tmp_path / f"{name}.mkv")
