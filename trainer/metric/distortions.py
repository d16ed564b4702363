"""Families of distortions, each from slight to severe. Pictures are uint8 RGB (H, W, 3); results have the same size.

What the metric learns its first order from: within a family, the milder one is the better picture. Nobody was asked.
"""

import io
import os
import pathlib
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from streamsr.priority import keep_priority

Picture = NDArray[np.uint8]
Levels = list[tuple[str, Picture]]  # (what was done, the result), mildest first
Family = Callable[[Picture, np.random.Generator], Levels]


def _still(picture: Picture, **options: object) -> Picture:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, **options)  # type: ignore[arg-type]
    with Image.open(data) as image:
        return np.asarray(image.convert("RGB"))


def jpeg(picture: Picture, rng: np.random.Generator) -> Levels:
    shift = int(rng.integers(-6, 7))
    return [(f"jpeg quality {q + shift}", _still(picture, format="JPEG", quality=q + shift)) for q in (75, 38, 14)]


def webp(picture: Picture, rng: np.random.Generator) -> Levels:
    shift = int(rng.integers(-4, 9))
    return [(f"webp quality {q + shift}", _still(picture, format="WEBP", quality=q + shift, method=2)) for q in (60, 22, 4)]


def video(codec: str, decoder: str, crfs: tuple[int, ...], options: dict[str, str]) -> Family:
    """The middle picture of a short, slow pan through a video encoder: mostly P or B frames."""

    def family(picture: Picture, rng: np.random.Generator) -> Levels:
        shift = float(rng.uniform(-2, 2))
        return [(f"{codec} crf {crf + shift:.1f}", coded(picture, codec, decoder, crf + shift, options)) for crf in crfs]

    return family


def coded(picture: Picture, codec: str, decoder: str, crf: float, options: dict[str, str]) -> Picture:
    """Encode three pictures (two moved by a pixel, then this one) as yuv420p and decode the last. Even sides."""
    os.environ.setdefault("SVT_LOG", "1")  # errors only: SVT-AV1 prints thirty lines an encode otherwise
    height, width = picture.shape[:2]
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate, encoder.time_base = Fraction(25), Fraction(1, 25)
    rate = f"{crf:.0f}" if codec == "libsvtav1" else f"{crf:.2f}"
    encoder.options = {"crf": rate, "threads": "1"} | options
    with keep_priority():
        encoder.open(strict=False)
    reader = av.CodecContext.create(decoder, "r")
    assert isinstance(reader, av.VideoCodecContext)
    reader.thread_count = 1
    packets = []
    for pts, step in enumerate((2, 1, 0)):
        frame = av.VideoFrame.from_ndarray(np.roll(picture, step, 1), format="rgb24").reformat(format="yuv420p")
        frame.pts = pts
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    frames = [frame for packet in packets for frame in reader.decode(packet)] + list(reader.decode(None))
    if len(frames) != 3:
        raise RuntimeError(f"{codec} gave back {len(frames)} of 3 frames")
    return np.asarray(frames[-1].to_ndarray(format="rgb24"), np.uint8)


def blur(picture: Picture, rng: np.random.Generator) -> Levels:
    factor = float(rng.uniform(0.8, 1.25))
    image = Image.fromarray(picture)
    return [(f"blur sigma {s * factor:.2f}", np.asarray(image.filter(ImageFilter.GaussianBlur(s * factor)))) for s in (0.7, 1.4, 2.8)]


def ringing(picture: Picture, rng: np.random.Generator) -> Levels:
    """An ideal low pass: everything above a share of the band is cut, and edges ring."""
    factor = float(rng.uniform(0.9, 1.1))
    height, width = picture.shape[:2]
    spectrum = np.fft.rfft2(picture.astype(np.float32), axes=(0, 1))
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]) * 2
    levels: Levels = []
    for cut in (0.55, 0.35, 0.2):
        kept = spectrum * (radius <= cut * factor)[..., None]
        levels.append((f"ringing above {cut * factor:.2f} of the band", _codes(np.fft.irfft2(kept, (height, width), axes=(0, 1)))))
    return levels


