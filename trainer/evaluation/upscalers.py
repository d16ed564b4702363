"""What an evaluation compares: resizers and networks, behind one call.

A method takes the frames of a scene, uint8 luma (H, W) in studio codes, to planes `scale` times as large, rounded and clipped as an engine
leaves them. A recurrent network starts anew with every call; a picture is a scene of one frame.
"""

import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from streamsr.errors import StreamsrError
from streamsr.models import find_models
from streamsr.resample import resize_plane
from trainer.checkpoint import ema_network, load_checkpoint
from trainer.data.photos import Plane
from trainer.trainer_error import TrainerError

Upscale = Callable[[list[Plane]], list[Plane]]
BICUBIC, LANCZOS = "bicubic", "Lanczos"


@dataclass(frozen=True)
class Method:
    """name: of the table's line."""

    name: str
    upscale: Upscale


def open_methods(weights: Sequence[pathlib.Path]) -> tuple[list[Method], int]:
    """Bicubic (Pillow's), Lanczos (streamsr's) and the networks, all of one scale, and that scale.

    weights: .onnx files (with their JSON or without), run folders or checkpoints. Raises TrainerError where one does not open, or they
    differ in scale.
    """
    opened = [open_network(path) for path in weights]
    scales = {scale for _, scale in opened}
    if len(scales) != 1:
        told = ", ".join(f"{path} x{scale}" for path, (_, scale) in zip(weights, opened, strict=True))
        raise TrainerError(f"Networks of one scale can be compared; these are {told or 'none: give --weights'}.")
    (scale,) = scales
    short = [path.stem if path.suffix == ".onnx" else path.parent.name if path.suffix == ".ckpt" else path.name for path in weights]
    names = short if len(set(short)) == len(short) else [str(path) for path in weights]
    return [
        Method(BICUBIC, lambda frames: [_bicubic(frame, scale) for frame in frames]),
        Method(LANCZOS, lambda frames: [_lanczos(frame, scale) for frame in frames]),
        *(Method(name, upscale) for name, (upscale, _) in zip(names, opened, strict=True)),
    ], scale


def open_network(weights: pathlib.Path) -> tuple[Upscale, int]:
    """An .onnx file, a run folder or a checkpoint -> (upscale, scale)."""
    if weights.suffix == ".onnx":
        return _open_onnx(weights)
    import torch

    net = ema_network(load_checkpoint(weights))

    def upscale(frames: list[Plane]) -> list[Plane]:
        with torch.no_grad():
            return [_codes(net(torch.from_numpy(_unit(frame)))[0, 0].numpy()) for frame in frames]

    return upscale, net.scale


def _open_onnx(path: pathlib.Path) -> tuple[Upscale, int]:
    import onnxruntime

    from streamsr.engines.onnxruntime_engine import exact_options

    if not path.is_file():
        raise TrainerError(f"No model at {str(path)!r}. Give --weights an .onnx file, a run folder or a checkpoint.")
    try:
        # a description, where there is one, says whether the file is whole
        data = find_models(path)[0].read() if path.with_suffix(".json").is_file() else path.read_bytes()
        session = onnxruntime.InferenceSession(data, exact_options(), providers=["CPUExecutionProvider"])
    except StreamsrError as error:
        raise TrainerError(str(error)) from error
    except Exception as error:  # ONNX Runtime has an exception for each way in which a file can be wrong
        raise TrainerError(f"{str(path)!r} does not open as an ONNX model: {error}") from error
    luma, *states = session.get_inputs()
    if any(given.name == "chroma" for given in states):
        raise TrainerError(f"{str(path)!r} takes chroma, too, and `eval` compares networks of luma. See `warping`, `streamsr compare`.")
    made_names = [session.get_outputs()[0].name, *(f"{state.name}_next" for state in states)]

    def upscale(frames: list[Plane]) -> list[Plane]:
        shape = frames[0].shape
        given = {state.name: np.zeros((1, state.shape[1], *shape), np.float32) for state in states}
        made = []
        for frame in frames:
            luma_hr, *following = session.run(made_names, {luma.name: _unit(frame)} | given)
            given = dict(zip(given, following, strict=True))
            made.append(_codes(luma_hr[0, 0]))
        return made

    return upscale, upscale([np.zeros((16, 16), np.uint8)])[0].shape[1] // 16


def _unit(luma: Plane) -> NDArray[np.float32]:
    return np.divide(luma, 255, dtype=np.float32)[None, None]


def _codes(luma: NDArray[np.float32]) -> Plane:
    return np.clip(np.rint(luma * 255), 0, 255).astype(np.uint8)


def _bicubic(luma: Plane, scale: int) -> Plane:
    height, width = luma.shape
    return np.asarray(Image.fromarray(luma).resize((width * scale, height * scale), Image.Resampling.BICUBIC))


def _lanczos(luma: Plane, scale: int) -> Plane:
    out = np.empty((luma.shape[0] * scale, luma.shape[1] * scale), np.uint8)
    resize_plane(luma, out.shape[1], out.shape[0], bits=8, out=out)
    return out
