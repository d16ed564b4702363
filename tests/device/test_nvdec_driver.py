"""NVDEC as FFmpeg opens it, on libraries that stand for the driver (driver_on_host.py): no picture is lost, mixed up or written over.

The stand-in for the decoder fills each picture with its number in the order of decoding, which is that of the packets in the file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import av
import pytest
from driver_on_host import Driver
from media import make_clip

DECODE = """
import ctypes, json, sys
import numpy as np
from streamsr.frame import Frame, fetch, is_on_device
from streamsr.io.source import Source
from streamsr.options import SourceOptions
get = ctypes.pythonapi.PyCapsule_GetPointer
get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


class InReach:
    # the plane of a surface, whose memory is the host's here
    def __init__(self, plane):
        self.plane = plane

    def __dlpack_device__(self):
        return 1, 0

    def __dlpack__(self, **options):
        capsule = self.plane.__dlpack__()
        ctypes.c_int.from_address(get(capsule, b"dltensor") + 8).value = 1  # DLDevice: kDLCPU
        return capsule


def is_given_on(frame):
    # by DLPack as import_surface takes it: y (h, w), and uv (h / 2, w / 2, 2) with samples in the high bits
    y, uv = (np.from_dlpack(InReach(plane)) for plane in frame.planes)
    host = Frame(fetch(frame))
    shift = 16 - host.layout.bits if y.itemsize == 2 else 0
    pairs = zip((y, uv[..., 0], uv[..., 1]), host.planes, strict=True)
    return all(np.array_equal(mine >> shift, theirs) for mine, theirs in pairs)


with Source(sys.argv[1], SourceOptions(gpu=0, decoder="nvdec")) as source:
    frames = list(source.frames())  # all at once: FFmpeg must not run out of surfaces
    assert all(map(is_on_device, frames))
    planes = [plane.__dlpack_device__() for frame in frames for plane in frame.planes]
    seen = [Frame(fetch(frame)).planes for frame in frames]
    bits = {Frame(fetch(frame)).layout.bits for frame in frames}
    assert len(bits) == 1
    facts = {
        "pts": [frame.pts for frame in frames], "luma": [int(planes[0][0, 0]) for planes in seen], "bits": bits.pop(),
        "whole": all((plane == planes[0][0, 0]).all() for planes in seen for plane in planes), "device": sorted(set(planes)),
        "size": [frames[0].width, frames[0].height], "notes": source.count.notes, "given_on": all(map(is_given_on, frames)),
    }
