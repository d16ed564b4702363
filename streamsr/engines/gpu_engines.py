"""Opens engines on GPUs: which of them, and what runs until TensorRT has built.

Note [No waiting]: `--engine auto` on an NVIDIA GPU takes TensorRT where its plan is kept. Else it starts on torch, without
compiling, where torch sees the GPU; else on OpenVINO or ONNX Runtime, on the CPU: the same network, so the picture does not
change when TensorRT takes over (never the plain resize, which would). The plan is built in a process of its own, which is
ended with the run (streamsr.engines.plan_process). `--wait-engine` builds first.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamsr.engines.distributions import INSTALL, find_flavour, runs_on
from streamsr.engines.gpus import Gpu, list_gpus
from streamsr.errors import EngineError

if TYPE_CHECKING:
    from streamsr.engines.device_engine import DeviceEngine
    from streamsr.engines.engine import Engine
    from streamsr.engines.handover import DeviceHandover
    from streamsr.engines.tensorrt_engine import TensorRtEngine
    from streamsr.models import ModelSpec
    from streamsr.options import Precision

INSTALL_TORCH = "pip install 'streamsr[torch]'"
Say = Callable[[str], None]


def has_tensorrt(gpu: Gpu) -> bool:
    """Whether TensorRT, CuPy and onnx are installed and know this GPU; looks them up without importing them."""
    return find_flavour(gpu.capability) is not None and all(_has(name) for name in ("cupy", "onnx"))


def has_torch_for_gpus() -> bool:
    """Whether torch is installed in a build that sees GPUs; read from its file, as importing it takes a second and more.

    The version does not show this: torch of PyPI for Windows is built for the CPU and is called what the builds for GPUs are.
    """
    text = _torch_version_file()
    return re.search(r"^(?:cuda|hip)(?:\s*:[^=\n]*)?\s*=\s*['\"]", text, re.MULTILINE) is not None


def choose_for_gpu(device: str) -> str | None:
    """The engine that "auto" means for this device: "tensorrt" or "torch"; None for the CPU's engines.

    "auto" is the first NVIDIA GPU where an engine for it is installed. Raises EngineError for a GPU without one.
    """
    if device == "mps":
        return "torch"
    if device != "auto" and not device.startswith("cuda"):
        return None
    gpus = list_gpus() if device != "auto" else [gpu for gpu in list_gpus() if gpu.is_supported]
    gpu = gpus[0] if device in ("auto", "cuda") and gpus else next((gpu for gpu in gpus if gpu.device == device), None)
    if gpu is not None and has_tensorrt(gpu):
        return "tensorrt"
    if has_torch_for_gpus() and (gpu is not None or device != "auto"):
        return "torch"  # also on a GPU of AMD, which torch calls cuda
    if device == "auto":
        return None
    from streamsr.engines.gpus import find_gpu

    gpu = find_gpu(device)
    hint = INSTALL if runs_on("tensorrt_rtx", gpu.capability) else "pip install 'streamsr[cuda12]', or 'streamsr[cuda13]' for CUDA 13"
    raise EngineError(f"No engine for {gpu.device} ({gpu.name}) is installed.", hint=f"{hint}; or {INSTALL_TORCH}")


def open_auto(
    spec: ModelSpec, *, bits: int, device: str, precision: Precision, threads: int, engines: Mapping[str, Callable[..., Engine]],
    cpu_engine: Callable[[], str], say: Say | None = None,
) -> Engine:  # fmt: skip
    """TensorRT on planes in host memory, without waiting for it: Note [No waiting].

    engines: what opens each by its name. cpu_engine: the name of the one for the CPU.
    """
    from streamsr.engines.cupy_arrays import CupyArrays
    from streamsr.engines.gpus import find_gpu
    from streamsr.engines.handover import Handover
    from streamsr.engines.hosted_engine import HostedEngine
    from streamsr.engines.tensorrt_engine import TensorRtEngine, choose_precision, tell

    gpu = find_gpu(device)
    chosen, reason = choose_precision(precision, bits)
    say = say or tell
    first = "torch" if has_torch_for_gpus() else cpu_engine()
    arrays = CupyArrays(gpu.index)

    def open_tensorrt() -> TensorRtEngine:
        return TensorRtEngine(spec, gpu=gpu, precision=chosen, reason=reason, arrays=arrays, say=say)

    def open_running() -> Engine:
        options: dict[str, Any] = {"bits": bits, "threads": threads, "scale": spec.scale, "hint": "latency"}
        if first == "torch":
            return engines["torch"](spec, device=gpu.device, precision=chosen, is_compiled=False, **options)
        return engines[first](spec, device="cpu", precision="auto", **options)

    def build(size: tuple[int, ...], stop: threading.Event) -> Engine:
        height, width = size
        engine = open_tensorrt()
        if not engine.has_plan(1, height, width):
            build_aside(spec, (1, height, width), chosen, gpu, stop=stop, say=say)
        hosted = HostedEngine(engine, arrays, bits=bits)
        try:
            hosted.prepare(height, width)
        except BaseException:
            hosted.close()
            raise
        return hosted

    probe = open_tensorrt()
    return Handover(
        open_running, build, scale=spec.scale, bits=bits, names=("tensorrt", first), say=say, is_ready=lambda size: probe.has_plan(1, *size)
    )


def open_on_device(
    spec: ModelSpec, shape: tuple[int, int, int], *, engine: str = "auto", device: str = "cuda:0", precision: Precision = "auto",
    bits: int = 8, wait: bool = False, say: Say | None = None,
) -> tuple[DeviceEngine, DeviceHandover | None]:  # fmt: skip
    """An engine for the pipeline on a GPU, and what hands over to its successor where one is being built.

    shape: n, h, w of the luma planes that it will see first. The caller closes both. Without torch there is nothing else on
    the device to start with: TensorRT then builds first, and reports progress. See `streamsr.engines.open_engine`.
    """
    from streamsr.engines.gpus import find_gpu
    from streamsr.engines.tensorrt_engine import choose_precision, tell

    say = say or tell
    name = (choose_for_gpu(device) or "torch") if engine == "auto" else engine
    if name not in ("tensorrt", "torch"):
        raise EngineError(f"Engine {name!r} does not run on {device!r}. Engines that do: tensorrt, torch.")
    if name == "torch":
        return _open_torch(spec, device, precision, bits, is_compiled=True), None
    from streamsr.engines.cupy_arrays import CupyArrays
    from streamsr.engines.handover import DeviceHandover
    from streamsr.engines.tensorrt_engine import TensorRtEngine

    gpu = find_gpu(device)
    chosen, reason = choose_precision(precision, bits)
    arrays = CupyArrays(gpu.index)

    def open_tensorrt() -> TensorRtEngine:
        return TensorRtEngine(spec, gpu=gpu, precision=chosen, reason=reason, arrays=arrays, say=say)

    tensorrt = open_tensorrt()
    if wait or engine != "auto" or not has_torch_for_gpus() or tensorrt.has_plan(*shape):
        return tensorrt, None

    def build(size: tuple[int, ...], stop: threading.Event) -> DeviceEngine:
        n, height, width = size
        build_aside(spec, (n, height, width), chosen, gpu, stop=stop, say=say)
        engine = open_tensorrt()
        try:
            engine.open_lane(n, height, width).close()  # loads the plan here, and not between two frames
        except BaseException:
            engine.close()
            raise
        return engine

    running = _open_torch(spec, gpu.device, chosen, bits, is_compiled=False)  # type: ignore[arg-type]
    handover = DeviceHandover(running, build, arrays=arrays, successor="tensorrt", say=say)
    handover.begin(*shape)
    return running, handover


def _open_torch(spec: ModelSpec, device: str, precision: Precision, bits: int, *, is_compiled: bool) -> DeviceEngine:
    from streamsr.engines.torch_device import TorchDeviceEngine
    from streamsr.engines.torch_engine import choose_precision, find_device

    chosen, reason = choose_precision(precision, bits, "cuda")
    return TorchDeviceEngine(spec, device=find_device(device), precision=chosen, reason=reason, is_compiled=is_compiled)


def build_aside(spec: ModelSpec, shape: tuple[int, int, int], precision: str, gpu: Gpu, *, stop: threading.Event, say: Say) -> None:
    """Build a plan in a process of its own: see streamsr.engines.plan_process."""
    from streamsr.engines.plan_process import Order, build_in_process

    build_in_process(Order.of(spec, shape, precision, gpu), stop=stop, say=say)


def _torch_version_file() -> str:
    """What torch says of its build; "" where it is not installed."""
    found = importlib.util.find_spec("torch")
    file = None if found is None or found.origin is None else Path(found.origin).with_name("version.py")
    return file.read_text(encoding="utf-8") if file is not None and file.is_file() else ""


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
