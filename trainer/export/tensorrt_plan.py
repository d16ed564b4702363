"""A model's TensorRT plan by torch-tensorrt: compiled on the GPU that it is for, written beside the ONNX file, named in its description.

The network is compiled as the ONNX file that was just checked says it, in half precision: planes and states are float16, as the engine
takes them (streamsr.engines.tensorrt_engine). One plan holds all of it, attention included.
"""

import importlib
import inspect
import json
import pathlib
from collections.abc import Callable
from typing import Any

import torch

from streamsr.engines.distributions import Flavour, import_flavour
from streamsr.engines.gpus import Gpu, find_gpu
from streamsr.engines.plan_builder import Wish
from streamsr.engines.plan_cache import Plan, PlanPart, write_plan
from streamsr.engines.step_lane import Tensor
from streamsr.engines.torch_engine import load_network
from streamsr.errors import EngineError
from streamsr.models import ModelSpec, load_spec
from streamsr.output_file import atomic_output
from trainer.trainer_error import TrainerError

INSTALL = "pip install torch-tensorrt, in the version of the installed torch"


def export_plans(description: pathlib.Path, sizes: list[tuple[int, int]], *, device: str = "cuda:0") -> list[pathlib.Path]:
    """Write a plan for each input size (width, height) and name them in the description; returns their files.

    Raises TrainerError without a CUDA GPU or torch-tensorrt, and for a network that it cannot compile.
    """
    if not torch.cuda.is_available():
        raise TrainerError(f"--torch-tensorrt compiles on a CUDA GPU, and torch {torch.__version__} sees none. Leave it out here.")
    try:
        compiler = importlib.import_module("torch_tensorrt")
    except ImportError as error:
        raise TrainerError(f"--torch-tensorrt needs torch-tensorrt: {error}. {INSTALL}.") from error
    try:
        flavour, gpu = import_flavour("tensorrt"), find_gpu(device)
    except EngineError as error:
        raise TrainerError(str(error)) from error
    spec = load_spec(description)
    files = []
    for width, height in sizes:
        plan = _compile(spec, (1, height, width), compiler, flavour, gpu)
        files.append(description.parent / plan.key.file_name)
        write_plan(files[-1], plan)
        print(f"{files[-1].name}: {files[-1].stat().st_size / 2**20:.1f} MiB, for {gpu.name} and TensorRT {flavour.version}")
    card = json.loads(description.read_text())
    card["tensorrt"] = [file.name for file in files]
    with atomic_output(description) as draft:
        draft.write_text(json.dumps(card, indent=2) + "\n")
    return files


def _compile(spec: ModelSpec, shape: tuple[int, int, int], compiler: Any, flavour: Flavour, gpu: Gpu) -> Plan:
    network = load_network(spec, "f16").to(gpu.device)
    luma, luma_hr = Tensor(spec.input, 1), Tensor(spec.output, 1, spec.scale)
    states = {state.name: Tensor(state.name, state.channels, state.scale) for state in spec.states}
    by_input = {spec.input: luma} | states
    by_output = {spec.output: luma_hr} | {f"{name}_next": Tensor(f"{name}_next", t.channels, t.scale) for name, t in states.items()}
    inputs, outputs = [by_input[name] for name in network.inputs], [by_output[name] for name in network.outputs]
    given = [torch.zeros(tensor.shape(*shape), dtype=torch.float16, device=gpu.device) for tensor in inputs]
    try:
        with torch.no_grad():
            program = torch.export.export(network, tuple(given))
            convert = compiler.dynamo.convert_exported_program_to_serialized_trt_engine
            data = bytes(convert(program, arg_inputs=given, **typing_options(convert)))
    except Exception as error:  # of torch.export, the converters or TensorRT: they have no common type
        raise TrainerError(f"torch-tensorrt cannot compile {spec.path.name} for {shape[2]}x{shape[1]}: {error}") from error
    key = Wish(shape, "f16").key(spec, flavour, gpu.name, gpu.capability)
    return Plan(key, (PlanPart(tuple(inputs), tuple(outputs), data, _find_bindings(data, inputs, outputs, flavour)),))


def typing_options(convert: Callable[..., Any]) -> dict[str, bool]:
    """What tells torch-tensorrt to keep the types of the program: an option up to 2.13, and what it does anyway without one."""
    return {"use_explicit_typing": True} if "use_explicit_typing" in inspect.signature(convert).parameters else {}


def _find_bindings(data: bytes, inputs: list[Tensor], outputs: list[Tensor], flavour: Flavour) -> dict[str, str]:
    """What torch-tensorrt called the tensors: it keeps their order, not their names."""
    trt = flavour.trt
    engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(data)
    if engine is None:
        raise TrainerError(f"TensorRT {flavour.version} does not take what torch-tensorrt compiled: it was built with another version.")
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    bindings: dict[str, str] = {}
    for mode, tensors in ((trt.TensorIOMode.INPUT, inputs), (trt.TensorIOMode.OUTPUT, outputs)):
        found = [name for name in names if engine.get_tensor_mode(name) == mode]
        if len(found) != len(tensors):
            raise TrainerError(f"torch-tensorrt compiled {len(found)} tensors ({', '.join(found)}) where the model has {len(tensors)}.")
        bindings |= {tensor.name: name for tensor, name in zip(tensors, found, strict=True)}
    return bindings


def parse_size(text: str) -> tuple[int, int]:
    """WxH -> (width, height)."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise TrainerError(f"{text!r} is not a size, such as 1920x1080.")
    return int(width), int(height)
