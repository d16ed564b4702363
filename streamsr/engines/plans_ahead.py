"""Plans that are built before they are needed: by `streamsr engine build`, and by the trainer for a model that it exports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from streamsr.engines.distributions import load_flavour
from streamsr.engines.gpus import Gpu, find_gpu
from streamsr.engines.plan_builder import Say, Wish, build_plan, building_on
from streamsr.engines.plan_cache import ANY_GPU, Plan, PlanCache
from streamsr.errors import UsageError
from streamsr.models import ModelSpec


def find_targets(device: str, capabilities: Sequence[str]) -> list[Gpu]:
    """The GPU `device` of this machine, or any GPUs of these compute capabilities.

    Raises UsageError for what is no compute capability, EngineError for a GPU that is not here.
    """
    for text in capabilities:
        if not re.fullmatch(r"\d{1,2}\.\d", text, re.ASCII):
            raise UsageError(f"{text!r} is no compute capability, such as 8.9 or 12.0.")
    return [Gpu(0, ANY_GPU, text, 0) for text in capabilities] or [find_gpu(device)]


def build_ahead(spec: ModelSpec, wishes: Sequence[Wish], targets: Sequence[Gpu], *, cache: PlanCache, say: Say) -> Iterator[Plan]:
    """Build each plan for each GPU; gives each once it is in the cache. Raises EngineError for what TensorRT refuses."""
    for gpu in targets:
        flavour = load_flavour(gpu.capability, without_gpu=gpu.name == ANY_GPU)
        for wish in wishes:
            key = wish.key(spec, flavour, gpu.name, gpu.capability)
            with cache.locked(key), building_on(gpu, flavour):
                plan = build_plan(spec, key, flavour, cache=cache, say=say)
            yield plan
