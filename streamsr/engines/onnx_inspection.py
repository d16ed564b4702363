"""What a bare ONNX file is, measured: its scale, and the radius that an output pixel sees."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from streamsr.engines.engine import Engine
from streamsr.errors import EngineError
from streamsr.models import ModelSpec

PROBE = 65  # side of the plane that is measured with, in pixels
MAX_RADIUS = 24  # beyond it the radius counts as unknown: the probe must be wider than twice that
CHANNELS = 64  # assumed for the memory estimate
NUM_DRAWS = 4


def inspect_model(path: Path, *, engine: str, open_engine: Callable[..., Engine]) -> ModelSpec:
    """The ModelSpec of an ONNX file without a description. See `streamsr.engines.describe_model`.

    The radius is how far a changed pixel is seen, on noise: some draws may miss a weak connection, so one more pixel is
    added for each draw that saw less than the widest.
    """
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise EngineError(f"Cannot read the model {path}: {error.strerror}.") from error
    spec = ModelSpec(path.stem, 1, path, sha256, channels=CHANNELS)
    scale = _measure_scale(spec, engine)
    spec = replace(spec, scale=scale)
    runner = open_engine(spec, bits=16, engine=engine, precision="f32", threads=1)
    rng = np.random.default_rng(0)
    reach = []
    for _ in range(NUM_DRAWS):
        luma = rng.integers(0, 65536, (PROBE, PROBE)).astype(np.uint16)
        changed = luma.copy()
        changed[PROBE // 2, PROBE // 2] ^= 0x8000
        results = []
        for plane in (luma, changed):
            out = np.empty((PROBE * scale, PROBE * scale), np.uint16)
            runner.infer(plane, out)
            results.append(out)
        rows, columns = np.nonzero(results[0] != results[1])
        if not len(rows):
            raise EngineError(f"{path}: the output does not depend on the input; this is not an upscaling model.")
        seen = np.concatenate([rows, columns]) // scale - PROBE // 2
        reach.append(int(np.abs(seen).max()))
    runner.close()
    radius = max(reach) + sum(one < max(reach) for one in reach)
    return replace(spec, receptive_field=radius if radius <= MAX_RADIUS else None)


def _measure_scale(spec: ModelSpec, engine: str) -> int:
    """The ratio of output and input size by the model's own shape inference."""
    side = 32
    if engine == "openvino":
        import openvino as ov

        try:
            model = ov.Core().read_model(spec.read())
            inputs, outputs = len(model.inputs), len(model.outputs)
            if (inputs, outputs) == (1, 1):
                model.reshape({model.input(0): [1, 1, side, side]})
                shape = tuple(model.output(0).shape)
        except RuntimeError as error:
            raise EngineError(f"{spec.path} does not turn one plane into one plane: {str(error).splitlines()[-1]}") from error
    else:
        import onnxruntime as ort

        try:
            session = ort.InferenceSession(spec.read(), providers=["CPUExecutionProvider"])
            inputs, outputs = len(session.get_inputs()), len(session.get_outputs())
            if (inputs, outputs) == (1, 1):
                name = session.get_inputs()[0].name
                shape = session.run(None, {name: np.zeros((1, 1, side, side), np.float32)})[0].shape
        except Exception as error:
            raise EngineError(f"{spec.path} does not turn one plane into one plane: {error}") from error
    if (inputs, outputs) != (1, 1):
        raise EngineError(f"{spec.path} has {inputs} inputs and {outputs} outputs; streamsr's models have one of each.")
    if len(shape) != 4 or shape[:2] != (1, 1) or shape[2] % side or shape[2] != shape[3]:
        raise EngineError(f"{spec.path} turns (1, 1, {side}, {side}) into {tuple(shape)}; (1, 1, s * {side}, s * {side}) is needed.")
    return int(shape[2] // side)
