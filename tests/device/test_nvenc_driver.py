"""NVENC as FFmpeg opens it, on libraries that stand for the driver (driver_on_host.py): its stream, its context, what it is told."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.codec.context import Flags
from driver_on_host import Driver
from media import make_clip

from streamsr.siting import find_chroma_location

OPEN = """
import sys
from fractions import Fraction
import av
from streamsr.io.containers import MPEGTS
from streamsr.io.encoder_settings import Encoding
from streamsr.io.tags import Tags
from streamsr.options import EncoderOptions
encoder, site, num = sys.argv[1], sys.argv[2], int(sys.argv[3])
pix_fmt = "yuv420p" if encoder == "h264_nvenc" else "yuv420p10le"
tags = Tags(256, 144, pix_fmt, Fraction(1), 9, 9, 16, 1, site, None, None, None)
encoding = Encoding(encoder, tags, False, (), Fraction(25), Fraction(1, 25), MPEGTS, EncoderOptions(gpu=0))
assert encoding.surface is not None
held = []
for _ in range(num):
    container = av.open("/dev/null", "w", format="mpegts")
    stream = encoding.add_stream(container)
    encoding.open_codec(stream)
    held.append((container, stream))
print(len(held))
"""
ENCODE = """
import ctypes
import numpy as np
from av.video.frame import CudaContext
from streamsr.device.ring import Ring
from streamsr.device.frame_slot import _surface_planes
from streamsr.gpu_context import ffmpeg_device
from streamsr.io.dlpack import Unstreamed
get = ctypes.pythonapi.PyCapsule_GetPointer
get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


class OnGpu(np.ndarray):
    def __dlpack__(self, **options):
        capsule = super().__dlpack__()
        ctypes.c_int.from_address(get(capsule, b"dltensor") + 8).value = 2  # DLDevice: kDLCUDA
        return capsule


with ffmpeg_device(0):
    shared = CudaContext(0)
