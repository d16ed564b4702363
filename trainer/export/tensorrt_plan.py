"""A model's TensorRT plans, written beside its ONNX file and named in its description, so that whoever gets the model need not build them.

They are in half precision, for models of luma, of luma and chroma, with or without states. They are built as `streamsr engine build`
builds them, with the attention kernel between TensorRT's parts, or by torch-tensorrt (trainer.export.torch_tensorrt_plan).
"""

import json
import pathlib
from dataclasses import dataclass

from streamsr.engines.plan_builder import Wish
from streamsr.engines.plan_cache import PlanCache, write_plan
from streamsr.engines.plans_ahead import build_ahead, find_targets
from streamsr.errors import StreamsrError
from streamsr.models import load_spec
from streamsr.output_file import atomic_output
from streamsr.upscaling.scale_plan import padded_shape
from trainer.export.torch_tensorrt_plan import Compiler, compile_ahead
from trainer.trainer_error import TrainerError


@dataclass(frozen=True)
class PlanOptions:
    """What plans come with a model."""

    sizes: tuple[tuple[int, int], ...]  # of the input: width, height
    is_dynamic: bool = False  # each plan also takes all smaller sizes
    capabilities: tuple[str, ...] = ()  # compute capabilities of GPUs elsewhere, by TensorRT for RTX; none: the first GPU here
    compiler: Compiler | None = None  # torch-tensorrt, for the GPU that it was opened on; None: the runtime's builder


def export_plans(description: pathlib.Path, options: PlanOptions) -> list[pathlib.Path]:
    """Write a plan for each size and GPU and name them in the description; returns their files.

    Raises TrainerError without a GPU or TensorRT, and for a network that is refused; the description then stays as it was.
    """
    files = []
    try:
        spec = load_spec(description)
        shapes = [padded_shape((height, width), spec.size_multiple) for width, height in options.sizes]
        wishes = [Wish((1, *shape), "f16", options.is_dynamic) for shape in shapes]
        if options.compiler is not None:
            plans = compile_ahead(spec, wishes, options.compiler, say=print)
        else:
            plans = build_ahead(spec, wishes, find_targets("cuda:0", options.capabilities), cache=PlanCache(), say=print)
        for plan in plans:
            files.append(description.parent / plan.key.file_name)
            write_plan(files[-1], plan)
            print(f"{files[-1].name}: {files[-1].stat().st_size / 2**20:.1f} MiB")
    except StreamsrError as error:
        for file in files:
            file.unlink(missing_ok=True)
        raise TrainerError(str(error)) from error
    card = json.loads(description.read_text())
    card["tensorrt"] = [file.name for file in files]
    with atomic_output(description) as draft:
        draft.write_text(json.dumps(card, indent=2) + "\n")
    return files


def parse_size(text: str) -> tuple[int, int]:
    """WxH -> (width, height)."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise TrainerError(f"{text!r} is not a size, such as 1920x1080.")
    return int(width), int(height)
