"""LiveModels: the upscalers of one stream, from the model that was asked for down to the plain resize, all to one size.

Note [Several on their way]: on a GPU the next picture is begun while those before are computed or encoded. They come out in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import av

from ..device.device_selection import FRAMES_IN_FLIGHT
from ..device.upscaler_factory import open_upscaler
from ..engines import open_engine
from ..engines.device_engine import DeviceMemoryError
from ..models import RESIZE, find_models, list_models
from ..options import UpscaleOptions
from ..pipeline import fit_box
from ..resample import FilterChain, GraphKey, planar_format
from ..upscaling.frame_backend import UpscaleQueue
from ..upscaling.upscaler import Upscaler
from .engine_pool import Opener

_SHAPE_OFF = 0.02  # a shape that differs by more gets bars


class LiveModels:
    """Frames are put in and taken out, of the output's size, in the same order. Use as a context manager around `open`.

    fixed: there is no other model than the one asked for. opener: what opens engines for frames in host memory, see
    streamsr.live.engine_pool; say: see `open_upscaler`.
    Raises what Upscaler raises.
    """

    def __init__(
        self, options: UpscaleOptions, *, fixed: bool, opener: Opener = open_engine, say: Callable[[str], None] | None = None
    ) -> None:  # fmt: skip
        model = options.model
        self.names = [model] if fixed or model == RESIZE else [model, *lighter_models(model), RESIZE]
        self.num_changes = 0
        self._box = options.size
        self._options = replace(
            options, size=None, hint="latency", frames_in_flight=options.frames_in_flight or FRAMES_IN_FLIGHT
        )  # fmt: skip
        self._open = partial(open_upscaler, opener=opener, say=say)
        self._step = 0
        self._size = (0, 0)
        self._shape = 0.0  # width over height of the first picture
        self._upscalers: dict[int, Upscaler] = {}
        self._queues: dict[int, UpscaleQueue] = {}
        self._waiting: deque[av.VideoFrame] = deque()  # what is on its way, as it came
        self._pads: dict[GraphKey, FilterChain] = {}
        self._engine_s = 0.0
        self._open(self._options)  # raises for what cannot be, before anything connects

    def __enter__(self) -> LiveModels:
        return self

    def __exit__(self, *_: object) -> None:
        for queue in self._queues.values():
            queue.close()
        for upscaler in self._upscalers.values():
            upscaler.close()

    @property
    def step(self) -> int:
        """Which of `names` runs."""
        return self._step

    @property
    def name(self) -> str:
        return self.names[self._step]

    @property
    def running(self) -> Upscaler:
        return self._upscalers[self._step]

    @property
    def notes(self) -> list[str]:
        """De-duplicated warnings."""
        return list(dict.fromkeys(words for upscaler in self._upscalers.values() for words in upscaler.notes))

    @property
    def has_room(self) -> bool:
        """Whether a picture can be put beside those that are on their way: see Note [Several on their way]."""
        return self._queues[self._step].has_room

    def __len__(self) -> int:
        """How many pictures are on their way."""
        return len(self._waiting)

    def open(self, first: av.VideoFrame) -> av.VideoFrame:
        """Settle the output's size by the first picture, compile, and return that picture upscaled."""
        width, height = first.width, first.height
        self._shape = width / height
        if self._box is not None:
            self._size = fit_box((width, height), self._box)
        else:
            upscaler = self._open(self._options)
            self._size = upscaler.output_size(width, height, planar_format(first.format.name))
        self.use(0)
        self.running.prepare(width, height, first.format.name)
        if self.running.builds_for_minutes:  # in the middle of a stream nothing can wait for that
            for step in range(1, len(self.names)):
                self._find(step).prepare(width, height, first.format.name)
        self.put(first)
        return self.take()

    def use(self, step: int) -> None:
        """Run on this step from the next frame on; none may be on its way."""
        assert not self._waiting
        self.num_changes += step != self._step
        if self._step in self._queues:
            self._queues[self._step].close()  # a GPU's memory is for what runs
        self._step = step
        self._find(step).restart()

    def restart(self) -> None:
        """The next frame does not follow on the last: reset the network's state."""
        for queue in self._queues.values():
            queue.restart()

    def put(self, video: av.VideoFrame) -> None:
        """Begin with a frame; without room for it (`has_room`) others are to be taken first."""
        if abs(video.width / video.height / self._shape - 1) > _SHAPE_OFF:
            video = self._pad(video)
        self._waiting.append(video)
        self._queues[self._step].put(video)

    def take(self) -> av.VideoFrame:
        """The frame that was put first, once it is done.

        Where a GPU has no room for even a part of it, the next lighter model takes it over, and those that follow.
        """
        while True:
            try:
                result = self._queues[self._step].take()
            except DeviceMemoryError as error:
                if self._step + 1 == len(self.names):
                    raise
                self.running.notes.append(f"{error.message}; {self.names[self._step + 1]} takes over")
                video = self._waiting.pop()
                self.use(self._step + 1)  # which finds nothing on its way: nothing was put after the one that failed
                self._waiting.append(video)
                self._queues[self._step].put(video)
            else:
                self._waiting.popleft()
                return result

    def _find(self, step: int) -> Upscaler:
        if step not in self._upscalers:
            self._upscalers[step] = self._open(replace(self._options, model=self.names[step], size=self._size))
            self._queues[step] = self._upscalers[step].open_queue()
        return self._upscalers[step]

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
