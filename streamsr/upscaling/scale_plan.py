"""Passes: which models take a picture to its target, and on what sizes."""

from __future__ import annotations

import itertools
import math

import numpy as np

from streamsr.models import Form, ModelSpec, find_models

MAX_PASSES = 4


def plan_passes(scales: list[int], needed: float) -> tuple[int, ...]:
    """Which trained scales to apply, one after another, to reach at least `needed`: few passes, then little excess."""
    if needed <= 1 or not scales:
        return ()
    for num_passes in range(1, MAX_PASSES + 1):
        reached = [
            combination
            for combination in itertools.combinations_with_replacement(sorted(scales), num_passes)
            if math.prod(combination) >= needed
        ]
        if reached:
            return min(reached, key=math.prod)
    return (max(scales),) * MAX_PASSES


def padded_shape(shape: tuple[int, ...], multiple: int) -> tuple[int, int]:
    """(rows, columns) rounded up to multiples."""
    return shape[0] + -shape[0] % multiple, shape[1] + -shape[1] % multiple


def repeat_edges(samples: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(..., h, w) with more rows and columns like the last ones, up to `shape`; the array itself where it has that size."""
    rows, columns = shape[0] - samples.shape[-2], shape[1] - samples.shape[-1]
    if not rows and not columns:
        return samples
    return np.pad(samples, [*[(0, 0)] * (samples.ndim - 2), (0, rows), (0, columns)], mode="edge")


def specs_for(specs: list[ModelSpec], needed: float, form: Form | None) -> list[ModelSpec]:
    """The scales of a model, or of its source-specific variant, if that has the same passes."""
    if form is None:
        return specs
    passes = plan_passes([spec.scale for spec in specs], needed)
    names = {spec.clean_form if form == "clean" else spec.picture_form for spec in specs if spec.scale in passes}
    if len(names) != 1 or None in names:
        return specs
    found = find_models(names.pop() or "")
    return found if plan_passes([spec.scale for spec in found], needed) == passes else specs
