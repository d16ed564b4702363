"""NVDEC, with a decoder that stands for it: what it takes, when the CPU takes over, and that nothing is lost when it fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import av.error
import pytest
from media import make_clip, times
from sps import drop_vui

sys.path.append(str(Path(__file__).parents[1] / "device"))
from surfaces import Hardware, Surface

from streamsr.errors import SourceError, UsageError
from streamsr.frame import fetch
from streamsr.io import nvdec
from streamsr.io.decoding import open_context
from streamsr.io.source import Source
from streamsr.options import Crop, SourceOptions

ON_GPU = SourceOptions(gpu=0)
EXTERNAL = av.error.ExternalError(542398533, "Generic error in an external library", "cuvid")
INVALID = av.error.InvalidDataError(1094995529, "Invalid data found when processing input")

Install = Callable[..., list[Hardware]]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    def install(**options: Any) -> list[Hardware]:
        made: list[Hardware] = []

        def open_hardware(stream: av.VideoStream, gpu: int) -> Hardware:
            made.append(Hardware(stream, **options))
            return made[-1]

        monkeypatch.setattr(nvdec, "open_hardware", open_hardware)
        return made

    return install


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("nvdec") / "in.mp4", num_frames=30)


def read(path: Path, options: SourceOptions = ON_GPU) -> tuple[list[Any], Source]:
    with Source(path, options) as source:
        return list(source.frames()), source


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_pictures_stay_on_the_gpu_with_times_and_tags(install: Install, tmp_path: Path, pix_fmt: str) -> None:
    made = install()
    clip = make_clip(tmp_path / "in.mp4", "-c:v", "libx265", "-x265-params", "log-level=error", "-pix_fmt", pix_fmt, num_frames=12)
    frames, source = read(clip)
    assert all(isinstance(frame, Surface) for frame in frames)
    assert [frame.pts * source.time_base for frame in frames] == times(clip)
    assert source.tags.pix_fmt == pix_fmt
    assert source.count.notes == []
    wanted, _ = read(clip, SourceOptions())
    for frame, other in zip(frames, wanted, strict=True):
        assert [bytes(plane) for plane in fetch(frame).planes] == [bytes(plane) for plane in other.planes]
    assert len(made) == 1


REFUSED = {
    "odd": (["-c:v", "libx265", "-x265-params", "log-level=error", "-pix_fmt", "yuv444p"], "63x47", "yuv444p"),
    "4:2:2": (["-c:v", "libx264", "-pix_fmt", "yuv422p"], "64x48", "yuv422p"),
    "12 bits": (["-c:v", "libx265", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p12le"], "64x48", "12 bits"),
    "codec": (["-c:v", "ffv1", "-pix_fmt", "yuv420p"], "64x48", "ffv1"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_it_cannot_do_is_decoded_on_the_cpu_and_said(install: Install, tmp_path: Path, kind: str) -> None:
    codec, size, words = REFUSED[kind]
    made = install()
    clip = make_clip(tmp_path / "in.mkv", *codec, size=size, num_frames=6)
    frames, source = read(clip)
    assert len(frames) == 6
    assert all(isinstance(frame, av.VideoFrame) for frame in frames)
    (note,) = source.count.notes
    assert note.startswith("decoded on the CPU, not by NVDEC: ")
    assert words in note
    assert made == []
    with pytest.raises(SourceError, match="NVDEC cannot decode it"):
        read(clip, SourceOptions(gpu=0, decoder="nvdec"))


def test_cropped_pictures_are_decoded_on_the_cpu_and_whole_ones_are_not(install: Install, clip: Path) -> None:
    install()
    frames, source = read(clip, SourceOptions(gpu=0, crop=Crop(32, 32, 16, 8)))
    assert {(frame.width, frame.height) for frame in frames} == {(32, 32)}
    assert "cropped in host memory" in source.count.notes[0]
    _, source = read(clip, SourceOptions(gpu=0, crop="auto"))
    assert source.count.notes == []  # it has no bars


def test_an_odd_size_is_decoded_on_the_cpu(install: Install, tmp_path: Path) -> None:
    install()
    odd = ["-vf", "format=yuv444p,crop=63:48,format=yuv420p", "-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p"]
    clip = make_clip(tmp_path / "in.mkv", *odd, num_frames=4)
    frames, source = read(clip)
    assert len(frames) == 4
    assert "63x48 has an odd side" in source.count.notes[0]


@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_a_stream_that_it_refuses_at_its_first_packets_loses_nothing(install: Install, clip: Path, fails_at: int) -> None:
    made = install(fails_at=fails_at, error=EXTERNAL)
    frames, source = read(clip)
    if made[0].surfaces:
        pytest.skip("the first picture was there before")
    assert [frame.pts * source.time_base for frame in frames] == times(clip)
    assert "external library" in source.count.notes[0]
    assert source.count.num_corrupt_packets == 0


def test_a_decoder_that_dies_in_the_middle_is_an_error_with_the_time(install: Install, clip: Path) -> None:
    install(fails_at=20, error=EXTERNAL)
    with Source(clip, ON_GPU) as source:
        frames = source.frames()
        with pytest.raises(SourceError, match=r"the GPU's decoder failed at 0\.\d+ s \(pts \d+\).*external library") as caught:
            list(frames)
    assert "--decoder cpu" in (caught.value.hint or "")


def test_a_decoder_that_falls_silent_is_an_error(install: Install, tmp_path: Path) -> None:
    install(silent_from=10)
    clip = make_clip(tmp_path / "in.mp4", num_frames=320)
    with pytest.raises(SourceError, match="no picture came out of 257 packets"):
        read(clip)


def test_a_decoder_that_is_silent_at_the_end_loses_nothing(install: Install, tmp_path: Path) -> None:
    install(silent_from=25)
    clip = make_clip(tmp_path / "in.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10", num_frames=40)
    frames, source = read(clip)
    assert [frame.pts * source.time_base for frame in frames] == times(clip)


def test_damaged_packets_are_counted_as_on_the_cpu(install: Install, clip: Path) -> None:
    install(fails_at=15, error=INVALID)
    frames, source = read(clip)
    assert source.count.num_corrupt_packets == 1
    assert len(frames) >= 25


def test_interlaced_video_is_made_progressive_from_its_first_frame_on(install: Install, tmp_path: Path) -> None:
    install()
    fields = ["-vf", "setfield=tff", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-x264-params", "tff=1"]
    clip = make_clip(tmp_path / "in.mp4", *fields, num_frames=8)
    frames, source = read(clip)
    assert "interlaced" in source.count.notes[0]
    assert source.count.num_deinterlaced == len(frames) == 8


def test_frames_that_become_interlaced_in_the_middle_come_to_the_host(install: Install, tmp_path: Path) -> None:
    progressive = make_clip(tmp_path / "a.ts", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "0", num_frames=6)
    interlaced = make_clip(tmp_path / "b.ts", "-vf", "setfield=tff", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "0", "-x264-params",
                           "tff=1", num_frames=6)  # fmt: skip
    both = tmp_path / "in.ts"
    both.write_bytes(progressive.read_bytes() + interlaced.read_bytes())
    wanted, _ = read(both, SourceOptions())
    install()
    frames, source = read(both)
    assert any(isinstance(frame, Surface) for frame in frames)
    assert source.count.num_deinterlaced > 0
    assert len(frames) == len(wanted)
    for frame, other in zip(frames, wanted, strict=True):
        assert [bytes(plane) for plane in fetch(frame).planes] == [bytes(plane) for plane in other.planes]


def test_nvdec_without_a_gpu_is_the_callers_mistake(clip: Path) -> None:
    with pytest.raises(UsageError, match="--decoder nvdec"):
        read(clip, SourceOptions(decoder="nvdec"))


def test_a_machine_without_a_driver_says_so(clip: Path) -> None:
    frames, source = read(clip)
    assert len(frames) == 30
    assert source.count.notes[0].startswith("decoded on the CPU, not by NVDEC: ")


def test_the_cpu_can_be_asked_for(install: Install, clip: Path) -> None:
    made = install()
    frames, source = read(clip, SourceOptions(gpu=0, decoder="cpu"))
    assert len(frames) == 30
    assert (made, source.count.notes) == ([], [])


@pytest.fixture(scope="module")
def unordered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H.264 with a pyramid of B-frames, whose headers do not say by how many frames it reorders."""
    folder = tmp_path_factory.mktemp("unordered")
    options = ["-c:v", "libx264", "-profile:v", "main", "-pix_fmt", "yuv420p", "-bf", "3", "-x264-params", "b-pyramid=normal:b-adapt=0"]
    return drop_vui(make_clip(folder / "a.mkv", *options, num_frames=30), folder / "b.mkv")


