"""Where frames are upscaled: what `--device` means on this machine, and who gets which GPU of several."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..engines.gpu_engines import choose_for_gpu
from ..engines.gpus import Gpu, list_gpus
from ..errors import EngineError, StreamsrError
from ..models import RESIZE
from ..options import EncoderOptions, SourceOptions, UpscaleOptions
from .nvenc import find_encoders

FRAMES_IN_FLIGHT = 3  # one comes, one is computed, one goes
_CUDA = re.compile(r"cuda(?::(\d+))?")
_GPU_ENGINES = ("auto", "cuda", "tensorrt", "torch")


def gpu_index(device: str) -> int | None:
    """The number of a GPU that is named: "cuda" is the first; None for any other device."""
    found = _CUDA.fullmatch(device)
    return None if found is None else int(found[1] or 0)


def find_devices(options: UpscaleOptions, gpus: Sequence[Gpu] | None = None) -> list[str]:
    """The devices that these options mean on this machine.

    "cuda:all" becomes all GPUs; "auto" becomes the first GPU where CuPy and an engine for it are installed, and stays "auto",
    which is the CPU, where they are not. Raises EngineError where "cuda:all" finds none.
    """
    device = options.device
    if options.model == RESIZE or options.engine not in _GPU_ENGINES:
        return device.split(",")
    if device == "cuda:all":
        found = list_gpus() if gpus is None else gpus
        if not found:
            raise EngineError("--device cuda:all, and there is no NVIDIA GPU here.", hint="nvidia-smi shows whether the driver runs")
        return [gpu.device for gpu in found]
    if device == "auto" and has_cupy():
        supported = [gpu for gpu in (list_gpus() if gpus is None else gpus) if gpu.is_supported]
        if supported and _has_engine():
            return [supported[0].device]
    return device.split(",")


def has_cupy() -> bool:
    """Whether CuPy is installed; looks it up without importing it."""
    return importlib.util.find_spec("cupy") is not None


def _has_engine() -> bool:
    try:
        return choose_for_gpu("auto") is not None
    except StreamsrError:
        return False


def find_gpu_of_frames(options: UpscaleOptions) -> int | None:
    """The GPU that frames stay on with these options; None where they are in host memory."""
    return gpu_index(options.device) if options.model != RESIZE and options.engine in _GPU_ENGINES and has_cupy() else None


def settle_codecs(
    options: UpscaleOptions, source: SourceOptions, encode: EncoderOptions
) -> tuple[SourceOptions, EncoderOptions]:  # fmt: skip
    """The options of decoder and encoder for a network on this device: on a GPU if frames stay there."""
    index = find_gpu_of_frames(options)
    if index is None:
        return source, encode
    encoders = find_encoders(index) if encode.encoder == "auto" else ()
    return replace(source, gpu=index), replace(encode, gpu=index, nvenc=encoders)


def deal(devices: Sequence[str], taken: Iterable[str]) -> str:
    """The device with the least to do: the first of those that are in `taken` least often."""
    counts = Counter(taken)
    return min(devices, key=lambda device: (counts[device], devices.index(device)))