print(json.dumps(facts))
"""


def decode(driver: Driver, path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(driver.run(DECODE, str(path)))
    return facts


def packets(path: Path) -> list[int]:
    """The pts of the packets in their order."""
    with av.open(str(path)) as container:
        return [packet.pts for packet in container.demux(video=0) if packet.pts is not None]


CLIPS = {
    "h264": ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "3", "-x264-params", "b-pyramid=normal:b-adapt=0"],
    "hevc 10 bits": ["-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", "log-level=none:bframes=3:b-adapt=0"],
    "mpeg2": ["-c:v", "mpeg2video", "-pix_fmt", "yuv420p", "-bf", "2"],
}
WEB = {  # with pictures that are decoded and not shown, so that pictures and packets are not counted alike
    "av1": ["-c:v", "libsvtav1", "-preset", "12", "-pix_fmt", "yuv420p"],
    "av1 10 bits": ["-c:v", "libsvtav1", "-preset", "12", "-pix_fmt", "yuv420p10le"],
    "vp9": ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-threads", "1", "-pix_fmt", "yuv420p"],
}


@pytest.mark.parametrize("kind", CLIPS)
def test_every_picture_is_the_one_of_its_packet(driver: Driver, tmp_path: Path, kind: str) -> None:
    height = 138 if kind == "h264" else 144  # of 144 that are coded, six at the bottom are cut off
    clip = make_clip(tmp_path / "in.mkv", *CLIPS[kind], size=f"256x{height}", num_frames=30)
    facts = decode(driver, clip)
    order = packets(clip)
    assert facts["notes"] == []
    assert facts["pts"] == sorted(order)
    bits = facts["bits"]
    assert bits == (10 if kind == "hevc 10 bits" else 8)
    assert facts["luma"] == [order.index(pts) * (0x101 if bits == 10 else 1) >> (6 if bits == 10 else 0) for pts in facts["pts"]]
    assert facts["whole"]
    assert facts["given_on"]
    assert facts["device"] == [[2, 0]]  # DLPack's CUDA, GPU 0
    assert facts["size"] == [256, height]
    assert set(driver.log["decoded on stream"]) == {0}, "import_surface waits for the legacy stream"


@pytest.mark.parametrize("kind", WEB)
def test_codecs_of_the_web_reach_nvdec(driver: Driver, tmp_path: Path, kind: str) -> None:
    clip = make_clip(tmp_path / "in.mkv", *WEB[kind], size="256x144", num_frames=20)
    facts = decode(driver, clip)
    assert facts["notes"] == []
    assert facts["pts"] == sorted(packets(clip))
    assert len(set(facts["luma"])) == 20
    assert facts["whole"]
    assert driver.log["codec"]


def test_a_real_stream_without_a_reorder_field_keeps_every_frame(driver: Driver) -> None:
    data = os.environ.get("STREAMSR_DATA")
    if not data:
        pytest.skip("STREAMSR_DATA is not set")
    path = Path(data) / "faults" / "b_frames_no_vui.mkv"
    facts, order = decode(driver, path), packets(path)
    assert len(order) == 60
    assert facts["pts"] == sorted(order)
    assert facts["luma"] == [order.index(pts) for pts in facts["pts"]]


def test_another_thread_decodes_beside_a_library_that_opened_the_gpu(driver: Driver, tmp_path: Path) -> None:
    """The primary context has other flags than FFmpeg wants, and no context is current in that thread."""
    clip = make_clip(tmp_path / "in.mkv", "-c:v", "libx264", "-pix_fmt", "yuv420p", size="256x144", num_frames=5)
    program = """
import ctypes, threading
cuda = ctypes.CDLL("libcuda.so.1")
cuda.cuDevicePrimaryCtxSetFlags_v2(0, 8)
cuda.cuDevicePrimaryCtxRetain(ctypes.byref(ctypes.c_void_p()), 0)
thread = threading.Thread(target=lambda: exec(DECODE, {}))
thread.start()
thread.join()
"""
    facts = json.loads(driver.run(f"DECODE = {DECODE!r}\n{program}", str(clip)))
    assert facts["notes"] == []
    assert len(facts["pts"]) == 5


RUN = """
import sys
import streamsr
from streamsr.device import device_selection
from streamsr.upscaling import upscaler
device_selection.has_cupy = device_selection._has_engine = lambda: True  # as if they were here: CuPy then says that it is not
choose = upscaler.choose_engine
upscaler.choose_engine = lambda engine, device="cpu": "cuda" if device.startswith("cuda") else choose(engine, device)
source, out, model, seconds = sys.argv[1:]
report = streamsr.run(source, out, model=model, device="auto", threads=1, encoder="ffv1", segment_seconds=float(seconds))
print(report.account.line(), *report.notes, sep="\\n")
"""


@pytest.mark.parametrize("segment_seconds", ["0", "0.4"])
def test_the_cpu_goes_on_with_pictures_of_nvdec(driver: Driver, model: Path, tmp_path: Path, segment_seconds: str) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10", size="256x144", num_frames=30)
    said = driver.run(RUN, str(clip), str(tmp_path / "out.mkv"), str(model), segment_seconds)
    assert "account balanced" in said
    assert "the CPU goes on" in said
    assert "decoded on the CPU" not in said
    assert len(driver.log["decoded on stream"]) >= 30
