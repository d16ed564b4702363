"""Builds the plan of a model with TensorRT: the parts of streamsr.engines.onnx_split, each as a serialized engine.

Not by polygraphy (0.53): one variable chooses TensorRT or TensorRT for RTX for the whole process, where both are used here, and what
TensorRT reports goes to one logger of its own, not into the error.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from streamsr.engines.distributions import Flavour
from streamsr.engines.gpus import Gpu
from streamsr.engines.plan_cache import ANY_GPU, Plan, PlanCache, PlanKey, PlanPart, PlanStep
from streamsr.engines.step_lane import Attention, Tensor
from streamsr.errors import EngineError, Interrupted, UsageError
from streamsr.models import ModelSpec

MAX_SIDE_OF_DYNAMIC = 4096
PRECISIONS = ("f16", "f32")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What to build a plan for."""

    shape: tuple[int, int, int]  # n, h, w of the luma planes
    precision: str = "f16"
    is_dynamic: bool = False  # also all smaller planes and batches, down to 16 x 16 pixels

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"TensorRT cannot run {self.precision!r} here. Precisions that work: {', '.join(PRECISIONS)}.")
        if min(self.shape) < 1 or max(self.shape) > MAX_SIDE_OF_DYNAMIC * 4:
            raise UsageError(f"A plan for {self.shape} cannot be; give a batch, a height and a width in pixels.")

    def key(self, spec: ModelSpec, flavour: Flavour, gpu: str, capability: str) -> PlanKey:
        """The key of the plan, without building it. What `tensorrt_rtx` builds holds for all GPUs of a compute capability."""
        sha256 = spec.sha256 or hashlib.sha256(spec.read()).hexdigest()
        gpu = ANY_GPU if flavour.is_rtx else gpu
        n, h, w = self.shape
        smallest = (1, min(h, 16), min(w, 16)) if self.is_dynamic else self.shape
        return PlanKey(f"{spec.name}_x{spec.scale}", sha256, smallest, (n, h, w), (n, h, w), self.precision,
                       flavour.name, flavour.version, gpu, capability)  # fmt: skip


@contextmanager
def building_on(gpu: Gpu, flavour: Flavour) -> Iterator[None]:
    """The GPU that a plan is for is the current one: `tensorrt` measures kernels on it, `tensorrt_rtx` needs none."""
    if flavour.is_rtx:
        yield
        return
    from streamsr.engines.cupy_arrays import CupyArrays

    with CupyArrays(gpu.index).current():
        yield


def build_plan(
    spec: ModelSpec, key: PlanKey, flavour: Flavour, *, cache: PlanCache, say: Say = lambda words: None,
    stop: Callable[[], bool] = lambda: False,
) -> Plan:  # fmt: skip
    """Build and put into the cache. Takes seconds to minutes; reports progress about every second.

    stop: polled regularly; true ends the build with Interrupted (from TensorRT 9 on; before, once it is built).
    Raises EngineError with TensorRT's messages for a model that it refuses.
    """
    import onnx

    from streamsr.engines.onnx_split import cut

    steps: list[PlanStep] = []
    try:
        model = onnx.load_from_string(spec.read())
    except Exception as error:  # protobuf's own exceptions
        raise EngineError(f"{spec.path} is not an ONNX model: {error}") from error
    cut_steps = cut(model, spec)
    num_parts = sum(not isinstance(step, Attention) for step in cut_steps)
    watch = Watch(say, stop, f"building {key.model} for {key.usual[2]}x{key.usual[1]} with {flavour.name} {flavour.version}", num_parts)
    for step in cut_steps:
        if isinstance(step, Attention):
            steps.append(step)
            continue
        watch.part += 1
        names = {tensor.name: tensor.name for tensor in (*step.inputs, *step.outputs)}
        steps.append(PlanPart(step.inputs, step.outputs, _build(step, key, flavour, cache, watch), names))
    plan = Plan(key, tuple(steps))
    cache.write(plan)
    say(f"{watch.title}: done in {time.monotonic() - watch.started:.1f} s")
    return plan


