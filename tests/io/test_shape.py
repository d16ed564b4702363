"""Pictures that change their pixel aspect or their shape in mid-stream keep their own shape."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media import ffmpeg, make_clip, rows, shown, streamsr, times, upscale

CIRCLE = "color=white:size=640x480:rate=25,geq=lum='if(lt(hypot(X-320,Y-240),100),235,60)':cb=128:cr=128,trim=end_frame=5"


def two_parts(path: Path, first: str, second: str) -> Path:
    """A transport stream with a white disc, whose second half is stored in another way. Both are filters."""
    for number, chain in enumerate((first, second)):
        ffmpeg("-f", "lavfi", "-i", CIRCLE, "-vf", chain, "-c:v", "libx264", "-bf", "0", "-g", "5", "-pix_fmt", "yuv420p",
               "-output_ts_offset", number * 0.2, path.with_name(f"{number}.ts"))  # fmt: skip
    path.write_bytes(b"".join(path.with_name(f"{number}.ts").read_bytes() for number in (0, 1)))
    return path


def discs(path: Path) -> list[float]:
    """How wide the disc is to its height, as each picture is shown."""
    words = shown(path)
    aspect = Fraction(words["sar"].replace("/", ":").replace(":", "/"))
    width, height = (int(side) for side in words["s"].split("x"))
    data = np.frombuffer(ffmpeg("-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-"), np.uint8)
    found = []
    for picture in data.reshape(-1, height, width):
        bright = picture > 150
        found.append(float(np.ptp(np.flatnonzero(bright.any(0))) * aspect / np.ptp(np.flatnonzero(bright.any(1)))))
    return found


@pytest.mark.parametrize(("first", "second"), [
    ("scale=160:120,setsar=1", "pad=854:480:107:0,scale=160:120,setsar=854/640"),  # 4:3, then 16:9 in the same pixels
    ("pad=854:480:107:0,scale=160:120,setsar=854/640", "scale=160:120,setsar=1"),
    ("scale=160:120,setsar=1", "pad=854:480:107:0,scale=212:120,setsar=1"),  # another size
    ("pad=854:480:107:0,scale=212:120,setsar=1", "pad=640:800:0:160,scale=96:120,setsar=1"),  # upright
])  # fmt: skip
@pytest.mark.parametrize("segments", ["0", "0.2"])
def test_disc_stays_a_disc(tmp_path: Path, first: str, second: str, segments: str) -> None:
    clip = two_parts(tmp_path / "in.ts", first, second)
    outcome = upscale(clip, tmp_path / "out.mkv", "--segment-seconds", segments)
    found = discs(tmp_path / "out.mkv")
    assert len(found) == 10
    assert found == pytest.approx([1] * 10, abs=0.05)
    if segments == "0":
        assert "the shape of the picture changes at 0.2" in outcome.err
        assert "5 frames are between bars" in outcome.err


def test_other_size_of_the_same_shape_fills_the_picture(tmp_path: Path) -> None:
    clip = two_parts(tmp_path / "in.ts", "scale=160:120,setsar=1", "scale=320:240,setsar=1")
    assert "between bars" not in upscale(clip, tmp_path / "out.mkv").err
    assert discs(tmp_path / "out.mkv") == pytest.approx([1] * 10, abs=0.05)


def test_pixel_aspect_of_the_container_alone_is_no_change(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4")
    ffmpeg("-i", clip, "-c", "copy", "-aspect", "16:9", tmp_path / "wide.mp4")
    assert "between bars" not in upscale(tmp_path / "wide.mp4", tmp_path / "out.mkv").err


def test_shape_of_a_broadcast(faults: Path, tmp_path: Path) -> None:
    outcome = streamsr("run", faults / "pixel_aspect_change.ts", tmp_path / "out.mp4", "--model", "resize", "--scale", "1")
    assert outcome.code == 0, outcome.err
    assert "25 frames are between bars" in outcome.err
    assert times(tmp_path / "out.mp4") == pytest.approx([float(row.pts) for row in rows(tmp_path / "out.mp4")])
    pictures = np.frombuffer(ffmpeg("-i", tmp_path / "out.mp4", "-f", "rawvideo", "-pix_fmt", "gray", "-"), np.uint8).reshape(50, 56, 72)
    assert pictures[:25, :4].mean() > 40
    assert pictures[25:, :4].mean() < 20
    assert pictures[25:, -4:].mean() < 20
