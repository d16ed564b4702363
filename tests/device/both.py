"""The same frames through the CPU and through a simulated GPU, and the comparison."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from networks import SimNetwork
from sim_memory import bare
from simulation import SimDevice

from streamsr import Upscaler
from streamsr.device.device_upscaler import DeviceUpscaler
from streamsr.frame import SURFACES, Frame, reformat
from streamsr.libav import picture_of
from streamsr.options import UpscaleOptions
from streamsr.siting import find_chroma_location


def make_frames(num: int, *, size: tuple[int, int] = (64, 48), pix_fmt: str = "yuv420p", seed: int = 0) -> list[av.VideoFrame]:
    """Smooth noise that drifts, at irregular times."""
    rng = np.random.default_rng(seed)
    frames = []
    base = rng.integers(0, 256, (size[1] * 2, size[0] * 2))
    for number in range(num):
        video = av.VideoFrame(*size, pix_fmt)
        frame = Frame(video)
        for index, plane in enumerate(frame.planes):
            shifted = np.roll(base, (number + index, 2 * number), (0, 1))[: plane.shape[0], : plane.shape[1]]
            plane[:] = shifted.astype(plane.dtype) << (frame.layout.bits - 8)
        video.pts, video.duration, video.time_base = number * 3 + number // 2, 3, Fraction(1, 90)
        video.color_primaries, video.color_trc, video.colorspace, video.color_range = 9, 16, 9, 1
        frames.append(video)
    return frames


class Handover:
    """Stands for `streamsr.engines.handover.DeviceHandover`: a successor of another type takes over after some frames."""

    def __init__(self, networks: list[SimNetwork], successor: tuple[int, Any]) -> None:
        self.networks, (self.after, self.dtype) = networks, successor
        self.num_checks = 0

    def check(
        self, luma: np.ndarray, out: np.ndarray, state: Any = (), following: Any = (), chroma: Any = None, *, stream: int
    ) -> SimNetwork | None:  # fmt: skip
        self.num_checks += 1
        if self.num_checks != self.after:
            return None
        first = self.networks[0]
        first.sim.synchronise(first.sim.record(first.sim.stream_of(stream)))
        assert len(state) == len(following) == len(first.states)
        assert int(np.rint(bare(luma).astype(np.float32) * 255).sum()) in first.seen, "not a frame that ran"
        self.networks.append(SimNetwork(first.spec, first.sim, bits=first.bits, dtype=self.dtype))
        return self.networks[-1]

    def close(self) -> None: ...


def on_device(model: Path | str, scale: float = 2, *, sim: SimDevice | None = None, dtype: Any = "float32", broken_at: int | None = None,
              successor: tuple[int, Any] | None = None, **options: Any) -> tuple[DeviceUpscaler, SimDevice, list[SimNetwork]]:  # fmt: skip
    sim = sim or SimDevice()
    networks: list[SimNetwork] = []

    def open_network(spec: Any, bits: int, shape: tuple[int, int, int]) -> tuple[SimNetwork, Any]:
        networks.append(SimNetwork(spec, sim, bits=bits, dtype=dtype, broken_at=broken_at))
        return networks[-1], None if successor is None else Handover(networks, successor)

    upscaler = DeviceUpscaler(
        UpscaleOptions(str(model), scale, engine="openvino", precision="f32", threads=1, **options),
        open_device=lambda: sim, open_network=open_network,
    )  # fmt: skip
    return upscaler, sim, networks


def on_cpu(model: Path | str, scale: float, frames: list[av.VideoFrame], **options: Any) -> list[av.VideoFrame]:
    with Upscaler(model, scale, engine="openvino", precision="f32", threads=1, **options) as upscaler:
        return list(upscaler(iter(frames)))


def planar(video: av.VideoFrame) -> av.VideoFrame:
    """A surface's samples as planes; what it says goes along."""
    if video.format.name not in SURFACES:
        return video
    made = reformat(video, SURFACES[video.format.name])
    made.pts, made.duration, made.time_base, made.pict_type = video.pts, video.duration, video.time_base, video.pict_type
    said, given = picture_of(made), picture_of(video)
    said.chroma_location, said.sample_aspect_ratio = given.chroma_location, given.sample_aspect_ratio
    return made


def shape_of(video: av.VideoFrame) -> tuple[str, int, int]:
    """What PyAV does not expose: where chroma lies, and the shape of a pixel."""
    sar = picture_of(video).sample_aspect_ratio
    return find_chroma_location(video), sar.num, sar.den


WORDS = ("pts", "duration", "time_base", "width", "height", "colorspace", "color_range", "color_primaries", "color_trc", "pict_type")


def assert_same(results: list[av.VideoFrame], wanted: list[av.VideoFrame]) -> None:
    assert len(results) == len(wanted)
    results = [planar(result) for result in results]
    for number, (result, other) in enumerate(zip(results, wanted, strict=True)):
        for name in WORDS:
            assert getattr(result, name) == getattr(other, name), (number, name)
        assert shape_of(result) == shape_of(other), number
        assert result.format.name == other.format.name
        for index, (plane, reference) in enumerate(zip(Frame(result).planes, Frame(other).planes, strict=True)):
            assert np.array_equal(plane, reference), (number, index)


def stills(num: int) -> list[av.VideoFrame]:
    """Two scenes, each with frames that are equal to the one before."""
    frames = make_frames(num)
    other = make_frames(num, seed=9)
    for number in range(num):
        source = Frame((frames if number < num // 2 else other)[number - number % 3])
        for plane, samples in zip(Frame(frames[number]).planes, source.planes, strict=True):
            plane[:] = samples
    Frame(frames[1]).planes[1][:] = 77  # the same luma, other chroma
    return frames
