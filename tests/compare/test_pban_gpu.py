"""The metric on a GPU that is not there: ONNX Runtime in TensorRT's place, the attention kernel built for the CPU, and plans for real."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from fake_device import FakeDevice, NumpyArrays

sys.path.append(str(Path(__file__).parents[1] / "kernels"))
import streamsr_kernels
import streamsr_kernels.launch_device
from on_host import HostDevice, require_compiler

from streamsr.compare import pban_gpu
from streamsr.compare.pban import METRIC, PbanScorer, read_card
from streamsr.compare.pban_gpu import MetricOnGpu, build_part
from streamsr.compare.pban_split import find_attentions, fold, split_metric
from streamsr.engines.distributions import Flavour, load_flavour
from streamsr.engines.gpus import Gpu
from streamsr.engines.plan_cache import PlanCache
from streamsr.errors import EngineError

GPU = Gpu(0, "NVIDIA Fake", "8.9", 8 << 30)
SIZES = [(96, 96), (97, 131)]
TOLERANCE = 1e-3  # of a score in (0, 1], to ONNX Runtime's of the whole file
KINDS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@pytest.fixture(scope="module")
def model() -> bytes:
    return (METRIC.parent / str(read_card()["file"])).read_bytes()


@pytest.fixture(scope="module")
def whole(model: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


split_once = cache(split_metric)


def pictures(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 16
    hr = (0.5 + 0.3 * np.stack([np.sin(x + seed), np.cos(y), np.sin(x * y / 9)]))[None].astype(np.float32)
    hr = np.clip(hr + rng.normal(0, 0.03, hr.shape), 0, 1).astype(np.float32)
    return np.clip(hr + rng.normal(0, 0.02 * (1 + seed), hr.shape), 0, 1).astype(np.float32), hr


@cache
def open_session(data: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


class FakeContext:
    def __init__(self, module: Any, session: onnxruntime.InferenceSession) -> None:
        self.module, self.session, self.pointers = module, session, dict[str, int]()
        self.shapes: dict[str, tuple[int, ...]] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return name in {port.name for port in self.session.get_inputs()}

    def set_tensor_address(self, name: str, pointer: int) -> bool:
        self.pointers[name] = pointer
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self.module.device.launch(stream, "part", self.run)
        return True

    def run(self) -> None:
        given = {port.name: at(self.pointers[port.name], tuple(port.shape), KINDS[port.type]) for port in self.session.get_inputs()}
        outputs = self.session.get_outputs()
        for port, array in zip(outputs, self.session.run([port.name for port in outputs], given), strict=True):
            np.copyto(at(self.pointers[port.name], tuple(port.shape), KINDS[port.type]), array)


def at(pointer: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(pointer), dtype).reshape(shape)


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> HostDevice:
    require_compiler()
    return HostDevice(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def metric(model: bytes, builds: HostDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MetricOnGpu:
    device = FakeDevice()
    logger = type("Logger", (), {"Severity": SimpleNamespace(ERROR=1, INTERNAL_ERROR=0)})
    module = SimpleNamespace(device=device, num_built=0, ILogger=logger)

    class Runtime:
        def __init__(self, logger: object) -> None: ...

        def deserialize_cuda_engine(self, data: bytes) -> Any:
            if not data.startswith(b"\x08"):
                return None
            session = open_session(data)
            return SimpleNamespace(create_execution_context=lambda: FakeContext(module, session))

    def build(part: Any, flavour: Flavour, **_: object) -> bytes:
        module.num_built += 1
        return part.model.SerializeToString()  # type: ignore[no-any-return]

    def attend(*asking: np.ndarray, out: np.ndarray, stream: int) -> None:
        device.launch(stream, "attention", lambda: streamsr_kernels.axial_attention(*asking, out=out))

    module.Runtime = Runtime
    monkeypatch.setattr(streamsr_kernels.launch_device, "open_device", lambda stream=None: builds)
    monkeypatch.setattr(pban_gpu, "build_part", build)
    monkeypatch.setattr(pban_gpu, "split_metric", split_once)
    made = MetricOnGpu(model, gpu=GPU, flavour=Flavour("tensorrt", "10.0", module), arrays=NumpyArrays(device), cache=PlanCache(tmp_path))
    made._attend = attend
    made.fake = module  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("size", SIZES)
def test_the_score_is_that_of_the_whole_file(metric: MetricOnGpu, whole: onnxruntime.InferenceSession, size: tuple[int, int]) -> None:
    for seed in range(2):
        sr, hr = pictures(*size, seed=seed)
        (expected,) = whole.run(["score"], {"sr": sr, "hr": hr})[0]
        assert abs(float(metric(sr, hr)[0]) - expected) <= TOLERANCE
        assert 0.01 < expected < 0.99


def test_pictures_at_the_ends_keep_their_score(metric: MetricOnGpu, whole: onnxruntime.InferenceSession) -> None:
    """Equal ones, black beside white, and noise."""
    _, hr = pictures(96, 96)
    noise = np.random.default_rng(2).random(hr.shape, np.float32)
    for sr, other in ((hr, hr), (np.zeros_like(hr), np.ones_like(hr)), (noise, hr), (np.rint(hr), hr)):
        (expected,) = whole.run(["score"], {"sr": sr, "hr": other})[0]
        assert abs(float(metric(sr, other)[0]) - expected) <= TOLERANCE


def test_products_alone_are_in_half_precision() -> None:
    for part in split_once((METRIC.parent / str(read_card()["file"])).read_bytes(), 96, 96):
        graph = onnx.shape_inference.infer_shapes(part.model, strict_mode=True).graph
        values = (*graph.value_info, *graph.input, *graph.output)
        kinds = {value.name: value.type.tensor_type.elem_type for value in values} | {t.name: t.data_type for t in graph.initializer}
        num_products = 0
        for node in graph.node:
            half = {kinds[name] == onnx.TensorProto.FLOAT16 for name in (*node.input, *node.output) if name in kinds}
            is_grouped = any(each.name == "group" and each.i > 1 for each in node.attribute)
            if node.op_type in ("Conv", "Gemm") and not is_grouped:
                num_products += 1
                assert half == {True}, node.name
            elif node.op_type not in ("Cast", "Concat"):
                assert True not in half, node.name
        assert num_products > 50


def test_all_networks_ask_at_once_and_both_ways(metric: MetricOnGpu, builds: HostDevice) -> None:
    builds.launched.clear()
    metric(*pictures(96, 96))
    names = [kernel.name for kernel, _ in builds.launched]
    assert names == ["transpose", "attend_lines", "average"]
    assert [what for _, what in metric.fake.device.log].count("attention") == 1  # type: ignore[attr-defined]


def test_parts_are_built_once_and_kept(metric: MetricOnGpu, model: bytes, tmp_path: Path) -> None:
    sr, hr = pictures(96, 96)
    once = metric(sr, hr)
    metric(sr, hr)
    module = metric.fake  # type: ignore[attr-defined]
    assert module.num_built == 2
    again = MetricOnGpu(model, gpu=GPU, flavour=metric._flavour, arrays=NumpyArrays(module.device), cache=PlanCache(tmp_path))
    again._attend = metric._attend
    assert again(sr, hr) == once
    assert module.num_built == 2
    for file in tmp_path.glob("metric-*"):
        file.write_bytes(b"damaged")
    damaged = MetricOnGpu(model, gpu=GPU, flavour=metric._flavour, arrays=NumpyArrays(module.device), cache=PlanCache(tmp_path))
    damaged._attend = metric._attend
    assert damaged(sr, hr) == once
    assert module.num_built == 4


def test_the_judge_takes_it(metric: MetricOnGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamsr.compare.pban.open_on_gpu", lambda model, device: metric)
    sr, hr = (np.rint(picture[0].transpose(1, 2, 0) * 255).astype(np.uint8) for picture in pictures(96, 96))
    on_gpu = PbanScorer(device="cuda:0")
    assert on_gpu.engine == "tensorrt"
    assert abs(on_gpu(sr, hr) - PbanScorer(engine="onnxruntime")(sr, hr)) <= TOLERANCE


def test_a_file_without_such_attentions_is_named(model: bytes) -> None:
    graph = onnx.load_from_string(model).graph
    assert len(find_attentions(fold(model, 96, 96).graph)) == 8
    nodes = [node for node in graph.node if node.op_type != "Softmax"]
    assert find_attentions(onnx.helper.make_graph(nodes, "none", [], [])) == []
    plain = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[n,3,h,w] sr, float[n,3,h,w] hr) => (float[n,3,h,w] score)'
        "{ score = Sub(sr, hr) }"
    )
    with pytest.raises(EngineError, match="no attention that the kernel knows"):
        split_metric(plain.SerializeToString(), 96, 96)


@pytest.mark.slow
def test_tensorrt_for_rtx_builds_both_parts_without_a_gpu(model: bytes, tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed")
    flavour = load_flavour("8.9", without_gpu=True)
    said: list[str] = []
    for number, part in enumerate(split_metric(model, 96, 96), 1):
        options: dict[str, Any] = {"gpu": GPU.name, "capability": "8.9", "cache": PlanCache(tmp_path), "say": said.append}
        assert len(build_part(part, flavour, number=number, **options)) > 10**6
