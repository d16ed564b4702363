"""OpenVINO: the default engine on CPUs, and Intel GPUs where OpenVINO lists one.

The planes go into the graph as they are (uint8 or uint16): conversion, scaling, rounding and clipping are part of the
compiled model, which saves 2 to 5 ms a frame at 854x480 over doing them outside.
"""

from __future__ import annotations

import math
import queue
import threading
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
from openvino import opset13 as opset

from streamsr.engines.engine import CHROMA_INPUTS, CHROMA_OUTPUT, MAX_STREAMS, Chroma, State, check_states
from streamsr.engines.openvino_attention import ATTENTION
from streamsr.engines.openvino_tail import widen, without_rounding
from streamsr.errors import EngineError
from streamsr.models import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamsr.options import Hint, Precision

MAX_BF16_BITS = 12  # Note [Precision]
MAX_COMPILED = 16  # sizes kept compiled: of the streams that share an engine, and those a stream had before
# planes at once: on two CPU cores four together took as long as one after another (lite x2 of 640x360: 17.1 to 17.5 ms a plane
# against 17.2 to 23.1; two side by side 15.7), so there every plane runs alone
MAX_BATCH = 8
# int8 below OpenVINO's own "f32" hint means: quantised layers in int8, all others (the residual) in float32
HINTS = {"f32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVinoEngine:
    """Implements `streamsr.engines.Engine`: one model, compiled for each plane size when it is first seen."""

    name = "openvino"

    def __init__(self, spec: ModelSpec, *, scale: int, bits: int, device: str, precision: Precision, threads: int, hint: Hint) -> None:
        self._core = ov.Core()
        self._core.add_extension(ATTENTION)
        self._device = self._find_device(device)
        self.device = self._device.lower()
        self.scale = scale
        self.bits = bits
        self.precision, self.reason = self._choose_precision(spec, precision, hint)
        self.concurrency = min(threads, MAX_STREAMS) if hint == "throughput" else 1
        self.max_batch = 1 if self._device == "CPU" or spec.is_named else MAX_BATCH
        self._threads = threads
        # oneDNN has no quantisation from uint16 ("CPU plugin does not support u16"): int8 above 8 bits starts at float32
        wide_int8 = self.precision == "int8" and bits > 8
        self._entry_dtype = np.dtype(np.float32 if wide_int8 else np.uint8 if bits == 8 else np.uint16)
        try:
            self._model = self._core.read_model(spec.read(int8=self.precision == "int8"))
            check_states(spec, {name for port in self._model.inputs for name in port.get_names()})
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot read {spec.path}: {first_line(error)}") from error
        self._states = spec.states
        self._has_chroma = spec.has_chroma
        # by position for a model without further tensors: a bare file's may have any names
        self._luma = spec.input if spec.is_named else 0
        self._luma_hr = spec.output if spec.is_named else 0
        self._compiled: OrderedDict[tuple[int, int, int], _Compiled] = OrderedDict()
        self._lock = threading.Lock()

    def _find_device(self, device: str) -> str:
        if device in ("auto", "cpu"):
            return "CPU"
        available = self._core.available_devices
        if device.upper() not in available:
            names = ", ".join(name.lower() for name in available)
            raise EngineError(f"OpenVINO has no device {device!r} here. Devices: {names}.")
        return device.upper()

    def _choose_precision(self, spec: ModelSpec, precision: Precision, hint: Hint) -> tuple[str, str]:
        """Note [Precision]: int8 for 8-bit planes, bf16 up to 12 bits, float32 above.

        What they lose against float32, measured with `lite` x2: PSNR-Y on Set14 0.018 dB in int8, none in bf16. On a
        smooth 10-bit gradient, where banding would show, bf16 is off by 0.007 codes on average and 1 at most, on a
        12-bit one by 0.18 and 1, on a 16-bit one by 3 and 19. The residual is added in float32 whatever the precision.
        `lite-clean` loses more where there is more to lose, 0.15 dB on lossless video (0.02 Efficient-PBAN on one clip where the processor
        has no VNNI), and its int8 is for live streams.
        """
        capabilities = set(self._core.get_property(self._device, "OPTIMIZATION_CAPABILITIES"))
        if precision == "int8" and spec.int8_path is None:
            spec.read(int8=True)  # raises, and says which precisions there are
        if precision == "f16":
            raise EngineError("OpenVINO cannot run f16 here. Precisions that work: f32, bf16, int8.")
        if precision == "bf16" and not capabilities & {"BF16", "FP16"}:
            raise EngineError(f"{self.device} has no bf16. Precisions that work here: f32, int8.")
        if precision != "auto":
            return precision, f"{precision}: as asked"
        if self.bits > MAX_BF16_BITS:
            return "f32", f"f32: {self.bits} bits are more than bf16 keeps"
        if self.bits > 8:
            if "BF16" in capabilities:
                return "bf16", f"bf16: {self.device} has it, and {self.bits} bits are too many for int8"
            return "f32", f"f32: {self.device} has no bf16, and {self.bits} bits are too many for int8"
        finer = spec.int8_live_only and hint != "latency"
        if spec.int8_path is not None and "INT8" in capabilities and not finer:
            return "int8", f"int8: the model has it and {self.device} runs it fast"
        without = "the model has no int8"
        if spec.int8_path is not None:
            without = "its int8 is for live streams alone" if finer else f"{self.device} has no int8"
        if "BF16" in capabilities:
            return "bf16", f"bf16: {self.device} has it and {without}"
        return "f32", f"f32: {self.device} has no bf16 and {without}"

    def prepare(self, height: int, width: int) -> None:
        """Compile for this size, or find it compiled."""
        self._compile(1, height, width)

    def infer(self, luma: np.ndarray, out: np.ndarray, state: State = (), chroma: Chroma | None = None) -> State:
        """luma (h, w) -> out (scale * h, scale * w): see `Engine.infer`."""
        return self._infer(np.ascontiguousarray(luma, self._entry_dtype)[None], [out], state, chroma)

    def infer_batch(self, lumas: Sequence[np.ndarray], outs: Sequence[np.ndarray]) -> None:
        """In parts of 8, 4, 2 and 1 planes, so that few are compiled: see `BatchEngine.infer_batch`."""
        at = 0
        while at < len(lumas):
            count = 1 << (min(len(lumas) - at, MAX_BATCH).bit_length() - 1)
            self._infer(np.stack(lumas[at : at + count]).astype(self._entry_dtype, copy=False), outs[at : at + count])
            at += count

    def _infer(self, lumas_NHW: np.ndarray, outs: Sequence[np.ndarray], state: State = (), chroma: Chroma | None = None) -> State:
        num, height, width = lumas_NHW.shape
        compiled = self._compile(num, height, width)
        with compiled.request() as request:
            request.set_input_tensor(0, ov.Tensor(lumas_NHW[:, None], shared_memory=True))
            given = [np.ascontiguousarray(array)[None] for array in state]
            states = [np.empty_like(array) for array in given]
            try:
                for index, (array, following) in enumerate(zip(given, states, strict=True), 1):
                    request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))
                    request.set_output_tensor(index, ov.Tensor(following, shared_memory=True))
                if chroma is not None:
                    samples = np.ascontiguousarray(chroma.samples, self._entry_dtype)[None]
                    for index, array in enumerate((samples, chroma.told), 1 + len(state)):
                        request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))
                request.infer(share_inputs=True, share_outputs=True)
            except RuntimeError as error:
                raise EngineError(f"OpenVINO failed on a {width}x{height} plane: {first_line(error)}") from error
            for phases_HWK, out in zip(request.get_output_tensor(0).data, outs, strict=True):
                _interleave(phases_HWK, out)
            if chroma is not None:
                _put_chroma(request.get_output_tensor(1 + len(state)).data[0], chroma.out)
        return tuple(array[0] for array in states)

    def _compile(self, num: int, height: int, width: int) -> _Compiled:
        with self._lock:
            found = self._compiled.get((num, height, width))
            if found is None:
                try:
                    found = _Compiled(self._core.compile_model(self._build(num, height, width), self._device, self._options()))
                except RuntimeError as error:
                    raise EngineError(f"OpenVINO cannot compile for {width}x{height}: {first_line(error)}") from error
                while len(self._compiled) >= MAX_COMPILED:
                    self._compiled.popitem(last=False)
                self._compiled[num, height, width] = found
            self._compiled.move_to_end((num, height, width))
            return found

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": HINTS[self.precision]}
        if self._device != "CPU":
            options["PERFORMANCE_HINT"] = "THROUGHPUT" if self.concurrency > 1 else "LATENCY"
            return options
        # one stream a core, not one plane on all cores: the same CPU time a frame, but nothing waits for a slower
        # thread when decoder and encoder share the cores. Pinning would take the choice of core from the system.
        options["NUM_STREAMS"] = self.concurrency
        options["INFERENCE_NUM_THREADS"] = self._threads
        options["ENABLE_CPU_PINNING"] = False
        options["ENABLE_HYPER_THREADING"] = True  # or OpenVINO would use fewer threads than asked for
        return options

    def _build(self, num: int, height: int, width: int) -> ov.Model:
        """The model at a static size, with uint8 or uint16 planes at both ends.

        A depth-to-space at the end is left out and done by `infer`, straight into the caller's plane: for 854x480 in
        int8 it takes 4.5 ms of 29 inside OpenVINO and 0.2 ms there. Channel k is then the phase at row k // scale,
        column k % scale, in ONNX's modes DCR and CRD alike as there is one output channel. Channels come last: so do
        the convolutions' own results, and bringing them first takes 0.5 ms.
        """
        max_code = float((1 << self.bits) - 1)
        sample = ov.Type.u8 if self.bits == 8 else ov.Type.u16
        entry = sample if self._entry_dtype.kind == "u" else ov.Type.f32
        model = self._model.clone()
        shapes = {model.input(state.name): [num, state.channels, state.scale * height, state.scale * width] for state in self._states}
        if self._has_chroma:
            shapes[model.input("chroma")] = [num, 2, height, width]
        model.reshape({model.input(self._luma): [num, 1, height, width]} | shapes)
        steps = ov.preprocess.PrePostProcessor(model)
        for name in (self._luma, "chroma") if self._has_chroma else (self._luma,):
            steps.input(name).tensor().set_element_type(entry)
            steps.input(name).preprocess().convert_element_type(ov.Type.f32).scale(max_code)
        model = steps.build()
        result = model.output(self._luma_hr).get_node().input_value(0)
        last = result.get_node()
        if last.get_type_name() == "DepthToSpace" and last.get_attributes()["block_size"] == self.scale:
            result = last.input_value(0)
            result = without_rounding(result) if self.precision == "bf16" else widen(result) or result
        def codes(plane: ov.Output) -> ov.Output:
            """Rounded and clipped samples, channels last."""
            rounded = opset.round(opset.clamp(opset.multiply(plane, np.float32(max_code)), 0.0, max_code), "half_to_even")
            return opset.transpose(opset.convert(rounded, sample), np.array([0, 2, 3, 1])).output(0)

        outputs = [codes(result)]
        states = [model.output(f"{state.name}_next").get_node().input_value(0) for state in self._states]
        outputs += states
        names = [self._luma, *(state.name for state in self._states)]
        if self._has_chroma:
            names += CHROMA_INPUTS
            made = model.output(CHROMA_OUTPUT).get_node().input_value(0)
            wide = widen(made) if self.precision != "bf16" else None
            outputs.append(codes(wide or made))
        return ov.Model(outputs, [model.input(name).get_node() for name in names], "streamsr")

    def close(self) -> None:
        """Free the compiled models."""
        with self._lock:
            self._compiled.clear()


