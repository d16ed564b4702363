"""LiveModels: the upscalers of one stream, from the model that was asked for down to the plain resize, all to one size."""

from __future__ import annotations

from typing import Any

import av

from ..engines import Precision, open_engine
from ..models import RESIZE, find_models, list_models
from ..pipeline import fit_box
from ..resample import FilterChain, GraphKey, planar_format
from ..upscale import Upscaler
from .sharing import Opener

_SHAPE_OFF = 0.02  # a shape that differs by more gets bars


class LiveModels:
    """Callable: one frame in, one frame of the output's size out. Use as a context manager around `open`.

    fixed: there is no other model than the one asked for. opener: what opens engines, see streamsr.live.sharing.
    Raises what Upscaler raises.
    """

    def __init__(
        self, model: str, scale: float, size: tuple[int, int] | None, engine: str, device: str, precision: Precision, threads: int,
        *, fixed: bool, opener: Opener = open_engine,
    ) -> None:  # fmt: skip
        self.names = [model] if fixed or model == RESIZE else [model, *lighter_models(model), RESIZE]
        self.num_changes = 0
        self._scale, self._box = scale, size
        self._options: dict[str, Any] = {"engine": engine, "device": device, "precision": precision, "threads": threads, "hint": "latency",
                                         "opener": opener}  # fmt: skip
        self._step = 0
        self._size = (0, 0)
        self._shape = 0.0  # width over height of the first picture
        self._upscalers: dict[int, Upscaler] = {}
        self._pads: dict[GraphKey, FilterChain] = {}
        self._engine_s = 0.0
        Upscaler(model, scale, **self._options)  # raises for what cannot be, before anything connects

    def __enter__(self) -> LiveModels:
        return self

    def __exit__(self, *_: object) -> None:
        for upscaler in self._upscalers.values():
            upscaler.close()

    @property
    def name(self) -> str:
        return self.names[self._step]

    @property
    def running(self) -> Upscaler:
        return self._upscalers[self._step]

    def open(self, first: av.VideoFrame) -> av.VideoFrame:
        """Settle the output's size by the first picture, compile, and return that picture upscaled."""
        width, height = first.width, first.height
        self._shape = width / height
        if self._box is not None:
            self._size = fit_box(width, height, self._box)
        else:
            self._size = Upscaler(self.names[0], self._scale, **self._options).output_size(width, height, planar_format(first.format.name))
        self.use(0)
        self.running.prepare(width, height, first.format.name)
        return self(first)

    def use(self, step: int) -> None:
        """Run on this step from the next frame on."""
        self.num_changes += step != self._step
        self._step = step
        if step not in self._upscalers:
            self._upscalers[step] = Upscaler(self.names[step], size=self._size, **self._options)
        self.running.restart()

    def restart(self) -> None:
        """The next frame does not follow on the last: reset the network's state."""
        for upscaler in self._upscalers.values():
            upscaler.restart()

    def __call__(self, video: av.VideoFrame) -> av.VideoFrame:
        if abs(video.width / video.height / self._shape - 1) > _SHAPE_OFF:
            video = self._pad(video)
        return self.running(video)

    def take_engine_s(self) -> float:
        """Time spent in engines since the last call."""
        total = sum(upscaler.engine_seconds for upscaler in self._upscalers.values())
        new, self._engine_s = total - self._engine_s, total
        return new

    def _pad(self, video: av.VideoFrame) -> av.VideoFrame:
        """Black bars around a picture whose shape is not the output's."""
        key = GraphKey.of(video)
        if key not in self._pads:
            width, height = padded_size(video.width, video.height, self._shape)
            place = {"width": str(width), "height": str(height), "x": "(ow-iw)/2", "y": "(oh-ih)/2"}
            self._pads[key] = FilterChain(key, [("pad", place)])
        return self._pads[key](video)


def padded_size(width: int, height: int, shape: float) -> tuple[int, int]:
    """The smallest even size of this shape (width over height) that holds the picture."""
    wide, high = max(float(width), height * shape), max(float(height), width / shape)
    return round(wide / 2) * 2, round(high / 2) * 2


def lighter_models(model: str) -> list[str]:
    """Shipped models that take less work a pixel than `model` at every scale that it has, the heaviest first."""
    own = {spec.scale: spec.macs_per_pixel for spec in find_models(model)} if not model.endswith(".onnx") else {}
    weights: dict[str, dict[int, int]] = {}
    for spec in list_models():
        weights.setdefault(spec.name, {})[spec.scale] = spec.macs_per_pixel
    lighter = [name for name, macs in weights.items() if own and all(macs.get(scale, work) < work for scale, work in own.items())]
    return sorted(lighter, key=lambda name: -max(weights[name].values()))
