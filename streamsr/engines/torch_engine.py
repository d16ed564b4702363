"""PyTorch: the same ONNX file on GPUs without TensorRT (NVIDIA without the package, AMD, Apple), and on CPUs.

Convolutions run in the engine's precision. What they are added to keeps its own type, so a residual of float32 luma stays
float32 whatever the precision. On CUDA the planes go through lanes (streamsr.engines.torch_device).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from streamsr.engines.engine import CHROMA_INPUTS, CHROMA_OUTPUT, Chroma, Engine, State, check_states
from streamsr.errors import EngineError
from streamsr.models import ModelSpec

if TYPE_CHECKING:
    from streamsr.options import Precision

INSTALL = "pip install 'streamsr[torch]'"

try:
    import torch
except ImportError as error:
    raise EngineError(f"Engine 'torch' needs {error.name}.", hint=INSTALL) from error

from streamsr.engines.onnx_file import read_onnx  # noqa: E402
from streamsr.engines.torch_network import OnnxNetwork  # noqa: E402 (says itself what is missing)

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
MAX_BF16_BITS = 12  # Note [Precision] of streamsr.engines.openvino_engine
MAX_F16_BITS = 14  # convolutions in half, residual in float32: three more bits than bf16


class TorchEngine:
    """Implements `streamsr.engines.Engine` on a device of torch, one plane at a time."""

    name = "torch"
    concurrency = 1  # a plane takes all of torch's threads, or the whole GPU

    def __init__(self, spec: ModelSpec, *, bits: int, device: str, precision: Precision, threads: int) -> None:
        self.device = find_device(device)
        self.scale, self.bits = spec.scale, bits
        self.precision, self.reason = choose_precision(precision, bits, self.device)
        self._network = load_network(spec, self.precision).to(self.device)
        self._states = spec.states
        if self.device == "cpu" and threads != torch.get_num_threads():
            torch.set_num_threads(threads)  # of the whole process: torch has no other
        # by position for a model without further tensors: a bare file's may have any names
        self._inputs, self._outputs = self._network.inputs, self._network.outputs
        if spec.is_named:
            self._inputs = [spec.input, *(state.name for state in spec.states), *(CHROMA_INPUTS if spec.has_chroma else ())]
            self._outputs = [spec.output, *(f"{state.name}_next" for state in spec.states), *([CHROMA_OUTPUT] if spec.has_chroma else [])]
        self._lock = threading.Lock()

    def prepare(self, height: int, width: int) -> None:
        """Nothing to compile: any size runs as it is."""

    def infer(self, luma: np.ndarray, out: np.ndarray, state: State = (), chroma: Chroma | None = None) -> State:
        """luma (h, w) -> out (scale * h, scale * w): see `Engine.infer`."""
        max_code = float((1 << self.bits) - 1)

        def entry(samples: np.ndarray) -> torch.Tensor:
            # torch has few operators for uint16
            codes = np.ascontiguousarray(samples, np.uint8 if self.bits == 8 else np.int32)
            return torch.from_numpy(codes)[None].to(self.device).to(torch.float32) / max_code

        def leave(made: torch.Tensor, out: np.ndarray) -> None:
            rounded = (made.float() * max_code).round().clamp(0, max_code).to(torch.int32)
            np.copyto(out, rounded[0].cpu().numpy(), casting="unsafe")

        try:
            with self._lock, torch.inference_mode():
                tensors = [entry(luma[None]), *(torch.from_numpy(np.ascontiguousarray(array))[None].to(self.device) for array in state)]
                if chroma is not None:
                    tensors += [entry(chroma.samples), torch.from_numpy(chroma.told).to(self.device)]
                given = dict(zip(self._inputs, tensors, strict=True))
                made = dict(zip(self._network.outputs, self._network(*(given[name] for name in self._network.inputs)), strict=True))
                luma_hr, *following = (made[name] for name in self._outputs)
                leave(luma_hr, out[None])
                if chroma is not None:
                    leave(following.pop(), chroma.out)
                return tuple(array[0].float().cpu().numpy() for array in following)
        except RuntimeError as error:
            raise EngineError(f"torch failed on a {luma.shape[1]}x{luma.shape[0]} plane: {str(error).splitlines()[0]}") from error

    def close(self) -> None:
        """Free the weights."""
        self._network = None  # type: ignore[assignment]


def find_device(device: str) -> str:
    """torch's name of a device: "auto" is the first GPU, else the CPU. Raises EngineError for one that is not here."""
    here = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    here += ["mps", "cpu"] if torch.backends.mps.is_available() else ["cpu"]
    wanted = "cuda:0" if device == "cuda" else here[0] if device == "auto" else device
    if wanted not in here:
        hint = f"this is torch {torch.__version__}" + ("; a build for CUDA or ROCm sees GPUs" if here == ["cpu"] else "")
        raise EngineError(f"torch has no device {device!r} here. Devices: {', '.join(here)}.", hint=hint)
    return wanted


def choose_precision(precision: Precision, bits: int, device: str) -> tuple[str, str]:
    """(precision, why) for a device of torch."""
    if precision != "auto":
        if precision not in DTYPES:
            raise EngineError(f"The torch engine cannot run {precision}. Precisions that work: {', '.join(DTYPES)}.")
        if precision == "f16" and device == "cpu":
            # lite x2 of 640x360 took 40 times as long as in f32
            raise EngineError("The torch engine runs f16 only on GPUs. Precisions that work on the cpu: f32, bf16.")
        return precision, f"{precision}: as asked"
    if device == "cpu":
        return "f32", "f32: the safe choice for torch on a CPU"
    if bits > MAX_F16_BITS:
        return "f32", f"f32: {bits} bits are more than f16 keeps"
    return "f16", "f16: what GPUs are fast in"


def load_network(spec: ModelSpec, precision: str, **options: Any) -> OnnxNetwork:
    """The model with its weights in a precision, on the CPU."""
    data = spec.read()
    try:
        network = OnnxNetwork(read_onnx(data), **options)
    except EngineError as error:
        raise EngineError(f"{spec.path}: {error.message}", hint=error.hint) from error
    check_states(spec, set(network.inputs))
    network.to(DTYPES[precision]).eval()
    # channels last: `lite` x2 of 640x360 on one Zen 4 core took 0.59 of the time in f32, 0.72 in bf16; GPUs ask for it in half
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def open_torch(spec: ModelSpec, *, bits: int, device: str, precision: Precision, threads: int, is_compiled: bool = True) -> Engine:
    """The engine for planes in host memory. See `streamsr.engines.open_engine`.

    is_compiled: on CUDA, compile at the first plane of each size, which takes up to a minute; False starts at once.
    """
    if not find_device(device).startswith("cuda"):
        return TorchEngine(spec, bits=bits, device=device, precision=precision, threads=threads)
    from streamsr.engines.hosted_engine import HostedEngine
    from streamsr.engines.torch_device import TorchArrays, TorchDeviceEngine

    chosen, reason = choose_precision(precision, bits, "cuda")
    inner = TorchDeviceEngine(spec, device=find_device(device), precision=chosen, reason=reason, is_compiled=is_compiled)
    return HostedEngine(inner, TorchArrays(inner.device), bits=bits)
