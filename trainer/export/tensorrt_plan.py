"""A model's TensorRT plans, written beside its ONNX file and named in its description, so that whoever gets the model need not build them.

They are built as `streamsr engine build` builds them: in half precision, with the attention kernel between TensorRT's parts, for models
of luma, of luma and chroma, with or without states.
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
from trainer.trainer_error import TrainerError


@dataclass(frozen=True)
class PlanOptions:
    """What plans come with a model."""

    sizes: tuple[tuple[int, int], ...]  # of the input: width, height
    is_dynamic: bool = False  # each plan also takes all smaller sizes
    capabilities: tuple[str, ...] = ()  # compute capabilities of GPUs elsewhere, by TensorRT for RTX; none: the first GPU here


def export_plans(description: pathlib.Path, options: PlanOptions) -> list[pathlib.Path]:
    """Write a plan for each size and GPU and name them in the description; returns their files.

    Raises TrainerError without a GPU or TensorRT, and for a network that TensorRT refuses; the description then stays as it was.
    """
    files = []
    try:
        spec, targets = load_spec(description), find_targets("cuda:0", options.capabilities)
        shapes = [padded_shape((height, width), spec.size_multiple) for width, height in options.sizes]
        wishes = [Wish((1, *shape), "f16", options.is_dynamic) for shape in shapes]
        for plan in build_ahead(spec, wishes, targets, cache=PlanCache(), say=print):
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
