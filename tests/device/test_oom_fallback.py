"""A simulated GPU whose memory runs out: smaller batches, fewer frames in flight, tiles, and no frame lost."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from both import assert_same, make_frames, on_cpu, on_device, stills
from machine import Machine
from media import make_clip
from networks import SimNetwork
from simulation import SimDevice

import streamsr as library
from streamsr.device.device_upscaler import DeviceUpscaler
from streamsr.errors import EngineError
from streamsr.io.source import Source
from streamsr.jobs.eligibility import make_plan
from streamsr.jobs.job_spec import Spec
from streamsr.jobs.segment_plan import Segment


def failing(kind: str, *calls: int) -> SimDevice:
    return SimDevice(failures={kind: set(calls)})


@pytest.mark.parametrize(
    "sim",
    [failing("allocate", 5), failing("allocate", 20), failing("lane", 0), failing("enqueue", 0), failing("enqueue", 2),
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


def fallen(model: Path, frames: list[av.VideoFrame], sim: SimDevice | None) -> tuple[list[av.VideoFrame], DeviceUpscaler]:
    upscaler, _, _ = on_device(model, sim=sim)
    if sim is None:

        def refuse() -> SimDevice:
            raise EngineError("cuda:0: the driver is older than the CUDA that CuPy was built for.")

        upscaler._open_device = refuse  # type: ignore[assignment]
    upscaler.may_fall_back = True
    with upscaler:
        return list(upscaler(iter(frames))), upscaler


@pytest.mark.parametrize("fails_from", [0, 3, 40])
def test_the_cpu_goes_on_where_nothing_fits_and_the_user_left_the_choice(model: Path, fails_from: int) -> None:
    frames = make_frames(10)
    sim = SimDevice(failures={"enqueue": set(range(fails_from, 1000)), "allocate": set() if fails_from else set(range(1000))})
    results, upscaler = fallen(model, frames, sim)
    assert_same(results, on_cpu(model, 2, frames))
    if fails_from < 10:
        assert upscaler.notes[-1].endswith("the CPU goes on")
        assert upscaler.device == "cpu"


def test_the_cpu_goes_on_where_the_gpu_does_not_start(model: Path) -> None:
    frames = make_frames(4)
    results, upscaler = fallen(model, frames, None)
    assert_same(results, on_cpu(model, 2, frames))
    assert upscaler.notes == ["cuda:0: the driver is older than the CUDA that CuPy was built for: the CPU goes on"]


def test_what_a_broken_gpu_says_at_the_end_hides_nothing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing the engines needs the GPU, too."""

    def fail(network: SimNetwork) -> None:
        raise EngineError("cuda:0 failed: an illegal memory access was encountered.")

    monkeypatch.setattr(SimNetwork, "close", fail)
    frames = make_frames(4)
    results, upscaler = fallen(model, frames, None)
    assert_same(results, on_cpu(model, 2, frames))
    assert upscaler.reason.endswith("older than the CUDA that CuPy was built for: the CPU goes on")
    upscaler, sim, networks = on_device(model)

    def broken() -> Iterator[av.VideoFrame]:
        yield from frames
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), upscaler:
        list(upscaler(broken()))
    assert networks
    assert sim.is_closed


@pytest.mark.parametrize("device", ["auto", "cuda:0"])
def test_workers_fall_back_where_nobody_named_a_gpu(
    machine: Machine, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr("streamsr.jobs.job.find_devices", lambda options: ["cuda:0"])
    specs: list[Spec] = []

    def noted(source: Source, spec: Spec, segment_seconds: float, stop: threading.Event) -> list[Segment]:
        specs.append(spec)
        return make_plan(source, spec, segment_seconds, stop)

    monkeypatch.setattr("streamsr.jobs.job.make_plan", noted)
    clip = make_clip(tmp_path / "in.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10", num_frames=30)
    library.run(clip, tmp_path / "out.mp4", model=str(model), engine="torch", device=device, threads=1, segment_seconds=0.4)
    assert specs[0].devices == ("cuda:0",)
    with specs[0].open_upscaler() as upscaler:
        assert isinstance(upscaler, DeviceUpscaler)
        assert upscaler.may_fall_back == (device == "auto")


@pytest.mark.parametrize(("recurrence", "lanes"), [(False, 3), (True, 1)])
def test_frames_that_are_computed_one_after_another_share_a_lane(model: Path, recurrent: Path, recurrence: bool, lanes: int) -> None:
    path, frames = recurrent if recurrence else model, make_frames(12)
    upscaler, _, networks = on_device(path, successor=(6, "float32"))
    with upscaler:
        assert_same(list(upscaler(iter(frames))), on_cpu(path, 2, frames))
        assert [len(network.lanes) for network in networks] == [lanes, lanes]
