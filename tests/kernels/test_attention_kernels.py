"""Attention: the kernels against float64, and the float64 references against the trainer's torch code and ONNX function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_host import HostDevice
from streamsr_kernels import attention_reference, axial_attention, local_axial_attention

HALF_ERROR = 1e-3  # of the largest value: rounding the result takes up half of it
FLOAT_ERROR = 1e-5
TINY = 2.0**-14  # below it, halves lie 2^-24 apart


def maps(
    count: int, shape: tuple[int, ...], dtype: Any = np.float16, *, seed: int = 0, size: float = 1.0, padding: int = 0
) -> list[np.ndarray]:
    """Random (N, C, H, W) arrays whose rows are `padding` elements longer than they look."""
    rng = np.random.default_rng(seed)
    wide = (*shape[:3], shape[3] + padding)
    return [(rng.standard_normal(wide) * size).astype(dtype)[..., : shape[3]] for _ in range(count)]


def error(result: np.ndarray, wanted: np.ndarray) -> float:
    """Of the largest value; a result that is not a number is infinitely wrong."""
    return float(np.nan_to_num(np.abs(result.astype(np.float64) - wanted) / max(np.abs(wanted).max(), TINY), nan=np.inf).max())


@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 32), st.integers(1, 9), st.integers(1, 80)),
    size=st.sampled_from([0.1, 1.0, 4.0]),
    padding=st.integers(0, 9),
    turned=st.booleans(),
)
@settings(max_examples=20)
def test_axial_attention_agrees_with_float64(host: HostDevice, shape: tuple[int, ...], size: float, padding: int, turned: bool) -> None:
    if turned:
        shape = (*shape[:2], shape[3], shape[2])
    q, k, v = maps(3, shape, size=size, padding=padding)
    out = np.full((*shape[:3], shape[3] + padding), 7, np.float16)
    assert axial_attention(q, k, v, out=out[..., : shape[3]]).base is out
    assert error(out[..., : shape[3]], attention_reference.axial_attention(q, k, v)) < HALF_ERROR
    assert (out[..., shape[3] :] == 7).all()


@pytest.mark.parametrize("shape", [(1, 112, 3, 40), (1, 250, 2, 33), (1, 8, 1, 300), (1, 8, 300, 1)])
def test_axial_attention_of_many_channels_and_long_lines(host: HostDevice, shape: tuple[int, ...]) -> None:
    q, k, v = maps(3, shape)
    assert error(axial_attention(q, k, v), attention_reference.axial_attention(q, k, v)) < HALF_ERROR


def test_axial_attention_of_large_scores_keeps_its_head(host: HostDevice) -> None:
    """exp of these overflows float32 without the running maximum."""
    q, k, v = maps(3, (1, 16, 9, 70), size=12.0)
    assert error(axial_attention(q, k, v), attention_reference.axial_attention(q, k, v)) < HALF_ERROR


def test_axial_attention_takes_parts_of_one_tensor(host: HostDevice) -> None:
    (whole,) = maps(1, (2, 48, 7, 24))
    q, k, v = (whole[:, start : start + 16] for start in (0, 16, 32))
    assert error(axial_attention(q, k, v), attention_reference.axial_attention(q, k, v)) < HALF_ERROR


def test_references_agree_with_the_trainer() -> None:
    torch = pytest.importorskip("torch")
    whole = pytest.importorskip("trainer.metric.bidirectional_attention", reason="the trainer is not here")
    local = pytest.importorskip("trainer.nets.local_axial_attention", reason="the trainer is not here")
    arrays = maps(3, (2, 5, 7, 9), np.float64)
    tensors = [torch.from_numpy(array) for array in arrays]
    np.testing.assert_allclose(attention_reference.axial_attention(*arrays), whole.axial_attention(*tensors).numpy(), atol=1e-12)
    wanted = local.local_axial_attention(*tensors, radius=3).numpy()
    np.testing.assert_allclose(attention_reference.local_axial_attention(*arrays, radius=3), wanted, atol=1e-12)


@pytest.mark.parametrize("radius", [0, 1, 6])
def test_local_attention_is_the_onnx_function(host: HostDevice, radius: int) -> None:
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    described = pytest.importorskip("trainer.export.onnx_attention", reason="the trainer is not here")
    shapes = {"query": (1, 8, 9, 21), "key": (1, 8, 9, 21), "value": (1, 16, 9, 21)}
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node(described.NAME, list(shapes), ["result"], domain=described.DOMAIN, radius=radius)
    inputs = [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()]
    graph = helper.make_graph([node], "attention", inputs, [helper.make_tensor_value_info("result", kind, shapes["value"])])
    opsets = [helper.make_opsetid("", described.OPSET), helper.make_opsetid(described.DOMAIN, described.VERSION)]
    model = helper.make_model(graph, opset_imports=opsets, functions=[described.attention_function(radius)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    arrays = {name: maps(1, shape, np.float32, seed=seed)[0] for seed, (name, shape) in enumerate(shapes.items())}
    (wanted,) = session.run(None, arrays)
    assert error(local_axial_attention(*arrays.values(), radius=radius), wanted) < FLOAT_ERROR
    halves = [array.astype(np.float16) for array in arrays.values()]
    wanted = attention_reference.local_axial_attention(*halves, radius=radius)
    assert error(local_axial_attention(*halves, radius=radius), wanted) < HALF_ERROR


@given(
    size=st.tuples(st.integers(1, 2), st.integers(1, 35), st.integers(1, 35)),
    compared=st.sampled_from([3, 8, 17]),
    channels=st.sampled_from([5, 16, 37]),
    radius=st.integers(0, 18),
    dtype=st.sampled_from([np.float16, np.float32]),
    large=st.sampled_from([0.3, 3.0]),
    padding=st.integers(0, 9),
)
@settings(max_examples=40)
def test_local_attention_agrees_with_float64(
    host: HostDevice, size: tuple[int, int, int], compared: int, channels: int, radius: int, dtype: Any, large: float, padding: int
) -> None:
    query, key = maps(2, (size[0], compared, *size[1:]), dtype, size=large, padding=padding)
    (value,) = maps(1, (size[0], channels, *size[1:]), dtype, seed=1, padding=padding)
    out = np.full((size[0], channels, size[1], size[2] + padding), 7, dtype)
    local_axial_attention(query, key, value, radius=radius, out=out[..., : size[2]])
    wanted = attention_reference.local_axial_attention(query, key, value, radius=radius)
    assert error(out[..., : size[2]], wanted) < (HALF_ERROR if dtype == np.float16 else FLOAT_ERROR)
    assert (out[..., size[2] :] == 7).all()


@pytest.mark.parametrize(
    ("compared", "channels", "radius", "dtype", "file"),
    [
        (8, 16, 6, np.float16, "local_tiles.cu"),
        (3, 5, 0, np.float16, "local_tiles.cu"),
        (8, 16, 9, np.float16, "local_tiles.cu"),
        (8, 16, 16, np.float16, "local_tiles.cu"),
        (16, 24, 8, np.float16, "local_tiles.cu"),
        (8, 16, 17, np.float16, "local_attention.cu"),
        (8, 25, 6, np.float16, "local_attention.cu"),
        (64, 16, 6, np.float16, "local_attention.cu"),
        (8, 16, 6, np.float32, "local_attention.cu"),
    ],
)
@pytest.mark.parametrize("size", [(16, 16), (21, 43)])
def test_tiles_and_single_positions_agree_with_float64(
    host: HostDevice, compared: int, channels: int, radius: int, dtype: Any, file: str, size: tuple[int, int]
) -> None:
    query, key = maps(2, (1, compared, *size), dtype)
    (value,) = maps(1, (1, channels, *size), dtype, seed=1)
    wanted = attention_reference.local_axial_attention(query, key, value, radius=radius)
    result = local_axial_attention(query, key, value, radius=radius)
    assert error(result, wanted) < (HALF_ERROR if dtype == np.float16 else FLOAT_ERROR)
    assert [kernel.file for kernel, _ in host.launched] == [file]


def test_local_attention_takes_parts_of_one_tensor(host: HostDevice) -> None:
    (whole,) = maps(1, (2, 32, 20, 37))
    query, key, value = whole[:, :8], whole[:, 8:16], whole[:, 16:]
    wanted = attention_reference.local_axial_attention(query, key, value, radius=6)
    assert error(local_axial_attention(query, key, value, radius=6), wanted) < HALF_ERROR


MAP = np.zeros((1, 8, 6, 6), np.float16)


@pytest.mark.parametrize(
    ("call", "failure", "words"),
    [
        (lambda: axial_attention(MAP, MAP, MAP.astype(np.float32)), TypeError, "v is float32"),
        (lambda: axial_attention(MAP, MAP[:, :4], MAP), ValueError, "k has shape"),
        (lambda: axial_attention(MAP[0], MAP[0], MAP[0]), ValueError, "N, C, H, W"),
        (lambda: axial_attention(MAP, MAP, MAP, out=MAP[:, :4]), ValueError, "out has shape"),
        (lambda: axial_attention(MAP[..., ::2], MAP[..., ::2], MAP[..., ::2]), ValueError, "side by side"),
        (lambda: axial_attention(*(np.zeros((1, 257, 2, 2), np.float16),) * 3), ValueError, "256"),
        (lambda: axial_attention(*(np.zeros((1, 8, 1, 4097), np.float16),) * 3), ValueError, "4096"),
        (lambda: local_axial_attention(MAP, MAP, MAP, radius=-1), ValueError, "-1"),
        (lambda: local_axial_attention(MAP, MAP, MAP.astype(np.float32), radius=1), TypeError, "one type"),
        (lambda: local_axial_attention(MAP, MAP[:, :4], MAP, radius=1), ValueError, "key has shape"),
        (lambda: local_axial_attention(MAP, MAP, MAP[:, :, :3], radius=1), ValueError, "value has shape"),
        (lambda: local_axial_attention(MAP.astype(np.float64), MAP, MAP, radius=1), TypeError, "float64"),
    ],
)
def test_wrong_calls_are_refused(host: HostDevice, call: Any, failure: type[Exception], words: str) -> None:
    with pytest.raises(failure, match=words):
        call()
    assert not host.launched


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(1, 112, 68, 120), (2, 256, 34, 60), (1, 16, 3, 4096), (1, 40, 135, 241)])
def test_gpu_axial_attention_agrees_with_float64(cupy: Any, shape: tuple[int, ...]) -> None:
    q, k, v = maps(3, shape)
    on_device = [cupy.asarray(array) for array in (q, k, v)]
    cupy.cuda.get_current_stream().synchronize()
    stream = cupy.cuda.Stream(non_blocking=True)
    result = axial_attention(*on_device, stream=stream)
    stream.synchronize()
    assert error(cupy.asnumpy(result), attention_reference.axial_attention(q, k, v)) < HALF_ERROR


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(
    ("channels", "radius", "size"), [(16, 6, (270, 480)), (16, 12, (121, 161)), (32, 8, (64, 100)), (48, 20, (40, 50))]
)
def test_gpu_local_attention_agrees_with_float64(cupy: Any, channels: int, radius: int, size: tuple[int, int], dtype: Any) -> None:
    query, key = maps(2, (1, 8, *size), dtype)
    (value,) = maps(1, (1, channels, *size), dtype, seed=1)
    on_device = [cupy.asarray(array) for array in (query, key, value)]
    cupy.cuda.get_current_stream().synchronize()
    stream = cupy.cuda.Stream(non_blocking=True)
    result = local_axial_attention(*on_device, radius=radius, stream=stream.ptr)
    stream.synchronize()
    wanted = attention_reference.local_axial_attention(query, key, value, radius=radius)
    assert error(cupy.asnumpy(result), wanted) < (HALF_ERROR if dtype == np.float16 else FLOAT_ERROR)
