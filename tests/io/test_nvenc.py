"""NVENC: which encoder "auto" means on a GPU, what it is told, and what goes to it from the GPU's memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import pytest

from streamsr.device.nvenc import NVENC, find_encoders
from streamsr.errors import UsageError
from streamsr.io.containers import MATROSKA, MP4, WEBM, Y4M, OutputFormat
from streamsr.io.encoder_choice import encoder_options
from streamsr.io.encoder_settings import Encoding, has_constant_quality
from streamsr.io.tags import Mastering, Tags
from streamsr.options import EncoderOptions, Nvenc
from streamsr.outlook import settings_of

SDR = Tags(1920, 1080, "yuv420p", Fraction(1), 1, 1, 1, 1, "left", None, None, None)
ALL = tuple(Nvenc(name, bits) for name in NVENC for bits in (8, 10))
ON_GPU = EncoderOptions(gpu=0, nvenc=ALL)


@dataclass
class Source:
    tags: Tags = SDR
    time_base: Fraction = Fraction(1, 90_000)
    rate: Fraction = Fraction(25)


def choose(
    pix_fmt: str = "yuv420p", *, tags: Tags = SDR, size: tuple[int, int] = (3840, 2160), output: OutputFormat = MP4,
    wanted: EncoderOptions = ON_GPU,
) -> Encoding:  # fmt: skip
    return Encoding.choose(Source(replace(tags, pix_fmt=pix_fmt)), size, pix_fmt, output=output, wanted=wanted)


@pytest.mark.parametrize(
    ("pix_fmt", "output", "encoder", "surface"),
    [("yuv420p", MP4, "h264_nvenc", "nv12"), ("yuv420p10le", MP4, "hevc_nvenc", "p010le"), ("yuv420p", WEBM, "av1_nvenc", "nv12"),
     ("yuv420p10le", WEBM, "av1_nvenc", "p010le"), ("yuv422p", MATROSKA, "libx264", None), ("yuv444p", MP4, "libx264", None),
     ("yuva420p", MATROSKA, "libvpx-vp9", None), ("gray", MATROSKA, "libx264", None), ("yuv420p", Y4M, "wrapped_avframe", None)],
)  # fmt: skip
def test_auto_takes_what_the_gpu_has_for_such_pictures(pix_fmt: str, output: OutputFormat, encoder: str, surface: str | None) -> None:
    encoding = choose(pix_fmt, output=output)
    assert (encoding.encoder, encoding.surface) == (encoder, surface)
    assert encoding.losses == ()


def test_a_gpu_without_encoders_encodes_on_the_cpu() -> None:
    encoding = choose(wanted=EncoderOptions(gpu=0))
    assert (encoding.encoder, encoding.surface) == ("libx264", None)


def test_a_gpu_without_av1_leaves_av1_to_the_cpu() -> None:
    assert choose(output=WEBM, wanted=EncoderOptions(gpu=0, nvenc=(Nvenc("h264_nvenc", 8), Nvenc("hevc_nvenc", 8)))).encoder == "libsvtav1"


def test_what_is_too_large_for_h264_becomes_hevc() -> None:
    assert choose(size=(7680, 4320)).encoder == "hevc_nvenc"
    assert choose(size=(16000, 1000)).encoder == "libx264"


def test_hdr_metadata_that_nvenc_would_leave_out_keeps_the_cpus_encoder() -> None:
    hdr = replace(SDR, primaries=9, transfer=16, matrix=9)
    assert choose("yuv420p10le", tags=hdr).encoder == "hevc_nvenc"
    xy = ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), (0.3127, 0.329))
    assert choose("yuv420p10le", tags=replace(hdr, mastering=Mastering(xy, (0.0001, 1000.0)))).encoder == "libx265"
    assert choose("yuv420p10le", tags=replace(hdr, light_level=(1000, 400))).encoder == "libx265"


def test_frames_in_host_memory_change_nothing() -> None:
    encoding = choose(wanted=EncoderOptions())
    assert (encoding.encoder, encoding.surface) == ("libx264", None)
    assert choose(wanted=EncoderOptions(encoder="h264_nvenc")).surface is None


def test_an_encoder_that_was_named_takes_surfaces_too() -> None:
    assert choose(wanted=EncoderOptions(encoder="hevc_nvenc", gpu=1)).surface == "nv12"
    assert choose(wanted=EncoderOptions(encoder="libx265", gpu=1)).surface is None


@pytest.mark.parametrize("encoder", NVENC)
def test_crf_is_constant_quality_and_the_video_can_be_cut(encoder: str) -> None:
    options = encoder_options(encoder, SDR, EncoderOptions(crf=23))
    assert (options["cq"], options["rc"], options["b"]) == ("23", "vbr", "0")
    wanted = EncoderOptions(encoder=encoder, crf=23)
    assert has_constant_quality(choose(wanted=wanted))
    assert not has_constant_quality(choose(wanted=replace(wanted, options={"maxrate": "5M"})))
    assert not has_constant_quality(choose(wanted=EncoderOptions(encoder=encoder, options={"rc": "cbr", "b": "5M"})))


def test_a_machine_without_a_gpu_has_no_encoders_of_one() -> None:
    assert find_encoders(7) == ()


def test_usage_errors_are_those_of_the_cpu() -> None:
    with pytest.raises(UsageError, match="constant quality"):
        encoder_options("prores_ks", SDR, EncoderOptions(crf=3))


def test_a_gpu_that_encodes_eight_bits_alone_leaves_ten_to_the_cpu() -> None:
    wanted = EncoderOptions(gpu=0, nvenc=(Nvenc("h264_nvenc", 8), Nvenc("hevc_nvenc", 8)))
    assert choose("yuv420p", wanted=wanted).encoder == "h264_nvenc"
    assert choose("yuv420p10le", wanted=wanted).encoder == "libx264"


SPEEDS = {"ultrafast": "p1", "medium": "p5", "veryslow": "p7", "p3": "p3", "8": "p5", "13": "p1"}


@pytest.mark.parametrize(("preset", "speed"), SPEEDS.items())
def test_a_preset_of_the_cpu_becomes_one_as_fast(preset: str, speed: str) -> None:
    assert encoder_options("h264_nvenc", SDR, replace(ON_GPU, preset=preset))["preset"] == speed
    assert encoder_options("h264_nvenc", SDR, replace(ON_GPU, encoder="h264_nvenc", preset=preset))["preset"] == speed


def test_a_preset_that_no_encoder_has_is_refused() -> None:
    with pytest.raises(UsageError, match=r"has no preset .* p1, p2"):
        encoder_options("hevc_nvenc", SDR, replace(ON_GPU, preset="quick"))


def test_what_is_said_before_a_run_is_the_preset_that_nvenc_gets() -> None:
    encoding = choose(wanted=replace(ON_GPU, preset="ultrafast"))
    assert settings_of(encoding) == ("p1", "20")
    assert encoder_options(encoding.encoder, encoding.tags, encoding.wanted)["preset"] == "p1"