def _build(part: Any, key: PlanKey, flavour: Flavour, cache: PlanCache, watch: Watch) -> bytes:
    """One part of a model as a serialized engine."""
    from streamsr.engines.onnx_split import halved, sized

    model = part.model if key.is_dynamic else sized(part.model, part.inputs, key.usual)
    if key.precision == "f16":
        model = halved(model)

    def configure(builder: Any, config: Any, network: Any) -> None:
        ends = (
            (part.inputs, map(network.get_input, range(network.num_inputs))),
            (part.outputs, map(network.get_output, range(network.num_outputs))),
        )
        for tensors, ports in ends:
            check_ends(tensors, {port.name: (tuple(port.shape), port.dtype) for port in ports}, key, flavour.trt)
        if key.is_dynamic:
            share_profiles(config, flavour.trt)
            profile = builder.create_optimization_profile()
            for tensor in part.inputs:
                profile.set_shape(tensor.name, *(tensor.shape(*shape) for shape in (key.smallest, key.usual, key.largest)))
            config.add_optimization_profile(profile)

    return build_engine(
        model.SerializeToString(), flavour,
        BuildRequest(f"{key.model} for {key.usual[2]}x{key.usual[1]}", key.capability, key.precision, timing_name(key)),
        cache=cache, watch=watch, configure=configure,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What is built, and for which GPU."""

    name: str  # for people
    capability: str
    precision: str
    timings: str  # the cache's name of what was measured on that GPU


def build_engine(
    model: bytes, flavour: Flavour, request: BuildRequest, *, cache: PlanCache, watch: Watch,
    configure: Callable[[Any, Any, Any], None] = lambda builder, config, network: None,
) -> bytes:  # fmt: skip
    """An ONNX file as a serialized engine. configure: is given the builder, its configuration and the network before it is built.

    Raises EngineError for what TensorRT refuses, Interrupted if `watch` requests it.
    """
    trt, name, precision = flavour.trt, request.name, request.precision
    logger = make_logger(trt)
    try:
        builder = trt.Builder(logger)
    except Exception as error:  # pybind11 raises TypeError where the C++ side gave nothing
        raise EngineError(f"TensorRT does not start: {logger.words() or error}") from error
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        said = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise EngineError(f"TensorRT cannot read {name}: {said or logger.words()}")
    config = builder.create_builder_config()
    if precision == "f16" and not flavour.is_rtx and not is_typed(trt):
        config.set_flag(trt.BuilderFlag.FP16)
    if precision == "f32" and hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default: 10 bits of mantissa
    if flavour.is_rtx:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{request.capability.replace('.', '')}"), 0)
    configure(builder, config, network)
    kept = None if flavour.is_rtx else _load_timings(config, cache, request.timings)
    if hasattr(trt, "IProgressMonitor"):
        config.progress_monitor = watch.monitor(trt)
    data = builder.build_serialized_network(network, config)
    if watch.stop():
        raise Interrupted(f"The build of {name} was stopped; nothing was kept.")
    if data is None:
        raise EngineError(f"TensorRT cannot build {name}: {logger.words() or 'no reason given'}")
    if kept is not None:
        cache.write_blob(request.timings, bytes(kept.serialize()))
    return bytes(data)


def is_typed(trt: Any) -> bool:
    """Whether TensorRT computes in the file's types. Before version 9 they are a preference, and half precision is a flag."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") or not hasattr(trt.BuilderFlag, "FP16")


def network_flags(trt: Any) -> int:
    """Of a network whose batch is a side like others and whose types count: version 9 wants both flags, 11 neither."""
    names = (name for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED") if hasattr(trt.NetworkDefinitionCreationFlag, name))
    return sum(1 << int(getattr(trt.NetworkDefinitionCreationFlag, name)) for name in names)


def share_profiles(config: Any, trt: Any) -> None:
    """Let several execution contexts, one for each frame in flight, use one profile of shapes: before version 10 that is a preview."""
    feature = getattr(getattr(trt, "PreviewFeature", None), "PROFILE_SHARING_0806", None)
    if feature is not None and int(str(trt.__version__).partition(".")[0]) < 10:
        config.set_preview_feature(feature, True)


def check_ends(tensors: Sequence[Tensor], ports: Mapping[str, tuple[tuple[int, ...], Any]], key: PlanKey, trt: Any) -> None:
    """What TensorRT takes, or gives, is what the step says: names, types, channels, and for one size the whole shape.

    ports: shape and type by name. Raises EngineError naming the tensor that differs.
    """
    wanted = trt.DataType.HALF if key.precision == "f16" else trt.DataType.FLOAT
    found = dict(ports)
    for tensor in tensors:
        shape, kind = found.pop(tensor.name, ((), None))
        expected = tensor.shape(*key.usual)
        fits = shape == expected or (key.is_dynamic and shape[1:2] == (tensor.channels,))
        if not fits or kind != wanted:
            raise EngineError(f"TensorRT reads {tensor.name} of {key.model} as {shape} {kind}; it is {expected} {wanted}.")
    if found:
        raise EngineError(f"TensorRT finds {', '.join(found)} in {key.model}, which is neither an input nor an output.")


def _load_timings(config: Any, cache: PlanCache, name: str) -> Any:
    """What earlier builds measured on this GPU, which makes the next one faster: TensorRT adds to it."""
    timings = config.create_timing_cache(cache.read_blob(name))
    if timings is None:  # not of this version, or damaged
        timings = config.create_timing_cache(b"")
    config.set_timing_cache(timings, ignore_mismatch=False)
    return timings


def timing_name(key: PlanKey) -> str:
    """The cache file of a GPU's timings."""
    return timings_of(key.flavour, key.version, key.gpu, key.capability)


def timings_of(flavour: str, version: str, gpu: str, capability: str) -> str:
    """The same, by what it depends on."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", f"{gpu} {capability}").strip("-").lower()
    return f"timing-{flavour}-{version}-{name}.cache"


def make_logger(trt: Any) -> Any:
    """The logger that keeps TensorRT's warnings and errors, for the error that is raised; nothing goes to the terminal.

    One per process: TensorRT sends some messages to the first logger that it was given.
    """
    if id(trt) in _LOGGERS:
        return _LOGGERS[id(trt)][1]

    class Logger(trt.ILogger):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.kept: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.kept = [*self.kept[-3:], message]

        def words(self) -> str:
            """The messages since the last call."""
            kept, self.kept = self.kept, []
            return "; ".join(kept)

    _LOGGERS[id(trt)] = trt, Logger()
    return _LOGGERS[id(trt)][1]


_LOGGERS: dict[int, tuple[Any, Any]] = {}  # by the id of the module, which is kept with it


@dataclass
class Watch:
    """Reports build progress, at most one line per second, and allows a stop."""

    say: Say
    stop: Callable[[], bool]
    title: str
    num_parts: int
    part: int = 0
    started: float = field(default_factory=time.monotonic)
    _said: float = 0.0

    def step(self, phase: str, done: int, num: int) -> bool:
        """Whether to go on."""
        now = time.monotonic()
        if now - self._said >= 1:
            self._said = now
            part = f"part {self.part} of {self.num_parts}, " if self.num_parts > 1 else ""
            self.say(f"{self.title}: {part}{phase.lower()} {done}/{num}, {now - self.started:.0f} s")
        return not self.stop()

    def monitor(self, trt: Any) -> Any:
        """TensorRT's IProgressMonitor; it calls from threads of its own."""
        watch = self

        class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined,misc]
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)
                self.outermost = ""
                self.num_steps = 0

            def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
                if parent_phase is None or not self.outermost:
                    self.outermost, self.num_steps = phase_name, num_steps

            def step_complete(self, phase_name: str, step: int) -> bool:
                if phase_name == self.outermost:
                    return watch.step(phase_name, step + 1, self.num_steps)
                return not watch.stop()

            def phase_finish(self, phase_name: str) -> None:
                return None

        return Monitor()
