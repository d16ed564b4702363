"""What is launched on a GPU, with the kernels' references and NumPy in place of CUDA and CuPy: the samples of the pipeline on a CPU."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

pytest.importorskip("streamsr_kernels")
from make_model import make_network, write_model
from sim_memory import bare
from simulation import SimDevice, SimStream
from streamsr_kernels import Filter, planes_reference, resample_reference, samples_reference
from streamsr_kernels.filters import ONE_ACROSS, ONE_DOWN, make_taps
from test_device_upscaler import assert_same, make_frames, on_cpu, on_device

from streamsr.device import cupy_kernels
from streamsr.frame import Frame, reformat
from streamsr.upscaling.chroma_grid import Axis, ChromaResampler, grid_of, network_grid


def reference_resample(
    samples: np.ndarray, out: np.ndarray, *, bits: int, site: tuple[float, float] = (0.5, 0.5), extent: tuple[int, int] | None = None,
    out_site: tuple[float, float] | None = None, kernel: Any = "lanczos", added: tuple[int, int] = (0, 0),
    tables: Any, stream: Any = None,
) -> None:  # fmt: skip
    height, width = out.shape
    full = extent or (width, height)
    assert full[0] >= width
    assert full[1] >= height
    after = site if out_site is None else out_site
    across = make_taps(samples.shape[1], full[0], width, ONE_ACROSS, kernel, (site[0], after[0]), added[0])
    down = make_taps(samples.shape[0], full[1], height, ONE_DOWN, kernel, (site[1], after[1]), added[1])
    out[:] = resample_reference.resample(samples, across, down, bits=bits)


def without_stream(reference: Any) -> Any:
    def run(*arrays: Any, stream: Any, **options: Any) -> None:
        reference(*arrays, **options)

    return run


class Late:
    """`CupyKernels` on NumPy, each call put on a stream of the simulated GPU."""

    def __init__(self, device: SimDevice) -> None:
        self._kernels = cupy_kernels.CupyKernels(nullcontext(), lambda array, stream: array.fill(0))
        self._device = device

    def __getattr__(self, name: str) -> Any:
        def put(*arrays: Any, stream: SimStream, **options: Any) -> None:
            reads, writes = {"look": (arrays[:1], arrays[1:])}.get(name, (arrays[:1], arrays[1:2]))
            work, plain = getattr(self._kernels, name), [nested(array) for array in arrays]
            self._device.put(stream, name, lambda: work(*plain, stream=nullcontext(), **options), reads=flat(reads), writes=flat(writes))

        return put


def nested(arrays: Any) -> Any:
    """Arrays; grids, which are tuples of named tuples, stay what they are."""
    return [bare(array) for array in arrays] if isinstance(arrays, (list, tuple)) and not isinstance(arrays[0], Axis) else bare(arrays)


def flat(parts: Any) -> list[np.ndarray]:
    return [array for part in parts for array in (part if isinstance(part, (list, tuple)) else [part])]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(make_network(channels=4, layers=3), tmp_path_factory.mktemp("model"), int8=False)


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> SimDevice:
    references = {"resample": reference_resample}
    for module, names in ((planes_reference, ("unpack", "pack")), (samples_reference, ("split_surface", "join_surface", "compare_planes"))):
        references |= {name: without_stream(getattr(module, name)) for name in names}
    for name, reference in references.items():
        monkeypatch.setattr(cupy_kernels, name, reference)
    sim = SimDevice()
    sim.kernels = Late(sim)  # type: ignore[assignment]
    return sim


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "yuv422p", "yuv444p", "gray"])
@pytest.mark.parametrize(("size", "scale"), [((64, 48), 2), ((63, 47), 2), ((64, 48), 1.5), ((50, 38), 3)])
def test_the_kernels_are_told_what_swscale_is_told(
    sim: SimDevice, model: Path, pix_fmt: str, size: tuple[int, int], scale: float
) -> None:  # fmt: skip
    frames = make_frames(3, size=size, pix_fmt=pix_fmt)
    upscaler, _, _ = on_device(model, scale, sim=sim)
    with upscaler:
        results = list(upscaler(iter(frames)))
    wanted = on_cpu(model, scale, frames)
    for result, other in zip(results, wanted, strict=True):
        for plane, reference in zip(Frame(result).planes, Frame(other).planes, strict=True):
            assert np.abs(plane.astype(int) - reference).max() <= 1
    if scale == 2 and size == (64, 48):
        assert_same(results, wanted)


@pytest.mark.parametrize("bits", [8, 10])
def test_surfaces_become_planes_and_planes_surfaces(sim: SimDevice, bits: int) -> None:
    kernels, stream = Late(sim), sim.open_stream()
    rng = np.random.default_rng(1)
    dtype = np.uint8 if bits == 8 else np.uint16
    y, uv = (rng.integers(0, 1 << bits, shape).astype(dtype) << (0 if bits == 8 else 6) for shape in ((6, 8), (3, 4, 2)))
    planes = [np.zeros(shape, dtype) for shape in ((6, 8), (3, 4), (3, 4))]
    kernels.deinterleave((y, uv), planes, bits=bits, stream=stream)
    back = np.zeros_like(y), np.zeros_like(uv)
    sim.synchronise(sim.record(stream))
    video = av.VideoFrame(8, 6, "nv12" if bits == 8 else "p010le")
    for plane, samples in zip(video.planes, (y, uv), strict=True):
        rows = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype().itemsize)
        rows[: len(samples), :8] = samples.reshape(len(samples), 8)
    wanted = Frame(reformat(video, "yuv420p" if bits == 8 else "yuv420p10le")).planes
    assert all(np.array_equal(plane, other) for plane, other in zip(planes, wanted, strict=True))
    kernels.interleave(planes, back, bits=bits, stream=stream)
    sim.synchronise(sim.record(stream))
    assert np.array_equal(back[0], y)
    assert np.array_equal(back[1], uv)


def test_a_plane_is_looked_at(sim: SimDevice) -> None:
    kernels, stream = Late(sim), sim.open_stream()
    plane = np.arange(48, dtype=np.uint8).reshape(6, 8)
    before, samples, differs = np.zeros_like(plane), np.zeros((3, 2), np.uint8), np.zeros(1, np.int32)
    for expected in (1, 0):
        kernels.look(plane, before, samples, differs, step=(2, 4), stream=stream)
        sim.synchronise(sim.record(stream))
        assert differs[0] == expected
    assert np.array_equal(samples, plane[::2, ::4])


def test_what_the_network_gets_is_padded_with_its_edge(sim: SimDevice) -> None:
    stream, plane, luma = sim.open_stream(), np.arange(12, dtype=np.uint8).reshape(3, 4), np.full((5, 6), np.nan, np.float32)
    sim.kernels.unpack(plane, luma, bits=8, stream=stream)
    sim.synchronise(sim.record(stream))
    assert np.array_equal(np.rint(luma * 255), np.pad(plane, ((0, 2), (0, 2)), mode="edge"))


LAYOUTS = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv410p"]


@pytest.mark.parametrize("location", ["left", "center", "topleft", "bottom"])
@pytest.mark.parametrize("pix_fmt", LAYOUTS)
@pytest.mark.parametrize(("scale", "size", "filter_"), [(2, (64, 48), "linear"), (3, (62, 46), "lanczos"), (2, (63, 47), "lanczos")])
def test_chroma_goes_to_the_grids_that_the_cpu_puts_it_on(
    sim: SimDevice, pix_fmt: str, scale: int, size: Any, location: str, filter_: Filter
) -> None:
    layout = Frame(make_frames(1, size=size, pix_fmt=pix_fmt)[0]).layout
    planes = np.stack(Frame(make_frames(1, size=size, pix_fmt=pix_fmt)[0]).planes[1:3])
    own = grid_of(layout, location)
    wanted = network_grid(own, scale)
    target = (wanted[0].enlarged(scale), wanted[1].enlarged(scale))
    stream, height, width = sim.open_stream(), size[1], size[0]
    result = layout.plane_size(1, width * scale, height * scale)[::-1]
    for given, source, to, shape, kernel in (
        (planes, own, wanted, (height, width), filter_), (None, target, grid_of(layout, location), result, "lanczos"),
    ):  # fmt: skip
        if given is None:
            given = made  # noqa: F821  # of the first round
        expected = ChromaResampler(kernel)(given, source, to, shape, bits=layout.bits)
        made = np.zeros((2, *shape), given.dtype)
        sim.kernels.regrid_chroma(
            list(given), list(made), source, to, kernel=kernel, bits=layout.bits, tables={}, stream=stream
        )
        sim.synchronise(sim.record(stream))
        assert np.abs(made.astype(int) - expected).max() <= 1
        assert (made == expected).mean() > 0.99
