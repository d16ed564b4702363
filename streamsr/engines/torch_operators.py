"""ONNX operators in torch: those that streamsr's models use, and a few that others do. Each builder reads a node once.

Constants (sizes, axes, pads) must be known when the network is made, so that it can be compiled and captured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor

from streamsr.errors import EngineError

Run = Callable[..., Any]  # tensors -> a tensor, or a tuple of them; an input that is left out is None


@dataclass(frozen=True)
class Node:
    """What a builder sees of an ONNX node."""

    op: str
    name: str
    attributes: dict[str, Any]
    constants: Sequence[np.ndarray | None]  # of each input: its value where it is known
    num_outputs: int

    def get(self, key: str, default: Any = None) -> Any:
        return self.attributes.get(key, default)

    def constant(self, index: int) -> np.ndarray | None:
        """The value of an input that must not depend on the picture; None where it is left out."""
        if index >= len(self.constants):
            return None
        value = self.constants[index]
        if value is None:
            raise EngineError(f"The torch engine needs input {index} of {self.op} {self.name!r} to be a constant.")
        return value

    def ints(self, index: int) -> list[int]:
        value = self.constant(index)
        return [] if value is None else [int(number) for number in np.atleast_1d(value)]

    def refuse(self, what: str) -> EngineError:
        return EngineError(f"The torch engine has no {self.op} with {what} ({self.name!r}).", hint="use --engine openvino or onnxruntime")


def _conv(node: Node) -> Run:
    weight = node.constants[1]
    spatial = 2 if weight is None else weight.ndim - 2
    pads = node.get("pads", [0] * (2 * spatial))
    if node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or pads[:spatial] != pads[spatial:]:
        raise node.refuse("uneven padding")
    stride, dilation, groups = node.get("strides", 1), node.get("dilations", 1), node.get("group", 1)

    def run(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
        # in the type of its weights; all else goes by torch's rules, so that a residual of float32 luma stays float32
        if bias is None and kernel.shape[1] == groups == 1:  # interpolates a picture (trainer.nets.luma_chroma): in the picture's type
            kernel = kernel.to(x.dtype)
        return F.conv2d(x.to(kernel.dtype), kernel, bias, stride, pads[:spatial], dilation, groups)

    return run


def _depth_to_space(node: Node) -> Run:
    size = node.get("blocksize")
    if node.get("mode", "DCR") == "CRD":
        return lambda x: F.pixel_shuffle(x, size)

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.reshape(n, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // size**2, h * size, w * size)

    return run


def _space_to_depth(node: Node) -> Run:
    size = node.get("blocksize")

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        blocks = x.reshape(n, c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4)
        return blocks.reshape(n, c * size**2, h // size, w // size)

    return run


def _pad(node: Node) -> Run:
    mode = node.get("mode", "constant")
    if mode not in ("constant", "reflect", "edge") or len(node.constants) > 3:
        raise node.refuse(f"mode {mode!r} or axes")
    pads = node.ints(1)
    rank = len(pads) // 2
    value = node.constant(2)
    sides = [side for axis in reversed(range(rank)) for side in (pads[axis], pads[axis + rank])]
    while len(sides) > 2 and not sides[-1] and not sides[-2]:
        del sides[-2:]
    if mode == "constant":
        return lambda x, *_: F.pad(x, sides, value=0.0 if value is None else float(value))
    return lambda x, *_: F.pad(x, sides, mode="replicate" if mode == "edge" else mode)


def _slice(node: Node) -> Run:
    starts, stops = node.ints(1), node.ints(2)
    axes = node.ints(3) or list(range(len(starts)))
    if any(step != 1 for step in node.ints(4)):
        raise node.refuse("steps")

    def run(x: Tensor, *_: Any) -> Tensor:
        for axis, start, stop in zip(axes, starts, stops, strict=True):
            x = x[(slice(None),) * (axis % x.ndim) + (slice(start, stop),)]  # sides that are free stay so in torch.export
        return x

    return run


def _split(node: Node) -> Run:
    axis, sizes = node.get("axis", 0), node.ints(1) or node.get("split")

    def run(x: Tensor, *_: Any) -> tuple[Tensor, ...]:
        return x.split(sizes if sizes else -(-x.shape[axis] // node.num_outputs), axis)

    return run


def _reduce(function: Callable[..., Tensor]) -> Callable[[Node], Run]:
    def build(node: Node) -> Run:
        axes, keep = node.ints(1) or node.get("axes"), bool(node.get("keepdims", 1))
        if not axes:
            raise node.refuse("no axes")
        return lambda x, *_: function(x, axes, keep)

    return build


def _clip(node: Node) -> Run:
    low, high = (node.constant(index) if index < len(node.constants) else node.get(name) for index, name in ((1, "min"), (2, "max")))
    return lambda x, *_: x.clamp(None if low is None else float(low), None if high is None else float(high))


def _softmax(node: Node) -> Run:
    axis = node.get("axis", -1)
    return lambda x: torch.softmax(x, axis)


def _concat(node: Node) -> Run:
    axis = node.get("axis")
    return lambda *parts: torch.cat(parts, axis)


def _leaky(node: Node) -> Run:
    slope = node.get("alpha", 0.01)
    return lambda x: F.leaky_relu(x, slope)


def _prelu(node: Node) -> Run:
    del node
    return lambda x, slope: torch.where(x < 0, x * slope.to(x.dtype), x)


def _plain(function: Run) -> Callable[[Node], Run]:
    """An operator without attributes."""
    return lambda node: function


OPERATORS: dict[str, Callable[[Node], Run]] = {
    "Add": _plain(torch.add),
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "DepthToSpace": _depth_to_space,
    "Div": _plain(torch.div),
    "Identity": _plain(lambda x: x),
    "LeakyRelu": _leaky,
    "Mul": _plain(torch.mul),
    "PRelu": _prelu,
    "Pad": _pad,
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _plain(torch.relu),
    "Sigmoid": _plain(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Sub": _plain(torch.sub),
    "Tanh": _plain(torch.tanh),
}
