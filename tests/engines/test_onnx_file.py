"""Reading ONNX files without the onnx package gives what the package reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from attentive import attentive_model
from make_recurrent import write_recurrent
from onnx import TensorProto, helper, numpy_helper

from streamsr.engines.onnx_file import OnnxNode, read_onnx
from streamsr.errors import EngineError
from streamsr.models import list_models


def plain(value: Any) -> Any:
    """An attribute's value as the reader gives it."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return value if isinstance(value, (int, float)) else [plain(each) for each in value]


def assert_alike(nodes: list[OnnxNode], protos: Any) -> None:
    assert len(nodes) == len(protos)
    for node, proto in zip(nodes, protos, strict=True):
        assert (node.op, node.domain, node.name) == (proto.op_type, proto.domain, proto.name)
        assert (node.inputs, node.outputs) == (list(proto.input), list(proto.output))
        assert set(node.attributes) == {each.name for each in proto.attribute}
        for each in proto.attribute:
            np.testing.assert_array_equal(node.attributes[each.name], plain(helper.get_attribute_value(each)))


def assert_read(data: bytes) -> None:
    model, found = onnx.load_from_string(data), read_onnx(data)
    assert_alike(found.nodes, model.graph.node)
    assert set(found.constants) == {tensor.name for tensor in model.graph.initializer}
    for tensor in model.graph.initializer:
        expected = numpy_helper.to_array(tensor)
        np.testing.assert_array_equal(found.constants[tensor.name], expected)
        assert found.constants[tensor.name].dtype == expected.dtype
    assert found.inputs == [port.name for port in model.graph.input if port.name not in found.constants]
    assert found.outputs == [port.name for port in model.graph.output]
    assert [(function.domain, function.name) for function in found.functions] == [(each.domain, each.name) for each in model.functions]
    for function, proto in zip(found.functions, model.functions, strict=True):
        assert (function.inputs, function.outputs) == (list(proto.input), list(proto.output))
        assert_alike(function.nodes, proto.node)


@pytest.mark.parametrize("spec", list_models(), ids=lambda spec: f"{spec.name}_x{spec.scale}")
@pytest.mark.parametrize("int8", [False, True])
def test_shipped_files_are_read_as_onnx_reads_them(spec: Any, int8: bool) -> None:
    if int8 and spec.int8_path is None:
        pytest.skip("no int8 file")
    assert_read(spec.read(int8=int8))


def test_states_and_functions_are_read(tmp_path: Path) -> None:
    for path in (write_recurrent(tmp_path), attentive_model(tmp_path)):
        assert_read(path.read_bytes())


KINDS = {
    TensorProto.FLOAT: [1.5, -2.25], TensorProto.UINT8: [0, 255], TensorProto.INT8: [-128, 127], TensorProto.INT32: [-(2**31), 7],
    TensorProto.INT64: [-(2**63), 2**63 - 1], TensorProto.FLOAT16: [0.5, -3.0], TensorProto.DOUBLE: [1e300, -1e-300],
    TensorProto.BOOL: [True, False],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("raw", [False, True])
def test_tensors_of_each_type_are_read_packed_or_raw(kind: int, raw: bool) -> None:
    values: Any = KINDS[kind]
    if raw:
        tensor = numpy_helper.from_array(np.array(values, helper.tensor_dtype_to_np_dtype(kind)), "it")
    else:
        tensor = helper.make_tensor("it", kind, [2], values)
    graph = helper.make_graph([], "none", [], [], [tensor])
    assert_read(helper.make_model(graph).SerializeToString())


def test_attributes_of_each_kind_are_read() -> None:
    values = {"f": 0.25, "i": -7, "s": "edge", "floats": [0.5, -1.0], "ints": [3, -4, 2**62], "strings": ["a", "b"], "zero": 0}
    node = helper.make_node("It", ["", "x"], ["y"], name="n", domain="d", **values)
    assert_read(helper.make_model(helper.make_graph([node], "one", [], [])).SerializeToString())


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x08\x08", bytes(range(256)) * 4])
def test_what_is_no_model_is_an_engine_error(data: bytes) -> None:
    with pytest.raises(EngineError, match="not an ONNX model"):
        read_onnx(data)


def test_a_file_that_ends_early_is_an_engine_error() -> None:
    data = list_models()[0].read()
    for size in (10, 1000, len(data) - 1):
        with pytest.raises(EngineError):
            read_onnx(data[:size])


def test_the_torch_engine_needs_no_onnx_package() -> None:
    pytest.importorskip("torch")
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "import numpy as np\nfrom streamsr.engines import open_engine\nfrom streamsr.models import find_model\n"
        "engine = open_engine(find_model('lite-clean', 2), engine='torch', device='cpu', threads=1)\n"
        "out = np.zeros((32, 32), np.uint8)\nengine.infer(np.full((16, 16), 99, np.uint8), out)\nprint(out.any())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "True"
