"""What an encoder on the GPU holds: surfaces that it registered by their addresses stay what they are, whatever else happens there."""

from __future__ import annotations

import gc
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from both import assert_same, make_frames, on_cpu, on_device
from sim_memory import HazardError, bare
from simulation import SimDevice
from surfaces import Nvenc

from streamsr.frame import Frame


def encode(model: Path, frames: list[av.VideoFrame], sim: SimDevice, *, delay: int = 6, **options: object) -> list[av.VideoFrame]:
    upscaler, _, _ = on_device(model, sim=sim, **options)  # type: ignore[arg-type]
    upscaler.surfaces = True
    encoder = Nvenc(sim, delay=delay)
    with upscaler:
        for frame in upscaler(iter(frames)):
            encoder.encode(frame)
            del frame
        return encoder.close()


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_surfaces_come_back_from_an_encoder_that_holds_them(model: Path, pix_fmt: str) -> None:
    frames, sim = make_frames(40, pix_fmt=pix_fmt), SimDevice()
    results = encode(model, frames, sim)
    assert_same(results, on_cpu(model, 2, frames))


def test_a_handover_leaves_the_surfaces_of_the_encoder_alone(model: Path) -> None:
    frames, sim = make_frames(16), SimDevice()
    results = encode(model, frames, sim, successor=(6, "float32"))
    assert_same(results, on_cpu(model, 2, frames))


@pytest.mark.parametrize("kind", ["upload", "enqueue", "launch"])
def test_memory_that_runs_out_leaves_the_surfaces_of_the_encoder_alone(model: Path, kind: str) -> None:
    frames, sim = make_frames(16), SimDevice(failures={kind: {7, 9}})
    results = encode(model, frames, sim)
    assert_same(results, on_cpu(model, 2, frames))


def test_an_engine_that_was_taken_over_from_is_closed_at_once(model: Path) -> None:
    frames = make_frames(12)
    upscaler, _, networks = on_device(model, successor=(5, "float32"))
    closed = []
    with upscaler:
        for _ in upscaler(iter(frames)):
            closed.append([network.is_closed for network in networks])
    assert closed[-1] == [True, False]


def test_pictures_that_a_caller_keeps_stay_what_they_are(model: Path) -> None:
    frames = make_frames(70, size=(16, 16))
    upscaler, sim, _ = on_device(model)
    with upscaler:
        results = list(upscaler(iter(frames)))
        assert sim.calls["pin"] < 60  # the rest are copies
    del upscaler
    gc.collect()
    assert_same(results, on_cpu(model, 2, frames))


def test_pinned_memory_goes_to_an_encoder_without_a_copy_and_is_used_again(model: Path) -> None:
    frames = make_frames(30)
    upscaler, _sim, _ = on_device(model)
    addresses = set()
    with upscaler:
        for frame in upscaler(iter(frames)):
            addresses.add(frame.planes[0].buffer_ptr)
            assert np.shares_memory(Frame(frame).luma, np.frombuffer(frame.planes[0], np.uint8))
            assert frame.planes[0].line_size % 64 == 0
            del frame
    assert len(addresses) <= 5


def test_the_simulation_sees_a_graph_whose_memory_is_gone() -> None:
    sim = SimDevice()
    stream, array, out = sim.open_stream(), sim.allocate((4,), "uint8"), sim.allocate((4,), "uint8")
    graph = sim.capture(stream, partial(sim.copy, array, out, stream))
    sim.launch(graph, stream)
    del array
    with pytest.raises(HazardError, match="freed, whose address it holds"):
        sim.launch(graph, stream)
    sim.synchronise(sim.record(stream))
    sim.trim()
    again = sim.allocate((4,), "uint8")  # perhaps at the same address
    with pytest.raises(HazardError, match="freed"):
        sim.launch(graph, stream)
    del again


def test_the_simulation_sees_memory_that_is_used_again_too_early() -> None:
    sim = SimDevice()
    one, other, array = sim.open_stream(), sim.open_stream(), sim.allocate((4,), "uint8")
    sim.clear(array, one)
    del array
    again = sim.allocate((4,), "uint8")
    with pytest.raises(HazardError, match="no event between them"):
        sim.clear(again, other)
    sim.wait(other, sim.record(one))
    sim.clear(again, other)
    sim.synchronise(sim.record(other))
    assert (bare(again) == 0).all()


def test_the_simulation_sees_the_host_touch_memory_of_the_gpu() -> None:
    array = SimDevice().allocate((4,), "uint8")
    with pytest.raises(HazardError):
        np.add(array, 1)
    with pytest.raises(HazardError):
        np.copyto(np.zeros(4, np.uint8), array)
