"""Upscaler: pictures in, larger pictures out. FFmpeg carries everything but luma; a network makes the luma.

A frame becomes a carrier of the target size (streamsr.resample), with its chroma, alpha, tags and side data. Its luma
goes through the network, once or more (streamsr.engines), and to the exact target size, and then into the carrier.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack, overload

import av
import numpy as np

from streamsr.engines import MAX_STREAMS, Chroma, Engine, State, choose_engine, count_threads, describe_model, open_engine, zero_state
from streamsr.engines.tiling import infer_tiled, max_pixels, tile_shape
from streamsr.errors import UsageError
from streamsr.frame import Frame, find_layout
from streamsr.models import RESIZE, Form, ModelSpec, find_models
from streamsr.options import UpscaleKeywords, UpscaleOptions, check_scale
from streamsr.resample import exact_side, planar_format, resize_plane
from streamsr.upscaling.chroma_grid import LINEAR, ChromaResampler, network_grid
from streamsr.upscaling.frame_sequence import Stream, luma_bits
from streamsr.upscaling.recurrence import Enlarged, SourceChroma
from streamsr.upscaling.scale_plan import padded_shape, plan_passes, specs_for
from streamsr.upscaling.source_condition import Condition, estimate


class Upscaler:
    """Upscales video frames and RGB arrays with one model.

    model: a shipped model's name, the path of an ONNX file, or "resize" for the Lanczos baseline; or all options in one.
    scale: of width and height; any number. The network runs at the smallest trained scale that reaches it (several
        times if need be), an exact resample does the rest. The size is rounded to whole pixels, and up to even ones
        where chroma is subsampled, which encoders ask for.
    opener: what opens engines; several upscalers may share theirs.
    keywords: the other fields of UpscaleOptions. size is exactly (width, height) of the output here. The hint "throughput"
        keeps several frames in flight; "latency" gives each frame all cores and gives it back at once.
    Raises UsageError for options that cannot be, EngineError for what is missing.
    """

    def __init__(
        self,
        model: str | Path | UpscaleOptions = "lite",
        scale: float = 2,
        *,
        opener: Callable[..., Engine] = open_engine,
        **keywords: Unpack[UpscaleKeywords],
    ) -> None:
        options = replace(model, **keywords) if isinstance(model, UpscaleOptions) else UpscaleOptions(str(model), scale, **keywords)
        check_scale(options.scale, options.size)
        self.options = options
        self.model = options.model
        self.scale, self.size = options.scale, options.size
        self._is_clean = False  # of the source: it is known to have no compression artefacts
        path = Path(options.model)
        if path.suffix == ".onnx" and path.is_file() and not path.with_suffix(".json").is_file():
            self._specs = [describe_model(path, engine=options.engine)]
        else:
            self._specs = find_models(options.model, look=options.look)
        if options.strength is not None and not self.has_chroma:
            raise UsageError(f"Model {options.model!r} takes no strength: it is not told how soft its source is.")
        self._named = self.model, self._specs
        self._picture_specs: dict[float, list[ModelSpec]] = {}  # what makes single arrays so many times larger
        # an unknown name is an error for "resize" too
        chosen = choose_engine(options.engine, options.device) if self._specs or options.engine != "auto" else RESIZE
        self.engine = chosen if self._specs else RESIZE  # the name of the engine that runs
        has_latency_hint = options.hint == "latency"
        self.concurrency = 1 if has_latency_hint else min(count_threads(options.threads), MAX_STREAMS)  # frames upscaled side by side
        self._opener = opener
        # one more than run side by side: no thread waits while a frame is being encoded (3 % of the time on two cores)
        self._lookahead = 0 if has_latency_hint else self.concurrency + 1
        self._engines: dict[tuple[str, int, int], Engine] = {}
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._stream = Stream(self)
        self._to_network = ChromaResampler(LINEAR)
        self.notes: list[str] = []  # warnings, without repetitions
        self.num_upscaled = 0  # frames given back
        self.num_reused = 0  # of these, how many had the luma of the frame before
        self.engine_seconds = 0.0  # time inside the engine, summed over threads; of frames that stay on a GPU, how long one was on its way

    @property
    def spec(self) -> ModelSpec | None:
        """The model at the scale that is asked for first; None for "resize"."""
        if not self._specs:
            return None
        passes = plan_passes([spec.scale for spec in self._specs], self.scale if self.size is None else 2)
        return next(spec for spec in self._specs if spec.scale == (passes or (self._specs[0].scale,))[0])

    @property
    def specs(self) -> list[ModelSpec]:
        """The model at each scale that it is trained for; [] for "resize"."""
        return list(self._specs)

    @property
    def is_recurrent(self) -> bool:
        """Whether the model carries a state from frame to frame (Note [State] of streamsr.upscaling.frame_sequence)."""
        return any(spec.states for spec in self._specs)

    @property
    def has_chroma(self) -> bool:
        """Whether the model takes chroma, at one of its scales at least."""
        return any(spec.has_chroma for spec in self._specs)

    def condition_of(self, luma: np.ndarray, bits: int) -> Condition:
        """What networks are told about a source with this luma (h, w) in its first frame."""
        found = estimate([luma], bits=bits)
        strength = self.options.strength
        return Condition(found.blur if strength is None else strength, 0.0 if self._is_clean else found.damage)

    @property
    def precision(self) -> str:
        """What the engine computes in: "f32", "bf16", "int8", or "exact" for "resize"."""
        return "exact" if self.spec is None else self._any_engine().precision

    @property
    def device(self) -> str:
        return "cpu" if self.spec is None else self._any_engine().device

    @property
    def reason(self) -> str:
        """What "auto" chose, and why, for people to read."""
        return "Lanczos by FFmpeg's swscale, no network" if self.spec is None else self._any_engine().reason

    def _any_engine(self) -> Engine:
        assert self.spec is not None
        return next(reversed(self._engines.values()), None) or self._engine(self.spec, 8)

    def output_size(self, width: int, height: int, pix_fmt: str = "yuv420p") -> tuple[int, int]:
        """(width, height) of what a stream that starts with such a frame becomes."""
        if self.size is not None:
            return self.size
        layout = find_layout(pix_fmt)
        log2_chroma = (0, 0) if layout is None else layout.log2_chroma
        sides = []
        for side, log2 in zip((width, height), log2_chroma, strict=True):
            target = max(math.floor(side * self.scale + 0.5), 1)
            sides.append(target + target % 2 if log2 else target)
        return sides[0], sides[1]

    def prepare(self, width: int, height: int, pix_fmt: str = "yuv420p") -> None:
        """Load and compile for frames like this now, so that the first frame does not wait."""
        pix_fmt = planar_format(pix_fmt)
        layout = find_layout(pix_fmt)
        assert layout is not None
        bits = luma_bits(layout)
        size = zip((width, height), self.output_size(width, height, pix_fmt), layout.log2_chroma, strict=True)
        target_width, target_height = (exact_side(*side) for side in size)
        for spec in self._plan(width, height, (target_width, target_height)):
            shape = tile_shape(height, width, radius=spec.receptive_field, limit=max_pixels(spec))
            self._engine(spec, bits).prepare(*padded_shape(shape, spec.size_multiple))
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
        arrays given one by one are pictures that have nothing to do with each other: `lite` makes way for `lite-picture`, which
        is made for those. Give the arrays of a video as an iterable.
        Raises EngineError when inference fails, ValueError for pixel formats that have no samples in host memory.
        """
        if isinstance(frame, np.ndarray):
            return Stream(self, is_picture=True).admit(frame)()
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
        stream = Stream(self, like=like)
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

    def _plan(self, width: int, height: int, target: tuple[int, int], *, is_picture: bool = False) -> list[ModelSpec]:
        """The model at each pass from width x height to at least the target; [] where no network is needed."""
        needed, specs = max(target[0] / width, target[1] / height), self._specs
        if is_picture:
            if needed not in self._picture_specs:
                self._picture_specs[needed] = specs_for(self._named[1], needed, "picture")
            specs = self._picture_specs[needed]
        by_scale = {spec.scale: spec for spec in specs}
        return [by_scale[scale] for scale in plan_passes(list(by_scale), needed)]

    def _engine(self, spec: ModelSpec, bits: int) -> Engine:
        with self._lock:
            engine = self._engines.get((spec.name, spec.scale, bits))
            if engine is None:
                options = self.options
                engine = self._opener(
                    spec, bits=bits, engine=self.engine, device=options.device, precision=options.precision, threads=options.threads,
                    hint=options.hint,
                )  # fmt: skip
                self._engines[spec.name, spec.scale, bits] = engine
            return engine

    def enlarge(
        self, luma: np.ndarray, target: tuple[int, int], *, bits: int, states: dict[int, State], chroma: SourceChroma | None = None,
        is_picture: bool = False,
    ) -> Enlarged | None:  # fmt: skip
        """Luma (h, w) of `bits` bits through the network to exactly target (width, height); None if none is needed.

        chroma: of the source, for models that take it; it comes back as it leaves the last pass.
        states: of each pass, replaced by those for the next frame of the stream; {} for a first frame.
        is_picture: it belongs to no stream, so a model that has a form for pictures takes that.
        """
        passes = self._plan(luma.shape[1], luma.shape[0], target, is_picture=is_picture)
        if not passes:
            return None
        planes, grid = (None, None) if chroma is None else (chroma.planes, chroma.grid)
        for number, spec in enumerate(passes):
            engine = self._engine(spec, bits)
            rows, columns = luma.shape
            padded = padded_shape(luma.shape, spec.size_multiple)
            margin = ((0, padded[0] - rows), (0, padded[1] - columns))
            call = None
            if spec.has_chroma and chroma is not None and planes is not None and grid is not None:
                wanted = network_grid(grid, spec.scale)
                samples = self._to_network(planes, grid, wanted, (rows, columns), bits=bits)
                samples, grid = np.pad(samples, ((0, 0), *margin), mode="edge") if padded != luma.shape else samples, wanted
                call = Chroma(samples, np.empty_like(samples, order="C"), (chroma.condition.blur, chroma.condition.damage))
                planes = call.out[:, :rows, :columns]
            if padded != luma.shape:
                luma = np.pad(luma, margin, mode="edge")
            out = np.empty((padded[0] * spec.scale, padded[1] * spec.scale), luma.dtype)
            start = time.perf_counter()
            state = states[number] if number in states else zero_state(spec, *padded)
            states[number] = infer_tiled(engine, luma, out, state, call, radius=spec.receptive_field, limit=max_pixels(spec))
            with self._lock:
                self.engine_seconds += time.perf_counter() - start
            luma = out[: rows * spec.scale, : columns * spec.scale]
            grid = grid and (grid[0].enlarged(spec.scale), grid[1].enlarged(spec.scale))
        if luma.shape != (target[1], target[0]):
            out = np.empty((target[1], target[0]), luma.dtype)
            resize_plane(luma, *target, bits=bits, out=out)
            grid = grid and (grid[0].enlarged(target[1] / luma.shape[0]), grid[1].enlarged(target[0] / luma.shape[1]))
            luma = out
        return Enlarged(luma, planes, grid) if any(spec.has_chroma for spec in passes) else Enlarged(luma)

    def restart(self) -> None:
        """The next single frame does not follow on the last one (a source came back): forget what was kept of it."""
        with self._lock:
            self._stream = Stream(self)

    def turn_to(self, scale: float, *, size: tuple[int, int] | None = None, form: Form | None = None) -> None:
        """Serve another video, to another scale or size perhaps: engines stay as they are, counts start at 0.

        form: "clean" where it has hardly been compressed, "picture" where it is one picture alone; a model that has a form for
            such sources takes that.
        Raises UsageError as the constructor does. Nothing may be in flight.
        """
        check_scale(scale, size)
        self.scale, self.size = scale, size
        self._is_clean = form == "clean"
        named, specs = self._named
        self._specs = specs_for(specs, scale, form)
        self.model = named if self._specs is specs else self._specs[0].name
        self.restart()
        self.notes = []
        self.num_upscaled = self.num_reused = 0
        self.engine_seconds = 0.0

    def close(self) -> None:
        """Stop the threads and free the engines. The upscaler can be used again; it then starts afresh."""
        with self._lock:
            pool, self._pool = self._pool, None
            engines, self._engines = list(self._engines.values()), {}
            self._stream = Stream(self)
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        for engine in engines:
            engine.close()

    def __enter__(self) -> Upscaler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def count(self, *, reused: bool) -> None:
        """Count one frame given back."""
        with self._lock:
            self.num_upscaled += 1
            self.num_reused += reused
