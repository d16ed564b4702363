"""Presets by the cores there are, and bits that follow the source's."""

from __future__ import annotations

from pathlib import Path

import pytest
from media import ffmpeg, make_clip, streamsr

from streamsr.io import encoder_defaults
from streamsr.io.encoder_choice import encoder_options
from streamsr.io.encoder_defaults import limit_of, settle_encoder
from streamsr.io.source import open_source
from streamsr.options import EncoderOptions


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a source that spent 60 kb/s on noise."""
    path = tmp_path_factory.mktemp("noisy") / "noisy.mp4"
    source = "testsrc2=s=160x96:r=25:d=2,noise=alls=40:allf=t,format=yuv420p"
    ffmpeg("-f", "lavfi", "-i", source, "-c:v", "libx264", "-b:v", "60k", "-preset", "ultrafast", path)
    return path


@pytest.mark.parametrize(
    ("encoder", "cores", "expected"),
    [("libx264", 2, ("veryfast", 18)), ("libx264", 16, ("medium", 18)), ("libx265", 2, ("superfast", 18)), ("libx265", 8, ("fast", 20)),
     ("libsvtav1", 4, ("10", 24)), ("libsvtav1", 32, ("8", 28)), ("ffv1", 2, (None, None)), ("h264_nvenc", 2, ("p5", 20))],
)  # fmt: skip
def test_few_cores_get_a_faster_preset(noisy: Path, encoder: str, cores: int, expected: tuple[str | None, float | None]) -> None:
    with open_source(noisy) as source:
        settled = settle_encoder(EncoderOptions(), encoder, cores=cores, source=source, size=(320, 192))
    assert (settled.preset, settled.crf) == expected


def test_large_results_take_less_memory_on_few_cores(noisy: Path) -> None:
    with open_source(noisy) as source:
        def settle(size: tuple[int, int], cores: int = 2, **given: object) -> dict[str, str]:
            wanted = EncoderOptions(**given)  # type: ignore[arg-type]
            return dict(settle_encoder(wanted, "libx264", cores=cores, source=source, size=size).options or {})

        assert settle((3840, 2160)) == {"rc-lookahead": "3", "b-pyramid": "none"}
        assert settle((3840, 2160), options={"rc-lookahead": "20"}) == {"rc-lookahead": "20", "b-pyramid": "none"}
        assert settle((3840, 2160), preset="slow") == settle((3840, 2160), cores=16) == settle((2560, 1440)) == {}


def test_what_the_caller_names_stays(noisy: Path) -> None:
    with open_source(noisy) as source:
        def settle(**given: object) -> EncoderOptions:
            return settle_encoder(EncoderOptions(**given), "libx264", cores=2, source=source, size=(320, 192))  # type: ignore[arg-type]

        assert settle(crf=12.0).crf == 12
        assert settle(crf=12.0).max_bit_rate_bps is None
        assert settle(preset="slow").preset == "slow"
        assert settle(preset="slow").crf is None  # the encoder's row has the quality
        assert settle(options={"b": "1M"}).crf is None
        assert settle(options={"b": "1M"}).max_bit_rate_bps is None
        assert settle(realtime=True).preset is None
        assert encoder_options("libx264", source.tags, settle())["maxrate"] == str(settle().max_bit_rate_bps)


def test_bits_follow_the_source(noisy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_defaults, "_TIMES", 0.4)
    given = ["--model", "resize", "--scale", "2", "--threads", "2", "--quiet"]
    for name, more in (("free", ["--crf", "18", "--preset", "veryfast"]), ("limited", [])):
        outcome = streamsr("run", noisy, tmp_path / f"{name}.mp4", *given, *more)
        assert outcome.code == 0, outcome.err
    with open_source(noisy) as source:
        limit = limit_of(source, "libx264", (320, 192))
    assert limit is not None
    free, limited = ((tmp_path / f"{name}.mp4").stat().st_size * 8 / 2 for name in ("free", "limited"))
    assert free > 1.5 * limit  # else there is nothing to see
    assert limited < 0.8 * free
    assert limited < 2 * limit  # a buffer's worth above it, in a clip of two seconds


def test_better_codecs_are_worth_more_and_uncompressed_video_has_no_limit(noisy: Path, tmp_path: Path) -> None:
    ffmpeg("-i", noisy, "-c:v", "ffv1", tmp_path / "a.mkv")
    make_clip(tmp_path / "b.mp4", size="160x96", num_frames=5)
    with open_source(tmp_path / "a.mkv") as source:
        assert limit_of(source, "libx264", (320, 192)) is None
    with open_source(tmp_path / "b.mp4") as source:
        h264, hevc = (limit_of(source, encoder, (320, 192)) for encoder in ("libx264", "libx265"))
        assert h264 is not None
        assert hevc is not None
        assert hevc < h264
