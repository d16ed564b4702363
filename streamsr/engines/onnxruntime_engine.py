"""ONNX Runtime: the fallback on CPUs where OpenVINO is not there. Runs float32 and int8.

The `onnx` package wraps the model so that it takes and gives uint8 or uint16 planes, as the OpenVINO engine does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamsr.engines.engine import CHROMA_OUTPUT, MAX_STREAMS, Chroma, State, check_states
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


def exact_options() -> ort.SessionOptions:
    """Options of a session whose int8 sums are exact on every CPU.

    Without AVX-512 VNNI, sums of two products of int8 would overflow 16 bits and be clipped, up to 4 codes off.
    """
    options = ort.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options


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
        options = exact_options()
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

    def infer(self, luma: np.ndarray, out: np.ndarray, state: State = (), chroma: Chroma | None = None) -> State:
        """luma (h, w) -> out (scale * h, scale * w): see `Engine.infer`."""
        try:
            given = {name: np.ascontiguousarray(array)[None] for name, array in zip(self._states, state, strict=True)}
            outputs = ["codes_hr", *(f"{name}_next" for name in self._states)]
            if chroma is not None:
                given |= {"chroma": np.ascontiguousarray(chroma.samples)[None], "condition": chroma.told}
                outputs.append(CHROMA_OUTPUT)
            result, *states = self._session.run(outputs, {"codes": np.ascontiguousarray(luma)[None, None]} | given)
            if chroma is not None:
                np.copyto(chroma.out, states.pop()[0])
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed on a {luma.shape[1]}x{luma.shape[0]} plane: {error}") from error
        np.copyto(out, result[0, 0])
        return tuple(array[0] for array in states)

    def close(self) -> None:
        """Free the session."""
        self._session = None


def wrap(model: onnx.ModelProto, spec: ModelSpec, *, bits: int) -> onnx.ModelProto:
    """The model with planes at both ends: codes / max_code in; x max_code, rounded half to even, clipped, codes out.

    States and the condition keep their names and stay float32; chroma keeps its names.
    """
    sample = TensorProto.UINT8 if bits == 8 else TensorProto.UINT16
    max_code = np.float32((1 << bits) - 1)
    model = compose.add_prefix(model, "net_")
    graph = model.graph
    # a bare file has one input and one output, whatever their names
    entries = [("codes", f"net_{spec.input}" if spec.is_named else graph.input[0].name, 1)]
    exits = [("codes_hr", f"net_{spec.output}" if spec.is_named else graph.output[0].name, 1)]
    kept = [(name, f"{name}_next", channels) for name, channels in ((state.name, state.channels) for state in spec.states)]
    if spec.has_chroma:
        entries.append(("chroma", "net_chroma", 2))
        exits.append((CHROMA_OUTPUT, f"net_{CHROMA_OUTPUT}", 2))
    before, after = [], []
    for name, inner, _ in entries:
        before.append(helper.make_node("Cast", [name], [f"{name}_f32"], to=TensorProto.FLOAT))
        before.append(helper.make_node("Div", [f"{name}_f32", "max_code"], [inner]))
    for name, inner, _ in exits:
        after.append(helper.make_node("Mul", [inner, "max_code"], [f"{name}_scaled"]))
        after.append(helper.make_node("Clip", [f"{name}_scaled", "zero", "max_code"], [f"{name}_clipped"]))
        after.append(helper.make_node("Round", [f"{name}_clipped"], [f"{name}_rounded"]))
        after.append(helper.make_node("Cast", [f"{name}_rounded"], [name], to=sample))
    for name, following, _ in kept:
        before.append(helper.make_node("Identity", [name], [f"net_{name}"]))
        after.append(helper.make_node("Identity", [f"net_{following}"], [following]))
    if spec.has_chroma:
        before.append(helper.make_node("Identity", ["condition"], ["net_condition"]))
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.append(numpy_helper.from_array(np.asarray(max_code), "max_code"))
    graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), "zero"))

    def tensor(name: str, kind: int, channels: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, ["N", channels, f"H_{name}", f"W_{name}"])

    graph.input.extend(tensor(name, sample, channels) for name, _, channels in entries)
    graph.output.extend(tensor(name, sample, channels) for name, _, channels in exits)
    graph.input.extend(tensor(name, TensorProto.FLOAT, channels) for name, _, channels in kept)
    graph.output.extend(tensor(following, TensorProto.FLOAT, channels) for _, following, channels in kept)
    if spec.has_chroma:
        graph.input.append(helper.make_tensor_value_info("condition", TensorProto.FLOAT, [1, 2, 1, 1]))
    return model
