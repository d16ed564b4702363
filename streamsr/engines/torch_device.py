"""The torch engine on arrays of a CUDA device: compiled, in CUDA graphs, with the kernel of streamsr_kernels for attention."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from streamsr.engines.device_engine import (
    CAPTURE,
    Contract,
    DeviceArray,
    DeviceChroma,
    DeviceMemoryError,
    DeviceState,
    DType,
    address,
    check_call,
)
from streamsr.engines.engine import CHROMA_INPUTS, CHROMA_OUTPUT
from streamsr.engines.torch_engine import DTYPES, load_network
from streamsr.errors import EngineError, UsageError
from streamsr.models import ModelSpec

MAX_BATCH = 16
MAX_GRAPHS = 8  # sets of arrays that a lane keeps a CUDA graph for
PLANES: dict[str, DType] = {"f16": "float16", "bf16": "float16", "f32": "float32"}


class TorchDeviceEngine:
    """Implements `streamsr.engines.device_engine.DeviceEngine`."""

    name = "torch"
    max_batch = MAX_BATCH

    def __init__(self, spec: ModelSpec, *, device: str, precision: str, reason: str = "", is_compiled: bool = True) -> None:
        self.device, self.precision, self.scale = device, precision, spec.scale
        self.reason = f"{reason or precision}, torch {torch.__version__}{', compiled' if is_compiled else ''}"
        self.dtype: DType = PLANES[precision]
        self.states, self.has_chroma = spec.states, spec.has_chroma
        try:
            network = load_network(spec, precision, attend=find_attention()).to(device)
            # weights in this order make every layer's result so: cuDNN's half-precision convolutions then turn nothing around.
            # torch.compile does it by itself, and counts 0.78 of the time for layers of up to 64 channels; what is not compiled does not
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        except torch.cuda.OutOfMemoryError as error:
            raise DeviceMemoryError(f"{device} has no room for {spec.name}.") from error
        order, results = network.inputs, network.outputs
        if spec.is_named:
            order = [spec.input, *(state.name for state in spec.states), *(CHROMA_INPUTS if spec.has_chroma else ())]
            results = [spec.output, *(f"{state.name}_next" for state in spec.states), *([CHROMA_OUTPUT] if spec.has_chroma else [])]
        self.places = [order.index(name) for name in network.inputs]  # the file's order of inputs, from ours
        self.results = [network.outputs.index(name) for name in results]
        self.run: Any = torch.compile(network, fullgraph=True, dynamic=False) if is_compiled else network

    def open_lane(self, n: int, height: int, width: int) -> TorchLane:
        """See `DeviceEngine.open_lane`; the first one of a shape compiles where that is asked for."""
        if not 1 <= n <= self.max_batch:
            raise UsageError(f"A batch of {n} planes; this engine takes 1 to {self.max_batch}.")
        lane = TorchLane(self, (n, height, width))
        lane.warm_up()
        return lane

    def close(self) -> None:
        """Free the weights, and give back the memory that torch keeps for later: no other library can use that."""
        self.run = None
        if torch.cuda.is_available():
            with torch.cuda.device(self.device):
                torch.cuda.empty_cache()


class TorchLane:
    """Implements `streamsr.engines.device_engine.Lane`. A CUDA graph is captured for each set of arrays that comes, up to MAX_GRAPHS.

    It replays graphs of its own, which cannot be captured again, so `is_capturable` is False.
    """

    is_capturable = False

    def __init__(self, engine: TorchDeviceEngine, shape: tuple[int, int, int]) -> None:
        self._engine, self.shape = engine, shape
        self._graphs: OrderedDict[tuple[int, ...], torch.cuda.CUDAGraph] = OrderedDict()
        self._pool: Any = None
        # of this lane's GPU: torch's own stream for captures belongs to the first that was used
        self._stream = torch.cuda.Stream(engine.device)
        self._dtype = DTYPES["f16" if engine.dtype == "float16" else "f32"]

    def new_state(self) -> DeviceState:
        n, h, w = self.shape
        return tuple(self._zeros((n, s.channels, s.scale * h, s.scale * w)) for s in self._engine.states)

    def _zeros(self, shape: tuple[int, ...]) -> Tensor:
        try:
            made = torch.zeros(shape, dtype=self._dtype, device=self._engine.device)
        except torch.cuda.OutOfMemoryError as error:
            raise DeviceMemoryError(f"{self._engine.device} has no room for {shape}.") from error
        torch.cuda.current_stream(self._engine.device).synchronize()
        return made

    def warm_up(self) -> None:
        """Compile, and let the libraries choose their kernels, on the stream of captures: a capture must find all that done."""
        n, h, w = self.shape
        s, device = self._engine.scale, self._engine.device
        luma, out, state, following = self._zeros((n, 1, h, w)), self._zeros((n, 1, s * h, s * w)), self.new_state(), self.new_state()
        given, made = [luma, *state], [out, *following]
        if self._engine.has_chroma:
            given += [self._zeros((n, 2, h, w)), self._zeros((1, 2, 1, 1))]
            made.append(self._zeros((n, 2, h, w)))
        try:
            with CAPTURE, torch.cuda.device(device), torch.cuda.stream(self._stream), torch.inference_mode():
                for _ in range(3):
                    self._launch(given, made)
            self._stream.synchronize()
        except torch.cuda.OutOfMemoryError as error:
            raise DeviceMemoryError(f"{device} has no room for {n} planes of {w}x{h}: {str(error).splitlines()[0]}") from error
        except RuntimeError as error:
            raise EngineError(f"torch failed on {n} planes of {w}x{h}: {str(error).splitlines()[0]}") from error

    def enqueue(
        self, luma: DeviceArray, out: DeviceArray, state: DeviceState = (), following: DeviceState = (),
        chroma: DeviceChroma | None = None, *, stream: int,
    ) -> None:  # fmt: skip
        """See `Lane.enqueue`."""
        engine = self._engine
        check_call(Contract.of(engine, self.shape), luma, out, state, following, chroma)
        given, made = [luma, *state], [out, *following]
        if chroma is not None:
            given += [chroma.samples, chroma.condition]
            made.append(chroma.out)
        key = tuple(address(array) for array in (*given, *made))
        side = torch.cuda.ExternalStream(stream, device=engine.device)
        try:
            with torch.cuda.device(engine.device), torch.cuda.stream(side), torch.inference_mode():
                graph = self._graphs.get(key)
                if graph is None and len(self._graphs) < MAX_GRAPHS:
                    graph = self._graphs[key] = self._capture(given, made)
                if graph is None:  # new arrays for every frame: launched as they are
                    self._launch([self._tensor(array) for array in given], [self._tensor(array) for array in made])
                else:
                    graph.replay()
        except torch.cuda.OutOfMemoryError as error:
            raise DeviceMemoryError(f"{engine.device} has no room for {self.shape}: {str(error).splitlines()[0]}") from error
        except RuntimeError as error:
            raise EngineError(f"torch failed on planes of {self.shape}: {str(error).splitlines()[0]}") from error

    def _capture(self, given: list[DeviceArray], made: list[DeviceArray]) -> torch.cuda.CUDAGraph:
        """The launches for these arrays as a graph; one memory pool for all graphs of the lane, as they never run together."""
        graph = torch.cuda.CUDAGraph()
        inputs, outputs = [self._tensor(array) for array in given], [self._tensor(array) for array in made]
        # thread_local: other threads decode, encode and build meanwhile, and may do what a capture forbids
        with CAPTURE, torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            self._launch(inputs, outputs)
        self._pool = graph.pool()
        return graph

    def _tensor(self, array: DeviceArray) -> Tensor:
        """A view, without a copy."""
        return array if isinstance(array, Tensor) else torch.as_tensor(array, device=self._engine.device)

    def _launch(self, given: list[Tensor], made: list[Tensor]) -> None:
        engine = self._engine
        results = engine.run(*(given[place] for place in engine.places))
        for place, array in zip(engine.results, made, strict=True):
            array.copy_(results[place])

    def close(self) -> None:
        self._graphs.clear()
        self._pool = None


class TorchArrays:
    """Implements `streamsr.engines.cupy_arrays.Arrays`."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._streams: list[torch.cuda.Stream] = []

    def current(self) -> AbstractContextManager[Any]:
        return torch.cuda.device(self._device)

    def open_stream(self) -> int:
        self._streams.append(torch.cuda.Stream(self._device))
        return int(self._streams[-1].cuda_stream)

    def zeros(self, shape: tuple[int, ...], dtype: DType) -> Tensor:
        try:
            made = torch.zeros(shape, dtype=getattr(torch, dtype), device=self._device)
        except torch.cuda.OutOfMemoryError as error:
            raise DeviceMemoryError(f"{self._device} has no room for {shape} {dtype}.") from error
        torch.cuda.current_stream(self._device).synchronize()
        return made

    def upload(self, host: np.ndarray, array: Tensor, factor: float, *, stream: int) -> None:
        wide = host.astype(np.int32) if host.dtype == np.uint16 else host  # torch has few operators for uint16
        with torch.cuda.stream(self._side(stream)):
            array.copy_(torch.from_numpy(wide).to(self._device).to(torch.float32) * factor)

    def codes(self, array: Tensor, max_code: int, sample: np.dtype, *, stream: int) -> np.ndarray:
        with torch.cuda.stream(self._side(stream)):
            rounded = (array.float() * max_code).round().clamp(0, max_code).to(torch.int32)
            return rounded.cpu().numpy().astype(sample)

    def download(self, array: Tensor, *, stream: int) -> np.ndarray:
        with torch.cuda.stream(self._side(stream)):
            return array.float().cpu().numpy()

    def _side(self, stream: int) -> torch.cuda.Stream:
        return torch.cuda.ExternalStream(stream, device=self._device)


