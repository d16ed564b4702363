"""Reading where chroma lies, against what the encoder was told."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from media import make_clip, streamsr

from streamsr.siting import CHROMA_LOCATIONS, find_chroma_location


@pytest.mark.parametrize("location", CHROMA_LOCATIONS)
def test_location_is_what_the_encoder_was_told(tmp_path: Path, location: str) -> None:
    chain = ["-vf", f"setparams=chroma_location={location}", "-chroma_sample_location", location]
    clip = make_clip(tmp_path / "in.mp4", *chain, num_frames=2)
    with av.open(str(clip)) as container:
        found = {find_chroma_location(frame) for frame in container.decode(video=0)}
    assert found == {location}


def test_nothing_that_ffmpeg_says_gets_to_the_screen(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clip = make_clip(tmp_path / "in.mkv", num_frames=30)
    data = bytearray(clip.read_bytes())
    data[len(data) // 2 :: 97] = bytes(len(data[len(data) // 2 :: 97]))
    clip.write_bytes(data)
    streamsr("run", clip, tmp_path / "out.mkv", "--model", "resize", "--quiet")
    assert capfd.readouterr().err == ""
