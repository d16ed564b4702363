"""--realtime: the network where it keeps up, the plain resize where it does not, and the reason in words."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from media import make_clip

from streamsr import realtime
from streamsr.options import EncoderOptions, SourceOptions, UpscaleOptions
from streamsr.realtime import choose_realtime


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("realtime") / "in.mkv", rate="2", num_frames=4)


def choose(
    url: object, model: str = "lite", *, options: SourceOptions | None = None, size: tuple[int, int] | None = None
) -> tuple[str, str, str]:
    upscale, _, why = choose_realtime(str(url), UpscaleOptions(str(model), size=size), options or SourceOptions(), EncoderOptions())
    return upscale.model, upscale.precision, why


def test_network_that_keeps_up_is_taken(clip: Path) -> None:
    model, precision, why = choose(clip)
    assert model == "lite"
    assert precision in ("f32", "bf16", "int8")
    assert "of 425.0 ms" in why  # 0.85 of half a second


def test_network_that_is_too_slow_is_not_taken(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime, "_SHARE", 1e-9)
    model, precision, why = choose(clip)
    assert (model, precision) == ("resize", "auto")
    assert "too slow here" in why


def test_faster_presets_come_before_lighter_models(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of 300 ms beside an encoder of 150, 60 and 20 ms, and a frame every 500 ms; then beside one that is always too slow."""
    costs = {"veryfast": 0.15, "superfast": 0.12, "ultrafast": 0.02}
    times = {"base": 0.4, "lite": 0.3}
    monkeypatch.setattr(realtime, "encode_seconds", lambda encoder, preset, pixels, cores: costs[preset])
    monkeypatch.setattr(realtime, "_measure", lambda options, *_: (times[options.model], "f32", options.model, (128, 96)))
    monkeypatch.setattr(realtime, "lighter_models", lambda model: ["lite"])
    given = str(clip), UpscaleOptions("base"), SourceOptions()
    taken = [choose_realtime(*given, EncoderOptions(preset=preset)) for preset in (None, "veryfast")]
    assert [(upscale.model, encode.preset) for upscale, encode, _ in taken] == [("base", "ultrafast"), ("resize", "veryfast")]
    times["base"] = 0.45
    upscale, encode, why = choose_realtime(str(clip), UpscaleOptions("base"), SourceOptions(), EncoderOptions())
    assert (upscale.model, encode.preset) == ("lite", "superfast")
    assert "base of 425.0 ms: too slow here" in why


def test_lighter_models_are_no_forms_of_others() -> None:
    assert realtime.lighter_models("max")[0] == "base"
    assert "lite" in realtime.lighter_models("base")
    assert "lite-picture" not in realtime.lighter_models("max")
    assert realtime.lighter_models("lite") == [] or all(name != "base" for name in realtime.lighter_models("lite"))


def test_target_box_is_what_is_measured(clip: Path) -> None:
    assert choose(clip, size=(0, 192))[0] == "lite"


def test_pipe_is_not_read_twice() -> None:
    model, _, why = choose("-")
    assert model == "lite"
    assert "pipe" in why


def test_resize_needs_no_measurement(clip: Path) -> None:
    assert choose(clip, "resize")[0] == "resize"


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv444p", "gray", "gbrp", "yuv422p"])
def test_every_kind_of_picture_can_be_measured(tmp_path: Path, pix_fmt: str) -> None:
    source = make_clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-pix_fmt", pix_fmt, rate="2", num_frames=2)
    assert choose(source)[0] == "lite"


def test_noise_differs_from_frame_to_frame() -> None:
    first, second = (bytes(realtime._noise(64, 48, "yuv420p", seed).planes[0]) for seed in (0, 1))
    assert first != second


def test_rate_that_is_asked_for_is_the_budget(tmp_path: Path) -> None:
    from media import ffmpeg, pictures

    ffmpeg(*pictures(num_frames=3), tmp_path / "%03d.png")
    assert "of 850.0 ms" in choose(tmp_path / "%03d.png", options=SourceOptions(input_rate=Fraction(1)))[2]
