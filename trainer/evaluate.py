"""PSNR-Y and SSIM-Y over bicubic on a folder of pictures: the protocol that the x2 figures are quoted in.

The picture is cut to a multiple of `2 * scale` (4 for x2); the source is Pillow's BICUBIC (antialiased) in 8-bit RGB, turned into
8-bit studio luma; scores are on studio luma with a border of `scale` pixels left out; the baseline is Pillow's BICUBIC back up, in RGB.
"""

import pathlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.checkpoint import ema_network, load_checkpoint
from trainer.degrade import crop_to_multiple
from trainer.errors import TrainerError
from trainer.photos import Plane, list_photos, luma_codes, luma_of, read_rgb

# float32 (1, 1, H, W) in [0, 1] -> (1, 1, scale * H, scale * W)
Infer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Score:
    """One picture: dB and SSIM of the network and of bicubic."""

    name: str
    psnr: float
    psnr_bicubic: float
    ssim: float
    ssim_bicubic: float


def open_network(weights: pathlib.Path) -> tuple[Infer, int]:
    """An .onnx file, a run folder or a checkpoint -> (function, scale)."""
    if weights.suffix == ".onnx":
        return _open_onnx(weights)
    import torch

    from trainer.unroll import forward, start

    net = ema_network(load_checkpoint(weights))

    def infer(x: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            return forward(net, torch.from_numpy(x), start(net, torch.from_numpy(x)))[0].numpy()

    return infer, net.scale


def _open_onnx(path: pathlib.Path) -> tuple[Infer, int]:
    import onnxruntime

    if not path.is_file():
        raise TrainerError(f"No model at {str(path)!r}. Give --weights an .onnx file, a run folder or a checkpoint.")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name, *states = session.get_inputs()  # a picture is the first frame of a recurrent network: its states are zeros

    def infer(x: NDArray[np.float32]) -> NDArray[np.float32]:
        zeros = {state.name: np.zeros((len(x), state.shape[1], *x.shape[2:]), np.float32) for state in states}
        return session.run([session.get_outputs()[0].name], {name.name: x} | zeros)[0]

    scale = infer(np.zeros((1, 1, 16, 16), np.float32)).shape[-1] // 16
    return infer, scale


def upscale_luma(luma: Plane, infer: Infer) -> Plane:
    """8-bit luma (H, W) -> (scale * H, scale * W), rounded and clipped as an engine does."""
    y = infer(np.divide(luma, 255, dtype=np.float32)[None, None])[0, 0]
    return np.clip(np.rint(y * 255), 0, 255).astype(np.uint8)


def psnr(a: NDArray, b: NDArray, border: int) -> float:
    """dB of two luma pictures (H, W) in 8-bit codes."""
    d = (a.astype(np.float64) - b.astype(np.float64))[border:-border, border:-border]
    return float(-10 * np.log10(max(float(np.mean(d**2)), 1e-12) / 255**2))


def ssim_y(a: NDArray, b: NDArray, border: int) -> float:
    """SSIM of two luma pictures (H, W), Gaussian window of sigma 1.5, range 255."""
    from skimage.metrics import structural_similarity

    inside = slice(border, -border)
    options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(a.astype(np.float64)[inside, inside], b.astype(np.float64)[inside, inside], **options))


def evaluate_picture(path: pathlib.Path, infer: Infer, scale: int, pictures: pathlib.Path | None = None) -> Score:
    """Score one picture; with `pictures`, also write bicubic | network | original as one PNG there."""
    rgb = crop_to_multiple(read_rgb(path), 2 * scale)
    height, width = rgb.shape[:2]
    small = Image.fromarray(rgb).resize((width // scale, height // scale), Image.Resampling.BICUBIC)
    bicubic = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
    result = upscale_luma(luma_codes(np.asarray(small)), infer)
    # the network's luma is 8-bit as it leaves an engine; the other two are luma of 8-bit RGB, unrounded
    reference, base = luma_of(rgb), luma_of(bicubic)
    if pictures is not None:
        row = np.concatenate([luma_codes(bicubic), result, luma_codes(rgb)], axis=1)
        shown = np.clip((row.astype(np.float64) - 16) * 255 / 219, 0, 255).astype(np.uint8)
        pictures.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shown).save(pictures / f"{path.stem}_bicubic_network_original.png")
    return Score(
        path.name,
        psnr(result, reference, scale),
        psnr(base, reference, scale),
        ssim_y(result, reference, scale),
        ssim_y(base, reference, scale),
    )


def evaluate(weights: pathlib.Path, data: pathlib.Path, pictures: pathlib.Path | None = None) -> list[Score]:
    """Every picture of a folder. Raises TrainerError for a missing or empty folder and for weights that do not open."""
    paths = list_photos(data)
    infer, scale = open_network(weights)
    return [evaluate_picture(path, infer, scale, pictures) for path in paths]


def summary(scores: list[Score]) -> dict[str, float]:
    """Means over the pictures."""
    n = len(scores)
    return {
        "psnr_y": sum(s.psnr for s in scores) / n,
        "psnr_y_gain": sum(s.psnr - s.psnr_bicubic for s in scores) / n,
        "ssim_y": sum(s.ssim for s in scores) / n,
        "ssim_y_gain": sum(s.ssim - s.ssim_bicubic for s in scores) / n,
    }


def table(scores: list[Score]) -> str:
    """Aligned text, a picture a line and the mean last."""
    width = max(len(s.name) for s in scores)
    lines = [f"{'picture':{width}s}  bicubic   network    gain   SSIM-Y bicubic  network"]
    for s in scores:
        lines.append(
            f"{s.name:{width}s}  {s.psnr_bicubic:7.2f}   {s.psnr:7.2f}  {s.psnr - s.psnr_bicubic:+6.2f}"
            f"           {s.ssim_bicubic:.4f}   {s.ssim:.4f}"
        )
    mean = summary(scores)
    lines.append(f"mean of {len(scores)}: {mean['psnr_y']:.2f} dB, {mean['psnr_y_gain']:+.2f} over bicubic; SSIM-Y {mean['ssim_y']:.4f}")
    return "\n".join(lines)
