"""DALI as a decoder, with a reader that stands for it: times come from the packets, and a picture too few or too many is an error."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media import make_clip

sys.path.append(str(Path(__file__).parents[1] / "device"))
from surfaces import Surface

from streamsr.errors import SourceError, UsageError
from streamsr.frame import Frame, fetch
from streamsr.io import dali_decoder
from streamsr.io.source import Source
from streamsr.options import SourceOptions

DALI = SourceOptions(decoder="dali", gpu=0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("dali") / "in.mkv", "-vf", "setpts='N*N/50/TB'", "-fps_mode", "passthrough", num_frames=90)


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Stands for DALI by FFmpeg on the CPU: as many pictures more or fewer as "extra" says."""
    changes = {"extra": 0}

    def open_reader(url: str, gpu: int) -> Iterator[Any]:
        with av.open(url) as container:
            frames = list(container.decode(video=0))
        count = len(frames) + changes["extra"]
        return iter([frames[min(number, len(frames) - 1)] for number in range(count)])

    monkeypatch.setattr(dali_decoder, "open_reader", open_reader)

    def converted(picture: av.VideoFrame, gpu: int) -> Surface:
        return Surface(picture.reformat(format="yuv444p").reformat(format="yuv420p"))

    monkeypatch.setattr(dali_decoder, "make_surface", converted)
    return changes


def test_pictures_have_the_times_of_the_packets(reader: dict[str, int], clip: Path) -> None:
    with Source(clip, DALI) as source, Source(clip) as other:
        frames, wanted = list(source.frames()), list(other.frames())
    assert [frame.pts * source.time_base for frame in frames] == [frame.pts * other.time_base for frame in wanted]
    assert source.count.num_decoded == 90
    assert all(isinstance(frame, Surface) for frame in frames)
    for frame, picture in zip(frames, wanted, strict=True):
        assert np.array_equal(Frame(fetch(frame)).luma, Frame(picture).luma)


def test_too_few_pictures_are_an_error_with_the_time(reader: dict[str, int], clip: Path) -> None:
    reader["extra"] = -5
    with Source(clip, DALI) as source:
        frames = source.frames()
        with pytest.raises(SourceError, match=r"DALI ended after 85 pictures, at \d+\.\d+ s \(pts \d+\); 5 packets are left"):
            list(frames)


def test_too_many_pictures_are_an_error(reader: dict[str, int], clip: Path) -> None:
    reader["extra"] = 1
    with Source(clip, DALI) as source:
        frames = source.frames()
        with pytest.raises(SourceError, match="more pictures than the file has packets"):
            list(frames)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"gpu": None}, "--device cuda:0"), ({"start_s": 1.0}, "--start"), ({"deinterlace": "on"}, "--deinterlace on")],
)
def test_what_cannot_be_is_the_callers_mistake(reader: dict[str, int], clip: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Source(clip, SourceOptions(**({"decoder": "dali", "gpu": 0} | options)))


def test_ten_bits_are_refused(reader: dict[str, int], tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-c:v", "libx265", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p10le", num_frames=4)
    with pytest.raises(SourceError, match=r"8-bit 4:2:0 of even size, not yuv420p10le"):
        Source(clip, DALI)


@pytest.mark.skipif(bool(importlib.util.find_spec("nvidia") and importlib.util.find_spec("nvidia.dali")), reason="DALI is installed")
def test_a_package_that_is_missing_comes_with_its_command(clip: Path) -> None:
    with pytest.raises(SourceError, match="needs NVIDIA DALI") as caught:
        Source(clip, DALI)
    assert "pip install nvidia-dali-cuda120" in (caught.value.hint or "")


def test_chroma_is_halved_by_means() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    y, uv = dali_decoder.halve_chroma(picture, np)
    assert np.array_equal(y, picture[..., 0])
    for index in (0, 1):
        means = picture[..., 1 + index].reshape(3, 2, 4, 2).mean(axis=(1, 3))
        assert np.abs(uv[..., index] - means).max() <= 0.5
