"""Clips made with FFmpeg's own program, and what that program says of a file: the judge that no test shares with streamsr.

The binary is imageio-ffmpeg's static build, so neither its encoders nor its demuxers are the libraries that PyAV ships.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from fractions import Fraction
from io import StringIO
from pathlib import Path

import pytest

try:
    import imageio_ffmpeg
except ImportError:  # a machine with a GPU and little else: scripts/gpu_check
    FFMPEG = ""
else:
    FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
STREAMSR = [sys.executable, "-m", "streamsr"]

# Tolerances, and why they are not zero
MILLISECOND = Fraction(1, 1000)  # Matroska and WebM count milliseconds: a rounding is at most half of one on each side
MEAN_LOSS = 2.0  # of 255, mean over a picture: what x264 at crf 18 and a Lanczos round trip may cost on testsrc2


def ffmpeg(*arguments: object, stdin: bytes | None = None) -> bytes:
    """Run FFmpeg and return its stdout; raises RuntimeError with its stderr. Skips the test where its program is not installed."""
    if not FFMPEG:
        pytest.skip("imageio-ffmpeg is not installed, which makes the clips")
    command = [FFMPEG, "-v", "error", "-y", *(["-nostdin"] if stdin is None else []), *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr.decode(errors='replace')}")
    return done.stdout


def program(name: str) -> str:
    """The path of a program of Debian's that judges results: ffprobe, mkvmerge, mkvpropedit. Skips the test where it is missing."""
    package = "ffmpeg" if name == "ffprobe" else "mkvtoolnix"
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not installed: apt-get install {package}"
        if package in os.environ.get("STREAMSR_REQUIRE", ""):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def pictures(size: str = "64x48", rate: str = "25", num_frames: int = 10) -> list[str]:
    """Input arguments for a moving test picture, each frame different."""
    return ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate},trim=end_frame={num_frames}"]


def tone(seconds: float = 0.4, rate: int = 48000) -> list[str]:
    """Input arguments for a tone."""
    return ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate={rate}:duration={seconds}"]


def make_clip(
    path: Path, *output: object, size: str = "64x48", rate: str = "25", num_frames: int = 10, inputs: Sequence[object] = ()
) -> Path:
    """A small clip of testsrc2; `inputs` are further input arguments, `output` those before the name. H.264 unless they say else."""
    codec = [] if "-c:v" in map(str, output) else ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-x264-params", "scenecut=0"]
    fmt = [] if "-pix_fmt" in map(str, output) or codec == [] else ["-pix_fmt", "yuv420p"]
    # libvpx's threads wait for each other for ever, now and then, in a picture this small
    threads = ["-threads", "1"] if "libvpx" in map(str, output) else []
    ffmpeg(*pictures(size, rate, num_frames), *inputs, *codec, *fmt, *output, *threads, path)
    return path


@dataclass(frozen=True)
class Row:
    """A line of FFmpeg's framemd5: times in seconds."""

    pts: Fraction
    duration: Fraction
    size: int
    md5: str


def rows(path: object, stream: str = "v:0", *, copy: bool = False, options: Sequence[object] = ()) -> list[Row]:
    """Each decoded picture (or with `copy`, each packet) of a stream, with its times as FFmpeg's program sees them."""
    how = ["-c", "copy"] if copy else ["-fps_mode", "passthrough", "-enc_time_base", "demux"] if stream.startswith("v") else []
    text = ffmpeg("-copyts", *options, "-i", path, "-map", f"0:{stream}", *how, "-f", "framemd5", "-").decode()
    base = Fraction(1)
    found = []
    for line in text.splitlines():
        if line.startswith("#tb"):
            base = Fraction(line.split(":")[1].strip())
        elif not line.startswith("#"):
            _, dts, pts, duration, size, md5, *_ = (word.strip() for word in line.split(","))
            time = dts if pts == "NOPTS" else pts
            found.append(Row(int(time) * base, int(duration) * base, int(size), md5))
    return sorted(found, key=lambda row: row.pts) if copy else found


def times(path: object, stream: str = "v:0") -> list[Fraction]:
    """Presentation times in seconds of every decoded frame."""
    return [row.pts for row in rows(path, stream)]


def packets(path: object, stream: str) -> list[tuple[int, str]]:
    """(size, md5) of every packet: equal lists mean a stream was copied bit for bit."""
    return [(row.size, row.md5) for row in rows(path, stream, copy=True)]


def describe(path: object) -> str:
    """What `ffmpeg -i` prints of a file."""
    return subprocess.run([FFMPEG, "-hide_banner", "-i", str(path)], capture_output=True, check=False).stderr.decode(errors="replace")


def metadata(path: object) -> str:
    """FFmpeg's ffmetadata form: global words and chapters."""
    return ffmpeg("-i", path, "-f", "ffmetadata", "-").decode()


def streams(path: object) -> list[str]:
    """The `Stream #` lines of `describe`, without the numbers in front."""
    return re.findall(r"Stream #0:\d+\S*: (.*)", describe(path))


def shown(path: object) -> dict[str, str]:
    """What FFmpeg's showinfo says of the first picture, and under "side" all of its side data lines."""
    done = subprocess.run(
        [FFMPEG, "-hide_banner", "-nostdin", "-noautorotate", "-i", str(path), "-map", "0:v:0", "-vf", "showinfo",
         "-frames:v", "1", "-f", "null", "-"],
        capture_output=True, check=True,
    )  # fmt: skip
    lines = [line for line in done.stderr.decode(errors="replace").splitlines() if "showinfo" in line]
    first = next(line for line in lines if " n:" in line)
    words = dict(re.findall(r"\b([a-z_]+): ?(\S+)", first))
    words.update(re.findall(r"\b(color_\w+):(\S+)", "\n".join(lines)))
    words["side"] = "\n".join(line.split("] ", 1)[1] for line in lines if "side data" in line)
    return words


def gray_pictures(path: object, width: int, height: int) -> list[bytes]:
    """The luma of every picture."""
    data = ffmpeg("-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-")
    return [data[at : at + width * height] for at in range(0, len(data), width * height)]


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


def streamsr(*arguments: object) -> Outcome:
    """Run the command line in this process, which saves a second of imports for each test."""
    from streamsr.cli import main

    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:  # argparse
            code = int(ended.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())


def upscale(source: object, target: object, *arguments: object, model: str = "resize") -> Outcome:
    """`streamsr run` with the fast baseline and the fast encoder preset; it has to succeed with a balanced account."""
    outcome = streamsr("run", source, target, "--model", model, *arguments)
    assert outcome.code == 0, outcome.err
    assert "account balanced" in outcome.err
    return outcome
