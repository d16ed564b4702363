"""Faults of the world and of the user: the exit code, words that name the thing and the way out, and no file under the final name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from media import STREAMSR, Outcome, describe, ffmpeg, make_clip, streams, streamsr, times, tone, upscale


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("fault") / "in.mp4", "-c:a", "aac", inputs=tone())


def refused(code: int, *words: str, outcome: Outcome, folder: Path) -> None:
    """The run ended with `code`, said all `words`, and left nothing named out*."""
    assert outcome.code == code, outcome
    for word in words:
        assert word in outcome.err, outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    assert not [path for path in folder.glob("out*") if path.is_file()]


def run(source: object, folder: Path, *arguments: object, name: str = "out.mp4") -> Outcome:
    return streamsr("run", source, folder / name, *([] if "--model" in arguments else ["--model", "resize"]), *arguments)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p / "none.mp4", ["none.mp4", "no such file", "current folder"]),
        (lambda p: _write(p / "empty.mp4", b""), ["empty.mp4", "empty (0 bytes)"]),
        (lambda p: _write(p / "words.mp4", b"not a film at all\n" * 50), ["words.mp4", "not a video"]),
        (lambda p: _write(p / "noise.mkv", np.random.default_rng(3).bytes(20_000)), ["noise.mkv"]),
        (lambda p: p / "none_%03d.png", ["none_%03d.png", "pattern"]),
    ],
    ids=["missing", "empty", "text", "noise", "pattern"],
)
def test_input_that_is_no_video_is_named(tmp_path: Path, make: object, words: list[str]) -> None:
    refused(3, *words, outcome=run(make(tmp_path), tmp_path), folder=tmp_path)  # type: ignore[operator]


def test_folder_does_not_become_a_file(tmp_path: Path) -> None:
    refused(2, "is a folder", "%05d.png", outcome=run(tmp_path, tmp_path), folder=tmp_path)


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_audio_alone_is_refused(tmp_path: Path) -> None:
    ffmpeg(*tone(), tmp_path / "a.m4a")
    refused(3, "no video stream", "audio", outcome=run(tmp_path / "a.m4a", tmp_path), folder=tmp_path)


def test_audio_with_a_cover_is_no_video(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48", "-frames:v", "1", tmp_path / "c.png")
    ffmpeg(*tone(), "-i", tmp_path / "c.png", "-c:v", "copy", "-disposition:v", "attached_pic", tmp_path / "a.m4a")
    refused(3, "no video stream", outcome=run(tmp_path / "a.m4a", tmp_path), folder=tmp_path)


def test_mp4_without_its_index_is_refused(clip: Path, tmp_path: Path) -> None:
    cut = _write(tmp_path / "cut.mp4", clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    refused(3, "cut.mp4", outcome=run(cut, tmp_path), folder=tmp_path)


def test_truncated_matroska_gives_what_is_there_and_a_warning(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mkv", "-bf", "0", "-g", "10", num_frames=100)
    cut = _write(tmp_path / "cut.mkv", whole.read_bytes()[: whole.stat().st_size // 2])
    outcome = upscale(cut, tmp_path / "out.mkv")
    assert 20 < len(times(tmp_path / "out.mkv")) < 90
    assert len(times(tmp_path / "out.mkv")) == len(times(cut))
    assert "warning" in outcome.err
    assert "ends early" in outcome.err


def test_invalid_bitstream_is_refused(clips: Path, tmp_path: Path) -> None:
    refused(3, "vp9_invalid-bitstream.webm", outcome=run(clips / "vp9_invalid-bitstream.webm", tmp_path), folder=tmp_path)


def test_broken_audio_track_does_not_stop_the_picture(clips: Path, tmp_path: Path) -> None:
    source = clips / "video_with_failing_audio.mp4"
    upscale(source, tmp_path / "out.mp4", "--frames", "40", "--scale", "0.5")
    assert len(times(tmp_path / "out.mp4")) == 40
    assert any(line.startswith("Audio") for line in streams(tmp_path / "out.mp4"))


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--encoder", "libx999"], 6, ["libx999", "libx264"]),
        (["--encoder", "aac"], 6, ["aac", "not video"]),
        (["--model", "lite", "--engine", "warp"], 2, ["warp", "openvino"]),
        (["--model", "huge"], 2, ["huge", "lite"]),
        (["--model", "none.onnx"], 5, ["none.onnx"]),
        (["--model", "lite", "--device", "npu9"], 5, ["npu9"]),
        (["--precision", "int2"], 2, ["int2", "bf16"]),
        (["--pix-fmt", "yuv9"], 2, ["yuv9", "yuv420p"]),
        (["--pix-fmt", "gbrp"], 6, ["gbrp", "yuv420p"]),
        (["--encoder-option", "nonsense"], 2, ["nonsense", "KEY=VALUE"]),
        (["--encoder-option", "crf=many"], 6, ["libx264", "--encoder-option"]),
        (["--encoder-option", "no_such_option=1"], 6, ["no_such_option"]),
        (["--preset", "warp"], 6, ["warp"]),
        (["--crf", "good"], 2, ["good"]),
        (["--scale", "0"], 2, ["'0'", "1.5"]),
        (["--scale", "two"], 2, ["'two'"]),
        (["--scale", "nan"], 2, ["nan"]),
        (["--size", "big"], 2, ["big", "1440p"]),
        (["--size", "4k", "--scale", "2"], 2, ["not allowed with"]),
        (["--frames", "0"], 2, ["'0'"]),
        (["--start", "-1"], 2, ["--start"]),
        (["--start", "1:70:xx"], 2, ["1:70:xx"]),
        (["--start", "3", "--end", "2"], 2, ["--end 2", "--start 3"]),
        (["--start", "100"], 3, ["no frame", "--start"]),
        (["--format", "avi9"], 2, ["avi9", "matroska"]),
        (["--report", "none/r.json"], 2, ["none"]),
        (["--input-format", "rawvideo"], 2, ["--input-size", "--input-pix-fmt"]),
        (["--input-format", "nonsense"], 3, ["nonsense"]),
        (["--no-such-option"], 2, ["--no-such-option"]),
        (["--max-errors", "-3"], 2, ["-3"]),
        (["--threads", "many"], 2, ["many"]),
        (["--deinterlace", "maybe"], 2, ["maybe"]),
    ],
    ids=lambda value: "_".join(value).replace("--", "") if isinstance(value, list) and value and value[0].startswith("--") else "",
)
def test_option_that_cannot_be_is_named(clip: Path, tmp_path: Path, options: list[str], code: int, words: list[str]) -> None:
    refused(code, *words, outcome=run(clip, tmp_path, *options), folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [("none/out.mp4", 6, ["none", "mkdir -p"]), ("out.xyz", 2, [".xyz", ".mkv"]), ("out", 2, ["--format"])],
)
def test_output_name_that_cannot_be_is_named(clip: Path, tmp_path: Path, name: str, code: int, words: list[str]) -> None:
    refused(code, *words, outcome=run(clip, tmp_path, name=name), folder=tmp_path)


def test_stdout_needs_a_format(clip: Path) -> None:
    outcome = streamsr("run", clip, "-", "--model", "resize")
    assert outcome.code == 2
    assert "--format" in outcome.err


def test_existing_output_is_left_alone(clip: Path, tmp_path: Path) -> None:
    _write(tmp_path / "out.mp4", b"mine")
    outcome = run(clip, tmp_path)
    assert outcome.code == 6
    assert "--overwrite" in outcome.err
    assert (tmp_path / "out.mp4").read_bytes() == b"mine"


@pytest.mark.parametrize("spelling", ["same", "dots", "symlink", "hardlink"])
def test_input_is_never_the_output(clip: Path, tmp_path: Path, spelling: str) -> None:
    source = _write(tmp_path / "film.mp4", clip.read_bytes())
    (tmp_path / "sub").mkdir()
    target = {"same": source, "dots": tmp_path / "sub" / ".." / "film.mp4"}.get(spelling, tmp_path / "link.mp4")
    if spelling == "symlink":
        target.symlink_to(source)
    elif spelling == "hardlink":
        os.link(source, target)
    outcome = streamsr("run", source, target, "--model", "resize", "--overwrite")
    assert outcome.code == 6
    assert "the output is the input" in outcome.err
    assert source.read_bytes() == clip.read_bytes()


def test_partial_name_of_an_input_is_never_the_output(clip: Path, tmp_path: Path) -> None:
    source = _write(tmp_path / "out.partial.mp4", clip.read_bytes())
    refused(6, "out.partial.mp4", "give another name", outcome=run(source, tmp_path), folder=tmp_path / "none")
    assert source.read_bytes() == clip.read_bytes()


def mounted(folder: Path, *options: str) -> bool:
    """Whether a small tmpfs could be mounted at `folder`; only root may."""
    return (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(options), "streamsr", str(folder)], capture_output=True, check=False
        ).returncode
        == 0
    )


@pytest.mark.parametrize(("suffix", "encoder"), [("mp4", "libx264"), ("mkv", "ffv1")])
def test_full_disk_is_named(tmp_path: Path, suffix: str, encoder: str) -> None:
    source = make_clip(tmp_path / "in.mkv", size="320x240", num_frames=30)
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mounted(disk, "size=200k"):
        pytest.skip("mounting a small disk needs root")
    try:
        outcome = run(source, disk, "--encoder", encoder, "--encoder-option", "threads=1", *(["--crf", "0"] if suffix == "mp4" else []),
                      name=f"out.{suffix}")  # fmt: skip
        refused(6, "disk is full", "free some space", outcome=outcome, folder=disk)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_read_only_folder_is_named(clip: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mounted(disk, "ro"):
        disk.chmod(0o555)
        if os.access(disk, os.W_OK):
            pytest.skip("this user may write everywhere")
    try:
        refused(6, "no permission", outcome=run(clip, disk), folder=disk)
    finally:
        subprocess.run(["umount", str(disk)], capture_output=True, check=False)


def test_picture_too_wide_for_the_encoder_is_named(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "wide.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p", size="16384x64", num_frames=2)
    refused(6, "16384", "24576x96", "ffv1", outcome=run(source, tmp_path, "--scale", "1.5"), folder=tmp_path)
    upscale(source, tmp_path / "out.mkv", "--scale", "1.5", "--encoder", "ffv1")
    assert "24576x96" in describe(tmp_path / "out.mkv")


def test_terminal_as_stdin_is_refused(tmp_path: Path) -> None:
    import pty

    parent, child = pty.openpty()
    done = subprocess.run([*STREAMSR, "run", "-", str(tmp_path / "out.mp4")], stdin=child, capture_output=True, check=False, timeout=60)
    os.close(parent)
    os.close(child)
    assert done.returncode == 3
    assert b"stdin is a terminal" in done.stderr


def test_empty_stdin_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [*STREAMSR, "run", "-", str(tmp_path / "out.mp4")], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 3, done.stderr
    assert b"Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def damaged(path: Path, positions: range) -> Path:
    """A Matroska file whose packets at these places hold noise instead of VP8."""
    import av

    with av.open(str(path.with_name("clean.mkv"))) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if not packet.size:
                continue
            data = b"\xff" * 3 if number in positions else bytes(packet)
            copy = av.Packet(data)
            copy.pts, copy.dts, copy.time_base, copy.is_keyframe = packet.pts, packet.dts, packet.time_base, packet.is_keyframe
            copy.stream = stream
            target.mux(copy)
    return path


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clean.mkv", "-c:v", "libvpx", "-g", "5", num_frames=40)


def test_corrupt_packets_are_skipped_and_counted(clean: Path, tmp_path: Path) -> None:
    source = damaged(tmp_path / "bad.mkv", range(11, 14))
    outcome = upscale(source, tmp_path / "out.mkv")
    assert "| 3 corrupt packets |" in outcome.err
    assert len(times(tmp_path / "out.mkv")) == 37


@pytest.mark.parametrize("place", [35, 36, 37, 38, 39])
def test_damage_near_the_end_takes_no_other_frame_along(clean: Path, tmp_path: Path, place: int) -> None:
    source = damaged(tmp_path / "bad.mkv", range(place, place + 1))
    upscale(source, tmp_path / "out.mkv")
    assert times(tmp_path / "out.mkv") == times(source)
    assert len(times(source)) == 39


def test_too_many_corrupt_packets_end_the_run(clean: Path, tmp_path: Path) -> None:
    source = damaged(tmp_path / "bad.mkv", range(10, 20))
    refused(3, "5 corrupt packets in a row", "--max-errors", outcome=run(source, tmp_path, "--max-errors", "4"), folder=tmp_path / "none")
    assert not (tmp_path / "out.mp4").exists()
    assert len(times(tmp_path / "out.partial.mp4")) == 10


def test_max_errors_says_how_many_are_too_many(clean: Path, tmp_path: Path) -> None:
    source = damaged(tmp_path / "bad.mkv", range(10, 20))
    upscale(source, tmp_path / "out.mkv", "--max-errors", "10")
