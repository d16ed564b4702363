"""int8 by post-training quantisation (NNCF): quantise-dequantise pairs that OpenVINO, ONNX Runtime and TensorRT understand."""

import logging

import numpy as np
import onnx
from numpy.typing import NDArray

from trainer.export.onnx_lite import RESIDUAL_NODES


def quantised(model: onnx.ModelProto, calibration: list[NDArray[np.float32]]) -> onnx.ModelProto:
    """A copy of `model` in QDQ int8, the residual in float32.

    calibration: low-resolution luma (1, 1, H, W) in [0, 1], all of one size, out of the training pictures.
    """
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    # the input holds 8-bit codes: one black and one white corner make its range 0..1, so that its steps are those codes
    samples = [sample.copy() for sample in calibration]
    for sample in samples:
        sample[..., 0, 0], sample[..., -1, -1] = 0.0, 1.0
    nncf.set_log_level(logging.ERROR)
    return nncf.quantize(
        model,
        nncf.Dataset([{"luma": sample} for sample in samples]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(samples),
        fast_bias_correction=False,
        ignored_scope=nncf.IgnoredScope(names=list(RESIDUAL_NODES)),
        # weights of 7 bits (Note [Sums in 16 bits] of trainer.nets.int8_arithmetic)
        advanced_parameters=AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
    )
