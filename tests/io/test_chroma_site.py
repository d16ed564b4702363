"""The site of chroma in streams of encoders that do not write it, as NVENC: other encoders, told nothing, stand for it.

Read by decoders of FFmpeg that know nothing of the container's own words: raw streams, beside mp4 and Matroska.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from media import make_clip, streamsr

from streamsr.io import chroma_site
from streamsr.io.chroma_site import ChromaSite
from streamsr.priority import keep_priority
from streamsr.siting import find_chroma_location

SITES = ["left", "center", "topleft", "top", "bottomleft", "bottom"]
STANDS_FOR = {"h264_nvenc": "libx264", "hevc_nvenc": "libx265", "av1_nvenc": "libsvtav1"}
HEADERS = {"h264_nvenc": b"\0\0\0\1", "hevc_nvenc": b"\0\0\0\1", "av1_nvenc": b""}


def encoded(name: str) -> list[bytes]:
    """Packets of a few pictures by the encoder that stands for NVENC's: with headers in them, as NVENC writes them."""
    context = av.CodecContext.create(STANDS_FOR[name], "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt, context.time_base = 64, 48, "yuv420p", Fraction(1, 25)
    context.options = {"preset": "13"} if name == "av1_nvenc" else {"preset": "ultrafast", "x265-params": "log-level=none"}
    frames = []
    for number in range(3):
        frame = av.VideoFrame(64, 48, "yuv420p")
        frame.pts, frame.time_base = number, context.time_base
        frames.append(frame)
    with keep_priority():
        return [bytes(packet) for frame in [*frames, None] for packet in context.encode(frame)]


def decoded(name: str, packets: list[bytes]) -> set[str]:
    context = av.CodecContext.create({"h264_nvenc": "h264", "hevc_nvenc": "hevc", "av1_nvenc": "libdav1d"}[name], "r")
    assert isinstance(context, av.VideoCodecContext)
    frames = [frame for data in [*map(av.Packet, packets), None] for frame in context.decode(data)]
    assert len(frames) == 3
    return {find_chroma_location(frame) for frame in frames}


@pytest.mark.parametrize("name", STANDS_FOR)
@pytest.mark.parametrize("site", [*SITES, "unspecified"])
def test_decoders_find_the_site_in_the_stream(name: str, site: str) -> None:
    packets = encoded(name)
    found = ChromaSite(name, site)
    untold = "unspecified" if name == "av1_nvenc" else "left"
    is_said = site in ("left", "topleft") if name == "av1_nvenc" else site != "unspecified"
    assert decoded(name, packets) == {untold}
    assert decoded(name, [found.put_into(data) for data in packets]) == {site if is_said else untold}


def test_encoders_of_the_cpu_say_it_themselves() -> None:
    assert not ChromaSite("libx264", "topleft").is_needed
    assert not ChromaSite("h264_nvenc", "left").is_needed
    assert ChromaSite("hevc_nvenc", "topleft").is_needed


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.ts"])
@pytest.mark.parametrize("segments", [False, True])
def test_files_say_the_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, segments: bool) -> None:
    """x264, told nothing of the site: what the file says, in its header and its packets, comes from the filter."""
    codec, filters = chroma_site._FILTERS["h264_nvenc"]
    source = make_clip(tmp_path / "in.mp4", "-vf", "setparams=chroma_location=topleft", "-c:v", "libx264", "-pix_fmt", "yuv420p",
                       "-chroma_sample_location", "topleft", "-g", "12", num_frames=40 if segments else 3)  # fmt: skip
    monkeypatch.setitem(chroma_site._FILTERS, "libx264", (codec, filters))
    options = ["--encoder-option", "chroma_sample_location=unspecified", "--encoder", "libx264", "--preset", "ultrafast"]
    options += ["--segment-seconds", "0.5"] if segments else ["--workers", "1"]
    outcome = streamsr("run", source, tmp_path / name, "--model", "resize", *options)
    assert outcome.code == 0, outcome.err
    assert "account balanced" in outcome.err
    with av.open(str(tmp_path / name)) as container:
        assert {find_chroma_location(frame) for frame in container.decode(video=0)} == {"topleft"}
