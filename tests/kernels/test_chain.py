"""All that a frame goes through on a GPU, in one CUDA graph, on arrays of torch's and through DLPack."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from on_host import HostDevice
from streamsr_kernels import chroma_site, local_axial_attention, pack, resample, resample_reference, split_surface, unpack
from streamsr_kernels.filters import ONE_ACROSS, ONE_DOWN, make_taps

H, W = 34, 50


def enqueue(arrays: dict[str, Any], stream: Any) -> None:
    """NV12 in; luma of the same size and chroma twice as large out, and an attention between."""
    split_surface([arrays["y"], arrays["uv"]], [arrays["luma"], arrays["cb"], arrays["cr"]], stream=stream)
    unpack(arrays["luma"], arrays["levels"], bits=8, stream=stream)
    local_axial_attention(arrays["map"], arrays["map"], arrays["map"], radius=3, out=arrays["learned"], stream=stream)
    pack(arrays["levels"][:H, :W], arrays["y_out"], bits=8, stream=stream)
    for name in ("cb", "cr"):
        resample(arrays[name], arrays[f"{name}_out"], bits=8, site=chroma_site("left", (1, 1)), stream=stream)


def make_arrays(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "y": rng.integers(0, 256, (H, W)).astype(np.uint8),
        "uv": rng.integers(0, 256, (H // 2, W // 2, 2)).astype(np.uint8),
        "luma": np.zeros((H, W), np.uint8),
        "levels": np.zeros((H + 2, W + 6), np.float16),
        **{name: np.zeros((H // 2, W // 2), np.uint8) for name in ("cb", "cr")},
        "map": rng.standard_normal((1, 8, H, W)).astype(np.float16),
        "learned": np.zeros((1, 8, H, W), np.float16),
        "y_out": np.zeros((H, W), np.uint8),
        **{f"{name}_out": np.zeros((H, W), np.uint8) for name in ("cb", "cr")},
    }


def check(arrays: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(arrays["y_out"], arrays["y"])
    across = make_taps(W // 2, W, W, ONE_ACROSS, site=(0.25, 0.25))
    down = make_taps(H // 2, H, H, ONE_DOWN)
    for index, name in enumerate(("cb_out", "cr_out")):
        wanted = resample_reference.resample(arrays["uv"][..., index], across, down, bits=8)
        np.testing.assert_array_equal(arrays[name], wanted)
    assert np.isfinite(arrays["learned"]).all()
    assert arrays["learned"].any()


def test_chain_on_the_cpu(host: HostDevice) -> None:
    arrays = make_arrays(0)
    enqueue(arrays, None)
    check(arrays)


@pytest.mark.gpu
def test_gpu_chain_is_captured_and_replayed(cupy: Any) -> None:
    arrays = {name: cupy.asarray(array) for name, array in make_arrays(0).items()}
    stream = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.get_current_stream().synchronize()
    enqueue(arrays, stream.ptr)  # compiles, and uploads the tables
    stream.synchronize()
    with stream:
        stream.begin_capture()
        enqueue(arrays, stream.ptr)
        graph = stream.end_capture()
    later = make_arrays(1)
    for name, array in later.items():
        arrays[name].set(array)
    cupy.cuda.get_current_stream().synchronize()
    graph.launch(stream)
    stream.synchronize()
    check({name: cupy.asnumpy(array) for name, array in arrays.items()})


class OnlyDLPack:
    """A producer without a CUDA array interface."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    def __dlpack_device__(self) -> Any:
        return self.tensor.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        return self.tensor.__dlpack__(**options)


@pytest.mark.gpu
@pytest.mark.parametrize("wrapped", [False, True])
def test_gpu_chain_on_torch_tensors(cupy: Any, wrapped: bool) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA here")
    tensors = {name: torch.from_numpy(array).cuda() for name, array in make_arrays(2).items()}
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    enqueue({name: OnlyDLPack(tensor) if wrapped else tensor for name, tensor in tensors.items()}, stream)
    stream.synchronize()
    check({name: tensor.cpu().numpy() for name, tensor in tensors.items()})
