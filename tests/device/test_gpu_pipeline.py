"""The pipeline on a real GPU. Not run where there is none: everything that can be shown without one is shown beside this file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
from test_device_upscaler import make_frames

import streamsr
from streamsr.device.device import Device
from streamsr.device.device_upscaler import DeviceUpscaler
from streamsr.device.nvenc import WITHOUT, find_encoders
from streamsr.device.upscaler_factory import open_upscaler
from streamsr.engines.gpus import list_gpus
from streamsr.frame import Frame, fetch, is_on_device
from streamsr.io.source import Source
from streamsr.live.api import run_live
from streamsr.live.live_report import LiveReport
from streamsr.options import LiveOptions, SourceOptions, UpscaleOptions

pytestmark = pytest.mark.gpu
CLIP = Path(__file__).parents[1] / "clips" / "bunny.mp4"
MEAN, MOST = 0.25, 4  # codes of 255: half precision rounds the other way now and then


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:

    if not list_gpus():
        if "gpu" in os.environ.get("STREAMSR_REQUIRE", "").split(","):
            pytest.fail("STREAMSR_REQUIRE names gpu, and there is none")
        pytest.skip("there is no NVIDIA GPU")
    from streamsr.device.cuda_device import CudaDevice

    device = CudaDevice(0)
    yield device
    device.close()


def on_host(frames: list[av.VideoFrame], engine: str) -> list[av.VideoFrame]:
    with streamsr.Upscaler("lite", 2, engine=engine, device="cpu", precision="f32") as upscaler:
        return list(upscaler(iter(frames)))


@pytest.fixture(scope="module")
def reference() -> str:
    """An engine of the CPU that is installed here."""
    import importlib.util

    for name in ("openvino", "onnxruntime", "torch"):
        if importlib.util.find_spec(name) is not None:
            return name
    pytest.skip("no engine of the CPU to compare with is installed")


def test_samples_go_there_and_back(device: Device) -> None:
    stream, host, back = device.open_stream(), device.pin((33, 47), "uint16"), device.pin((33, 47), "uint16")
    host[:] = np.arange(host.size).reshape(host.shape)
    array, copy = device.allocate(host.shape, "uint16"), device.allocate(host.shape, "uint16")
    device.upload(host, array, stream)
    other = device.open_stream()
    device.wait(other, device.record(stream))
    device.copy(array, copy, other)
    device.download(copy, back, other)
    device.synchronise(device.record(other))
    assert np.array_equal(host, back)


def test_captured_work_runs_when_it_is_launched(device: Device) -> None:
    stream, back = device.open_stream(), device.pin((4,), "uint8")
    array, source = device.allocate((4,), "uint8"), device.allocate((4,), "uint8")
    device.clear(array, stream)
    host = device.pin((4,), "uint8")
    host[:] = 7
    device.upload(host, source, stream)
    device.copy(source, source, stream)  # compiles
    graph = device.capture(stream, lambda: device.copy(source, array, stream))
    for expected, launch in ((0, False), (7, True)):
        if launch:
            device.launch(graph, stream)
        device.download(array, back, stream)
        device.synchronise(device.record(stream))
        assert (back == expected).all()


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "yuv444p"])
@pytest.mark.parametrize("frames_in_flight", [1, 3])
def test_pictures_are_close_to_those_of_the_cpu(device: Device, reference: str, pix_fmt: str, frames_in_flight: int) -> None:
    frames = make_frames(8, size=(320, 180), pix_fmt=pix_fmt)
    with open_upscaler(UpscaleOptions(device="cuda:0", engine="torch", frames_in_flight=frames_in_flight)) as upscaler:
        assert isinstance(upscaler, DeviceUpscaler)
        results = list(upscaler(iter(frames)))
        assert upscaler.notes == []
    wanted = on_host(frames, reference)
    assert [frame.pts for frame in results] == [frame.pts for frame in frames]
    for result, other in zip(results, wanted, strict=True):
        unit = 255 / Frame(result).layout.max_code
        for index, (plane, samples) in enumerate(zip(Frame(result).planes, Frame(other).planes, strict=True)):
            difference = np.abs(plane.astype(int) - samples) * unit
            assert difference.mean() <= MEAN
            assert difference.max() <= (MOST if index == 0 else 1.01)


def test_nvdec_gives_the_bytes_of_the_software_decoder(device: Device) -> None:
    with Source(CLIP, SourceOptions(gpu=0)) as source, Source(CLIP) as other:
        assert source.tags == other.tags
        for number, (frame, wanted) in enumerate(zip(source.frames(), other.frames(), strict=True)):
            assert is_on_device(frame), source.count.notes
            assert frame.pts == wanted.pts
            if number % 20 == 0:
                for plane, samples in zip(Frame(fetch(frame)).planes, Frame(wanted).planes, strict=True):
                    assert np.array_equal(plane, samples)
                stream = device.open_stream()
                y, uv = device.import_surface(frame, stream)
                for array, samples in ((y, Frame(wanted).planes[0]), (uv[..., 0], Frame(wanted).planes[1])):
                    dense, back = device.allocate(samples.shape, "uint8"), device.pin(samples.shape, "uint8")
                    device.copy(array, dense, stream)
                    device.download(dense, back, stream)
                    device.synchronise(device.record(stream))
                    assert np.array_equal(back, samples)


@pytest.mark.parametrize("decoder", ["nvdec", "cpu"])
def test_a_file_runs_through_with_a_balanced_account(device: Device, tmp_path: Path, decoder: str) -> None:
    report = streamsr.run(
        CLIP, tmp_path / "out.mp4", model="lite", engine="torch", device="cuda:0", decoder=decoder,  # type: ignore[arg-type]
        encoder="libx264", preset="ultrafast",
    )  # fmt: skip
    assert report.account.ok, report.account.line()
    assert report.num_frames == 93
    assert "frames in flight" in report.reason
    assert not [note for note in report.notes if "NVDEC" in note]


def test_nvenc_takes_pictures_from_the_memory_of_the_gpu(device: Device, tmp_path: Path) -> None:
    if list_gpus()[0].capability in WITHOUT:
        pytest.skip("this GPU is built without NVENC")
    assert find_encoders(0), "this GPU has NVENC, and none of its encoders opens"
    report = streamsr.run(CLIP, tmp_path / "out.mp4", model="lite", engine="torch", device="cuda:0")
    assert report.account.ok, report.account.line()
    assert report.encoder.endswith("_nvenc")


def play(out: Path) -> LiveReport:
    live = LiveOptions(max_latency_s=30, fixed_model=True)  # patient: the first pictures wait for kernels to compile
    return run_live(CLIP, out, model="lite", engine="torch", device="cuda:0", live=live)


def test_a_live_stream_has_its_frames_on_the_gpu(device: Device, tmp_path: Path) -> None:
    report = play(tmp_path / "live.mkv")
    assert report.balanced, report.line()
    assert report.num_out > 0
    assert report.dropped.keys() <= {"late", "at the end"}
    assert "frames in flight" in report.reason


def test_two_live_streams_share_the_gpu(device: Device, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        for report in pool.map(lambda name: play(tmp_path / name), ("a.mkv", "b.mkv")):
            assert report.balanced, report.line()
            assert report.num_out > 0


def test_a_frame_at_a_time_gives_what_a_stream_gives(device: Device) -> None:
    frames = make_frames(5, size=(320, 180))
    with open_upscaler(UpscaleOptions(device="cuda:0", engine="torch")) as upscaler:
        stream = list(upscaler(iter(frames)))
    with open_upscaler(UpscaleOptions(device="cuda:0", engine="torch", hint="latency")) as upscaler:
        single = [upscaler(frame) for frame in frames]
    for one, other in zip(single, stream, strict=True):
        assert all(np.array_equal(plane, samples) for plane, samples in zip(Frame(one).planes, Frame(other).planes, strict=True))