ring = Ring(lambda: np.zeros((144 * 3 // 2, 512), np.uint8).view(OnGpu), lambda whole: _surface_planes(256, 144, whole))
container, stream = held[0]
packets, sums, places = [], [], set()
for number in range(60):
    if number == 30:  # one that comes through host memory, as with captions
        frame = av.VideoFrame(256, 144, "nv12")
        for plane in frame.planes:
            plane.update(bytes([77]) * plane.buffer_size)
        sums.append(77 * 256 * 144)
    else:
        planes = ring.take()
        planes[0][:], planes[1][:] = number, 128
        places.add(planes[0].ctypes.data)
        sums.append(number * 256 * 144)
        frame = av.VideoFrame.from_dlpack(tuple(map(Unstreamed, planes)), format="nv12", cuda_context=shared)
        del planes
    frame.pts, frame.time_base = number, stream.time_base
    packets += stream.encode(frame)
    del frame
packets += stream.encode(None)
assert [packet.pts for packet in packets] == list(range(60))
assert [int.from_bytes(bytes(packet), "little") for packet in packets] == sums
container.close()
print(*sorted(places))
"""
NON_BLOCKING = 1


def test_an_encoder_has_a_stream_of_its_own(driver: Driver) -> None:
    """One for all encoders of a process, and not the legacy one, which is 0 and NVDEC's."""
    driver.run(OPEN, "av1_nvenc", "left", "2")
    assert driver.log["a new stream"] == [NON_BLOCKING]
    (stream,) = set(driver.log["reads on stream"])
    assert stream != 0
    assert driver.log["reads on stream"] == driver.log["writes on stream"] == [stream, stream]


def test_without_it_an_encoder_shares_the_legacy_stream(driver: Driver) -> None:
    """What PyAV alone does: the reason for streamsr.io.encoder_stream."""
    plain = "import streamsr.io.encoder_settings as s\ns.separate_stream = lambda context: None\n"
    driver.run(f"{plain}{OPEN}", "hevc_nvenc", "left", "1")
    assert driver.log["reads on stream"] == [0]


def test_a_context_with_other_flags_is_taken_as_the_current_one(driver: Driver) -> None:
    """Another library opened the primary context first: FFmpeg itself refuses it, and takes it as we give it."""
    refused = """
import av, av.error
from av.codec.hwaccel import HWAccel
try:
    HWAccel("cuda", device="0", options={"primary_ctx": "1"}).create(av.Codec("hevc_nvenc", "w"), for_encoding=True)
except av.error.FFmpegError:
    print("refused")
"""
    other = """
import ctypes
cuda = ctypes.CDLL("libcuda.so.1")
cuda.cuDevicePrimaryCtxSetFlags_v2(0, 8)
cuda.cuDevicePrimaryCtxRetain(ctypes.byref(ctypes.c_void_p()), 0)
"""
    assert driver.run(f"{other}{refused}") == "refused\n"
    assert driver.run(f"{other}{OPEN}", "hevc_nvenc", "left", "1") == "1\n"
    assert driver.log["reads on stream"] != [0]


def test_ffmpeg_does_not_tell_nvenc_where_chroma_lies(driver: Driver) -> None:
    """The reason for streamsr.io.chroma_site: once this fails, that can go."""
    driver.run(OPEN, "hevc_nvenc", "topleft", "1")
    told = driver.config
    driver.run(OPEN, "hevc_nvenc", "unspecified", "1")
    assert driver.config == told
    driver.run(OPEN.replace("9, 9, 16", "9, 1, 16"), "hevc_nvenc", "topleft", "1")
    assert driver.config != told, "the primaries are not in it, either: this is not the configuration"


@pytest.mark.parametrize("num", [1, 3])
def test_the_number_of_encoders_is_asked_of_nvenc(driver: Driver, num: int) -> None:
    program = "from streamsr.device.nvenc_engines import count_engines\nprint(count_engines(0), count_engines(7))"
    assert driver.run(program, FAKE_ENGINES=str(num)) == f"{num} 0\n"
    assert driver.log["opened for version"] == [12]
    assert driver.log["destroyed"] == [0xE0], "the session is given back: GeForce has a limit of them"


def test_doctor_says_what_the_gpu_has(driver: Driver) -> None:
    said = driver.run("import sys\nfrom streamsr.cli import main\nsys.exit(main(['doctor']) and 0)")
    (codecs,) = [line for line in said.splitlines() if "cuda:0 codecs" in line]
    assert "NVDEC starts; NVENC has h264_nvenc (8 and 10 bits), hevc_nvenc (8 and 10 bits), av1_nvenc (8 and 10 bits)" in codecs
    assert "two segments of a file at a time with --workers auto" in codecs


def test_nvenc_reads_the_memory_of_the_results(driver: Driver) -> None:
    """Surfaces as streamsr makes them go through PyAV and FFmpeg as they are: each piece of memory is registered once, however often it
    is used, and nothing is read after the ring has lent it again."""
    said = driver.run(OPEN + ENCODE, "h264_nvenc", "left", "1")
    places = {int(place) for place in said.splitlines()[-1].split()}
    registered = driver.log["registered"]
    assert len(registered) == len(set(registered))
    assert places <= set(registered)
    assert len(registered) == len(places) + 1 < 60  # one of FFmpeg's own, for the frame from host memory
    facts = list(zip(*(driver.log[name] for name in ("registered", "pitch", "width", "height", "format")), strict=True))
    assert {fact[1:] for fact in facts if fact[0] in places} == {(512, 256, 144, 1)}  # NV_ENC_BUFFER_FORMAT_NV12
    assert driver.log["copied on stream"] == driver.log["reads on stream"] * 2  # y and uv of that frame, before NVENC reads them
    assert "cuStreamSynchronize" not in driver.log


RUN = """
import sys
import streamsr
from streamsr.device import device_selection
from streamsr.upscaling import upscaler
device_selection.has_cupy = device_selection._has_engine = lambda: True  # as if they were here: CuPy then says that it is not
choose = upscaler.choose_engine
upscaler.choose_engine = lambda engine, device="cpu": "cuda" if device.startswith("cuda") else choose(engine, device)
report = streamsr.run(sys.argv[1], sys.argv[2], model=sys.argv[3], device="auto", threads=1, decoder="cpu")
assert report.encoder == "h264_nvenc", report.encoder
print(report.account.line(), *report.notes, sep="\\n")
"""


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.ts"])
def test_a_file_by_nvenc_has_the_tags_of_its_source(driver: Driver, model: Path, tmp_path: Path, name: str) -> None:
    """From the CPU's upscaler, as CuPy is not here, through NVENC's upload. The packets are x264's, which was told nothing of the site."""
    clip = make_clip(tmp_path / "in.mp4", "-vf", "setparams=chroma_location=topleft", "-c:v", "libx264", "-pix_fmt", "yuv420p",
                     "-chroma_sample_location", "topleft", num_frames=6)  # fmt: skip
    has_headers = name != "out.ts"
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 128, 96, "yuv420p", Fraction(1, 25)
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "1"}
    if has_headers:
        encoder.flags |= Flags.global_header
    frames = []
    for number in range(6):
        frames.append(av.VideoFrame(128, 96, "yuv420p"))
        frames[-1].pts = number
    packets = [bytes(packet) for frame in [*frames, None] for packet in encoder.encode(frame)]
    stream = [*([encoder.extradata or b""] if has_headers else []), *packets]
    file = tmp_path / "stream"
    file.write_bytes(b"".join(struct.pack("<I", len(each)) + each for each in stream))
    said = driver.run(RUN, str(clip), str(tmp_path / name), str(model), FAKE_STREAM=str(file))
    assert "account balanced" in said
    assert "the CPU goes on" in said
    with av.open(str(tmp_path / name)) as container:
        assert {find_chroma_location(frame) for frame in container.decode(video=0)} == {"topleft"}
