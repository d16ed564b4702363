"""The metric on an NVIDIA GPU: its parts by TensorRT, the attention between them by the kernel, all on one stream.

What is built is kept with the plans of models (streamsr.engines.plan_cache), for a size of picture, a GPU and a version of TensorRT.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engines.attention_kernel import INSTALL
from ..engines.cupy_arrays import Arrays, CupyArrays
from ..engines.device_engine import DeviceArray, DeviceMemoryError
from ..engines.distributions import Flavour, load_flavour
from ..engines.gpus import Gpu
from ..engines.plan_builder import BuildRequest, Say, Watch, build_engine, make_logger, timings_of
from ..engines.plan_cache import ANY_GPU, PlanCache
from ..engines.tensorrt_engine import launch_part, tell
from ..errors import EngineError
from .pban_split import ATTENDED, KEY, QUERY, VALUE, MetricPart, split_metric

MAX_SIZES = 2  # of pictures, whose memory and plans are kept


@dataclass
class _Size:
    """All that pictures of one size need."""

    arrays: dict[str, DeviceArray]
    launches: list[Any]
    engines: list[Any]  # what their contexts come from


class MetricOnGpu:
    """Runs the metric's ONNX file on one GPU, its products in half precision. Raises EngineError for what is missing.

    Calls come from one thread at a time. say: called with build progress.
    """

    def __init__(
        self, model: bytes, *, gpu: Gpu, flavour: Flavour | None = None, arrays: Arrays | None = None, cache: PlanCache | None = None,
        say: Say = tell,
    ) -> None:  # fmt: skip
        try:
            from streamsr_kernels import axial_attention
        except ImportError as error:
            raise EngineError(f"The metric needs the kernels of streamsr: {error}.", hint=INSTALL) from error
        self._attend = axial_attention
        self._model, self._gpu, self._say = model, gpu, say
        self._sha256 = hashlib.sha256(model).hexdigest()
        self._flavour = flavour or load_flavour(gpu.capability)
        self._arrays = arrays or CupyArrays(gpu.index)
        self._cache = cache or PlanCache()
        self._logger = make_logger(self._flavour.trt)
        self._runtime: Any = None
        self._stream = self._arrays.open_stream()
        self._sizes: OrderedDict[tuple[int, int], _Size] = OrderedDict()

    def __call__(self, sr: np.ndarray, hr: np.ndarray) -> np.ndarray:
        """(1, 3, h, w) float32 in [0, 1] each -> score (1,)."""
        size = sr.shape[2], sr.shape[3]
        with self._arrays.current():
            if size not in self._sizes:
                while len(self._sizes) >= MAX_SIZES:
                    self._sizes.popitem(last=False)
                self._sizes[size] = self._open(*size)
            self._sizes.move_to_end(size)
            opened, stream = self._sizes[size], self._stream
            for name, picture in (("sr", sr), ("hr", hr)):
                self._arrays.upload(picture, opened.arrays[name], 1.0, stream=stream)
            first, second = opened.launches
            first(opened.arrays, stream)
            asking = (opened.arrays[name] for name in (QUERY, KEY, VALUE))
            try:
                self._attend(*asking, out=opened.arrays[ATTENDED], stream=stream)
            except RuntimeError as error:
                raise EngineError(f"The attention kernel failed: {error}") from error
            second(opened.arrays, stream)
            return self._arrays.download(opened.arrays["score"], stream=stream)

    def close(self) -> None:
        self._sizes.clear()

    def _open(self, height: int, width: int) -> _Size:
        parts = split_metric(self._model, height, width)
        ports = {port.name: port for part in parts for port in (*part.inputs, *part.outputs)}
        arrays = {port.name: self._arrays.zeros(port.shape, port.dtype) for port in ports.values()}  # type: ignore[arg-type]
        engines = [self._load(part, number, height, width) for number, part in enumerate(parts, 1)]
        return _Size(arrays, [self._launch(part, engine) for part, engine in zip(parts, engines, strict=True)], engines)

    def _load(self, part: MetricPart, number: int, height: int, width: int) -> Any:
        """A part as TensorRT's engine, built where none is kept, or the kept one is refused."""
        if self._runtime is None:
            self._runtime = self._flavour.trt.Runtime(self._logger)
        name = self._name(number, height, width)
        kept = self._cache.read_blob(name)
        engine = self._runtime.deserialize_cuda_engine(kept) if kept else None
        if engine is None:
            kept = build_part(
                part, self._flavour, number=number, gpu=self._gpu.name, capability=self._gpu.capability, cache=self._cache, say=self._say
            )
            self._cache.write_blob(name, kept)
            engine = self._runtime.deserialize_cuda_engine(kept)
        if engine is None:
            raise EngineError(f"TensorRT refuses what it built of the metric: {self._logger.words() or 'no reason given'}")
        return engine

    def _name(self, number: int, height: int, width: int) -> str:
        gpu = ANY_GPU if self._flavour.is_rtx else self._gpu.name
        digest = hashlib.sha256(f"{self._sha256} {gpu} {self._gpu.capability}".encode()).hexdigest()[:16]
        return f"metric-{self._flavour.name}-{self._flavour.version}-{width}x{height}-{number}-f16-{digest}.engine"

    def _launch(self, part: MetricPart, engine: Any) -> Any:
        context = engine.create_execution_context()
        if context is None:
            raise DeviceMemoryError(f"TensorRT has no room for the metric: {self._logger.words()}")
        for port in part.inputs:
            if not context.set_input_shape(port.name, port.shape):
                raise EngineError(f"TensorRT refuses {port.name} of {port.shape} of the metric: {self._logger.words()}")
        names = {port.name: port.name for port in (*part.inputs, *part.outputs)}
        return launch_part(context, names, self._logger.words, self._arrays.current)


def build_part(
    part: MetricPart, flavour: Flavour, *, number: int, gpu: str, capability: str, cache: PlanCache, say: Say = tell
) -> bytes:  # fmt: skip
    """A part as a serialized engine, in the types of its file. `tensorrt_rtx` needs no GPU for it.

    TensorRT 8.6, where types in a file are only a preference, computes it in single precision.
    """
    name = f"part {number} of the metric"
    watch = Watch(say, lambda: False, f"building {name} with {flavour.name} {flavour.version}", 1, 1)
    timings = timings_of(flavour.name, flavour.version, ANY_GPU if flavour.is_rtx else gpu, capability)

    def check_ends(builder: Any, config: Any, network: Any) -> None:
        """Types of the ends are those of the file, whatever the version makes of types inside."""
        trt = flavour.trt
        kinds = {"float16": trt.DataType.HALF, "float32": trt.DataType.FLOAT}
        wanted = {port.name: kinds[port.dtype] for port in (*part.inputs, *part.outputs)}
        ends = [*(network.get_input(i) for i in range(network.num_inputs)), *(network.get_output(i) for i in range(network.num_outputs))]
        for end in ends:
            if end.dtype != wanted.get(end.name):
                raise EngineError(f"TensorRT reads {end.name} of the metric as {end.dtype}; it is {wanted.get(end.name)}.")

    return build_engine(
        part.model.SerializeToString(), flavour, BuildRequest(name, capability, "f32", timings), cache=cache, watch=watch,
        configure=check_ends,
    )  # fmt: skip
