"""Reads ONNX files without the `onnx` package: what the torch engine needs of them, so that torch alone is enough to run a model.

An ONNX file is a protocol buffer: fields of (number, type, value), one after another. Fields that are not asked for are passed
over. Source: onnx/onnx.proto (IR version 8 to 10), protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streamsr.errors import EngineError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
DTYPES = {
    1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16,
    11: np.float64,
}  # fmt: skip


@dataclass(frozen=True)
class OnnxNode:
    op: str
    domain: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]  # float, int, str, array, or a list of the first three


@dataclass(frozen=True)
class OnnxFunction:
    """Operators that nodes of (domain, name) stand for."""

    domain: str
    name: str
    inputs: list[str]
    outputs: list[str]
    nodes: list[OnnxNode]


@dataclass(frozen=True)
class OnnxModel:
    nodes: list[OnnxNode]
    constants: dict[str, np.ndarray]  # the initializers
    inputs: list[str]  # without the constants
    outputs: list[str]
    functions: list[OnnxFunction] = field(default_factory=list)


def read_onnx(data: bytes) -> OnnxModel:
    """The model in a file. Raises EngineError for what is not an ONNX model, and for tensors kept outside the file."""
    try:
        model = _fields(data)
        graph = _fields(model[7][-1])
        constants = dict(map(_tensor, graph.get(5, [])))
        inputs = [name for name in (_text(_fields(port)[1]) for port in graph.get(11, [])) if name not in constants]
        outputs = [_text(_fields(port)[1]) for port in graph.get(12, [])]
        functions = [_function(_fields(value)) for value in model.get(25, [])]
        return OnnxModel([_node(value) for value in graph.get(1, [])], constants, inputs, outputs, functions)
    except (KeyError, IndexError, ValueError, TypeError, struct.error) as error:
        raise EngineError(f"This is not an ONNX model: {error!r}.") from error


def _function(fields: dict[int, list[Any]]) -> OnnxFunction:
    nodes = [_node(value) for value in fields.get(7, [])]
    return OnnxFunction(_text(fields.get(10)), _text(fields[1]), _texts(fields.get(4)), _texts(fields.get(5)), nodes)


def _node(data: bytes) -> OnnxNode:
    fields = _fields(data)
    attributes = dict(map(_attribute, fields.get(5, [])))
    return OnnxNode(_text(fields[4]), _text(fields.get(7)), _text(fields.get(3)), _texts(fields.get(1)), _texts(fields.get(2)), attributes)


def _attribute(data: bytes) -> tuple[str, Any]:
    fields = _fields(data)
    name, kind = _text(fields[1]), fields.get(20, [0])[-1]
    values = {
        1: lambda: _float(fields[2][-1]), 2: lambda: _signed(fields.get(3, [0])[-1]), 3: lambda: _text(fields[4]),
        4: lambda: _tensor(fields[5][-1])[1], 6: lambda: [_float(value) for value in _unpack(fields.get(7, []), "<f")],
        7: lambda: [_signed(value) for value in _unpack(fields.get(8, []), None)], 8: lambda: _texts(fields.get(9)),
    }  # fmt: skip
    if kind not in values:
        raise EngineError(f"The torch engine cannot read the attribute {name!r} of kind {kind}.")
    return name, values[kind]()


def _tensor(data: bytes) -> tuple[str, np.ndarray]:
    fields = _fields(data)
    name, kind = _text(fields.get(8)), fields[2][-1]
    shape = [_signed(value) for value in _unpack(fields.get(1, []), None)]
    if kind not in DTYPES or 13 in fields:
        why = "it lies outside the file" if 13 in fields else f"its type is {kind}"
        raise EngineError(f"The torch engine cannot read the tensor {name!r}: {why}.")
    dtype = np.dtype(DTYPES[kind])
    if 9 in fields:
        values = np.frombuffer(fields[9][-1], dtype.newbyteorder("<")).astype(dtype)
    elif 4 in fields:
        values = np.array([_float(value) for value in _unpack(fields[4], "<f")], dtype)
    elif 10 in fields:
        values = np.array([struct.unpack("<d", value)[0] for value in _unpack(fields[10], "<d")], dtype)
    else:
        whole = [_signed(value) for value in _unpack(fields.get(7, fields.get(5, [])), None)]
        values = np.array(whole, np.uint16).view(dtype) if dtype == np.float16 else np.array(whole, np.int64).astype(dtype)
    return name, values.reshape(shape)


def _fields(data: bytes) -> dict[int, list[Any]]:
    """The values of each field number: int for varints, bytes for the others."""
    found: dict[int, list[Any]] = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        value: Any
        if kind == _VARINT:
            value, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32, _BYTES):
            size, at = _varint(data, at) if kind == _BYTES else (8 if kind == _FIXED64 else 4, at)
            value, at = data[at : at + size], at + size
            if at > len(data):
                raise ValueError("it ends in the middle of a field")
        else:
            raise ValueError(f"a field of type {kind}")
        found.setdefault(number, []).append(value)
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def _unpack(values: list[Any], form: str | None) -> Iterator[Any]:
    """Repeated numbers, one by one: they come packed in one field, or a field each. form: of fixed ones; None for varints."""
    for value in values:
        if form is None and isinstance(value, bytes):
            at = 0
            while at < len(value):
                number, at = _varint(value, at)
                yield number
        elif form is not None:
            size = struct.calcsize(form)
            yield from (value[start : start + size] for start in range(0, len(value), size))
        else:
            yield value


def _signed(value: int) -> int:
    """int64 is written as its two's complement."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _float(value: bytes) -> float:
    return float(struct.unpack("<f", value)[0])


def _text(values: list[bytes] | None) -> str:
    return values[-1].decode() if values else ""


def _texts(values: list[bytes] | None) -> list[str]:
    return [value.decode() for value in values or []]
