"""A model's TensorRT plans by torch-tensorrt: the network in PyTorch, compiled on the GPU that the plan is for.

It is the network of the torch engine, which has its operators and the names of its tensors from the ONNX file that was just checked.
A plan is one part: attention is compiled as the standard operators of its definition, without the kernel of streamsr_kernels. Planes,
states and the condition are float16, as the engine takes them. A dynamic plan takes what one of the runtime's builder takes.
"""

import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import torch

from streamsr.engines.distributions import Flavour, import_flavour
from streamsr.engines.engine import CHROMA_OUTPUT
from streamsr.engines.gpus import Gpu, find_gpu
from streamsr.engines.onnx_split import halved, input_tensor
from streamsr.engines.plan_builder import Say, Wish, check_ends, make_logger
from streamsr.engines.plan_cache import Plan, PlanKey, PlanPart
from streamsr.engines.step_lane import Tensor
from streamsr.engines.torch_engine import load_network
from streamsr.errors import EngineError, StreamsrError
from streamsr.models import ModelSpec
from trainer.trainer_error import TrainerError

INSTALL = "pip install 'streamsr[torch-tensorrt]'"
OTHERWISE = "leave --torch-tensorrt out, or build the plans by --tensorrt"
MAX_REASON = 600  # characters: torch puts whole graphs into its messages


@dataclass(frozen=True)
class Compiler:
    """torch-tensorrt, the TensorRT that it builds with, and the GPU that it builds on."""

    module: Any
    flavour: Flavour
    gpu: Gpu


def open_compiler(device: str = "cuda:0") -> Compiler:
    """Raises TrainerError without a CUDA GPU, and without a torch-tensorrt that starts."""
    if not torch.cuda.is_available():
        raise TrainerError(f"--torch-tensorrt compiles on a CUDA GPU, and torch {torch.__version__} sees none; {OTHERWISE}.")
    try:
        module = importlib.import_module("torch_tensorrt")  # before TensorRT, which it looks for itself
    except Exception as error:  # it raises Exception itself for a TensorRT that it cannot load
        raise TrainerError(f"--torch-tensorrt needs torch-tensorrt, which does not start: {error}. {INSTALL}; or {OTHERWISE}.") from error
    try:
        flavour, gpu = import_flavour("tensorrt"), find_gpu(device)
    except StreamsrError as error:
        raise TrainerError(str(error)) from error
    if getattr(flavour.trt, "_package_name", "tensorrt") != "tensorrt":
        raise TrainerError(f"torch-tensorrt {module.__version__} builds by TensorRT for RTX here. {INSTALL} brings the one for all GPUs.")
    return Compiler(module, flavour, gpu)


def compile_ahead(spec: ModelSpec, wishes: Sequence[Wish], compiler: Compiler, *, say: Say) -> Iterator[Plan]:
    """Compile each plan, in minutes. Raises EngineError for what torch-tensorrt cannot compile."""
    for wish in wishes:
        key = wish.key(spec, compiler.flavour, compiler.gpu.name, compiler.gpu.capability)
        _, height, width = key.usual
        say(f"compiling {key.model} for {width}x{height} with torch-tensorrt {compiler.module.__version__}")
        try:
            part = _compile(spec, key, compiler)
        except Exception as error:  # of torch.export, the converters or TensorRT: they have no common type
            cause: BaseException = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            reason = textwrap.shorten(cause.message if isinstance(cause, StreamsrError) else str(cause), MAX_REASON)
            raise EngineError(f"torch-tensorrt cannot compile {spec.path.name} for {width}x{height}: {reason}", hint=OTHERWISE) from error
        yield Plan(key, (part,))


