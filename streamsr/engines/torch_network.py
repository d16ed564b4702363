"""An ONNX file as a torch module: a list of operators, worked off in the order of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from streamsr.engines.torch_operators import OPERATORS, Node, Run
from streamsr.errors import EngineError

try:
    import onnx
    from onnx import numpy_helper
except ImportError as error:
    raise EngineError(f"Engine 'torch' needs {error.name}.", hint="pip install 'streamsr[torch]'") from error

Attend = Callable[[Tensor, Tensor, Tensor, int], Tensor]  # query, key, value, radius
ATTENTION = ("streamsr", "LocalAxialAttention")


class OnnxNetwork(nn.Module):
    """Runs an ONNX model of known operators. Raises EngineError for an operator that is not among them.

    attend: what runs `streamsr.LocalAxialAttention`; None: the function's body in the file.
    """

    def __init__(self, model: onnx.ModelProto, *, attend: Attend | None = None) -> None:
        super().__init__()
        self._functions = {(function.domain, function.name): function for function in model.functions}
        self._attend = attend
        self._runs: list[tuple[Run, list[str], list[str]]] = []
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self.inputs = [given.name for given in model.graph.input if given.name not in constants]
        self.outputs = [made.name for made in model.graph.output]
        self._add(model.graph.node, {}, constants, prefix="")
        # the floats that operators work with; sizes and axes have gone into the operators
        used = {name for _, inputs, _ in self._runs for name in inputs}
        self._weights: dict[str, str] = {}
        for number, (name, value) in enumerate(constants.items()):
            if name in used and value.dtype.kind == "f":
                self._weights[name] = f"weight{number}"
                self.register_buffer(f"weight{number}", torch.from_numpy(np.array(value)))

    def _add(self, nodes: Iterable[onnx.NodeProto], names: dict[str, str], constants: dict[str, np.ndarray], prefix: str) -> None:
        """Append nodes; `names` are those of a function's inputs outside it, which keeps its own names apart by `prefix`."""

        def outer(name: str) -> str:
            return names.get(name, prefix + name) if name else ""

        for index, proto in enumerate(nodes):
            attributes = {each.name: _value(each) for each in proto.attribute}
            inputs, outputs = [outer(name) for name in proto.input], [outer(name) for name in proto.output]
            kind = (proto.domain, proto.op_type)
            if kind == ATTENTION and self._attend is not None:
                self._runs.append((_attention(self._attend, attributes["radius"]), inputs, outputs))
            elif kind in self._functions:
                function = self._functions[kind]
                inner = dict(zip(function.input, inputs, strict=True)) | dict(zip(function.output, outputs, strict=True))
                self._add(function.node, inner, constants, prefix=f"{prefix}{proto.name or proto.op_type}{index}/")
            elif proto.op_type == "Constant" and proto.domain in ("", "ai.onnx"):
                constants[outputs[0]] = _constant(proto)
            elif proto.op_type in OPERATORS and proto.domain in ("", "ai.onnx"):
                node = Node(proto.op_type, proto.name, attributes, [constants.get(name) if name else None for name in inputs], len(outputs))
                self._runs.append((OPERATORS[proto.op_type](node), inputs, outputs))
            else:
                known = ", ".join(OPERATORS)
                raise EngineError(f"The torch engine has no operator {'.'.join(filter(None, kind))}. Those that it has: {known}.",
                                  hint="use --engine openvino or onnxruntime")  # fmt: skip

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """The outputs in the order of the file, for inputs in the order of the file."""
        values: dict[str, Tensor] = dict(zip(self.inputs, given, strict=True))
        for name, place in self._weights.items():
            values[name] = getattr(self, place)
        for run, inputs, outputs in self._runs:
            result = run(*(values.get(name) for name in inputs))
            values.update(zip(outputs, result if isinstance(result, tuple) else (result,), strict=True))
        return tuple(values[name] for name in self.outputs)


def _attention(attend: Attend, radius: int) -> Run:
    return lambda query, key, value: attend(query, key, value, radius)


def _value(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    return list(value) if isinstance(value, Iterable) else value


def _constant(proto: onnx.NodeProto) -> np.ndarray:
    (attribute,) = proto.attribute
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return numpy_helper.to_array(value)
    kinds: Mapping[str, Any] = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    return np.array(value, kinds[attribute.name])
