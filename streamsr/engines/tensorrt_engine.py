"""TensorRT: the engine for NVIDIA GPUs. Plans are built from the model's ONNX file and kept (streamsr.engines.plan_cache).

Where the model has attentions, TensorRT runs the parts around them and a CUDA kernel of streamsr_kernels the attentions, all
on one stream. A lane has an execution context for each part.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from streamsr.engines.attention_kernel import attention_launch
from streamsr.engines.cupy_arrays import Arrays, CupyArrays
from streamsr.engines.device_engine import DeviceArray, DeviceMemoryError, DType, address
from streamsr.engines.distributions import Flavour, load_flavour
from streamsr.engines.gpus import Gpu, find_gpu
from streamsr.engines.plan_builder import Say, Wish, build_plan, make_logger
from streamsr.engines.plan_cache import DamagedPlanError, Plan, PlanCache, PlanKey, PlanPart
from streamsr.engines.step_lane import Attention, Ends, Launch, StepLane
from streamsr.errors import EngineError, UsageError
from streamsr.models import ModelSpec

if TYPE_CHECKING:
    from streamsr.engines.hosted_engine import HostedEngine
    from streamsr.options import Precision

MAX_BATCH = 16
DTYPES: dict[str, DType] = {"f16": "float16", "f32": "float32"}
MAX_F16_BITS = 10  # Note [Half] of streamsr.engines.device_engine

_log = logging.getLogger("streamsr.engines.tensorrt_engine")


def tell(words: str) -> None:
    """Build progress, for the caller that waits."""
    _log.info("%s", words)


def choose_precision(precision: Precision, bits: int) -> tuple[str, str]:
    """(precision, why) on a GPU. Raises EngineError for what it does not run."""
    if precision in DTYPES:
        return precision, f"{precision}: as asked"
    if precision != "auto":
        hint = "use --device cpu for the others"
        raise EngineError(f"GPUs cannot run {precision} here. Precisions that work: {', '.join(DTYPES)}.", hint=hint)
    if bits > MAX_F16_BITS:
        return "f32", f"f32: {bits} bits are more than f16 keeps"
    return "f16", "f16: what GPUs are fast in"


class TensorRtEngine:
    """Implements `streamsr.engines.device_engine.DeviceEngine`.

    say: called with build progress, as text. cache: where plans are kept.
    """

    name = "tensorrt"
    max_batch = MAX_BATCH

    def __init__(
        self, spec: ModelSpec, *, gpu: Gpu, precision: str = "f16", reason: str = "", flavour: Flavour | None = None,
        arrays: Arrays | None = None, cache: PlanCache | None = None, say: Say = tell,
    ) -> None:  # fmt: skip
        self._flavour = flavour or load_flavour(gpu.capability)
        self._arrays = arrays or CupyArrays(gpu.index)
        self._spec, self._gpu, self._say = spec, gpu, say
        self._cache = cache or PlanCache()
        self.device, self.precision, self.scale = gpu.device, precision, spec.scale
        self.dtype = DTYPES[precision]
        self.reason = f"{reason or precision}, {self._flavour.name} {self._flavour.version} on {gpu.name}"
        self.states, self.has_chroma = spec.states, spec.has_chroma
        self._logger = make_logger(self._flavour.trt)
        self._lock = threading.Lock()
        self._loaded: dict[PlanKey, _Loaded] = {}

    def has_plan(self, n: int, height: int, width: int) -> bool:
        """Whether a lane of this shape opens without a build."""
        shape = (n, height, width)
        return bool(self._kept_keys(shape)) or read_exported(self._spec, self._wish(shape), lambda words: None) is not None

    def open_lane(self, n: int, height: int, width: int) -> StepLane:
        """See `DeviceEngine.open_lane`; builds a plan where none is kept."""
        if not 1 <= n <= self.max_batch:
            raise UsageError(f"A batch of {n} planes; this engine takes 1 to {self.max_batch}.")
        shape = (n, height, width)
        with self._lock, self._arrays.current():
            loaded = next((found for key, found in self._loaded.items() if key.takes(shape)), None)
            if loaded is None:
                plan = self._find_or_build(shape)
                loaded = self._loaded[plan.key] = self._load(plan)
            return loaded.open_lane(shape)

    def close(self) -> None:
        """Keep what TensorRT compiled while it ran, and free the plans."""
        with self._lock:
            loaded, self._loaded = list(self._loaded.values()), {}
        with self._arrays.current():
            for each in loaded:
                each.close()

    def _wish(self, shape: tuple[int, int, int]) -> PlanKey:
        return Wish(shape, self.precision).key(self._spec, self._flavour, self._gpu.name, self._gpu.capability)

    def _kept_keys(self, shape: tuple[int, int, int]) -> list[PlanKey]:
        """The keys of kept plans for this shape: the one for it alone first."""
        wanted = self._wish(shape)
        found = [key for _, key in self._cache.entries() if isinstance(key, PlanKey) and key.takes(shape) and _alike(key, wanted)]
        return sorted(found, key=lambda key: key.is_dynamic)

    def _find_or_build(self, shape: tuple[int, int, int]) -> Plan:
        exported = read_exported(self._spec, self._wish(shape), self._say)
        if exported is not None:
            return exported
        for key in self._kept_keys(shape):
            try:
                plan = self._cache.find(key)
            except DamagedPlanError as error:
                self._say(f"{error.message} It is built again.")
                self._cache.path(key).unlink(missing_ok=True)
                continue
            if plan is not None:
                return plan
        return self._build(shape)

    def _build(self, shape: tuple[int, int, int]) -> Plan:
        key = self._wish(shape)
        with self._cache.locked(key):
            try:
                plan = self._cache.find(key)  # another process may have built it meanwhile
            except DamagedPlanError:
                plan = None  # it is replaced
            return plan or build_plan(self._spec, key, self._flavour, cache=self._cache, say=self._say)

    def _load(self, plan: Plan) -> _Loaded:
        try:
            return _Loaded(plan, self._spec, self._flavour, self._logger, self._arrays, self._cache)
        except DamagedPlanError as error:
            self._say(f"{error.message} It is built again.")
            self._cache.path(plan.key).unlink(missing_ok=True)
            return _Loaded(self._build(plan.key.usual), self._spec, self._flavour, self._logger, self._arrays, self._cache)


def _alike(key: PlanKey, wanted: PlanKey) -> bool:
    """Whether two keys differ in their shapes alone."""
    return all(getattr(key, name) == getattr(wanted, name) for name in ("sha256", "precision", "flavour", "version", "gpu", "capability"))


class _Loaded:
    """A plan that TensorRT has taken in. Raises DamagedPlanError for one that it refuses."""

    def __init__(self, plan: Plan, spec: ModelSpec, flavour: Flavour, logger: Any, arrays: Arrays, cache: PlanCache) -> None:
        self._plan, self._spec, self._flavour, self._logger, self._arrays, self._cache = plan, spec, flavour, logger, arrays, cache
        self._runtime = flavour.trt.Runtime(logger)
        self._engines: list[Any] = []
        for step in plan.steps:
            if isinstance(step, PlanPart):
                engine = self._runtime.deserialize_cuda_engine(step.data)
                if engine is None:
                    raise DamagedPlanError(f"TensorRT refuses the plan {plan.key.file_name}: {logger.words() or 'no reason given'}.")
                self._engines.append(engine)
        self._kernels: Any = None  # of tensorrt_rtx: what it compiled on this GPU
        key = plan.key
        self._kernels_name = f"runtime-{key.flavour}-{key.version}-sm{key.capability.replace('.', '')}-{key.sha256[:16]}.cache"

    def open_lane(self, shape: tuple[int, int, int]) -> StepLane:
        engines, steps = iter(self._engines), []
        for step in self._plan.steps:
            launch = attention_launch(step) if isinstance(step, Attention) else self._launch(step, next(engines), shape)
            steps.append((step.outputs, launch))
        spec, dtype = self._spec, DTYPES[self._plan.key.precision]
        first, last = self._plan.steps[0], self._plan.steps[-1]
        # by position for a model of luma alone: a bare file's tensors may have any names
        names = (spec.input, spec.output) if spec.is_named else (first.inputs[0].name, last.outputs[0].name)
        ends = Ends(*names, spec.scale, spec.states, spec.has_chroma)
        return StepLane(shape, ends, dtype, steps, zeros=self._arrays.zeros)

    def _launch(self, part: PlanPart, engine: Any, shape: tuple[int, int, int]) -> Launch:
        context = self._context(engine)
        if context is None:
            n, h, w = shape
            raise DeviceMemoryError(f"TensorRT has no room for {n} planes of {w}x{h} of {self._plan.key.model}: {self._logger.words()}")
        for tensor in part.inputs:
            if not context.set_input_shape(part.bindings[tensor.name], tensor.shape(*shape)):
                raise EngineError(f"The plan {self._plan.key.file_name} refuses {tensor.name} of {tensor.shape(*shape)}.")
        return launch_part(context, part.bindings, self._logger.words, self._arrays.current)

    def _context(self, engine: Any) -> Any:
        if not self._flavour.is_rtx:
            return engine.create_execution_context()
        # tensorrt_rtx compiles for the GPU when a context first runs: what it compiled is kept, and shared by the contexts
        config = engine.create_runtime_config()
        if self._kernels is None:
            self._kernels = config.create_runtime_cache()
            kept = self._cache.read_blob(self._kernels_name)
            if kept:
                self._kernels.deserialize(kept)  # false where it is of another driver: it is then filled anew
        config.set_runtime_cache(self._kernels)
        return engine.create_execution_context(config)

    def close(self) -> None:
        if self._kernels is not None:
            compiled = self._kernels.serialize()
            if compiled is not None:
                self._cache.write_blob(self._kernels_name, bytes(compiled))
        self._engines, self._kernels = [], None


def launch_part(
    context: Any, bindings: Mapping[str, str], words: Callable[[], str], current: Callable[[], AbstractContextManager[Any]]
) -> Launch:
    """What puts an execution context on a stream. current: makes its device the current one."""
    bound: dict[str, int] = {}

    def launch(arrays: Mapping[str, DeviceArray], stream: int) -> None:
        for name, binding in bindings.items():
            pointer = address(arrays[name])
            if bound.get(binding) != pointer:
                context.set_tensor_address(binding, pointer)
                bound[binding] = pointer
        with current():
            done = context.execute_async_v3(stream)
        if not done:
            raise EngineError(f"TensorRT failed: {words() or 'no reason given'}")

    return launch


def read_exported(spec: ModelSpec, wanted: PlanKey, say: Say) -> Plan | None:
    """The plan that came with the model (`python -m trainer export --tensorrt`), where it is for this GPU and size.

    The description's `tensorrt` lists such files. One that cannot be read is said, and not used.
    """
    from streamsr.engines.plan_cache import read_plan

    for name in spec.details.get("tensorrt", ()):
        try:
            plan = read_plan(spec.path.parent / str(name))
        except (OSError, DamagedPlanError) as error:
            say(f"{spec.path.parent / str(name)} came with the model, but cannot be used: {error}")
            continue
        if plan.key.takes(wanted.usual) and _alike(plan.key, wanted):
            return plan
    return None


def open_tensorrt(spec: ModelSpec, *, bits: int, device: str, precision: Precision, say: Say = tell) -> HostedEngine:
    """The engine for planes in host memory. See `streamsr.engines.open_engine`."""
    from streamsr.engines.hosted_engine import HostedEngine

    gpu = find_gpu(device)
    chosen, reason = choose_precision(precision, bits)
    arrays = CupyArrays(gpu.index)
    return HostedEngine(TensorRtEngine(spec, gpu=gpu, precision=chosen, reason=reason, arrays=arrays, say=say), arrays, bits=bits)
