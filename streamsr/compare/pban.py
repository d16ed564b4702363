"""The shipped metric, Efficient-PBAN, without torch: an ONNX file in OpenVINO or ONNX Runtime."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ..engines import INSTALL, is_installed
from ..errors import EngineError
from ..models import WEIGHTS

METRIC = WEIGHTS / "metric" / "efficient_pban.json"


def read_card(description: Path = METRIC) -> dict[str, Any]:
    """The metric's description: name, file, sha256, min_side and the training. Raises EngineError when it cannot be read."""
    try:
        card = json.loads(description.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EngineError(f"Cannot read the metric's description {description}: {error}.") from error
    missing = [key for key in ("name", "file", "sha256", "min_side") if key not in card]
    if missing:
        raise EngineError(f"{description}: {', '.join(missing)} missing.")
    return dict(card)


class PbanScorer:
    """Scores pictures; picks OpenVINO, else ONNX Runtime.

    threads: of the engine, 0 = all. device: "cpu", or a GPU: "cuda:0".
    Raises EngineError when the file is missing or damaged, or neither engine is installed.
    """

    def __init__(self, description: Path = METRIC, *, engine: str = "auto", device: str = "cpu", threads: int = 0) -> None:
        self.card: Mapping[str, Any] = read_card(description)
        self.min_side = int(self.card["min_side"])
        self._run: Run | None = None
        path = description.parent / self.card["file"]
        try:
            model = path.read_bytes()
        except OSError as error:
            raise EngineError(f"Cannot read the metric {path}: {error.strerror}.") from error
        if hashlib.sha256(model).hexdigest() != self.card["sha256"]:
            raise EngineError(f"{path} is damaged or was changed: its sha256 is not its description's.", hint="install streamsr again")
        if device != "cpu":
            self.engine, self._run = "tensorrt", open_on_gpu(model, device)
            return
        openers = {"openvino": _openvino, "onnxruntime": _onnxruntime}
        names = [name for name in openers if engine in ("auto", name) and is_installed(name)]
        if not names:
            wanted = "OpenVINO or ONNX Runtime" if engine == "auto" else engine
            raise EngineError(f"The metric needs {wanted}.", hint=INSTALL.get(engine, INSTALL["onnxruntime"]))
        self.engine = names[0]
        self._open = partial(openers[names[0]], model, threads)

    def __call__(self, result: np.ndarray, original: np.ndarray) -> float:
        """RGB (H, W, 3) uint8 each, sides of `min_side` or more -> score in (0, 1], higher is better; 1 for equal pictures."""
        pictures = []
        for rgb in (result, original):
            if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or min(rgb.shape[:2]) < self.min_side:
                raise ValueError(f"The metric takes uint8 (H, W, 3) of {self.min_side} pixels a side or more, not {rgb.shape} {rgb.dtype}.")
            pictures.append(np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], np.float32) / np.float32(255))
        if pictures[0].shape != pictures[1].shape:
            raise ValueError(f"Result and original differ in shape: {result.shape} and {original.shape}.")
        return float(self.open()(pictures[0], pictures[1])[0])

    def open(self) -> Run:
        """Start the engine, which takes a second or more, where it has not started. Raises EngineError."""
        if self._run is None:
            self._run = self._open()
        return self._run


def open_on_gpu(model: bytes, device: str) -> Run:
    """The metric on "cuda:N". Raises UsageError for another name, EngineError for what is missing."""
    from ..engines.gpus import find_gpu
    from .pban_gpu import MetricOnGpu

    return MetricOnGpu(model, gpu=find_gpu(device))


Run = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _openvino(model: bytes, threads: int) -> Run:
    request = _compiled(model, threads).create_infer_request()
    return lambda sr, hr: np.array(request.infer({"sr": sr, "hr": hr})[0])


@lru_cache(maxsize=1)  # it takes seconds, and whoever measures one result measures another
def _compiled(model: bytes, threads: int) -> Any:
    import openvino

    core = openvino.Core()
    # f32: OpenVINO picks bf16 by itself where the CPU has it, and the second digit of a score would go
    options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    try:
        return core.compile_model(core.read_model(model), "CPU", options)
    except RuntimeError as error:
        raise EngineError(f"OpenVINO cannot run the metric: {error}") from error


def _onnxruntime(model: bytes, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda sr, hr: np.asarray(session.run(["score"], {"sr": sr, "hr": hr})[0])