def test_a_stream_that_does_not_say_how_it_reorders_keeps_every_frame(install: Install, unordered: Path) -> None:
    install()
    frames, source = read(unordered)
    assert len(frames) == 30
    assert [frame.pts * source.time_base for frame in frames] == times(unordered)


def test_what_is_decoded_again_keeps_every_frame_of_such_a_stream(unordered: Path) -> None:
    with av.open(str(unordered)) as container:
        stream = container.streams.video[0]
        context = open_context(stream, "h264")
        context.thread_count = 1
        assert sum(len(context.decode(packet if packet.size else None)) for packet in container.demux(stream)) == 30


def test_a_real_stream_without_a_reorder_field_keeps_every_frame(install: Install) -> None:
    data = os.environ.get("STREAMSR_DATA")
    if not data:
        pytest.skip("STREAMSR_DATA is not set")
    install()
    frames, _ = read(Path(data) / "faults" / "b_frames_no_vui.mkv")
    assert len(frames) == 60


def test_av1_reaches_the_gpu_though_the_cpu_decodes_it_by_another_decoder(install: Install, tmp_path: Path) -> None:
    made = install()
    clip = make_clip(tmp_path / "in.mkv", "-c:v", "libsvtav1", "-preset", "12", "-pix_fmt", "yuv420p", num_frames=4)
    frames, source = read(clip)
    assert source.count.notes == []
    assert len(made) == 1
    assert len(frames) == 4
    assert nvdec.find_codec("av1") == "av1"  # FFmpeg's own; libdav1d knows no GPU
