"""Needs: what a segment takes of a node, from the model and the size of the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..engines import MAX_STREAMS
from ..engines.tiling import max_pixels
from ..frame import find_layout
from ..models import ModelSpec
from ..pipeline import AHEAD
from ..resample import planar_format
from ..upscaling.frame_sequence import luma_bits
from .job_spec import CORES_EACH, Spec

_BASE_BYTES = 400 << 20  # interpreter, libraries, model
_ENCODER_FRAMES = 64  # that an encoder keeps: x264 looks 40 ahead, and keeps references


@dataclass(frozen=True, slots=True)
class Needs:
    """What a task declares to Ray."""

    num_cpus: int
    num_gpus: int
    memory_bytes: int

    def count(self, resources: Mapping[str, float]) -> int:
        """How many such tasks a node with these resources runs at once."""
        wanted = {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": self.memory_bytes}
        return min(int(resources.get(name, 0) // each) for name, each in wanted.items() if each)

    def words(self) -> str:
        gpus = f", {self.num_gpus} GPU" if self.num_gpus else ""
        return f"{self.num_cpus} CPU{gpus} and {self.memory_bytes / 2**30:.1f} GiB of memory"


def find_needs(spec: Spec, models: Sequence[ModelSpec], size: tuple[int, int], nodes: Sequence[Mapping[str, float]]) -> Needs:
    """The needs of one segment.

    size: (width, height) of the result. nodes: the resources of each; none has to have fewer cores than a task takes.
    """
    cores = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
    num_cpus = spec.upscale.threads or min([CORES_EACH, *cores])
    num_gpus = 1 if spec.devices[0].lower().startswith(("cuda", "gpu")) else 0
    return Needs(num_cpus, num_gpus, count_bytes(spec.shape, size, models, num_cpus))


def count_bytes(shape: tuple[int, int, str], size: tuple[int, int], models: Sequence[ModelSpec], threads: int) -> int:
    """Host memory of one worker. shape: width, height and pixel format of the source; size: (width, height) of the result."""
    width, height, pix_fmt = shape
    layout = find_layout(planar_format(pix_fmt))
    assert layout is not None
    log2_width, log2_height = layout.log2_chroma
    sample_bytes = 1 if luma_bits(layout) == 8 else 2
    pixel_bytes = sample_bytes * (1 + 2 / (1 << (log2_width + log2_height)))
    streams = min(threads, MAX_STREAMS)
    tiles = [min(width * height, max_pixels(model)) * model.channels * 4 * 2 for model in models]  # a layer's input and output
    frames = width * height * (AHEAD + streams) + size[0] * size[1] * (_ENCODER_FRAMES + streams)
    return round(_BASE_BYTES + frames * pixel_bytes + streams * max(tiles, default=0))
