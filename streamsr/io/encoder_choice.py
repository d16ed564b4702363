"""Which encoder writes the video, in which pixel format, and with which options."""

from __future__ import annotations

import os
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
from av.codec.codec import PixFmtLoss, find_best_pix_fmt_of_list

from ..errors import SinkError, UsageError
from ..frame import Layout, find_layout
from ..options import EncoderOptions
from .containers import OutputFormat
from .encoder_table import BUFFER_S, ENCODERS, LIVE_CRF, LIVE_GOP_S, NO_AVX512, Encoder, closest_preset
from .tags import Tags

# FFmpeg's tune for what a video shows; encoders that have none are left as they are
_TUNES = {("libx264", "film"): "film", ("libx264", "animation"): "animation", ("libx264", "screen"): "stillimage",
          ("libx265", "animation"): "animation"}  # fmt: skip


def choose_encoder(tags: Tags, output: OutputFormat, wanted: EncoderOptions) -> str:
    """FFmpeg's name of the encoder. Raises SinkError for one that does not exist here."""
    if wanted.encoder != "auto":
        _require(wanted.encoder)
        return wanted.encoder
    if output.raw is not None:
        return output.raw
    encoder = _choose_cpu_encoder(tags, output, wanted)
    return find_nvenc(encoder, tags, wanted) or encoder


# what stands for an encoder of the CPU on a GPU, by bits of 4:2:0: the first that the GPU has and that takes the size. H.264 of
# 10 bits is what no GPU before Blackwell encodes
_ON_GPU = {
    ("libx264", 8): ("h264_nvenc", "hevc_nvenc"), ("libx264", 10): ("hevc_nvenc",), ("libx265", 8): ("hevc_nvenc",),
    ("libx265", 10): ("hevc_nvenc",), ("libsvtav1", 8): ("av1_nvenc",), ("libsvtav1", 10): ("av1_nvenc",),
}  # fmt: skip


def find_nvenc(encoder: str, tags: Tags, wanted: EncoderOptions) -> str | None:
    """The GPU's encoder that stands for one of the CPU; None where it has none for such pictures, or for their HDR metadata."""
    layout = find_layout(wanted.pix_fmt or tags.pix_fmt)
    if wanted.gpu is None or layout is None or layout.kind != "yuv" or layout.log2_chroma != (1, 1) or layout.alpha:
        return None
    if tags.mastering is not None or tags.light_level is not None:
        return None
    found = [name for name in _ON_GPU.get((encoder, layout.bits), ()) if (name, layout.bits) in wanted.nvenc]
    return next((name for name in found if max(tags.width, tags.height) <= ENCODERS[name].max_side), None)


def surface_format(encoder: str, pix_fmt: str, wanted: EncoderOptions) -> str | None:
    """The kind of surface that the encoder takes from the GPU's memory; None for one that takes frames in host memory."""
    if wanted.gpu is None or not encoder.endswith("_nvenc"):
        return None
    return {"yuv420p": "nv12", "nv12": "nv12", "yuvj420p": "nv12", "yuv420p10le": "p010le", "p010le": "p010le"}.get(pix_fmt)


def _choose_cpu_encoder(tags: Tags, output: OutputFormat, wanted: EncoderOptions) -> str:
    layout = find_layout(tags.pix_fmt)
    alpha = layout is not None and layout.alpha
    if output.muxer == "webm":
        subsampled = layout is not None and layout.kind == "yuv" and layout.log2_chroma == (1, 1)
        return "libsvtav1" if subsampled and not alpha and not wanted.realtime else "libvpx-vp9"
    if output.muxer in ("avi", "mxf"):  # an AVI says the matrix of RGB alone
        return "ffv1" if alpha and layout is not None and layout.kind == "rgb" and output.muxer == "avi" else "libx264"
    if alpha and output.muxer == "mov":
        return "prores_ks"
    if alpha and output.muxer == "matroska":
        return "libvpx-vp9"
    # PQ and HLG: few players take 10-bit H.264, all HDR ones take HEVC
    return "libx265" if tags.hdr else "libx264"


