"""DeviceUpscaler: an Upscaler whose frames stay on a GPU from the decoder's surface, or their upload, to the encoder.

Frames that the kernels do not support (alpha, RGB, a target that needs no network) use the CPU path, with only the network
on the device; `notes` says so.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import av
import numpy as np

from ..engines import choose_engine
from ..engines.device_engine import DeviceChroma, DeviceEngine, DeviceMemoryError
from ..engines.handover import DeviceHandover
from ..errors import EngineError
from ..frame import Frame, fetch, find_layout
from ..models import ModelSpec
from ..options import Precision, UpscaleOptions
from ..resample import planar_format
from ..upscaling.scene_cuts import Continuity
from ..upscaling.upscaler import Upscaler
from .device import Device, DeviceArray
from .device_queue import DeviceQueue
from .device_selection import FRAMES_IN_FLIGHT
from .frame_plan import FramePlan, Told, describe_picture, find_reason_for_host, picture_format
from .frame_slot import Rings
from .gpu_stream import GpuStream
from .inflight import FramesInFlight, HandoverHooks
from .kernel_chain import Planes
from .oom_fallback import Rung

_log = logging.getLogger("streamsr.device.device_upscaler")

OpenNetwork = Callable[[ModelSpec, int, tuple[int, int, int]], tuple[DeviceEngine, DeviceHandover | None]]


class DeviceUpscaler(Upscaler):
    """Implements `streamsr.upscaling.frame_backend.FrameBackend` on one GPU.

    open_device: opens it, once it is needed.
    open_network: a model on that device, for luma of so many bits and batches of a shape (n, h, w), and what hands over to
        another engine in the middle, where there is such.
    surfaces: results are surfaces in the GPU's memory wherever they can be, for NVENC.
    Raises what Upscaler raises.
    """

    builds_for_minutes = True
    is_launched = True

    def __init__(self, options: UpscaleOptions, *, open_device: Callable[[], Device], open_network: OpenNetwork) -> None:
        super().__init__(options)
        has_latency_hint = options.hint == "latency"
        num_slots = options.frames_in_flight or (1 if has_latency_hint else FRAMES_IN_FLIGHT)
        self._rung = Rung(num_slots, 1 if self.is_recurrent or has_latency_hint else options.batch)
        self._open_device, self._open_network = open_device, open_network
        self._gpu: Device | None = None
        self._networks: dict[tuple[str, int, int], DeviceEngine] = {}  # by name, scale and bits: videos may take other forms of a model
        self._handovers: dict[tuple[str, int, int], DeviceHandover] = {}
        self._retired: list[DeviceEngine] = []  # engines that another one took over from, while anything runs on them
        self._flights: list[FramesInFlight] = []
        self._single: GpuStream | None = None  # of frames that come one by one
        self._flight_words = ""
        self._rings: dict[tuple[Any, ...], Rings] = {}  # by what they hold
        self.surfaces = False
        self._fallen_back = ""  # why the CPU goes on
        self.may_fall_back = False  # to the CPU, where the GPU cannot: the user did not ask for the GPU

    @property
    def gpu(self) -> Device:
        """The device; opened now, if it was not. Raises EngineError where it cannot be."""
        if self._gpu is None:
            self._gpu = self._open_device()
        return self._gpu

    @property
    def device(self) -> str:
        return self.options.device

    @property
    def precision(self) -> str:
        if self.spec is None:
            return "exact"
        networks = [] if self._fallen_back else list(self._networks.values())  # at once: another thread may open one meanwhile
        return networks[-1].precision if networks else super().precision

    @property
    def reason(self) -> str:
        if self._fallen_back:
            return f"{super().reason}; {self._fallen_back}"
        networks = list(self._networks.values())
        if not networks:
            return super().reason if self._cache.engines or self.spec is None else self.options.device
        return f"{networks[-1].reason}; {self._flight_words or self._rung.words}"

    def network(self, spec: ModelSpec, bits: int, shape: tuple[int, int, int]) -> DeviceEngine:
        """The model at one scale on the device, for luma of so many bits; shape: the first that it will see."""
        key = (spec.name, spec.scale, bits)
        if key not in self._networks:
            self._networks[key], handover = self._open_network(spec, bits, shape)
            if handover is not None:
                self._handovers[key] = handover
        return self._networks[key]

    def prepare(self, width: int, height: int, pix_fmt: str = "yuv420p") -> None:
        pix_fmt = planar_format(pix_fmt)
        layout = find_layout(pix_fmt)
        assert layout is not None
        size = self.output_size(width, height, pix_fmt)
        passes = self.choice.plan(width, height, size)
        if find_reason_for_host(layout, passes) is not None or not passes:
            return super().prepare(width, height, pix_fmt)
        first = width, height
        for spec in passes:
            multiple = spec.size_multiple
            shape = (self._rung.batch, height + -height % multiple, width + -width % multiple)
            try:
                self.network(spec, layout.bits, shape).open_lane(*shape).close()
            except DeviceMemoryError:  # a flight then finds out what does fit
                continue
            except EngineError as error:
                if not self.may_fall_back:
                    raise
                self.fall_back(error)
                return super().prepare(first[0], first[1], pix_fmt)
            width, height = width * spec.scale, height * spec.scale
        return None

    def __call__(self, frame: Any) -> Any:
        if isinstance(frame, (av.VideoFrame, Frame)):
            video = _video(frame)
            if self._single is None:
                self._single = GpuStream(self, (video.width, video.height, picture_format(video)), Rung(1))
            results = [*self._single.put(video), *self._single.drain()]
            assert len(results) == 1
            return Frame(results[0]) if isinstance(frame, Frame) else results[0]
        return super().__call__(frame)

    def stream(self, frames: Iterable[Any], *, like: tuple[int, int, str] | None = None) -> Iterator[Any]:
        """See `Upscaler.stream`. Arrays among the frames go through host memory."""
        source = iter(frames)
        first = next(source, None)
        if first is None:
            return
        frames = itertools.chain([first], source)
        if isinstance(first, np.ndarray):
            yield from super().stream(frames, like=like)
            return
        video = _video(first)
        width, height, pix_fmt = like or (video.width, video.height, picture_format(video))
        if self.describe(video, self.output_size(width, height, planar_format(pix_fmt))) is None:
            yield from super().stream(map(_fetched, frames), like=like)
            return
        kind = Frame if isinstance(first, Frame) else _same
        run = GpuStream(self, (width, height, pix_fmt), self._rung)
        try:
            failure: Exception | None = None
            while failure is None:
                try:
                    frame = next(frames, None)  # type: ignore[call-overload]
                except Exception as error:  # frames that came before it are given back first
                    failure = error
                    break
                if frame is None:
                    break
                yield from map(kind, run.put(_video(frame)))
            yield from map(kind, run.drain())
            if failure is not None:
                raise failure
        finally:
            run.close()

    def open_queue(self) -> DeviceQueue:
        return DeviceQueue(self)

    def deliver_surfaces(self, wanted: bool) -> None:
        self.surfaces = wanted

    def allow_fallback(self, wanted: bool) -> None:
        self.may_fall_back = wanted

    def open_course(self, first: av.VideoFrame) -> GpuStream:
        """A stream of frames like this one, for whoever puts each in and takes it out at a time of his own; close it."""
        return GpuStream(self, (first.width, first.height, picture_format(first)), self._rung)

    def restart(self) -> None:
        if self._single is not None:
            self._single.close()
            self._single = None
        super().restart()

    def close(self) -> None:
        closers = [self.restart, *(handover.close for handover in self._handovers.values())]
        closers += [network.close for network in (*self._networks.values(), *self._retired)]
        self._handovers, self._networks, self._retired, self._rings = {}, {}, [], {}
        if self._gpu is not None:
            closers.append(self._gpu.close)
            self._gpu = None
        for close in closers:
            try:
                close()
            except EngineError as error:  # a GPU that failed fails again here, and what came first is the error to tell
                _log.debug("closing on %s: %s", self.device, error)
        super().close()

    def fall_back(self, error: EngineError) -> None:
        """Continue on the CPU, with a note that says why."""
        words = error.message.rstrip(".")
        self.note(f"{words}: the CPU goes on")
        self.may_fall_back, self._fallen_back = False, f"{words.partition(' (')[0]}: the CPU goes on"
        self.options = replace(self.options, device="cpu", engine="auto", precision=_on_cpu(self.options.precision))
        self.engine = choose_engine("auto", "cpu")
        self._cache.name, self._cache.options = self.engine, self.options

    def note(self, words: str) -> None:
        if words not in self.notes:
            self.notes.append(words)

    def describe(self, video: av.VideoFrame, size: tuple[int, int], told: Told = (0.0, 0.0)) -> FramePlan | None:
        """Kernel parameters for frames like this; None if they go through host memory."""
        layout = find_layout(picture_format(video))
        assert layout is not None
        passes = self.choice.plan(video.width, video.height, size)
        why = find_reason_for_host(layout, passes)
        if why is None and passes and not self._fallen_back:
            return describe_picture(video, size, passes, told)
        if why is not None:
            self.note(f"{why}: only the network runs on {self.options.device}, FFmpeg does the rest on the CPU")
        elif self.choice.specs and not passes:
            self.note(f"{video.width}x{video.height} to {size[0]}x{size[1]} needs no network: FFmpeg scales on the CPU")
        return None

    def fly(self, picture: FramePlan, rung: Rung, continuity: Continuity | None) -> FramesInFlight:
        engines = [self.network(each.spec, picture.bits, (rung.batch, *each.padded)) for each in picture.passes]
        largest = min(engine.max_batch for engine in engines)
        if rung.batch > largest:
            self.note(f"batches of {rung.batch}: {engines[0].name} takes {largest} at most")
            rung = Rung(rung.num_slots, largest, rung.limit)

        def succeed(
            number: int, luma: DeviceArray, out: DeviceArray, state: Planes, following: Planes, chroma: DeviceChroma | None, *, stream: int
        ) -> DeviceEngine | None:  # fmt: skip
            spec = picture.passes[number].spec
            key = (spec.name, spec.scale, picture.bits)
            handover = self._handovers.get(key)
            successor = None if handover is None else handover.check(luma, out, state, following, chroma, stream=stream)
            if successor is not None:
                self._retired.append(self._networks[key])
                self._networks[key] = successor
            return successor

        flight = FramesInFlight(
            self.gpu, picture, engines, rung=rung, rings=self._rings_of(picture), continuity=continuity, tell=self.note,
            handover=HandoverHooks(succeed, self._retire) if self._handovers else None,
        )  # fmt: skip
        self._flights.append(flight)
        return flight

    def _retire(self) -> None:
        """Close the engines that nothing runs on any more: their weights, and what torch keeps for itself, are the device's again."""
        used = [engine for flight in self._flights for engine in flight.engines]
        for engine in [engine for engine in self._retired if not any(engine is other for other in used)]:
            self._retired.remove(engine)
            engine.close()

    def _rings_of(self, picture: FramePlan) -> Rings:
        """They outlive a flight: the encoder goes on, whatever becomes of the engine or of what fits into the memory."""
        key = (picture.size, picture.layout.name, self.surfaces)
        if key not in self._rings:
            self._rings[key] = Rings(self.gpu, picture, surfaces=self.surfaces)
        return self._rings[key]

    def landed(self, flight: FramesInFlight) -> None:
        """A flight ends; its outcome, for `reason`."""
        self._flights.remove(flight)
        graphs = f"no CUDA graphs ({flight.uncaptured})" if flight.uncaptured else "CUDA graphs"
        self._flight_words = f"{flight.rung.words}, {graphs}"


def _on_cpu(precision: Precision) -> Precision:
    """A precision that was asked for, where the CPU has it."""
    return "auto" if precision == "f16" else precision


def _video(frame: Any) -> av.VideoFrame:
    if isinstance(frame, np.ndarray):
        raise TypeError("Cannot upscale an array among frames; give av.VideoFrames or Frames.")
    video: av.VideoFrame = frame.video if isinstance(frame, Frame) else frame
    return video


def _fetched(frame: Any) -> Any:
    return frame if isinstance(frame, np.ndarray) else fetch(_video(frame))


def _same(video: av.VideoFrame) -> av.VideoFrame:
    return video
