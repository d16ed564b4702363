"""An ONNX file as a torch module: a list of operators, worked off in the order of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from streamsr.engines.onnx_file import OnnxModel, OnnxNode
from streamsr.engines.torch_operators import OPERATORS, Node, Run
from streamsr.errors import EngineError

Attend = Callable[[Tensor, Tensor, Tensor, int], Tensor]  # query, key, value, radius
ATTENTION = ("streamsr", "LocalAxialAttention")
CONSTANTS = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


class OnnxNetwork(nn.Module):
    """Runs an ONNX model of known operators. Raises EngineError for an operator that is not among them.

    attend: what runs `streamsr.LocalAxialAttention`; None: the function's body in the file.
    """

    def __init__(self, model: OnnxModel, *, attend: Attend | None = None) -> None:
        super().__init__()
        self._functions = {(function.domain, function.name): function for function in model.functions}
        self._attend = attend
        self._runs: list[tuple[Run, list[str], list[str]]] = []
        self.inputs, self.outputs = model.inputs, model.outputs
        constants = dict(model.constants)
        self._add(model.nodes, {}, constants, prefix="")
        # the floats that operators work with; sizes and axes have gone into the operators
        used = {name for _, inputs, _ in self._runs for name in inputs}
        self._weights: dict[str, str] = {}
        for number, (name, value) in enumerate(constants.items()):
            if name in used and value.dtype.kind == "f":
                self._weights[name] = f"weight{number}"
                self.register_buffer(f"weight{number}", torch.from_numpy(np.array(value)))

    def _add(self, nodes: Iterable[OnnxNode], names: dict[str, str], constants: dict[str, np.ndarray], prefix: str) -> None:
        """Append nodes; `names` are those of a function's inputs outside it, which keeps its own names apart by `prefix`."""

        def outer(name: str) -> str:
            return names.get(name, prefix + name) if name else ""

        for index, node in enumerate(nodes):
            inputs, outputs = [outer(name) for name in node.inputs], [outer(name) for name in node.outputs]
            kind, is_standard = (node.domain, node.op), node.domain in ("", "ai.onnx")
            if kind == ATTENTION and self._attend is not None:
                self._runs.append((_attention(self._attend, node.attributes["radius"]), inputs, outputs))
            elif kind in self._functions:
                function = self._functions[kind]
                inner = dict(zip(function.inputs, inputs, strict=True)) | dict(zip(function.outputs, outputs, strict=True))
                self._add(function.nodes, inner, constants, prefix=f"{prefix}{node.name or node.op}{index}/")
            elif node.op == "Constant" and is_standard:
                ((label, value),) = node.attributes.items()
                constants[outputs[0]] = np.asarray(value, CONSTANTS.get(label))
            elif node.op in OPERATORS and is_standard:
                known = [constants.get(name) if name else None for name in inputs]
                seen = Node(node.op, node.name, node.attributes, known, len(outputs))
                self._runs.append((OPERATORS[node.op](seen), inputs, outputs))
            else:
                name = ".".join(filter(None, kind))
                raise EngineError(f"The torch engine has no operator {name}. Supported: {', '.join(OPERATORS)}.",
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
