"""Pipes on both ends, partial names, and the report of a run."""

from __future__ import annotations

import json
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import pytest
from media import FFMPEG, STREAMSR, ffmpeg, make_clip, rows, streams, streamsr, times, tone, upscale

import streamsr as package
from streamsr.errors import Interrupted
from streamsr.pipeline import Progress, Report

NUM_FRAMES = 10


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("pipe") / "in.mkv", "-c:a", "aac", inputs=tone(), num_frames=NUM_FRAMES)


def piped(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [*STREAMSR, "run", *map(str, arguments), "--model", "resize"]
    return subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60)


@pytest.mark.parametrize("form", ["y4m", "nut", "mpegts", "matroska"])
def test_stdout_holds_the_video_and_nothing_else(clip: Path, tmp_path: Path, form: str) -> None:
    done = piped(clip, "-", "--format", form)
    assert done.returncode == 0, done.stderr
    (tmp_path / "out").write_bytes(done.stdout)
    assert len(times(tmp_path / "out")) == NUM_FRAMES
    assert ffmpeg("-xerror", "-err_detect", "explode", "-i", tmp_path / "out", "-f", "null", "-") == b""
    assert b"account balanced" in done.stderr


def test_raw_video_on_stdout_has_its_exact_length(clip: Path) -> None:
    done = piped(clip, "-", "--format", "rawvideo")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) == NUM_FRAMES * 128 * 96 * 3 // 2


@pytest.mark.parametrize(
    ("form", "output"),
    [("yuv4mpegpipe", ["-pix_fmt", "yuv420p"]), ("nut", ["-c:v", "rawvideo", "-c:a", "copy"]), ("mpegts", ["-c", "copy"]),
     ("matroska", ["-c", "copy"]), ("flv", ["-c", "copy"])],
)  # fmt: skip
def test_stdin_is_read(clip: Path, tmp_path: Path, form: str, output: list[str]) -> None:
    data = ffmpeg("-i", clip, *output, "-f", form, "-")
    done = piped("-", tmp_path / "out.mkv", stdin=data)
    assert done.returncode == 0, done.stderr
    after = times(tmp_path / "out.mkv")
    assert [time - after[0] for time in after] == [Fraction(n, 25) for n in range(NUM_FRAMES)]
    assert ("Audio" in " ".join(streams(tmp_path / "out.mkv"))) == (form != "yuv4mpegpipe")


def test_raw_video_on_stdin_is_read(clip: Path, tmp_path: Path) -> None:
    data = ffmpeg("-i", clip, "-f", "rawvideo", "-pix_fmt", "yuv420p", "-")
    done = piped("-", tmp_path / "out.mkv", "--input-format", "rawvideo", "--input-size", "64x48", "--input-pix-fmt", "yuv420p",
                 "--input-rate", "30000/1001", "--encoder", "ffv1", "--scale", "1", stdin=data)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [row.md5 for row in rows(tmp_path / "out.mkv")] == [row.md5 for row in rows(clip)]
    assert abs(times(tmp_path / "out.mkv")[-1] - 9 * Fraction(1001, 30000)) <= Fraction(1, 1000)


def test_pipe_to_pipe_keeps_audio_and_times(clip: Path, tmp_path: Path) -> None:
    data = ffmpeg("-i", clip, "-c:v", "rawvideo", "-c:a", "copy", "-f", "nut", "-")
    done = piped("-", "-", "--format", "nut", stdin=data)
    (tmp_path / "out.nut").write_bytes(done.stdout)
    after = times(tmp_path / "out.nut")
    assert [time - after[0] for time in after] == [Fraction(n, 25) for n in range(NUM_FRAMES)]
    assert len(rows(tmp_path / "out.nut", "a:0", copy=True)) == len(rows(clip, "a:0", copy=True))


def test_start_in_a_pipe_leaves_out_what_is_before(clip: Path, tmp_path: Path) -> None:
    data = ffmpeg("-i", clip, "-c", "copy", "-f", "matroska", "-")
    done = piped("-", tmp_path / "out.mkv", "--start", "0.2", stdin=data)
    assert done.returncode == 0, done.stderr
    assert len(times(tmp_path / "out.mkv")) == 5