def _compile(spec: ModelSpec, key: PlanKey, compiler: Compiler) -> PlanPart:
    halved(onnx.load_from_string(spec.read()))  # refuses by its name what float16 cannot hold, where torch makes it infinite
    network = load_network(spec, key.precision).to(compiler.gpu.device)
    inputs, outputs = _ends(network.inputs, network.outputs, spec)
    given = tuple(torch.zeros(tensor.shape(*key.usual), dtype=torch.float16, device=compiler.gpu.device) for tensor in inputs)
    specified = [_input(tensor, key, compiler.module) for tensor in inputs]
    convert = compiler.module.dynamo.convert_exported_program_to_serialized_trt_engine
    with torch.no_grad():
        program = torch.export.export(network, given, dynamic_shapes=(_free_sides(inputs, key),) if key.is_dynamic else None)
        data = bytes(convert(program, arg_inputs=specified, device=torch.device(compiler.gpu.device), **typing_options(convert)))
    # its names: inputs as the program's, outputs by their number
    names = (*program.graph_signature.user_inputs, *(f"output{index}" for index in range(len(outputs))))
    bindings = {tensor.name: str(name) for tensor, name in zip((*inputs, *outputs), names, strict=True)}
    part = PlanPart(inputs, outputs, data, bindings)
    _check(part, key, compiler.flavour)
    return part


def _ends(inputs: Sequence[str], outputs: Sequence[str], spec: ModelSpec) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """What goes in and comes out, in the order of the file."""
    made = {f"{state.name}_next": (state.channels, state.scale) for state in spec.states}
    if spec.has_chroma:
        made[CHROMA_OUTPUT] = (2, 1)
    return tuple(input_tensor(name, spec) for name in inputs), tuple(Tensor(name, *made.get(name, (1, spec.scale))) for name in outputs)


def _input(tensor: Tensor, key: PlanKey, module: Any) -> Any:
    """torch-tensorrt's specification of an input."""
    least, usual, most = (tensor.shape(*shape) for shape in (key.smallest, key.usual, key.largest))
    if least == most:
        return module.Input(shape=usual, dtype=torch.float16)
    return module.Input(min_shape=least, opt_shape=usual, max_shape=most, dtype=torch.float16)


def _free_sides(inputs: Sequence[Tensor], key: PlanKey) -> tuple[dict[int, Any], ...]:
    """The sides of each input that torch.export leaves free: those of luma, times the tensor's scale."""
    sides = {
        axis: torch.export.Dim(name, min=low, max=high)
        for axis, name, low, high in zip((0, 2, 3), "nhw", key.smallest, key.largest, strict=True) if low != high
    }  # fmt: skip

    def free(tensor: Tensor) -> dict[int, Any]:
        if not tensor.scale:
            return {}
        return {axis: side if axis == 0 or tensor.scale == 1 else tensor.scale * side for axis, side in sides.items()}

    return tuple(map(free, inputs))


def typing_options(convert: Callable[..., Any]) -> dict[str, bool]:
    """What tells torch-tensorrt to keep the types of the program: an option up to 2.13, and what it does anyway without one."""
    return {"use_explicit_typing": True} if "use_explicit_typing" in inspect.signature(convert).parameters else {}


def _check(part: PlanPart, key: PlanKey, flavour: Flavour) -> None:
    """TensorRT takes what was compiled, and its tensors are the model's."""
    trt = flavour.trt
    logger = make_logger(trt)
    engine = trt.Runtime(logger).deserialize_cuda_engine(part.data)
    if engine is None:
        said = logger.words() or "it was built with another version"
        raise EngineError(f"TensorRT {flavour.version} does not take the engine: {said}.")
    tensors = {binding: name for name, binding in part.bindings.items()}
    ports: dict[Any, dict[str, Any]] = {trt.TensorIOMode.INPUT: {}, trt.TensorIOMode.OUTPUT: {}}
    for binding in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        found = ports[engine.get_tensor_mode(binding)]
        found[tensors.get(binding, binding)] = tuple(engine.get_tensor_shape(binding)), engine.get_tensor_dtype(binding)
    for wanted, found in zip((part.inputs, part.outputs), ports.values(), strict=True):
        check_ends(wanted, found, key, trt)
