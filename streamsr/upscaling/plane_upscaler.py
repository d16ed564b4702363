"""PlaneUpscaler: luma, and chroma where the model takes it, through the network and to the exact target size."""

from __future__ import annotations

import threading
import time

import numpy as np

from streamsr.engines import Chroma, State, zero_state
from streamsr.engines.tiling import infer_tiled, max_pixels
from streamsr.models import ModelSpec
from streamsr.resample import Resampler, resized_plane
from streamsr.upscaling.chroma_grid import FILTERS, ChromaResampler, network_grid
from streamsr.upscaling.engine_cache import EngineCache
from streamsr.upscaling.recurrence import Enlarged, SourceChroma
from streamsr.upscaling.scale_plan import padded_shape, repeat_edges


class PlaneUpscaler:
    """Runs the passes of a model with the engines of a cache. Safe to call from many threads."""

    def __init__(self, cache: EngineCache) -> None:
        self._cache = cache
        self._to_network = {kernel: ChromaResampler(kernel) for kernel in FILTERS}
        self._last_step = Resampler()  # to the exact target size
        self._lock = threading.Lock()
        self.busy_s = 0.0  # time inside the engines, summed over threads

    def _resampler(self, target: tuple[int, int]) -> Resampler:
        with self._lock:
            if (self._last_step.width, self._last_step.height) != target:
                self._last_step = Resampler(*target)
            return self._last_step

    def add_busy(self, seconds: float) -> None:
        with self._lock:
            self.busy_s += seconds

    def enlarge(
        self, luma: np.ndarray, target: tuple[int, int], passes: list[ModelSpec], *, bits: int, states: dict[int, State],
        chroma: SourceChroma | None = None,
    ) -> Enlarged:  # fmt: skip
        """Luma (h, w) of `bits` bits through the network to exactly target (width, height).

        chroma: of the source, for models that take it; it comes back as it leaves the last pass.
        states: of each pass, replaced by those for the next frame of the stream; {} for a first frame.
        """
        planes, grid = (None, None) if chroma is None else (chroma.planes, chroma.grid)
        for number, spec in enumerate(passes):
            engine = self._cache.find(spec, bits)
            rows, columns = luma.shape
            padded = padded_shape(luma.shape, spec.size_multiple)
            call = None
            if spec.has_chroma and chroma is not None and planes is not None and grid is not None:
                wanted = network_grid(grid, spec.scale)
                samples = self._to_network[spec.chroma_filter](planes, grid, wanted, (rows, columns), bits=bits)
                samples, grid = repeat_edges(samples, padded), wanted
                call = Chroma(samples, np.empty_like(samples, order="C"), (chroma.condition.blur, chroma.condition.damage))
                planes = call.out[:, :rows, :columns]
            luma = repeat_edges(luma, padded)
            out = np.empty((padded[0] * spec.scale + 1, padded[1] * spec.scale), luma.dtype)[:-1]  # a row more: see `resized_plane`
            start = time.perf_counter()
            state = states[number] if number in states else zero_state(spec, *padded)
            states[number] = infer_tiled(engine, luma, out, state, call, radius=spec.receptive_field, limit=max_pixels(spec))
            self.add_busy(time.perf_counter() - start)
            luma = out[: rows * spec.scale, : columns * spec.scale]
            grid = grid and (grid[0].enlarged(spec.scale), grid[1].enlarged(spec.scale))
        if luma.shape != (target[1], target[0]):
            grid = grid and (grid[0].enlarged(target[1] / luma.shape[0]), grid[1].enlarged(target[0] / luma.shape[1]))
            luma = resized_plane(luma, self._resampler(target), bits=bits)
        return Enlarged(luma, planes, grid) if any(spec.has_chroma for spec in passes) else Enlarged(luma)
