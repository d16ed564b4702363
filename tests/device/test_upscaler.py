"""The pipeline on a simulated GPU gives what the one on the CPU gives, bit for bit, whatever order its streams run in."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from make_model import make_network, write_model
from make_recurrent import write_recurrent
from networks import SimNetwork, count_words
from simulation import SimDevice
from surfaces import Surface

from streamsr import Upscaler
from streamsr.device.upscaler import DeviceUpscaler
from streamsr.errors import EngineError, UsageError
from streamsr.frame import Frame


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(make_network(channels=4, layers=3), tmp_path_factory.mktemp("model"), int8=False)


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recurrent(tmp_path_factory.mktemp("recurrent"))


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

    def check(self, luma: np.ndarray, out: np.ndarray, state: Any = (), following: Any = (), *, stream: int) -> SimNetwork | None:
        self.num_checks += 1
        if self.num_checks != self.after:
            return None
        first = self.networks[0]
        first.sim.synchronise(first.sim.record(first.sim.stream_of(stream)))
        assert len(state) == len(following) == len(first.states)
        assert int(np.rint(luma.astype(np.float32) * 255).sum()) in first.seen, "not a frame that ran"
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
        model, scale, open_device=lambda: sim, open_network=open_network, engine="openvino", precision="f32", threads=1, **options
    )  # fmt: skip
    return upscaler, sim, networks


def on_cpu(model: Path | str, scale: float, frames: list[av.VideoFrame], **options: Any) -> list[av.VideoFrame]:
    with Upscaler(model, scale, engine="openvino", precision="f32", threads=1, **options) as upscaler:
        return list(upscaler(iter(frames)))


WORDS = ("pts", "duration", "time_base", "width", "height", "colorspace", "color_range", "color_primaries", "color_trc", "pict_type")


def assert_same(results: list[av.VideoFrame], wanted: list[av.VideoFrame]) -> None:
    assert len(results) == len(wanted)
    for number, (result, other) in enumerate(zip(results, wanted, strict=True)):
        for name in WORDS:
            assert getattr(result, name) == getattr(other, name), (number, name)
        assert result.format.name == other.format.name
        for index, (plane, reference) in enumerate(zip(Frame(result).planes, Frame(other).planes, strict=True)):
            assert np.array_equal(plane, reference), (number, index)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "yuv422p", "yuv444p12le", "gray"])
@pytest.mark.parametrize("frames_in_flight", [1, 3])
def test_pictures_are_those_of_the_cpu(model: Path, pix_fmt: str, frames_in_flight: int) -> None:
    frames = make_frames(9, pix_fmt=pix_fmt)
    upscaler, sim, _ = on_device(model, frames_in_flight=frames_in_flight)
    with upscaler:
        assert_same(list(upscaler(iter(frames))), on_cpu(model, 2, frames))
        assert upscaler.num_upscaled == 9
    assert sim.is_closed
    assert sim.used == 0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("frames_in_flight", [2, 3, 4])
def test_any_order_of_the_streams_gives_the_same(recurrent: Path, seed: int, frames_in_flight: int) -> None:
    frames = make_frames(12)
    upscaler, _, networks = on_device(recurrent, sim=SimDevice(seed=seed), frames_in_flight=frames_in_flight)
    with upscaler:
        assert_same(list(upscaler(iter(frames))), on_cpu(recurrent, 2, frames))
    assert networks[0].seen == [int(Frame(frame).luma.sum(dtype=np.int64)) for frame in frames], "a recurrent network saw them out of order"


@pytest.mark.parametrize("size", [(63, 47), (64, 47), (61, 48)])
@pytest.mark.parametrize("scale", [2, 1.5, 3, 4])
def test_odd_sizes_and_other_scales(model: Path, size: tuple[int, int], scale: float) -> None:
    frames = make_frames(4, size=size)
    upscaler, _, _ = on_device(model, scale)
    with upscaler:
        assert_same(list(upscaler(iter(frames))), on_cpu(model, scale, frames))


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


@pytest.mark.parametrize("frames_in_flight", [1, 2, 3])
def test_frames_that_repeat_and_scenes_that_change(recurrent: Path, frames_in_flight: int) -> None:
    frames = stills(14)
    upscaler, _, networks = on_device(recurrent, frames_in_flight=frames_in_flight)
    with upscaler:
        assert_same(list(upscaler(iter(frames))), on_cpu(recurrent, 2, frames))
        assert upscaler.num_reused == 14 - len(networks[0].seen) > 6


def test_a_size_that_changes_in_the_middle(recurrent: Path) -> None:
    frames = [*make_frames(4), *make_frames(4, size=(40, 72)), *make_frames(3)]
    for number, frame in enumerate(frames):
        frame.pts = number
    upscaler, _, _ = on_device(recurrent)
    with upscaler:
        assert_same(list(upscaler(iter(frames))), on_cpu(recurrent, 2, frames))


def test_a_size_that_needs_no_network_in_the_middle(model: Path) -> None:
    frames = [*make_frames(3), *make_frames(3, size=(128, 96)), *make_frames(2)]
    upscaler, _, _ = on_device(model)
    with upscaler:
        assert_same(list(upscaler(iter(frames))), on_cpu(model, 2, frames))
        assert any("needs no network" in words for words in upscaler.notes)


@pytest.mark.parametrize("pix_fmt", ["rgb24", "yuva420p", "nv12", "yuyv422"])
def test_pictures_that_the_kernels_do_not_take(model: Path, pix_fmt: str) -> None:
    frames = [frame.reformat(format=pix_fmt) for frame in make_frames(4)]
    upscaler, _, networks = on_device(model, device="cpu")
    with upscaler:
        assert_same(list(upscaler(iter(frames))), on_cpu(model, 2, frames))
        assert bool(networks) == (pix_fmt in ("nv12", "yuyv422"))
        assert bool(upscaler.notes) == (not networks)


@pytest.mark.parametrize("num", [1, 2, 7, 8])
@pytest.mark.parametrize("batch", [2, 3])
def test_batches_and_what_is_left_over(model: Path, num: int, batch: int) -> None:
    frames = make_frames(num)
    upscaler, sim, _ = on_device(model, batch=batch)
    with upscaler:
        assert_same(list(upscaler(iter(frames))), on_cpu(model, 2, frames))
    assert count_words(sim.log)["network"] == -(-num // batch)


def test_a_recurrent_network_takes_no_batches(recurrent: Path) -> None:
    upscaler, sim, _ = on_device(recurrent, batch=4)
    with upscaler:
        assert_same(list(upscaler(iter(make_frames(5)))), on_cpu(recurrent, 2, make_frames(5)))
    assert count_words(sim.log)["network"] == 5


@pytest.mark.parametrize("recurrence", [False, True])
def test_each_frame_is_one_graph_after_the_first(model: Path, recurrent: Path, recurrence: bool) -> None:
    upscaler, sim, _ = on_device(recurrent if recurrence else model, frames_in_flight=3)
    with upscaler:
        list(upscaler(iter(make_frames(20))))
        assert "CUDA graphs" in upscaler.reason
    # a slot runs once before it is captured; a state goes in two directions
    assert sim.num_graphs == (6 if recurrence else 3)
    assert sim.num_launched == 17


def test_a_device_without_graphs_says_so(model: Path) -> None:
    upscaler, sim, _ = on_device(model, sim=SimDevice(capturable=False))
    with upscaler:
        assert_same(list(upscaler(iter(make_frames(8)))), on_cpu(model, 2, make_frames(8)))
        assert "captures nothing" in upscaler.reason
    assert sim.num_launched == 0


def test_each_slot_has_a_stream_and_no_more(model: Path) -> None:
    upscaler, sim, _ = on_device(model, frames_in_flight=3)
    with upscaler:
        list(upscaler(iter(make_frames(9))))
    networks = [stream for stream, what in sim.log if what == "network"]
    assert networks == [1, 2, 3] * 3
    assert len(sim.streams) == 3


@pytest.mark.parametrize("frames_in_flight", [1, 2, 3])
def test_no_more_frames_are_in_flight_than_asked_for(model: Path, frames_in_flight: int) -> None:
    given = 0

    def source() -> Iterator[av.VideoFrame]:
        nonlocal given
        for frame in make_frames(12):
            given += 1
            yield frame

    upscaler, _, _ = on_device(model, frames_in_flight=frames_in_flight)
    most = 0
    with upscaler:
        for done, _ in enumerate(upscaler(source())):
            most = max(most, given - done - 1)
    assert 0 < most <= frames_in_flight or frames_in_flight == 1


def test_an_error_of_the_source_comes_after_the_frames_before_it(model: Path) -> None:
    def source() -> Iterator[av.VideoFrame]:
        yield from make_frames(5)
        raise OSError("the disk is gone")

    upscaler, sim, _ = on_device(model)
    results: list[av.VideoFrame] = []
    with upscaler, pytest.raises(OSError, match="the disk is gone"):
        results.extend(upscaler(source()))
    assert_same(results, on_cpu(model, 2, make_frames(5)))
    assert sim.used == 0


@pytest.mark.parametrize("broken_at", [0, 1, 4])
def test_an_error_of_the_network_comes_after_the_frames_before_it(recurrent: Path, broken_at: int) -> None:
    upscaler, sim, _ = on_device(recurrent, broken_at=broken_at, sim=SimDevice(capturable=False))
    results: list[av.VideoFrame] = []
    with upscaler, pytest.raises(EngineError, match="network failed"):
        results.extend(upscaler(iter(make_frames(8))))
    assert_same(results, on_cpu(recurrent, 2, make_frames(8))[:broken_at])
    assert sim.used == 0


def test_a_consumer_that_stops_leaves_nothing_on_the_device(model: Path) -> None:
    upscaler, sim, _ = on_device(model)
    with upscaler:
        stream = upscaler.stream(iter(make_frames(9)))
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert not any(each.queue for each in sim.streams)
    assert sim.used == 0


def test_frames_one_by_one_are_one_stream(recurrent: Path) -> None:
    frames = make_frames(6)
    upscaler, sim, _ = on_device(recurrent, hint="latency")
    with upscaler:
        assert_same([upscaler(frame) for frame in frames], on_cpu(recurrent, 2, frames))
        upscaler.restart()
        assert_same([upscaler(frame) for frame in frames], on_cpu(recurrent, 2, frames))
    assert sim.used == 0


def test_numbers_that_cannot_be_are_refused(model: Path) -> None:
    for options in ({"frames_in_flight": 0}, {"frames_in_flight": 5}, {"batch": 0}):
        with pytest.raises(UsageError, match=next(iter(options))):
            on_device(model, **options)


def dressed(frames: list[av.VideoFrame]) -> list[Any]:
    return [Surface(frame) for frame in frames]


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
@pytest.mark.parametrize("recurrence", [False, True])
def test_surfaces_of_a_decoder_never_come_to_the_host(model: Path, recurrent: Path, pix_fmt: str, recurrence: bool) -> None:
    path, frames = (recurrent if recurrence else model), make_frames(14, pix_fmt=pix_fmt)
    for number in (4, 5, 11):
        for plane, samples in zip(Frame(frames[number]).planes, Frame(frames[number - 1]).planes, strict=True):
            plane[:] = samples
    for plane in Frame(frames[8]).planes:
        plane[:] = plane[::-1]  # another scene
    wanted = on_cpu(path, 2, frames)
    upscaler, sim, networks = on_device(path)
    with upscaler:
        assert_same(list(upscaler.stream(iter(dressed(frames)))), wanted)
        assert len(networks[0].seen) == (11 if recurrence else 14), "frames that repeat"
    words = count_words(sim.log)
    assert words["deinterleave"] == 14
    assert words["upload"] == 0


def test_surfaces_and_host_frames_in_one_stream(recurrent: Path) -> None:
    frames = make_frames(9)
    upscaler, _, _ = on_device(recurrent)
    mixed = [*dressed(frames[:4]), *frames[4:6], *dressed(frames[6:])]
    with upscaler:
        results = list(upscaler.stream(iter(mixed)))
    assert [frame.pts for frame in results] == [frame.pts for frame in frames]


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_results_that_stay_on_the_gpu_are_the_same(model: Path, pix_fmt: str) -> None:
    frames = make_frames(8, pix_fmt=pix_fmt)
    upscaler, sim, _ = on_device(model)
    upscaler.surfaces = True
    with upscaler:
        results = list(upscaler(iter(frames)))
    assert_same(results, on_cpu(model, 2, frames))
    words = count_words(sim.log)
    assert (words["interleave"], words["download"]) == (8, 0)


def test_a_frame_with_captions_leaves_by_the_host(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamsr.device import slot, words

    frames = make_frames(6)
    for module in (slot, words):
        monkeypatch.setattr(module, "needs_host", lambda video: video.pts == frames[2].pts)
    upscaler, sim, _ = on_device(model)
    upscaler.surfaces = True
    with upscaler:
        assert_same(list(upscaler(iter(frames))), on_cpu(model, 2, frames))
    assert count_words(sim.log)["interleave"] == 5


def test_a_format_that_no_surface_has_leaves_by_the_host(model: Path) -> None:
    frames = make_frames(4, pix_fmt="yuv422p")
    upscaler, sim, _ = on_device(model)
    upscaler.surfaces = True
    with upscaler:
        assert_same(list(upscaler(iter(frames))), on_cpu(model, 2, frames))
    assert count_words(sim.log)["interleave"] == 0


def failing(kind: str, *calls: int) -> SimDevice:
    return SimDevice(failures={kind: set(calls)})


@pytest.mark.parametrize(
    "sim",
    [failing("allocate", 5), failing("allocate", 20), failing("lane", 2), failing("lane", 0), failing("enqueue", 0), failing("enqueue", 2),
     failing("upload", 7), failing("launch", 0), failing("launch", 1), failing("launch", 4), failing("capture", 0), failing("capture", 1),
     failing("launch", 1, 2), failing("launch", 0, 3, 5), failing("pin", 11)],
    ids=lambda sim: "-".join(f"{kind} {sorted(calls)}" for kind, calls in sim.failures.items()),
)  # fmt: skip
@pytest.mark.parametrize("recurrence", [False, True])
def test_memory_that_runs_out_costs_no_frame(model: Path, recurrent: Path, recurrence: bool, sim: SimDevice) -> None:
    sim = SimDevice(failures=sim.failures, seed=3)
    path, frames = (recurrent if recurrence else model), stills(24)
    upscaler, _, _ = on_device(path, sim=sim)
    with upscaler:
        assert_same(list(upscaler(iter(frames))), on_cpu(path, 2, frames))
        assert upscaler.num_upscaled == 24
        ((kind, calls),) = sim.failures.items()
        assert sim.calls[kind] > max(calls), "nothing failed"
        assert any("too little memory for 3 frames in flight; it goes on with 2 frames" in words for words in upscaler.notes)
    assert sim.used == 0


def test_batches_get_smaller_before_frames_in_flight_get_fewer(model: Path) -> None:
    frames = make_frames(11)
    upscaler, _, _ = on_device(model, sim=failing("enqueue", 1, 2), batch=4)
    with upscaler:
        assert_same(list(upscaler(iter(frames))), on_cpu(model, 2, frames))
        assert "batches of 4" in upscaler.notes[0]
        assert "batches of 2" in upscaler.notes[0]


def size_of_one(path: Path, frames: list[av.VideoFrame]) -> int:
    upscaler, sim, _ = on_device(path, frames_in_flight=1)
    with upscaler:
        list(upscaler(iter(frames)))
    return sim.peak


@pytest.mark.parametrize("recurrence", [False, True])
@pytest.mark.parametrize("share", [0.95, 0.75])
def test_tiles_where_one_frame_does_not_fit(model: Path, recurrent: Path, recurrence: bool, share: float) -> None:
    path, frames = (recurrent if recurrence else model), make_frames(6, size=(160, 120))
    sim = SimDevice(budget=int(size_of_one(path, frames) * share))
    upscaler, _, networks = on_device(path, sim=sim)
    with upscaler:
        assert_same(list(upscaler(iter(frames))), on_cpu(path, 2, frames))
        assert "tiles of at most" in upscaler.notes[-1]
    assert any(lane.shape[1:] != (120, 160) for lane in networks[0].lanes)


def test_a_device_that_is_too_small_for_any_tile_says_what_is_free(model: Path) -> None:
    upscaler, sim, _ = on_device(model, sim=SimDevice(budget=30_000))
    with upscaler, pytest.raises(EngineError) as caught:
        list(upscaler(iter(make_frames(3))))
    assert "too little memory for one frame of 64x48" in caught.value.message
    assert "--device cpu" in (caught.value.hint or "")
    assert caught.value.exit_code == 5
    del caught  # its traceback keeps what it came from
    gc.collect()
    assert sim.used == 0


def test_half_precision_planes_keep_8_and_10_bits(model: Path) -> None:
    for pix_fmt in ("yuv420p", "yuv420p10le"):
        frames = make_frames(3, pix_fmt=pix_fmt)
        upscaler, _, _ = on_device(model, dtype="float16")
        with upscaler:
            for result, wanted in zip(upscaler(iter(frames)), on_cpu(model, 2, frames), strict=True):
                difference = np.abs(Frame(result).luma.astype(int) - Frame(wanted).luma)
                assert difference.max() <= 1


def test_the_simulation_sees_a_missing_event(recurrent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simulation import HazardError

    monkeypatch.setattr(SimDevice, "wait", lambda self, stream, event: None)
    upscaler, _, _ = on_device(recurrent)
    with pytest.raises(HazardError):
        list(upscaler(iter(make_frames(5))))


@pytest.mark.parametrize("recurrence", [False, True])
@pytest.mark.parametrize("before", ["float32", "float16"])
def test_another_engine_takes_over_between_two_frames(model: Path, recurrent: Path, recurrence: bool, before: str) -> None:
    path, frames = (recurrent if recurrence else model), make_frames(12)
    upscaler, sim, networks = on_device(path, dtype=before, successor=(5, "float32"))
    with upscaler:
        results, wanted = list(upscaler(iter(frames))), on_cpu(path, 2, frames)
    assert len(networks) == 2
    assert len(networks[0].seen) == 5
    seen, sums = [*networks[0].seen, *networks[1].seen], [int(Frame(frame).luma.sum(dtype=np.int64)) for frame in frames]
    assert seen == sums if recurrence else sorted(seen) == sorted(sums)
    assert all(network.is_closed for network in networks)
    if before == "float32":
        assert_same(results, wanted)
    assert [frame.pts for frame in results] == [frame.pts for frame in frames]
    del networks[:]
    assert sim.used == 0