def choose_pix_fmt(encoder: str, pix_fmt: str, wanted: str | None, output: OutputFormat) -> tuple[str, list[str]]:
    """The pixel format to encode, and messages about what it cannot hold. Raises SinkError for one the encoder refuses."""
    known = [video_format.name for video_format in av.Codec(encoder, "w").video_formats or []]
    if wanted is not None:
        if known and wanted not in known:
            raise SinkError(f"{encoder} cannot encode pixel format {wanted!r}.", hint=f"it takes {', '.join(known)}")
        return wanted, _losses(pix_fmt, wanted)
    source = find_layout(pix_fmt)
    known = _usable(encoder, known, has_alpha=source is not None and source.alpha)
    if not known or pix_fmt in known:
        return pix_fmt, []
    if source is not None and source.kind == "rgb":
        known = _for_rgb(source, known, output)
    candidates = [name for name in known if not name.startswith("yuvj")]
    if candidates == ["pal8"]:
        return "pal8", []  # streamsr.io.sink says what that means
    best, _ = find_best_pix_fmt_of_list(candidates, pix_fmt, source is not None and source.alpha)
    if best is None:
        raise SinkError(f"{encoder} has no pixel format for {pix_fmt}.", hint=f"give --pix-fmt, one of {', '.join(known)}")
    return best.name, _losses(pix_fmt, best.name)


def _usable(encoder: str, known: list[str], *, has_alpha: bool) -> list[str]:
    """The pixel formats of an encoder that it takes, and that players read as they are meant."""
    if encoder == "libvpx-vp9":  # it lists formats with alpha that it refuses then
        return ["yuva420p"] if has_alpha else [name for name in known if "a" not in name or name == "yuva420p"]
    if encoder == "wrapped_avframe":  # y4m
        grids = ("yuv420p", "yuv422p", "yuv444p")
        return [*grids, "yuv411p", "gray", *(f"{grid}{bits}le" for grid in grids for bits in (10, 12, 16))]
    if encoder == "gif":  # each picture gets a palette of its own, streamsr.io.palette
        return ["pal8"]
    if encoder == "apng":  # FFmpeg blends no 16-bit pictures with those before
        return [name for name in known if name not in ("rgba64be", "ya16be")]
    if encoder == "tiff":  # its YCbCr says no matrix, and half of all readers take it for RGB
        return [name for name in known if av.VideoFormat(name).is_rgb or name.startswith("gray")]
    return known


def _for_rgb(source: Layout, known: list[str], output: OutputFormat) -> list[str]:
    """Of these formats, those for RGB pictures."""
    rgb = [name for name in known if av.VideoFormat(name).is_rgb]
    if rgb or output.images or "yuv420p" not in known:
        return rgb or known
    # what every player shows; yuv444p would play in few
    plain = "yuv420p" if source.bits == 8 or "yuv420p10le" not in known else "yuv420p10le"
    return [plain, "yuva420p"] if source.alpha and "yuva420p" in known else [plain]


