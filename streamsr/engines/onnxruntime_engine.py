"""ONNX Runtime: the fallback on CPUs where OpenVINO is not there. Runs float32 and int8.

The `onnx` package wraps the model so that it takes and gives uint8 or uint16 planes, as the OpenVINO engine does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamsr.engines import MAX_STREAMS, State, check_states
from streamsr.errors import EngineError
from streamsr.models import ModelSpec

if TYPE_CHECKING:
    from streamsr.options import Hint, Precision

try:
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, compose, helper, numpy_helper
except ImportError as error:
    raise EngineError(f"Engine 'onnxruntime' needs {error.name}.", hint="pip install 'streamsr[ort]'") from error


class OnnxRuntimeEngine:
    """Implements `streamsr.engines.Engine`: one session for planes of all sizes."""

    name = "onnxruntime"
    device = "cpu"

    def __init__(self, spec: ModelSpec, *, scale: int, bits: int, device: str, precision: Precision, threads: int, hint: Hint) -> None:
        if device not in ("auto", "cpu"):
            raise EngineError(f"Engine 'onnxruntime' runs on the cpu here, not on {device!r}.", hint="use --engine openvino")
        if precision in ("bf16", "f16"):
            raise EngineError(f"ONNX Runtime has no {precision} on CPUs. Precisions that work: f32, int8.")
        self.scale = scale
        self.bits = bits
        self.precision: str
        if precision != "auto":
            self.precision, self.reason = precision, f"{precision}: as asked"
        elif bits == 8 and spec.int8_path is not None:
            self.precision, self.reason = "int8", "int8: the model has it"
        else:
            self.precision = "f32"
            self.reason = "f32: the model has no int8" if bits == 8 else f"f32: {bits}-bit video keeps its precision"
        data = spec.read(int8=self.precision == "int8")
        self.concurrency = 1 if hint == "latency" else min(threads, MAX_STREAMS)
        options = ort.SessionOptions()
        # with one thread a call, a session runs in the thread that calls it: several calls, several cores
        options.intra_op_num_threads = max(threads // self.concurrency, 1)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # the arena keeps the largest frame's memory for each thread
        try:
            loaded = onnx.load_from_string(data)
            check_states(spec, {given.name for given in loaded.graph.input})
            model = wrap(loaded, spec, bits=bits)
            self._session: Any = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except EngineError:
            raise
        except Exception as error:  # onnx and ONNX Runtime have no common exception type
            raise EngineError(f"ONNX Runtime cannot read {spec.path}: {error}") from error
        self._states = [state.name for state in spec.states]

    def prepare(self, height: int, width: int) -> None:
        """Nothing to compile: a session takes any size."""

    def infer(self, luma: np.ndarray, out: np.ndarray, state: State = ()) -> State:
        """luma (h, w) -> out (scale * h, scale * w): see `Engine.infer`."""
        try:
            given = {name: np.ascontiguousarray(array)[None] for name, array in zip(self._states, state, strict=True)}
            outputs = ["codes_hr", *(f"{name}_next" for name in self._states)]
            result, *states = self._session.run(outputs, {"codes": np.ascontiguousarray(luma)[None, None]} | given)
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed on a {luma.shape[1]}x{luma.shape[0]} plane: {error}") from error
        np.copyto(out, result[0, 0])
        return tuple(array[0] for array in states)

    def close(self) -> None:
        """Free the session."""
        self._session = None


def wrap(model: onnx.ModelProto, spec: ModelSpec, *, bits: int) -> onnx.ModelProto:
    """The model with planes at both ends: codes / max_code in; x max_code, rounded half to even, clipped, codes out.

    States keep their names and stay float32.
    """
    sample = TensorProto.UINT8 if bits == 8 else TensorProto.UINT16
    max_code = np.float32((1 << bits) - 1)
    model = compose.add_prefix(model, "net_")
    graph = model.graph
    # a bare file has one input and one output, whatever their names
    source = f"net_{spec.input}" if spec.states else graph.input[0].name
    target = f"net_{spec.output}" if spec.states else graph.output[0].name
    before = [
        helper.make_node("Cast", ["codes"], ["codes_f32"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["codes_f32", "max_code"], [source]),
    ]
    after = [
        helper.make_node("Mul", [target, "max_code"], ["scaled"]),
        helper.make_node("Clip", ["scaled", "zero", "max_code"], ["clipped"]),
        helper.make_node("Round", ["clipped"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["codes_hr"], to=sample),
    ]
    for state in spec.states:
        before.append(helper.make_node("Identity", [state.name], [f"net_{state.name}"]))
        after.append(helper.make_node("Identity", [f"net_{state.name}_next"], [f"{state.name}_next"]))
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.append(numpy_helper.from_array(np.asarray(max_code), "max_code"))
    graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), "zero"))
    graph.input.append(helper.make_tensor_value_info("codes", sample, ["N", 1, "H", "W"]))
    graph.output.append(helper.make_tensor_value_info("codes_hr", sample, ["N", 1, "HR", "WR"]))
    for state in spec.states:
        shape: list[str | int | None] = ["N", state.channels, f"H_{state.name}", f"W_{state.name}"]
        graph.input.append(helper.make_tensor_value_info(state.name, TensorProto.FLOAT, shape))
        graph.output.append(helper.make_tensor_value_info(f"{state.name}_next", TensorProto.FLOAT, shape))
    return model
