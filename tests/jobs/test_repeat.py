"""The same command gives the same packets, whatever lies in the memory that it gets."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from media import STREAMSR, make_clip, rows

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seconds", ["1", "0"], ids=["segments", "whole"])
@pytest.mark.parametrize(
    "encode",
    [["--preset", "veryfast"], ["--preset", "medium"], ["--encoder", "libx265", "--preset", "ultrafast"], ["--encoder", "libsvtav1"],
     ["--encoder", "libvpx-vp9", "--preset", "8"]],
    ids=["veryfast", "medium", "x265", "av1", "vp9"],
)  # fmt: skip
def test_packets_do_not_depend_on_memory(tmp_path: Path, encode: list[str], seconds: str) -> None:
    clip = make_clip(tmp_path / "in.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "15", size="160x120", num_frames=45)
    found = []
    for fill in ("1", "170"):  # glibc fills what it gives out with the complement
        out = tmp_path / f"{fill}.mkv"
        command = [*STREAMSR, "run", str(clip), str(out), "--model", "resize", *encode, "--segment-seconds", seconds]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "MALLOC_PERTURB_": fill})
        found.append(rows(out, copy=True))
    assert found[0] == found[1]