def noise(picture: Picture, rng: np.random.Generator) -> Levels:
    pattern = rng.normal(0, 1, picture.shape).astype(np.float32)
    factor = float(rng.uniform(0.8, 1.25))
    return [(f"noise sigma {s * factor:.1f}", _codes(picture + s * factor * pattern)) for s in (4.0, 10.0, 25.0)]


def sharpening(picture: Picture, rng: np.random.Generator) -> Levels:
    radius = float(rng.uniform(0.8, 2.0))
    soft = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)), np.float32)
    return [(f"sharpening {g} at sigma {radius:.2f}", _codes(picture + g * (picture - soft))) for g in (0.7, 1.8, 4.0)]


def banding(picture: Picture, rng: np.random.Generator) -> Levels:
    """Fewer codes: rounded to multiples."""
    offset = int(rng.integers(0, 8))
    moved = picture.astype(np.float32) + offset
    return [(f"banding {step} codes", _codes((moved // step + 0.5) * step - offset)) for step in (8, 20, 44)]


def colour_shift(picture: Picture, rng: np.random.Generator) -> Levels:
    tint = rng.normal(0, 1, 3)
    tint = tint / np.abs(tint).max()
    return [(f"colour shift {amount} codes", _codes(picture + amount * tint)) for amount in (4, 12, 30)]


def wrong_kernel(picture: Picture, rng: np.random.Generator) -> Levels:
    """Down and up again with kernels that alias, blur or ring."""
    names = {"nearest": Image.Resampling.NEAREST, "box": Image.Resampling.BOX, "bilinear": Image.Resampling.BILINEAR,
             "bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}  # fmt: skip
    down, up = (str(rng.choice(list(names))) for _ in range(2))
    image = Image.fromarray(picture)
    levels: Levels = []
    for factor in (1.5, 2.5, 4.0):
        small = image.resize((round(image.width / factor), round(image.height / factor)), names[down])
        levels.append((f"down by {factor} {down}, up {up}", np.asarray(small.resize(image.size, names[up]))))
    return levels


def network(name: str) -> Family:
    """A network of ours at x2, x3 and x4, each from a picture that much smaller; half of the small ones went through JPEG.

    name: a shipped model, or the path of an ONNX file, whose scale is then all there is (at three strengths of JPEG).
    """

    def family(picture: Picture, rng: np.random.Generator) -> Levels:
        from streamsr import Upscaler
        from streamsr.models import find_models

        image = Image.fromarray(picture)
        scales = sorted({spec.scale for spec in find_models(name)})
        qualities = [int(rng.integers(35, 95))] * len(scales) if rng.random() < 0.5 else [0] * len(scales)
        if len(scales) == 1:
            scales, qualities = scales * 3, [0, 60, 20]
        levels: Levels = []
        for scale, quality in zip(scales, qualities, strict=True):
            small = np.asarray(image.resize((image.width // scale, image.height // scale), Image.Resampling.BICUBIC))
            if quality:
                small = _still(small, format="JPEG", quality=quality)
            with Upscaler(name, size=image.size, threads=1) as upscaler:
                large = upscaler(small)
            levels.append((f"{pathlib.Path(name).stem} x{scale}" + (f" from jpeg quality {quality}" if quality else ""), np.asarray(large)))
        return levels

    return family


def _codes(x: NDArray[np.floating]) -> Picture:
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


FAMILIES: dict[str, Family] = {
    "jpeg": jpeg,
    "webp": webp,
    "x264": video("libx264", "h264", (24, 33, 42), {"preset": "veryfast"}),
    "x265": video("libx265", "hevc", (24, 33, 42), {"preset": "superfast", "x265-params": "log-level=none:pools=none:frame-threads=1"}),
    "svt-av1": video("libsvtav1", "libdav1d", (32, 46, 60), {"preset": "10", "svtav1-params": "lp=1"}),
    "blur": blur,
    "ringing": ringing,
    "noise": noise,
    "sharpening": sharpening,
    "banding": banding,
    "colour": colour_shift,
    "kernel": wrong_kernel,
    "lite": network("lite"),
}
