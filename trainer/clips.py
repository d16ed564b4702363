"""Clips through a network, frame after frame: PSNR-Y, warping error and flicker, beside those of Lanczos and of the original.

The first frames of a clip are the original; FFmpeg's bicubic makes the source, as 8-bit luma. Flicker is the mean absolute difference
between the change from frame to frame and the original's change. The warping error is the mean absolute difference between a frame and the
one before, moved by the original's optical flow (skimage's iterative Lucas-Kanade), where the original itself can be followed; all in
codes of 255. The original has a warping error too, of what flow cannot follow: it is the yardstick.
"""

import pathlib
from collections.abc import Callable
from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

from streamsr.resample import resize_plane
from trainer.checkpoint import ema_network, load_checkpoint
from trainer.degrade import crop_to_multiple, downscale_luma
from trainer.errors import TrainerError
from trainer.evaluate import psnr
from trainer.photos import Plane

SUFFIXES = {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm"}
FOLLOWED = 8.0  # codes: pixels of the original that flow brings closer than this
BORDER = 8  # pixels left out
FLOW_EVERY = 4  # frames; flow costs most of the time

Frames = Callable[[list[Plane]], list[Plane]]


@dataclass(frozen=True)
class ClipScore:
    """One clip: dB, and codes of 255."""

    name: str
    psnr: float
    psnr_lanczos: float
    flicker: float
    flicker_lanczos: float
    warping: float
    warping_original: float


def open_recurrent(weights: pathlib.Path) -> tuple[Frames, int]:
    """An .onnx file with its JSON, a run folder or a checkpoint -> (function over the frames of a scene, scale)."""
    if weights.suffix == ".onnx":
        return _open_onnx(weights)
    import torch

    from trainer.unroll import forward, start

    net = ema_network(load_checkpoint(weights))

    def run(frames: list[Plane]) -> list[Plane]:
        state, made = None, []
        for frame in frames:
            x = torch.from_numpy(frame)[None, None].float().div_(255)
            with torch.no_grad():
                y, state = forward(net, x, start(net, x) if state is None else state)
            made.append(_codes(y[0, 0].numpy()))
        return made

    return run, net.scale


def _open_onnx(path: pathlib.Path) -> tuple[Frames, int]:
    import onnxruntime

    from streamsr.errors import StreamsrError
    from streamsr.models import find_models

    try:
        (spec,) = find_models(path)
        session = onnxruntime.InferenceSession(spec.read(), providers=["CPUExecutionProvider"])
    except StreamsrError as error:
        raise TrainerError(str(error)) from error

    def run(frames: list[Plane]) -> list[Plane]:
        height, width = frames[0].shape
        states = {s.name: np.zeros((1, s.channels, s.scale * height, s.scale * width), np.float32) for s in spec.states}
        made = []
        for frame in frames:
            given = {spec.input: np.divide(frame, 255, dtype=np.float32)[None, None]} | states
            luma_hr, *following = session.run([spec.output, *(f"{name}_next" for name in states)], given)
            states = dict(zip(states, following, strict=True))
            made.append(_codes(luma_hr[0, 0]))
        return made

    return run, spec.scale


def _codes(luma: NDArray[np.float32]) -> Plane:
    return np.clip(np.rint(luma * 255), 0, 255).astype(np.uint8)


def list_clips(folder: pathlib.Path) -> list[pathlib.Path]:
    """Video files directly in `folder`, sorted by name. Raises TrainerError when there are none."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not paths:
        raise TrainerError(f"There is no clip in {str(folder)!r} ({', '.join(sorted(SUFFIXES))}).")
    return paths


def read_luma(path: pathlib.Path, count: int) -> list[Plane]:
    """The first `count` frames' luma, 8 bits. Raises TrainerError when the file cannot be decoded."""
    try:
        with av.open(str(path)) as container:
            frames = zip(range(count), container.decode(video=0), strict=False)
            return [np.asarray(frame.to_ndarray(format="gray"), np.uint8) for _, frame in frames]
    except (OSError, av.error.FFmpegError, IndexError) as error:
        raise TrainerError(f"Cannot decode {str(path)!r}: {error}. Remove it from the folder.") from error


def evaluate_clip(name: str, originals: list[Plane], run: Frames, scale: int) -> ClipScore:
    """Score one scene: equally large luma planes, two or more."""
    originals = [crop_to_multiple(frame, 2 * scale) for frame in originals]
    small = [downscale_luma(frame, scale=scale, kernel="sws_bicubic") for frame in originals]
    made, plain = run(small), [_lanczos(frame, scale) for frame in small]
    pairs = list(range(1, len(originals)))
    flows = {t: _flow(originals[t - 1], originals[t]) for t in pairs[::FLOW_EVERY]}
    return ClipScore(
        name,
        float(np.mean([psnr(a, b, scale) for a, b in zip(made, originals, strict=True)])),
        float(np.mean([psnr(a, b, scale) for a, b in zip(plain, originals, strict=True)])),
        float(np.mean([_flicker(made, originals, t) for t in pairs])),
        float(np.mean([_flicker(plain, originals, t) for t in pairs])),
        float(np.mean([_warping(made, flow, t) for t, flow in flows.items()])),
        float(np.mean([_warping(originals, flow, t) for t, flow in flows.items()])),
    )


def _lanczos(luma: Plane, scale: int) -> Plane:
    out = np.empty((luma.shape[0] * scale, luma.shape[1] * scale), np.uint8)
    resize_plane(luma, out.shape[1], out.shape[0], bits=8, out=out)
    return out


def _flicker(frames: list[Plane], originals: list[Plane], t: int) -> float:
    a, b, c, d = (frame.astype(np.float64) for frame in (frames[t], frames[t - 1], originals[t], originals[t - 1]))
    return float(np.abs((a - b) - (c - d)).mean())


def _flow(before: Plane, after: Plane) -> tuple[np.ndarray, np.ndarray]:
    """(where each pixel of `after` was in `before` (2, H, W), where it can be followed (H, W))."""
    from skimage.registration import optical_flow_ilk

    y, x = np.mgrid[: before.shape[0], : before.shape[1]]
    moved = optical_flow_ilk(after / 255, before / 255, radius=7)
    places = np.stack([y + moved[0], x + moved[1]])
    sure = np.abs(_move(before, places) - after) < FOLLOWED
    inside = np.zeros_like(sure)
    inside[BORDER:-BORDER, BORDER:-BORDER] = True
    return places, sure & inside


def _move(frame: Plane, places: np.ndarray) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    return map_coordinates(frame.astype(np.float64), places, order=1, mode="nearest")


def _warping(frames: list[Plane], flow: tuple[np.ndarray, np.ndarray], t: int) -> float:
    places, sure = flow
    gap = np.abs(_move(frames[t - 1], places) - frames[t])[sure]
    return float(gap.mean()) if gap.size else 0.0


def evaluate_clips(weights: pathlib.Path, folder: pathlib.Path, *, count: int = 32) -> list[ClipScore]:
    """The first `count` frames of every clip of a folder."""
    run, scale = open_recurrent(weights)
    return [evaluate_clip(path.name, read_luma(path, count), run, scale) for path in list_clips(folder)]


def clip_table(scores: list[ClipScore]) -> str:
    """Aligned text, a clip a line and the mean last."""
    width = max(len(s.name) for s in scores) + 1
    lines = [f"{'clip':{width}s} Lanczos  network    gain   flicker (Lanczos)   warping (original)"]
    rows = [(s.name, s.psnr_lanczos, s.psnr, s.flicker, s.flicker_lanczos, s.warping, s.warping_original) for s in scores]
    rows.append(("mean", *(float(np.mean(column)) for column in list(zip(*rows, strict=True))[1:])))  # type: ignore[arg-type]
    for name, plain, made, flicker, flicker_plain, warping, original in rows:
        lines.append(
            f"{name:{width}s} {plain:7.2f}  {made:7.2f}  {made - plain:+6.2f}   {flicker:7.2f} ({flicker_plain:.2f})"
            f"   {warping:10.2f} ({original:.2f})"
        )
    return "\n".join(lines)
