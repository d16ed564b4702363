"""What cannot be is known before any work, and what can be is written into the container."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from media import describe, ffmpeg, make_clip, pictures, program, shown, streamsr, times, tone, upscale
from PIL import Image

from streamsr.errors import UsageError
from streamsr.io.encoder_table import closest_preset

HDR = ["-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc", "-color_range", "tv"]
MASTER = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"


@pytest.mark.parametrize(("suffix", "encoder"), [
    ("webm", "libvpx-vp9"), ("webm", "libsvtav1"), ("mkv", "libsvtav1"), ("mkv", "libvpx-vp9"), ("mkv", "ffv1"), ("mp4", "libsvtav1"),
    ("mov", "prores_ks"), ("ts", "libx264"), ("mkv", "libx265"),
])  # fmt: skip
def test_pixel_aspect_is_kept_by_every_encoder(tmp_path: Path, suffix: str, encoder: str) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-vf", "setsar=16/11", size="72x64", num_frames=3)
    upscale(clip, tmp_path / f"out.{suffix}", "--encoder", encoder)
    width, height = re.findall(r"SAR (\d+):(\d+)", describe(tmp_path / f"out.{suffix}"))[-1]  # the container's, behind the stream's
    assert int(width) / int(height) == pytest.approx(16 / 11, abs=1 / 144)  # WebM says whole pixels


@pytest.mark.parametrize(("suffix", "encoder"), [
    ("mkv", "libvpx-vp9"), ("webm", "libvpx-vp9"), ("mkv", "ffv1"), ("mkv", "libx265"), ("mp4", "libx265"), ("mp4", "libsvtav1"),
])  # fmt: skip
def test_hdr10_of_any_encoder_is_in_the_container(tmp_path: Path, suffix: str, encoder: str) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", f"log-level=error:{MASTER}", *HDR,
                     num_frames=3)  # fmt: skip
    out = tmp_path / f"out.{suffix}"
    upscale(clip, out, "--encoder", encoder)
    command = [program("ffprobe"), "-v", "error", "-show_streams", "-of", "json", str(out)]
    (stream,) = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["streams"]
    side = {data["side_data_type"]: data for data in stream["side_data_list"]}
    assert side["Content light level metadata"]["max_content"] == 1000
    assert eval(side["Mastering display metadata"]["max_luminance"]) == pytest.approx(1000)  # a fraction
    if suffix in ("mkv", "webm"):
        found = json.loads(subprocess.run([program("mkvmerge"), "-J", str(out)], capture_output=True, check=True).stdout)
        assert found["tracks"][0]["properties"]["max_content_light"] == 1000
        assert found["tracks"][0]["properties"]["max_luminance"] == pytest.approx(1000)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "ts", "mkv", "webm"])
def test_one_bit_pictures_become_video(tmp_path: Path, suffix: str) -> None:
    Image.linear_gradient("L").resize((64, 48)).convert("1").save(tmp_path / "in.png")
    upscale(tmp_path / "in.png", tmp_path / f"out.{suffix}")
    assert shown(tmp_path / f"out.{suffix}")["s"] == "128x96"


def test_mastering_without_luminance(tmp_path: Path) -> None:
    plain = make_clip(tmp_path / "plain.mkv", *HDR, num_frames=3)
    command = [program("mkvpropedit"), "-q", str(plain), "--edit", "track:v1"]
    for name, value in (("chromaticity-coordinates-red-x", 0.68), ("chromaticity-coordinates-red-y", 0.32),
                        ("chromaticity-coordinates-green-x", 0.265), ("chromaticity-coordinates-green-y", 0.69),
                        ("chromaticity-coordinates-blue-x", 0.15), ("chromaticity-coordinates-blue-y", 0.06),
                        ("white-coordinates-x", 0.3127), ("white-coordinates-y", 0.329)):  # fmt: skip
        command += ["--set", f"{name}={value}"]
    subprocess.run(command, check=True)
    upscale(plain, tmp_path / "out.mkv")
    found = json.loads(subprocess.run([program("mkvmerge"), "-J", str(tmp_path / "out.mkv")], capture_output=True, check=True).stdout)
    assert found["tracks"][0]["properties"]["chromaticity_coordinates"].startswith("0.68,0.32")
    outcome = upscale(plain, tmp_path / "out.mp4")
    assert "mastering display metadata dropped" in outcome.err


def test_refusal_comes_before_any_work(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-g", "10", num_frames=100)
    outcome = streamsr("run", clip, tmp_path / "out.webm", "--model", "resize", "--encoder", "libx264", "--segment-seconds", "1")
    assert outcome.code == 6
    assert "libx264" in outcome.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv"]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "mov", "ts"])
def test_audio_first_in_windows_media(tmp_path: Path, suffix: str) -> None:
    ffmpeg(*pictures(num_frames=10), *tone(0.4), "-map", "1:a", "-map", "0:v", "-c:v", "wmv2", "-c:a", "wmav2", tmp_path / "in.wmv")
    upscale(tmp_path / "in.wmv", tmp_path / f"out.{suffix}")
    assert len(times(tmp_path / f"out.{suffix}")) == 10


@pytest.mark.parametrize(("encoder", "preset", "own"), [
    ("libsvtav1", "ultrafast", "13"), ("libsvtav1", "placebo", "-1"), ("libvpx-vp9", "ultrafast", "8"), ("libx264", "13", "ultrafast"),
    ("libx265", "p7", "placebo"), ("hevc_nvenc", "ultrafast", "p1"), ("libx264", "slow", "slow"), ("libvpx-vp9", "5", "5"),
])  # fmt: skip
def test_preset_of_another_encoder_is_mapped_by_speed(encoder: str, preset: str, own: str) -> None:
    assert closest_preset(encoder, preset) == own


def test_preset_that_no_encoder_has_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no preset 'quick'.*13, 12"):
        closest_preset("libsvtav1", "quick")


@pytest.mark.parametrize("encoder", ["libsvtav1", "libvpx-vp9", "libx265"])
def test_ultrafast_works_with_every_encoder(tmp_path: Path, encoder: str) -> None:
    upscale(make_clip(tmp_path / "in.mp4", num_frames=3), tmp_path / "out.mkv", "--encoder", encoder, "--preset", "ultrafast")
