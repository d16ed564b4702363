"""Picture: shape, colour, depth and HDR words leave as they came, and no column is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from media import MEAN_LOSS, describe, ffmpeg, gray_pictures, make_clip, rows, shown, streams, streamsr, times, upscale

HDR10 = "hdr10=1:repeat-headers=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_pixel_aspect_is_kept(tmp_path: Path, suffix: str) -> None:
    clip = make_clip(tmp_path / "in.mp4", "-vf", "setsar=64/45")
    upscale(clip, tmp_path / f"out.{suffix}")
    assert shown(tmp_path / f"out.{suffix}")["sar"] == "64/45"


@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_rotation_is_kept(tmp_path: Path, degrees: int, suffix: str) -> None:
    plain = make_clip(tmp_path / "plain.mp4")
    ffmpeg("-display_rotation", degrees, "-i", plain, "-c", "copy", tmp_path / "in.mp4")
    upscale(tmp_path / "in.mp4", tmp_path / f"out.{suffix}")
    before, after = (describe(path).split("rotation of ")[1].split()[0] for path in (tmp_path / "in.mp4", tmp_path / f"out.{suffix}"))
    assert before == after
    assert "128x96" in streams(tmp_path / f"out.{suffix}")[0]


def test_rotation_that_the_container_cannot_say_is_named(tmp_path: Path) -> None:
    plain = make_clip(tmp_path / "plain.mp4")
    ffmpeg("-display_rotation", 90, "-i", plain, "-c", "copy", tmp_path / "in.mp4")
    outcome = upscale(tmp_path / "in.mp4", tmp_path / "out.ts")
    assert "rotation by 90 degrees dropped" in outcome.err


@pytest.mark.parametrize(
    ("matrix", "primaries", "transfer"),
    [("bt709", "bt709", "bt709"), ("smpte170m", "smpte170m", "smpte170m"), ("bt470bg", "bt470bg", "bt470bg"), ("fcc", "film", "linear"),
     ("bt2020nc", "bt2020", "bt2020-10"), ("smpte240m", "smpte240m", "smpte240m"), ("bt709", "smpte432", "iec61966-2-1")],
)  # fmt: skip
@pytest.mark.parametrize("color_range", ["tv", "pc"])
def test_colour_words_are_kept(tmp_path: Path, matrix: str, primaries: str, transfer: str, color_range: str) -> None:
    words = {"color_range": color_range, "color_space": matrix, "color_primaries": primaries, "color_trc": transfer}
    fields = f"setparams=colorspace={matrix}:color_primaries={primaries}:color_trc={transfer}:range={color_range}"
    clip = make_clip(tmp_path / "in.mp4", "-vf", f"format=yuv420p,{fields}", num_frames=2)
    assert {key: shown(clip)[key] for key in words} == words
    for suffix in ("mp4", "mkv"):
        upscale(clip, tmp_path / f"out.{suffix}")
        found = shown(tmp_path / f"out.{suffix}")
        assert {key: found[key] for key in words} == words


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libvpx-vp9", "libsvtav1", "ffv1"])
def test_each_encoder_writes_the_colour_words(tmp_path: Path, encoder: str) -> None:
    words = {"color_range": "tv", "color_space": "bt470bg", "color_primaries": "bt470bg", "color_trc": "bt470bg"}
    fields = "setparams=colorspace=bt470bg:color_primaries=bt470bg:color_trc=bt470bg:range=tv"
    clip = make_clip(tmp_path / "in.mp4", "-vf", f"format=yuv420p,{fields}", num_frames=2)
    upscale(clip, tmp_path / "out.mkv", "--encoder", encoder)
    found = shown(tmp_path / "out.mkv")
    assert {key: found[key] for key in words} == words


def test_pictures_without_colour_words_get_none(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", num_frames=2)
    upscale(clip, tmp_path / "out.mp4")
    found = shown(tmp_path / "out.mp4")
    assert (found["color_space"], found["color_primaries"], found["color_trc"]) == ("unknown", "unknown", "unknown")


@pytest.mark.parametrize("place", ["left", "center", "topleft", "top", "bottomleft", "bottom"])
def test_chroma_siting_is_kept(tmp_path: Path, place: str) -> None:
    clip = make_clip(tmp_path / "in.mp4", "-chroma_sample_location", place, num_frames=2)
    assert f"cl:{place}" in " ".join(f"{k}:{v}" for k, v in shown(clip).items())
    upscale(clip, tmp_path / "out.mp4")
    assert shown(tmp_path / "out.mp4")["cl"] == place


@pytest.fixture(scope="module")
def hdr10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hdr") / "in.mkv"
    return make_clip(
        path, "-vf", "format=yuv420p10le,setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084:range=tv",
        "-c:v", "libx265", "-x265-params", f"log-level=error:{HDR10}", num_frames=4,
    )  # fmt: skip


def hdr_lines(path: Path) -> list[str]:
    lines = shown(path)["side"].splitlines()
    return sorted(line.strip() for line in lines if "astering" in line or "ight" in line)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts"])
def test_hdr10_words_are_kept(hdr10: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    upscale(hdr10, out, "--preset", "ultrafast")
    before, after = shown(hdr10), shown(out)
    assert len(hdr_lines(hdr10)) >= 2
    assert hdr_lines(hdr10) == hdr_lines(out)
    assert after["fmt"] == "yuv420p10le"
    assert {k: v for k, v in before.items() if k.startswith("color")} == {k: v for k, v in after.items() if k.startswith("color")}


@pytest.mark.parametrize("encoder", ["libsvtav1", "libx264"])
def test_hdr10_words_are_kept_by_other_encoders(hdr10: Path, tmp_path: Path, encoder: str) -> None:
    upscale(hdr10, tmp_path / "out.mkv", "--encoder", encoder)
    assert shown(tmp_path / "out.mkv")["color_trc"] == "smpte2084"
    found = hdr_lines(tmp_path / "out.mkv")
    assert any("MaxCLL=1000, MaxFALL=400" in line for line in found)
    assert any("r(0.6800,0.3200) g(0.2650,0.6900)" in line for line in found)


def test_hlg_stays_hlg(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4",
                     "-vf", "format=yuv420p10le,setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc=arib-std-b67",
                     "-c:v", "libx265", "-x265-params", "log-level=error", num_frames=3)  # fmt: skip
    upscale(clip, tmp_path / "out.mp4", "--preset", "ultrafast")
    found = shown(tmp_path / "out.mp4")
    assert (found["color_trc"], found["color_primaries"], found["fmt"]) == ("arib-std-b67", "bt2020", "yuv420p10le")


@pytest.mark.parametrize(
    "pix_fmt",
    ["yuv420p", "yuv422p", "yuv444p", "gray", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "yuv444p16le", "gbrp", "gbrp10le",
     "gray10le", "bgr0", "bgra", "rgb48le", "yuva420p", "yuva444p10le", "yuv411p"],
)  # fmt: skip
def test_pixel_format_is_kept_through_ffv1(tmp_path: Path, pix_fmt: str) -> None:
    source, out = tmp_path / "in.mkv", tmp_path / "out.mkv"
    make_clip(source, "-c:v", "ffv1", "-pix_fmt", pix_fmt, num_frames=3)
    upscale(source, out, "--encoder", "ffv1", "--scale", "1")
    planar = {"rgb48le": "gbrp16le"}
    before, after = shown(source)["fmt"], shown(out)["fmt"]
    assert after in (before, planar.get(before))
    if after == before:
        assert [row.md5 for row in rows(source)] == [row.md5 for row in rows(out)]  # scale 1 changes nothing


@pytest.mark.parametrize(
    ("pix_fmt", "expected"),
    [("yuv420p", "yuv420p"), ("yuv422p", "yuv422p"), ("yuv444p", "yuv444p"), ("yuv420p10le", "yuv420p10le"), ("gray", "yuv420p"),
     ("gbrp", "yuv420p"), ("yuv422p10le", "yuv422p10le"), ("yuv411p", "yuv420p"), ("yuv420p12le", "yuv420p10le")],
)  # fmt: skip
def test_h264_keeps_depth_and_chroma(tmp_path: Path, pix_fmt: str, expected: str) -> None:
    source, out = tmp_path / "in.mkv", tmp_path / "out.mp4"
    make_clip(source, "-c:v", "ffv1", "-pix_fmt", pix_fmt, num_frames=3)
    upscale(source, out)
    assert shown(out)["fmt"].replace("yuvj", "yuv") in (expected, "yuv422p" if pix_fmt == "yuv411p" else expected)


def test_rgb_becomes_bt709_without_a_shift(tmp_path: Path) -> None:
    source, out = tmp_path / "in.mkv", tmp_path / "out.mp4"
    make_clip(source, "-c:v", "ffv1", "-pix_fmt", "gbrp", num_frames=3)
    upscale(source, out, "--scale", "1", "--pix-fmt", "yuv444p", "--crf", "4")
    before = np.frombuffer(ffmpeg("-i", source, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"), np.uint8)
    after = np.frombuffer(ffmpeg("-i", out, "-vf", "scale=in_color_matrix=bt709", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"), np.uint8)
    assert np.abs(before.astype(int) - after).mean() < MEAN_LOSS
    assert shown(out)["color_space"] == "bt709"


@pytest.mark.parametrize("size", ["161x121", "33x17", "62x45"])
def test_odd_size_loses_no_column(tmp_path: Path, size: str) -> None:
    source = make_clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p", "-vf", f"scale={size}", num_frames=2)
    assert size in streams(source)[0]
    upscale(source, tmp_path / "out.mp4", "--crf", "4")
    width, height = (2 * int(side) for side in size.split("x"))
    assert f"{width}x{height}" in streams(tmp_path / "out.mp4")[0]
    ffmpeg("-i", source, "-vf", f"scale={width}:{height}:flags=lanczos", "-c:v", "ffv1", tmp_path / "expected.mkv")
    for ours, theirs in zip(
        gray_pictures(tmp_path / "out.mp4", width, height), gray_pictures(tmp_path / "expected.mkv", width, height), strict=True
    ):
        a, b = (np.frombuffer(data, np.uint8).reshape(height, width).astype(int) for data in (ours, theirs))
        assert np.abs(a - b)[:, -4:].mean() < 2 * MEAN_LOSS
        assert np.abs(a - b).mean() < MEAN_LOSS


@pytest.mark.parametrize(
    ("wanted", "size", "expected"),
    [(["--scale", "3"], "64x48", "192x144"), (["--scale", "1.5"], "64x48", "96x72"), (["--scale", "0.5"], "64x48", "32x24"),
     (["--size", "360p"], "64x48", "480x360"), (["--size", "200x200"], "64x48", "200x150"), (["--size", "1440p"], "16x16", "1440x1440")],
)  # fmt: skip
def test_output_has_the_size_asked_for(tmp_path: Path, wanted: list[str], size: str, expected: str) -> None:
    clip = make_clip(tmp_path / "in.mp4", size=size, num_frames=2)
    upscale(clip, tmp_path / "out.mp4", *wanted)
    assert expected in streams(tmp_path / "out.mp4")[0]


def test_size_change_in_the_middle_keeps_the_output_size(tmp_path: Path) -> None:
    first = make_clip(tmp_path / "a.h264", "-bf", "0", num_frames=5)
    second = make_clip(tmp_path / "b.h264", "-bf", "0", size="96x64", num_frames=6)
    (tmp_path / "in.h264").write_bytes(first.read_bytes() + second.read_bytes())
    upscale(tmp_path / "in.h264", tmp_path / "out.mp4")
    assert "128x96" in streams(tmp_path / "out.mp4")[0]
    assert len(times(tmp_path / "out.mp4")) == 11


@pytest.fixture(scope="module")
def alpha(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alpha") / "in.webm"
    return make_clip(path, "-vf", "format=yuva420p,geq=lum='lum(X,Y)':cb='cb(X,Y)':cr='cr(X,Y)':a='X*4'",
                     "-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p",
                     "-b:v", "1M", num_frames=4)  # fmt: skip


def alpha_plane(path: Path) -> np.ndarray:
    """The first picture's alpha, through FFmpeg's libvpx decoder where it is VP9."""
    decoder = ["-c:v", "libvpx-vp9"] if path.suffix in (".webm", ".mkv") else []
    return np.frombuffer(
        ffmpeg(*decoder, "-i", path, "-frames:v", "1", "-vf", "alphaextract", "-f", "rawvideo", "-pix_fmt", "gray", "-"), np.uint8
    )


@pytest.mark.parametrize("name", ["out.webm", "out.mkv", "out.mov", "out.png"])
def test_alpha_is_kept(alpha: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    upscale(alpha, out, *(["--frames", "1"] if name == "out.png" else []))
    found = alpha_plane(out).reshape(96, 128).astype(int)
    assert np.abs(found[48] - np.arange(128) * 2).mean() < 3 * MEAN_LOSS  # VP9 at its default quality, twice


def test_alpha_that_mp4_cannot_hold_is_named(alpha: Path, tmp_path: Path) -> None:
    outcome = upscale(alpha, tmp_path / "out.mp4")
    assert "alpha" in outcome.err
    assert shown(tmp_path / "out.mp4")["fmt"] == "yuv420p"


def test_strict_refuses_to_drop_alpha(alpha: Path, tmp_path: Path) -> None:
    outcome = streamsr("run", alpha, tmp_path / "out.mp4", "--model", "resize", "--strict")
    assert outcome.code == 6
    assert "alpha" in outcome.err
    assert not list(tmp_path.glob("out*"))
