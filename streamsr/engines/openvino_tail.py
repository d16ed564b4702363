"""The last convolutions of a network that doubles a plane, made for two by two pixels at once.

It has four output channels, the phases of one pixel, and a CPU's instructions make sixteen (AVX-512, oneDNN): three
quarters of their lanes would be idle. The same weights, moved by one row, one column and both, make the sixteen phases of
two by two pixels in one convolution with stride 2: (k + 1)^2 taps for four pixels in place of 4 k^2. The taps in excess are
zeros, so nothing but the order of the last additions differs. Measured at 854x480 on one core of a Zen 4, `lite` x2 with
its residual and rounding: int8 3.8 ms in place of 6.3, f32 12.1 in place of 19.3.

The convolution that makes chroma has two output channels, Cb and Cr of one pixel, and becomes one of eight in the same way.

The residual is a convolution too, one that copies or interpolates: in bf16 it would round the picture, so there the network keeps its
narrow tail, and the interpolation is made of additions, which stay in float32 (`without_rounding`).
"""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as opset

PAIR = 2  # pixels at once along each axis, and phases of a pixel: the networks that triple or quadruple fill the lanes
# by the number of channels of the narrow convolution, for each wide channel: the narrow one, and which pixel of the two by two
CHANNELS = {
    4: [(2 * (row % PAIR) + column % PAIR, row // PAIR, column // PAIR) for row in range(4) for column in range(4)],
    2: [(channel, row, column) for row in range(PAIR) for column in range(PAIR) for channel in range(2)],
}


def widen(narrow: ov.Output) -> ov.Output | None:
    """Four phases of luma (N, 4, H, W) of a static size -> (N, 16, ceil(H / 2), ceil(W / 2)), channel k at row k // 4, column k % 4.

    Chroma (N, 2, H, W) -> (N, 8, ...), channel k is plane k % 2 at row k // 4, column k // 2 % 2. None where the graph does not end as
    ours do: a convolution, its bias, and the input's plane or planes that are added.
    """
    ends = _find_ends(narrow.get_node())
    if not ends:
        return None
    convolution, bias, plane, weights_KCHW = ends
    num = convolution.get_input_shape(1)[0]
    weights = _spread(convolution.input_value(1).get_node(), num)
    if not weights:
        return None
    margins = convolution.get_attributes()["pads_begin"]
    more = [length % PAIR for length in list(narrow.shape)[2:]]
    stride = [PAIR, PAIR]
    beyond = [margin + odd for margin, odd in zip(margins, more, strict=True)]
    wide = opset.convolution(convolution.input_value(0), weights, stride, margins, beyond, [1, 1])
    wide = opset.add(wide, bias.get_data().reshape(num)[_sources(num)].reshape(1, -1, 1, 1))
    return opset.add(wide, opset.convolution(plane, _place(weights_KCHW), stride, [0, 0], more, [1, 1])).output(0)


def without_rounding(phases: ov.Output) -> ov.Output:
    """The same phases, the luma that is added to them interpolated by multiplications and additions in place of a convolution."""
    node = phases.get_node()
    found = _find_interpolation(node.input_value(1)) if node.get_type_name() == "Add" else None
    if not found:
        return phases
    padded, weights_KCHW = found
    _, _, height, width = node.output(0).shape
    large = None
    for down in range(3):
        for right in range(3):
            share = weights_KCHW[None, :, 0, down, right, None, None]
            part = opset.slice(padded, [down, right], [down + height, right + width], [1, 1], [2, 3])
            part = opset.multiply(part, np.ascontiguousarray(share))
            large = part if large is None else opset.add(large, part)
    return opset.add(node.input_value(0), large).output(0)


def _find_interpolation(plane: ov.Output) -> tuple[ov.Output, np.ndarray] | None:
    """The padded luma and the weights, (s * s, 1, 3, 3), of a plane that a convolution interpolated to phases."""
    node = plane.get_node()
    if node.get_type_name() != "Convolution" or node.input_value(1).get_node().get_type_name() != "Constant":
        return None
    padded, weights_KCHW = node.input_value(0), node.input_value(1).get_node().get_data()
    return (padded, weights_KCHW) if padded.shape[1] == 1 and weights_KCHW.shape[2:] == (3, 3) else None


def _find_ends(residual: ov.Node) -> tuple[ov.Node, ov.Node, ov.Output, np.ndarray] | None:
    """Of (convolution + bias) + input: the convolution, its bias, the input, and weights that make of it what is added."""
    if residual.get_type_name() != "Add":
        return None
    tail, plane = residual.input_values()
    if tail.get_node().get_type_name() != "Add":
        return None
    convolution, bias = (value.get_node() for value in tail.get_node().input_values())
    if convolution.get_type_name() != "Convolution" or bias.get_type_name() != "Constant":
        return None
    num, _, *kernel = convolution.get_input_shape(1)
    attributes = {name: list(value) for name, value in convolution.get_attributes().items() if name != "auto_pad"}
    margins = [side // 2 for side in kernel]
    same_size = {"strides": [1, 1], "dilations": [1, 1], "pads_begin": margins, "pads_end": margins}
    added = _find_added(plane, num)
    return (convolution, bias, *added) if added and attributes == same_size and min(kernel) > 1 else None


def _find_added(plane: ov.Output, num: int) -> tuple[ov.Output, np.ndarray] | None:
    """What a convolution makes the residual of `num` channels from, and its weights: luma interpolated or copied, chroma copied."""
    if num == PAIR**2 and plane.shape[1] == 1:
        return plane, np.ones((num, 1, 1, 1), np.float32)
    if num == plane.shape[1] == 2:
        return plane, np.eye(num, dtype=np.float32).reshape(num, num, 1, 1)
    return _find_interpolation(plane) if num == PAIR**2 else None


def _sources(num: int) -> list[int]:
    """The narrow channel of each wide one."""
    return [source for source, _, _ in CHANNELS[num]]


def _spread(weights: ov.Node, num: int) -> ov.Node | None:
    """The weights of all wide channels, by the operators that made those of the `num` narrow ones: int8 is stored with scales."""
    kind = weights.get_type_name()
    if kind == "Constant":
        values = weights.get_data()
        if values.ndim < 4:
            return weights
        return opset.constant(values[_sources(num)] if values.shape[2:] == (1, 1) else _place(values), weights.get_element_type())
    inputs = [_spread(value.get_node(), num) for value in weights.input_values()]
    if not all(inputs):
        return None
    if kind == "Convert":
        return opset.convert(inputs[0], weights.get_element_type().get_type_name())
    if kind in ("Subtract", "Multiply"):
        return getattr(opset, kind.lower())(*inputs)
    return None


def _place(values_KCHW: np.ndarray) -> np.ndarray:
    """Weights of the narrow channels, each moved to its pixel: (4, C, H, W) -> (16, C, H + 1, W + 1), (2, ...) -> (8, ...)."""
    channels = CHANNELS[len(values_KCHW)]
    _, num, height, width = values_KCHW.shape
    placed = np.zeros((len(channels), num, height + 1, width + 1), values_KCHW.dtype)
    for wide, (narrow, down, right) in enumerate(channels):
        placed[wide, :, down : down + height, right : right + width] = values_KCHW[narrow]
    return placed