def _interleave(phases_HWK: np.ndarray, out: np.ndarray) -> None:
    """Phases (h, w, s * s), row by row, to the plane (s * h, s * w), or to what it has of that."""
    height, width, num = phases_HWK.shape
    s = math.isqrt(num)
    if out.shape != (s * height, s * width):
        whole = np.empty((s * height, s * width), out.dtype)
        _interleave(phases_HWK, whole)
        out[:] = whole[: out.shape[0], : out.shape[1]]
        return
    if s * out.itemsize in (2, 4, 8):  # the phases of a row lie side by side as they do in the plane: one wider integer
        group = np.dtype(f"u{s * out.itemsize}")
        for row in range(s):
            out[row::s].view(group)[:] = phases_HWK.view(group)[:, :, row]
        return
    for index in range(s * s):
        out[index // s :: s, index % s :: s] = phases_HWK[:, :, index]


def _put_chroma(samples_HWK: np.ndarray, out: np.ndarray) -> None:
    """Cb and Cr, channels last, of one pixel or of two by two (streamsr.engines.openvino_tail), into (2, h, w)."""
    if samples_HWK.shape[2] == 2:
        out[:] = samples_HWK.transpose(2, 0, 1)
        return
    for channel in range(8):
        index, down, right = channel % 2, channel // 4, channel // 2 % 2
        plane = out[index, down::2, right::2]
        plane[:] = samples_HWK[: plane.shape[0], : plane.shape[1], channel]


class _Compiled:
    """A compiled model and its idle inference requests."""

    def __init__(self, model: ov.CompiledModel) -> None:
        self._model = model
        self._idle: queue.SimpleQueue[ov.InferRequest] = queue.SimpleQueue()

    @contextmanager
    def request(self) -> Iterator[ov.InferRequest]:
        """A request that no other thread uses."""
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = self._model.create_infer_request()
        try:
            yield request
        finally:
            self._idle.put(request)


def first_line(error: BaseException) -> str:
    """The last informative line of a C++ exception's text: the first ones are source positions."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