@pytest.mark.parametrize("form", ["y4m", "nut"])
def test_reader_that_goes_away_ends_the_run(tmp_path: Path, form: str) -> None:
    clip = make_clip(tmp_path / "in.mkv", size="320x240", num_frames=60)
    run = subprocess.Popen(
        [*STREAMSR, "run", str(clip), "-", "--format", form, "--model", "resize"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert run.stdout is not None
    run.stdout.read(1000)
    run.stdout.close()
    assert run.stderr is not None
    words = run.stderr.read().decode()
    assert run.wait(30) == 6, words
    assert "reads the output has ended" in words
    assert "Traceback" not in words


def test_result_of_stdout_plays_in_a_pipe_to_ffmpeg(clip: Path) -> None:
    run = subprocess.Popen([*STREAMSR, "run", str(clip), "-", "--format", "y4m", "--model", "resize", "--quiet"], stdout=subprocess.PIPE)
    played = subprocess.run([FFMPEG, "-v", "error", "-i", "-", "-f", "framemd5", "-"], stdin=run.stdout, capture_output=True, check=True)
    assert run.wait(30) == 0
    assert len([line for line in played.stdout.splitlines() if not line.startswith(b"#")]) == NUM_FRAMES


def test_file_has_its_name_only_when_it_is_done(clip: Path, tmp_path: Path) -> None:
    seen: list[list[str]] = []
    names = lambda _: seen.append(sorted(path.name for path in tmp_path.glob("[!.]*")))  # noqa: E731
    package.run(clip, tmp_path / "out.mp4", model="resize", on_progress=names)
    assert seen == [["out.partial.mp4"]] * NUM_FRAMES
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_progress_counts_every_frame(clip: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    package.run(clip, tmp_path / "out.mp4", model="resize", on_progress=seen.append)
    assert [progress.num_frames for progress in seen] == list(range(1, NUM_FRAMES + 1))
    assert seen[-1].media_s == pytest.approx(0.36)
    assert seen[-1].expected_frames in (NUM_FRAMES, NUM_FRAMES + 1)  # Matroska says how long the file is, and the audio is longer


def test_report_says_what_ffmpeg_says(clip: Path, tmp_path: Path) -> None:
    upscale(clip, tmp_path / "out.mp4", "--report", tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["num_frames"] == len(times(tmp_path / "out.mp4"))
    assert report["account"]["ok"] is True
    assert report["account"]["num_decoded"] == report["account"]["num_muxed"] == NUM_FRAMES
    assert (report["result"]["width"], report["result"]["height"]) == (128, 96)
    assert report["encoder"] == "libx264"
    assert report["version"] == package.__version__
    assert report["fps"] > 0
    assert {"decode", "encode", "network"} <= report["stage_s"].keys()


def test_shipped_network_upscales_a_clip(clip: Path, tmp_path: Path) -> None:
    upscale(clip, tmp_path / "out.mp4", model="lite")
    assert "128x96" in streams(tmp_path / "out.mp4")[0]
    assert times(tmp_path / "out.mp4") == times(clip)


def test_stop_event_ends_a_run_of_the_library(clip: Path, tmp_path: Path) -> None:
    import threading

    stop = threading.Event()
    with pytest.raises(Interrupted):
        package.run(
            clip, tmp_path / "out.mp4", model="resize", stop=stop, on_progress=lambda progress: progress.num_frames == 3 and stop.set()
        )
    assert not (tmp_path / "out.mp4").exists()
    assert 3 <= len(times(tmp_path / "out.partial.mp4")) < NUM_FRAMES  # those in flight are kept


def test_library_returns_a_report(clip: Path, tmp_path: Path) -> None:
    report = package.run(clip, tmp_path / "out.mp4", model="resize")
    assert isinstance(report, Report)
    assert report.account.ok


def test_library_leaves_pyav_quiet(clip: Path, tmp_path: Path) -> None:
    package.run(clip, tmp_path / "out.mp4", model="resize")
    assert av.logging.get_level() in (None, av.logging.PANIC)  # its callback into Python can deadlock


@pytest.mark.parametrize("num_frames", [1, 2, 20])
def test_tiny_pictures_work(tmp_path: Path, num_frames: int) -> None:
    tiny = make_clip(tmp_path / "in.mp4", size="16x16", num_frames=num_frames)
    upscale(tiny, tmp_path / "out.mp4")
    assert len(times(tmp_path / "out.mp4")) == num_frames


def test_picture_of_one_pixel_works(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=red:size=16x16,crop=1:1,format=gray", "-frames:v", "3", "-c:v", "ffv1", tmp_path / "in.mkv")
    upscale(tmp_path / "in.mkv", tmp_path / "out.mkv", "--encoder", "ffv1")
    assert "2x2" in streams(tmp_path / "out.mkv")[0]


def test_overwrite_replaces_the_old_file(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"old")
    upscale(clip, tmp_path / "out.mp4", "--overwrite")
    assert len(times(tmp_path / "out.mp4")) == NUM_FRAMES


def test_names_with_spaces_and_accents_work(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ä folder, 50% off"
    folder.mkdir()
    source = folder / "my film #1.mkv"
    source.write_bytes(clip.read_bytes())
    upscale(source, folder / "o üt:put.mp4")
    assert (folder / "o üt:put.mp4").is_file()


def test_output_into_a_device_needs_no_other_name(clip: Path) -> None:
    assert streamsr("run", clip, "/dev/null", "--format", "nut", "--model", "resize").code == 0