def encoder_options(encoder: str, tags: Tags, wanted: EncoderOptions, *, rate: Fraction = Fraction(25)) -> dict[str, str]:
    """FFmpeg's options for the encoder: quality, speed, HDR, then the user's own. Raises UsageError.

    rate: frames per second, for what is counted in frames.
    """
    row = ENCODERS.get(encoder, Encoder())
    if wanted.crf is not None and row.crf is None:
        raise UsageError(f"{encoder} has no constant quality for --crf {wanted.crf:g}.", hint="use --encoder-option instead")
    if wanted.preset is not None and row.preset is None:
        raise UsageError(f"{encoder} has no presets for --preset {wanted.preset}.", hint="use --encoder-option instead")
    options = dict(row.fixed) | _quality_and_speed(encoder, row, wanted)
    if wanted.live:
        options |= dict(row.live) | {"g": str(max(1, round(LIVE_GOP_S * rate)))}
        if row.vbv and wanted.max_bit_rate_bps is not None:
            options |= {"maxrate": str(wanted.max_bit_rate_bps), "bufsize": str(wanted.max_bit_rate_bps // 2)}  # half a second
    elif row.vbv and wanted.max_bit_rate_bps is not None:
        options |= {"maxrate": str(wanted.max_bit_rate_bps), "bufsize": str(round(wanted.max_bit_rate_bps * BUFFER_S))}
    if tags.chroma_location != "unspecified" and tags.pix_fmt.startswith(("yuv420", "yuvj420", "yuva420")):
        options["chroma_sample_location"] = tags.chroma_location
    user = dict(wanted.options or {})
    if row.params:
        pairs = _params(encoder, row, tags, wanted, is_fastest=options.get("preset") == "ultrafast")
        own = user.pop(row.params, None)
        text = ":".join([f"{key}={value}" for key, value in pairs.items()] + ([own] if own else []))
        if text:
            options[row.params] = text
    if encoder == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # else it prints a banner on stderr
    if user.keys() & {"qp", "b", "cqp"} and row.crf and wanted.crf is None:
        del options[row.crf]  # a rate of the user's own replaces the default quality
    return options | user


def _quality_and_speed(encoder: str, row: Encoder, wanted: EncoderOptions) -> dict[str, str]:
    options, fast = {}, wanted.realtime or wanted.live
    if row.crf:
        quality = row.quality + (LIVE_CRF if wanted.live else 0)
        options[row.crf] = f"{quality if wanted.crf is None else wanted.crf:g}"
    preset = wanted.preset
    if preset is not None:
        preset = closest_preset(encoder, preset)
    if row.preset:
        options[row.preset] = preset or (row.realtime_speed if fast else row.speed)
    if encoder.startswith("libvpx"):
        options["deadline"] = "realtime" if fast else "good"
    if wanted.content is not None and (encoder, wanted.content) in _TUNES and not wanted.live:
        options["tune"] = _TUNES[encoder, wanted.content]
    return options


def _params(encoder: str, row: Encoder, tags: Tags, wanted: EncoderOptions, *, is_fastest: bool) -> dict[str, str]:
    """What goes into the option that takes key=value pairs."""
    pairs = row.hdr(tags) if row.hdr and (tags.hdr or tags.mastering or tags.light_level) else {}
    pairs |= dict(row.live_params) if wanted.live else {}
    if encoder.startswith("libx264") and -(-tags.width // 16) % 8 and not is_fastest and _has_avx512():
        pairs["asm"] = NO_AVX512  # Note [x264 and AVX-512]
    if encoder == "libx265":
        pairs["log-level"] = "error"
    return pairs


@cache
def _has_avx512() -> bool:
    try:
        return " avx512bw " in f"{Path('/proc/cpuinfo').read_text(encoding='ascii', errors='replace')} "
    except OSError:
        return False  # not Linux: x264 is left to itself


def check_size(encoder: str, width: int, height: int) -> None:
    """Raises SinkError where the encoder takes no pictures of this size."""
    most = ENCODERS.get(encoder, Encoder()).max_side
    if max(width, height) > most:
        raise SinkError(
            f"{encoder} encodes at most {most} pixels a side, not {width}x{height}.",
            hint="choose a smaller --scale or --size, or an encoder such as ffv1 or libvpx-vp9",
        )


def closest_rate(rate: Fraction) -> Fraction:
    """A frame rate that every encoder takes; the timestamps, not this, say when a frame is shown."""
    return rate.limit_denominator(1001) if 1 <= rate <= 1000 else Fraction(25)


def _require(encoder: str) -> None:
    try:
        codec = av.Codec(encoder, "w")
    except ValueError as error:
        have = [name for name in ENCODERS if name in av.codecs_available]
        raise SinkError(f"Unknown encoder {encoder!r}.", hint=f"available: {', '.join(have)}, and FFmpeg's others") from error
    if codec.type != "video":
        raise SinkError(f"{encoder} encodes {codec.type}, not video.")


def _losses(source: str, target: str) -> list[str]:
    before, after = find_layout(source), find_layout(target)
    words = []
    _, loss = find_best_pix_fmt_of_list([target], source, bool(before and before.alpha))
    if loss & PixFmtLoss.ALPHA:
        words.append(f"alpha: {target} has none")
    if before and after and after.bits < before.bits:
        words.append(f"bit depth: {before.bits} become {after.bits}")
    if loss & PixFmtLoss.CHROMA or (before and before.kind != "gray" and target.startswith("gray")):
        words.append(f"colour: {target} has none")
    if loss & PixFmtLoss.RESOLUTION:
        words.append(f"chroma resolution: {source} becomes {target}")
    return words
