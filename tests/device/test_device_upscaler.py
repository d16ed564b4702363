"""The pipeline on a simulated GPU gives what the one on the CPU gives, bit for bit, whatever order its streams run in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from both import assert_same, make_frames, on_cpu, on_device, stills
from make_model import write_forms
from networks import count_words
from simulation import SimDevice
from surfaces import Surface

from streamsr.errors import EngineError, UsageError
from streamsr.frame import Frame
from streamsr.libav import picture_of


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


def test_each_video_gets_the_form_of_the_model_that_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_forms(tmp_path)
    monkeypatch.setattr("streamsr.models.find_models.__defaults__", (folder,))
    frames = make_frames(3)
    upscaler, _, _ = on_device("coded")
    with upscaler:
        for form, name in ((None, "coded"), ("clean", "clean"), (None, "coded")):
            upscaler.turn_to(2, form=form)  # type: ignore[arg-type]
            assert_same(list(upscaler(iter(frames))), on_cpu(folder / f"{name}_x2.onnx", 2, frames))


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


@pytest.mark.parametrize("number", range(7))  # AVChromaLocation: unspecified, left, center, topleft, top, bottomleft, bottom
@pytest.mark.parametrize(("is_decoded", "is_encoded"), [(False, False), (True, False), (True, True)])
def test_chroma_stays_at_its_site(model: Path, number: int, is_decoded: bool, is_encoded: bool) -> None:
    """Frames of a decoder on the GPU or in host memory, and results for an encoder there or here: samples and tags of the CPU's."""
    frames = make_frames(4)
    for frame in frames:
        picture = picture_of(frame)
        picture.chroma_location, picture.sample_aspect_ratio.num, picture.sample_aspect_ratio.den = number, 4, 3
    wanted = on_cpu(model, 2, frames)
    assert picture_of(wanted[0]).chroma_location == number
    upscaler, _, _ = on_device(model)
    upscaler.surfaces = is_encoded
    with upscaler:
        assert_same(list(upscaler.stream(iter(dressed(frames) if is_decoded else frames))), wanted)


def test_a_frame_with_captions_leaves_by_the_host(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamsr.device import frame_metadata, frame_slot

    frames = make_frames(6)
    for module in (frame_slot, frame_metadata):
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


def test_half_precision_planes_keep_8_and_10_bits(model: Path) -> None:
    for pix_fmt in ("yuv420p", "yuv420p10le"):
        frames = make_frames(3, pix_fmt=pix_fmt)
        upscaler, _, _ = on_device(model, dtype="float16")
        with upscaler:
            for result, wanted in zip(upscaler(iter(frames)), on_cpu(model, 2, frames), strict=True):
                difference = np.abs(Frame(result).luma.astype(int) - Frame(wanted).luma)
                assert difference.max() <= 1


def test_the_simulation_sees_a_missing_event(recurrent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sim_memory import HazardError

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
