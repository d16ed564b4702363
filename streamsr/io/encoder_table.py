"""The encoders: their options for quality, speed and HDR, and the names of presets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import UsageError
from .tags import Tags


@dataclass(frozen=True, slots=True)
class Tuned:
    """A preset, and the quality that goes with it."""

    preset: str
    quality: float


@dataclass(frozen=True, slots=True)
class Encoder:
    """An encoder's options, by FFmpeg's names."""

    crf: str | None = None  # the option that means constant quality
    quality: float = 0.0
    preset: str | None = None  # the option that means speed
    speed: str = ""
    realtime_speed: str = ""
    fixed: tuple[tuple[str, str], ...] = ()
    params: str | None = None  # the option that takes key=value:key=value
    hdr: Callable[[Tags], dict[str, str]] | None = None  # static HDR metadata as such pairs
    max_side: int = 65535  # widest and highest picture, in pixels
    live: tuple[tuple[str, str], ...] = ()  # no frame waits for another
    live_params: tuple[tuple[str, str], ...] = ()  # the same, for `params`
    vbv: bool = False  # takes maxrate and bufsize beside constant quality
    few_cores: Tuned | None = None  # Note [Presets] of streamsr.io.encoder_defaults


def _chromaticities(tags: Tags, unit: float, luminance_unit: float, *, integer: bool) -> str | None:
    mastering = tags.mastering
    if mastering is None or mastering.primaries is None or mastering.luminance is None:
        return None

    def number(value: float, one: float) -> str:
        return str(round(value / one)) if integer else f"{value:g}"

    red, green, blue, white = (f"({number(x, unit)},{number(y, unit)})" for x, y in mastering.primaries)
    low, high = (number(value, luminance_unit) for value in mastering.luminance)
    return f"G{green}B{blue}R{red}WP{white}L({high},{low})"


def _x26x_hdr(tags: Tags, master: str, light: str) -> dict[str, str]:
    pairs = {}
    # units of the SEI message: 0.00002 and 0.0001 cd/m2 (ITU-T H.265 D.3.28)
    text = _chromaticities(tags, 0.00002, 0.0001, integer=True)
    if text:
        pairs[master] = text
    if tags.light_level:
        pairs[light] = f"{tags.light_level[0]},{tags.light_level[1]}"
    return pairs


def _x265_hdr(tags: Tags) -> dict[str, str]:
    pairs = _x26x_hdr(tags, "master-display", "max-cll")
    return pairs | {"hdr10": "1"} if pairs else {}


def _av1_hdr(tags: Tags) -> dict[str, str]:
    pairs = {}
    text = _chromaticities(tags, 1, 1, integer=False)
    if text:
        pairs["mastering-display"] = text
    if tags.light_level:
        pairs["content-light"] = f"{tags.light_level[0]},{tags.light_level[1]}"
    return pairs


LIVE_GOP_S = 2
BUFFER_S = 1.5  # that the limit of a file's bits is kept over, Note [Bits] of streamsr.io.encoder_defaults
LIVE_CRF = 5  # added to the quality's number: a network carries it, and no two viewers wait for the other
# constant quality: with `cq` and without a bit rate, NVENC's "variable bit rate" aims at that quality alone
_NVENC_QUALITY = (("rc", "vbr"), ("b", "0"))
_NVENC_LIVE = (("tune", "ull"), ("zerolatency", "1"), ("delay", "0"), ("bf", "0"), ("forced-idr", "1"))

# Note [x264 and AVX-512]: where the width is no multiple of 8 macroblocks (128 pixels), x264's AVX-512 code for the
# macroblock tree reads past the end of its rows, and what lies there gets into the quality of the blocks. The same frames
# then give other packets from run to run (x264 core 165, Zen 4; tests/jobs/test_repeat.py). Without AVX-512 they do not;
# the preset ultrafast has no macroblock tree.
NO_AVX512 = "SSE2Fast,LZCNT,AVX2,FMA3,BMI2"  # what every processor with AVX-512 has besides

# Quality defaults: visually close to the source of the upscale; presets: the slowest that two cores bear at 960p.
ENCODERS = {
    "libx264": Encoder("crf", 18, "preset", "medium", "ultrafast", params="x264-params",
                        hdr=lambda tags: _x26x_hdr(tags, "mastering-display", "cll"), max_side=16384,
                        live=(("tune", "zerolatency"), ("forced-idr", "1")), live_params=(("repeat-headers", "1"),), vbv=True,
                        few_cores=Tuned("veryfast", 18)),
    "libx264rgb": Encoder("crf", 18, "preset", "medium", "ultrafast", params="x264-params"),
    "libx265": Encoder("crf", 20, "preset", "fast", "ultrafast", params="x265-params", hdr=_x265_hdr, max_side=16384,
                        live=(("tune", "zerolatency"), ("forced-idr", "1")), live_params=(("repeat-headers", "1"),), vbv=True,
                        few_cores=Tuned("superfast", 18)),
    "libsvtav1": Encoder("crf", 28, "preset", "8", "12", params="svtav1-params", hdr=_av1_hdr, max_side=16384,
                          live_params=(("pred-struct", "1"), ("lookahead", "0")), few_cores=Tuned("10", 24)),
    "libvpx-vp9": Encoder("crf", 24, "cpu-used", "4", "8", fixed=(("b", "0"), ("row-mt", "1")),
                           live=(("lag-in-frames", "0"), ("error-resilient", "1"))),
    "libvpx": Encoder("crf", 10, "cpu-used", "4", "8", fixed=(("b", "5M"),), live=(("lag-in-frames", "0"),)),
    "h264_nvenc": Encoder("cq", 20, "preset", "p5", "p1", fixed=_NVENC_QUALITY, max_side=4096, live=_NVENC_LIVE, vbv=True),
    "hevc_nvenc": Encoder("cq", 22, "preset", "p5", "p1", fixed=_NVENC_QUALITY, max_side=8192, live=_NVENC_LIVE, vbv=True),
    "av1_nvenc": Encoder("cq", 26, "preset", "p5", "p1", fixed=_NVENC_QUALITY, max_side=8192, live=_NVENC_LIVE, vbv=True),
    "prores_ks": Encoder(fixed=(("profile", "4444"),)),
    "ffv1": Encoder(fixed=(("level", "3"), ("g", "1"), ("slicecrc", "1"))),
    "mjpeg": Encoder(fixed=(("q:v", "2"), ("qmin", "1"))),
    "apng": Encoder(fixed=(("pred", "mixed"),)),
}  # fmt: skip


_X26X = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
_PRESETS = {
    "libx264": _X26X, "libx264rgb": _X26X, "libx265": _X26X, "libsvtav1": tuple(map(str, range(13, -2, -1))),
    "libvpx-vp9": tuple(map(str, range(8, -1, -1))), "libvpx": tuple(map(str, range(16, -1, -1))),
    **dict.fromkeys(("h264_nvenc", "hevc_nvenc", "av1_nvenc"), tuple(f"p{speed}" for speed in range(1, 8))),
}  # from the fastest on
# what a CPU's preset is as NVENC's p1 to p7, and on the scale of each of the others: the share of the way to the slowest
_SPEEDS = {
    **dict(zip(_X26X, (0, 1 / 6, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1, 1, 1), strict=True)),
    **{str(number): share / 6 for number, share in zip(range(-1, 14), (6, 6, 6, 6, 6, 5, 5, 4, 4, 4, 3, 3, 2, 1, 0), strict=True)},
    **{f"p{speed}": (speed - 1) / 6 for speed in range(1, 8)},
}


def closest_preset(encoder: str, preset: str) -> str:
    """`preset` where the encoder has it; else the one of its own that is about as fast as another encoder's of that name.

    Raises UsageError for a name that no encoder has.
    """
    own = _PRESETS.get(encoder)
    if own is None or preset in own:
        return preset
    if preset not in _SPEEDS:
        raise UsageError(f"{encoder} has no preset {preset!r}.", hint=f"it has {', '.join(own)}, from fastest to slowest")
    return own[round(_SPEEDS[preset] * (len(own) - 1))]
