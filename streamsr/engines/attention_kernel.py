"""The CUDA kernel of the attention functions, as a step of a lane."""

from __future__ import annotations

from collections.abc import Mapping

from streamsr.engines.device_engine import DeviceArray
from streamsr.engines.step_lane import Attention, Launch
from streamsr.errors import EngineError

INSTALL = "pip install --force-reinstall streamsr"


def attention_launch(step: Attention) -> Launch:
    """What puts the kernel on a stream: query, key (n, D, h, w), value -> result (n, C, h, w). Raises EngineError without it."""
    try:
        from streamsr_kernels import local_axial_attention
    except ImportError as error:
        raise EngineError(f"The model needs the kernels of streamsr: {error}.", hint=INSTALL) from error
    query, key, value = (tensor.name for tensor in step.inputs)
    result, radius = step.output.name, step.radius

    def launch(arrays: Mapping[str, DeviceArray], stream: int) -> None:
        try:
            local_axial_attention(arrays[query], arrays[key], arrays[value], radius=radius, out=arrays[result], stream=stream)
        except RuntimeError as error:
            raise EngineError(f"The attention kernel failed: {error}") from error

    return launch
