"""--loader dali: photographs read, decoded, cropped and shrunk by NVIDIA DALI, on the GPU where there is one. For clean recipes.

The decoder decodes no more than the crop where the format allows it. The source is DALI's antialiased cubic, the only kernel here: the
cached loader has seven. Levels vary as they do there. What DALI's readers and generators are at goes into the checkpoint.
"""

import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.data.crops import vary_levels
from trainer.data.rgb_pairs import luma_of_unit
from trainer.recipes import Recipe
from trainer.trainer_error import TrainerError

INSTALL = "pip install nvidia-dali-cuda120 (or nvidia-dali-cuda130, by the driver's CUDA version)"
THREADS = 4  # of DALI's readers and decoders


@dataclass(frozen=True)
class Photographs:
    """Where the pairs come from: files, and which share of them this process reads."""

    files: Sequence[pathlib.Path]
    shard: int = 0
    num_shards: int = 1


def find_dali() -> tuple[ModuleType, ModuleType, Any]:
    """DALI's fn, types and pipeline_def. Raises TrainerError where it is not installed."""
    try:
        from nvidia.dali import fn, pipeline_def, types
    except ImportError as error:
        raise TrainerError(f"--loader dali needs NVIDIA DALI: {INSTALL}. Without it: --loader cache or --loader stream.") from error
    return fn, types, pipeline_def


def check_recipe(recipe: Recipe) -> None:
    """Raises TrainerError for pairs that DALI cannot make."""
    if recipe.degradation != "clean":
        raise TrainerError(
            f"--loader dali makes clean pairs, and recipe {recipe.name!r} learns from {recipe.degradation} ones, which encoders make. "
            "Use --loader cache or --loader stream, or the recipe lite_clean_x2."
        )


def graph(fn: Any, types: Any, source: Photographs, *, side: int, scale: int, accelerated: bool) -> tuple[Any, Any]:
    """The graph: (source, target), uint8 RGB (H, W, 3) a sample, `side` and `scale * side` pixels a side."""
    encoded, _ = fn.readers.file(
        files=[str(path) for path in source.files], random_shuffle=True, shard_id=source.shard, num_shards=source.num_shards,
        name="photographs",
    )  # fmt: skip
    hr = fn.decoders.image_crop(
        encoded, device="mixed" if accelerated else "cpu", output_type=types.RGB, crop=(scale * side, scale * side),
        crop_pos_x=fn.random.uniform(range=(0.0, 1.0)), crop_pos_y=fn.random.uniform(range=(0.0, 1.0)),
    )  # fmt: skip
    hr = fn.flip(hr, horizontal=fn.random.coin_flip(), vertical=fn.random.coin_flip())
    lr = fn.resize(hr, size=(side, side), interp_type=types.INTERP_CUBIC, antialias=True)
    return lr, hr


class DaliSampler:
    """Draws batches as CropSampler does. Raises TrainerError for other recipes, and where DALI is missing or fails."""

    def __init__(self, source: Photographs, recipe: Recipe, *, seed: int, device: torch.device) -> None:
        check_recipe(recipe)
        self.fn, self.types, self.pipeline_def = find_dali()
        self.source, self.recipe, self.seed, self.device = source, recipe, seed, device
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.pipeline = self._open(None)

    def _open(self, checkpoint: bytes | None) -> Any:
        recipe, accelerated = self.recipe, self.device.type == "cuda"

        @self.pipeline_def(
            batch_size=recipe.batch, num_threads=THREADS, device_id=(self.device.index or 0) if accelerated else None, seed=self.seed,
            enable_checkpointing=True,
        )  # fmt: skip
        def pairs() -> tuple[Any, Any]:
            return graph(self.fn, self.types, self.source, side=recipe.crop, scale=recipe.scale, accelerated=accelerated)

        try:
            pipeline = pairs(checkpoint=checkpoint) if checkpoint else pairs()
            pipeline.build()
        except RuntimeError as error:  # a library of its own is missing, or the files are
            raise TrainerError(f"DALI could not build its pipeline: {_reason(error)}") from error
        return pipeline

    def draw(self) -> tuple[Tensor, Tensor]:
        """(lr (N, 1, crop, crop), hr (N, 1, scale * crop, scale * crop)), float32 luma in [0, 1] on the device."""
        try:
            outputs = self.pipeline.run()
        except RuntimeError as error:
            raise TrainerError(
                f"DALI could not make a batch: {_reason(error)}. It skips nothing: take out pictures that are broken or below "
                f"{self.recipe.scale * self.recipe.crop} pixels a side (--loader stream names them), or give a smaller --crop."
            ) from error
        # a copy: DALI takes the memory back at the next run
        lr, hr = (_luma(torch.from_dlpack(output.as_tensor()).clone()) for output in outputs)
        for n in range(len(lr)):
            vary_levels(lr[n, 0], hr[n, 0], self.rng)
        return lr, hr

    def state(self) -> Any:
        made = self.pipeline.checkpoint()
        data = made if isinstance(made, bytes) else made.encode("latin-1")
        return {"rng": self.rng.bit_generator.state, "dali": torch.frombuffer(bytearray(data), dtype=torch.uint8)}

    def restore(self, state: Any) -> None:
        """Go on from a `state`. Raises TrainerError where it is one of another kind of loader."""
        if "dali" not in state:
            raise TrainerError("The checkpoint was written with another --loader, and only that one can go on from it.")
        self.rng.bit_generator.state = state["rng"]
        self.pipeline = self._open(bytes(state["dali"].numpy()))


def _reason(error: RuntimeError) -> str:
    """The one line that says what went wrong, out of DALI's many."""
    said = str(error).partition("encountered:")[2] or str(error)
    return next(line.strip() for line in said.splitlines() if line.strip()).rstrip(".")


def _luma(rgb_NHWC: Tensor) -> Tensor:
    """uint8 RGB -> studio luma (N, 1, H, W) in [0, 1] of its 8-bit codes."""
    return luma_of_unit(rgb_NHWC.permute(0, 3, 1, 2).float() / 255).mul(255).round().div(255)