def find_attention() -> Any:
    """The kernel as an operator of torch, or None where CuPy or the kernels are missing: the function's body then runs."""
    try:
        import cupy  # noqa: F401
        from streamsr_kernels import local_axial_attention
    except ImportError:
        return None
    found = _REGISTERED.get("attention")
    if found is None:

        @torch.library.custom_op("streamsr::local_axial_attention", mutates_args=())
        def attend(query: Tensor, key: Tensor, value: Tensor, radius: int) -> Tensor:
            kind = attended_dtype(value)
            query, key, value = (side.to(kind).contiguous() for side in (query, key, value))
            result = torch.empty_like(value)
            stream = torch.cuda.current_stream(value.device).cuda_stream
            local_axial_attention(query, key, value, radius=radius, out=result, stream=stream)
            return result

        @attend.register_fake
        def _(query: Tensor, key: Tensor, value: Tensor, radius: int) -> Tensor:
            return torch.empty(value.shape, dtype=attended_dtype(value), device=value.device)

        found = _REGISTERED["attention"] = attend
    return found


def attended_dtype(value: Tensor) -> torch.dtype:
    """What the kernel computes in: it has no bf16."""
    return torch.float32 if value.dtype == torch.float32 else torch.float16


_REGISTERED: dict[str, Any] = {}
