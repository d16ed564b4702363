"""Upscaler: pictures in, larger pictures out. FFmpeg carries everything but luma; a network makes the luma.

A frame becomes a carrier of the target size (streamsr.resample), with its chroma, alpha, tags and side data. Its luma
goes through the network, once or more (streamsr.engines), and to the exact target size, and then into the carrier.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack, overload

import av
import numpy as np

from streamsr.engines import MAX_STREAMS, Engine, State, choose_engine, count_threads, open_engine
from streamsr.engines.tiling import max_pixels, tile_shape
from streamsr.frame import Frame, find_layout
from streamsr.models import RESIZE, Form, ModelSpec
from streamsr.options import UpscaleKeywords, UpscaleOptions
from streamsr.resample import exact_side, planar_format
from streamsr.upscaling.engine_cache import EngineCache
from streamsr.upscaling.frame_backend import HostQueue, UpscaleQueue
from streamsr.upscaling.frame_sequence import FrameSequence, luma_bits
from streamsr.upscaling.model_choice import ModelChoice
from streamsr.upscaling.plane_upscaler import PlaneUpscaler
from streamsr.upscaling.recurrence import Enlarged, SourceChroma
from streamsr.upscaling.scale_plan import padded_shape
from streamsr.upscaling.source_condition import Condition


class Upscaler:
    """Upscales video frames and RGB arrays with one model. Implements FrameBackend for frames in host memory.

    model: a shipped model's name, the path of an ONNX file, or "resize" for the Lanczos baseline; or all options in one.
    scale: of width and height; any number. The network runs at the smallest trained scale that reaches it (several
        times if need be), an exact resample does the rest. The size is rounded to whole pixels, and up to even ones
        where chroma is subsampled, which encoders require.
    opener: what opens engines; several upscalers may share theirs.
    keywords: the other fields of UpscaleOptions. size is exactly (width, height) of the output here. The hint "throughput"
        keeps several frames in flight; "latency" gives each frame all cores and gives it back at once, "memory" begins one more.
    Raises UsageError for options that cannot be, EngineError for what is missing.
    """

    builds_for_minutes = False
    is_launched = False

    def __init__(
        self,
        model: str | Path | UpscaleOptions = "lite",
        scale: float = 2,
        *,
        opener: Callable[..., Engine] = open_engine,
        **keywords: Unpack[UpscaleKeywords],
    ) -> None:
        options = replace(model, **keywords) if isinstance(model, UpscaleOptions) else UpscaleOptions(str(model), scale, **keywords)
        self.options = options
        self.choice = ModelChoice(options)
        # an unknown name is an error for "resize" too
        chosen = choose_engine(options.engine, options.device) if self.choice.specs or options.engine != "auto" else RESIZE
        self.engine = chosen if self.choice.specs else RESIZE  # the name of the engine that runs
        self.concurrency = min(count_threads(options.threads), MAX_STREAMS) if options.hint == "throughput" else 1  # frames side by side
        self._cache = EngineCache(self.engine, options, opener)
        self._planes = PlaneUpscaler(self._cache)
        # one more than run side by side: no thread waits while a frame is being encoded (3 % of the time on two cores)
        self._lookahead = {"throughput": self.concurrency + 1, "latency": 0, "memory": 1}[options.hint]
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._stream = FrameSequence(self)
        self.check: Callable[[av.VideoFrame, av.VideoFrame], None] | None = None  # is shown source and result of each frame of a run
        self.notes: list[str] = []  # warnings, without repetitions
        self.num_upscaled = 0  # frames given back
        self.num_reused = 0  # of these, how many had the luma of the frame before

    @property
    def model(self) -> str:
        """The name of the model that runs, which may be a variant of the one that was asked for."""
        return self.choice.model

    @property
    def scale(self) -> float:
        return self.choice.scale

    @property
    def size(self) -> tuple[int, int] | None:
        return self.choice.size

    @property
    def spec(self) -> ModelSpec | None:
        """The model at the scale that is asked for first; None for "resize"."""
        return self.choice.spec

    @property
    def specs(self) -> list[ModelSpec]:
        """The model at each scale that it is trained for; [] for "resize"."""
        return list(self.choice.specs)

    @property
    def is_recurrent(self) -> bool:
        """Whether the model carries a state from frame to frame (Note [State] of streamsr.upscaling.frame_sequence)."""
        return self.choice.is_recurrent

    @property
    def has_chroma(self) -> bool:
        """Whether the model takes chroma, at one of its scales at least."""
        return self.choice.has_chroma

    @property
    def condition(self) -> Condition | None:
        """The condition of the source; None if each stream's first frame decides, or the model takes none."""
        return self.choice.condition if self.has_chroma else None

    def condition_of(self, luma: np.ndarray, bits: int) -> Condition:
        """The condition of a source with this luma (h, w) in its first frame."""
        return self.choice.condition_of(luma, bits)

    @property
    def engine_seconds(self) -> float:
        """Time inside the engine, summed over threads; of frames that stay on a GPU, how long one was on its way."""
        return self._planes.busy_s

    @property
    def precision(self) -> str:
        """What the engine computes in: "f32", "bf16", "int8", or "exact" for "resize"."""
        return "exact" if self.spec is None else self._any_engine().precision

    @property
    def device(self) -> str:
        return "cpu" if self.spec is None else self._any_engine().device

    @property
    def reason(self) -> str:
        """What "auto" chose, and why, as text."""
        return "Lanczos by FFmpeg's swscale, no network" if self.spec is None else self._any_engine().reason

    def _any_engine(self) -> Engine:
        assert self.spec is not None
        return next(reversed(self._cache.engines), None) or self._cache.find(self.spec, 8)

    def output_size(self, width: int, height: int, pix_fmt: str = "yuv420p") -> tuple[int, int]:
        """(width, height) of what a stream that starts with such a frame becomes."""
        return self.choice.output_size(width, height, pix_fmt)

    def prepare(self, width: int, height: int, pix_fmt: str = "yuv420p") -> None:
        """Load and compile for frames like this now, so that the first frame does not wait."""
        pix_fmt = planar_format(pix_fmt)
        layout = find_layout(pix_fmt)
        assert layout is not None
        bits = luma_bits(layout)
        size = zip((width, height), self.output_size(width, height, pix_fmt), layout.log2_chroma, strict=True)
        target_width, target_height = (exact_side(*side) for side in size)
        for spec in self.choice.plan(width, height, (target_width, target_height)):
            shape = tile_shape(height, width, radius=spec.receptive_field, limit=max_pixels(spec))
            self._cache.find(spec, bits).prepare(*padded_shape(shape, spec.size_multiple))
            width, height = width * spec.scale, height * spec.scale

    @overload
    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame: ...
    @overload
    def __call__(self, frame: Frame) -> Frame: ...
    @overload
    def __call__(self, frame: np.ndarray) -> np.ndarray: ...
    @overload
    def __call__(self, frame: Iterable[Frame]) -> Iterator[Frame]: ...
    @overload
    def __call__(self, frame: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]: ...

    def __call__(self, frame: Any) -> Any:
        """Upscale one picture, or an iterable of pictures as they come.

        frame: an av.VideoFrame or Frame of any pixel format in host memory, or an RGB array (h, w, 3) uint8 or uint16.
            The result is of the same kind and depth; its planes are writable and its own.
        An iterable gives an iterator in the same order, with up to `concurrency` + 1 pictures in flight. A stream keeps the
        size and pixel format that its first frame became, whatever comes later; frames given one by one are one stream,
        arrays given one by one are unrelated pictures: for those, `lite-picture`, which is made for them, is selected instead of
        `lite` and of the faithful `base`. Give the arrays of a video as an iterable.
        Raises EngineError when inference fails, ValueError for pixel formats that have no samples in host memory.
        """
        if isinstance(frame, np.ndarray):
            return FrameSequence(self, is_picture=True).admit(frame)()
        if isinstance(frame, (av.VideoFrame, Frame)):
            return self._stream.admit(frame)()
        if isinstance(frame, Iterable):
            return self.stream(frame)
        raise TypeError(f"Cannot upscale a {type(frame).__name__}; give an av.VideoFrame, a Frame, an array or an iterable.")

    def stream(self, frames: Iterable[Any], *, like: tuple[int, int, str] | None = None) -> Iterator[Any]:
        """What calling the Upscaler with an iterable does.

        like: (width, height, pixel format) of the frame that decides what the stream becomes; None: the first one. A
            part of a video becomes what the whole does.
        """
        stream = FrameSequence(self, like=like)
        pending: deque[Future[Any]] = deque()
        source = iter(frames)
        failure: Exception | None = None
        try:
            while failure is None:
                try:
                    frame = next(source)
                except StopIteration:
                    break
                except Exception as error:  # frames that came before it are given back first
                    failure = error
                    break
                pending.append(self._submit(stream.admit(frame)))
                while pending and (len(pending) > self._lookahead or pending[0].done()):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
            if failure is not None:
                raise failure
        finally:
            for future in pending:
                future.cancel()
            wait(pending)

    def _submit(self, task: Callable[[], Any]) -> Future[Any]:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="upscale")
            return self._pool.submit(task)

    def enlarge(
        self, luma: np.ndarray, target: tuple[int, int], *, bits: int, states: dict[int, State], chroma: SourceChroma | None = None,
        is_picture: bool = False,
    ) -> Enlarged | None:  # fmt: skip
        """Luma (h, w) of `bits` bits through the network to exactly target (width, height); None if none is needed.

        is_picture: it belongs to no stream, so a model that has a variant for pictures takes that. The rest: see PlaneUpscaler.
        """
        passes = self.choice.plan(luma.shape[1], luma.shape[0], target, is_picture=is_picture)
        return self._planes.enlarge(luma, target, passes, bits=bits, states=states, chroma=chroma) if passes else None

    def open_queue(self) -> UpscaleQueue:
        return HostQueue(self)

    def deliver_surfaces(self, wanted: bool) -> None:
        """Results are always in host memory."""

    def allow_fallback(self, wanted: bool) -> None:
        """There is nothing to fall back from."""

    def restart(self) -> None:
        """The next single frame does not follow on the last one (a source came back): forget what was kept of it."""
        with self._lock:
            self._stream = FrameSequence(self)

    def turn_to(
        self, scale: float, *, size: tuple[int, int] | None = None, form: Form | None = None, condition: Condition | None = None
    ) -> None:
        """Serve another video, to another scale or size perhaps: engines stay as they are, counts start at 0.

        form: "clean" where it has hardly been compressed, "picture" where it is one picture alone; a model that has a form for
            such sources takes that.
        condition: of the source, where it is known; None: the first frame of each stream tells.
        Raises UsageError as the constructor does. Nothing may be in flight.
        """
        self.choice.turn_to(scale, size, form, condition)
        self.restart()
        self.notes = []
        self.num_upscaled = self.num_reused = 0
        self._planes.busy_s = 0.0

    def close(self) -> None:
        """Stop the threads and free the engines. The upscaler can be used again; it then starts afresh."""
        with self._lock:
            pool, self._pool = self._pool, None
            self._stream = FrameSequence(self)
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        self._cache.close()

    def __enter__(self) -> Upscaler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_engine_time(self, seconds: float) -> None:
        """Count time of a network that runs elsewhere."""
        self._planes.add_busy(seconds)

    def count(self, *, reused: bool) -> None:
        """Count one frame given back."""
        with self._lock:
            self.num_upscaled += 1
            self.num_reused += reused
