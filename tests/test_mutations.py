"""Files with a few bytes changed, cut or moved, seeded: each run ends in order, and if it succeeds it has the frames that FFmpeg finds.

`python tests/test_mutations.py 500` makes that many and prints what differs; the tests make a few of each container.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from media import FFMPEG, make_clip, streamsr, tone

H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "8", "-bf", "2"]
CONTAINERS = {
    "mp4": [*H264, "-c:a", "aac"],
    "mkv": [*H264, "-c:a", "aac"],
    "ts": [*H264, "-c:a", "mp2"],
    "avi": ["-c:v", "mpeg4", "-g", "8", "-bf", "0", "-c:a", "libmp3lame"],
    "mov": ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "pcm_s16le"],
    "webm": ["-c:v", "libvpx", "-g", "8", "-c:a", "libopus"],
    "wmv": ["-c:v", "wmv2", "-g", "8", "-c:a", "wmav2"],
}
DOCUMENTED = (0, 3, 4, 6)


def mutate(data: bytes, seed: int) -> bytes:
    """One of: bytes changed, a run of zeros, a piece cut out, the end cut off, two pieces swapped."""
    random = np.random.default_rng(seed)
    mutable = bytearray(data)
    at = int(random.integers(0, len(data)))
    size = int(random.integers(1, 400))
    kind = seed % 5
    if kind == 0:
        for place in random.integers(0, len(data), size=random.integers(1, 40)):
            mutable[place] = random.integers(256)
    elif kind == 1:
        mutable[at : at + size] = bytes(len(mutable[at : at + size]))
    elif kind == 2:
        del mutable[at : at + size]
    elif kind == 3:
        del mutable[max(len(data) // 4, at) :]
    else:
        other = int(random.integers(0, len(data)))
        mutable[at : at + size], mutable[other : other + size] = mutable[other : other + size], mutable[at : at + size]
    return bytes(mutable)


def count_frames(path: Path) -> int:
    """How many pictures FFmpeg's program decodes."""
    command = [FFMPEG, "-hide_banner", "-nostdin", "-threads", "1", "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough",
               "-f", "null", "-"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    found = re.findall(r"frame=\s*(\d+)", done.stderr.decode(errors="replace"))
    return int(found[-1]) if found else 0


def judge(source: Path, out: Path) -> tuple[str, str]:
    """("agrees", "differs", "refused" or "wrong", words)"""
    outcome = streamsr("run", source, out, "--model", "resize", "--scale", "1", "--encoder", "libx264", "--preset", "ultrafast")
    if outcome.code not in DOCUMENTED or "Traceback" in outcome.err:
        return "wrong", outcome.err
    expected = count_frames(source)
    if outcome.code:
        verdict = "refused" if expected == 0 or outcome.code in (4, 6) else "differs"
        return verdict, f"{expected} frames by FFmpeg; {outcome.err.strip()[:300]}"
    found = int(re.findall(r"(\d+) muxed", outcome.err)[-1])
    return ("agrees" if found == expected else "differs"), f"{found} frames, {expected} by FFmpeg; {outcome.err.strip()[:300]}"


def make_sources(folder: Path) -> Path:
    for suffix, options in CONTAINERS.items():
        make_clip(folder / f"clean.{suffix}", *options, num_frames=24, inputs=tone(1.0))
    return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sources(tmp_path_factory.mktemp("mutations"))


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "seed"), [*itertools.product(CONTAINERS, range(5)), ("wmv", 160)])
def test_mutated_file_has_the_frames_that_ffmpeg_finds(sources: Path, tmp_path: Path, suffix: str, seed: int) -> None:
    source = tmp_path / f"bad.{suffix}"
    source.write_bytes(mutate((sources / f"clean.{suffix}").read_bytes(), seed))
    verdict, words = judge(source, tmp_path / "out.mkv")
    assert verdict in ("agrees", "refused"), words


def main(number: int) -> None:
    """Make `number` mutations and print what differs."""
    verdicts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = make_sources(Path(name))
        for seed in range(number):
            suffix = list(CONTAINERS)[seed % len(CONTAINERS)]
            source, out = folder / f"bad.{suffix}", folder / "out.mkv"
            source.write_bytes(mutate((folder / f"clean.{suffix}").read_bytes(), seed))
            verdict, words = judge(source, out)
            verdicts[suffix, verdict] += 1
            if verdict in ("differs", "wrong") or (verdict == "refused" and not words.startswith("0 frames")):
                print(seed, suffix, verdict, words, flush=True)
            for left in folder.glob("out*"):
                left.unlink()
    for (suffix, verdict), count in sorted(verdicts.items()):
        print(suffix, verdict, count)


if __name__ == "__main__":
    main(int(sys.argv[1]))
