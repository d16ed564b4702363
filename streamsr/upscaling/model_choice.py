"""ModelChoice: which model runs, in which variant and at which scales, for a source and a target size."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from streamsr.engines import describe_model
from streamsr.errors import UsageError
from streamsr.frame import find_layout
from streamsr.models import Form, ModelSpec, find_models
from streamsr.options import UpscaleOptions, check_scale
from streamsr.upscaling.scale_plan import plan_passes, specs_for
from streamsr.upscaling.source_condition import Condition, estimate

# The look "natural" takes the blur as LEAST + SHARE times the estimate: noise hides blur, so estimates of noisy video are too small.
# Chosen on scenes of 18 videos and 40 photographs; the estimate itself scores the same there, and is softer.
LEAST, SHARE = 0.1, 0.85


class ModelChoice:
    """The model of some options; `turn_to` selects its variant for a source. Raises UsageError and EngineError."""

    def __init__(self, options: UpscaleOptions) -> None:
        path = Path(options.model)
        if path.suffix == ".onnx" and path.is_file() and not path.with_suffix(".json").is_file():
            self._named = [describe_model(path, engine=options.engine)]
        else:
            self._named = find_models(options.model, look=options.look)
        self._options = options
        self._picture_specs: dict[float, list[ModelSpec]] = {}  # for single pictures, by how many times larger they become
        self._is_clean = False  # of the source: it is known to have no compression artefacts
        self._known: Condition | None = None  # of the source; None: each stream's first frame tells
        self.specs = self._named  # of the selected variant, by scale; [] for "resize"
        self.model = options.model  # name of the selected variant
        self.scale, self.size = options.scale, options.size
        check_scale(self.scale, self.size)
        if options.strength is not None and not self.has_chroma:
            raise UsageError(f"Model {options.model!r} takes no strength: it is not told how soft its source is.")

    def turn_to(self, scale: float, size: tuple[int, int] | None, form: Form | None, condition: Condition | None) -> None:
        """Select the variant for a source of this form; with an explicit strength, the model that takes it. Raises UsageError."""
        check_scale(scale, size)
        self.scale, self.size = scale, size
        self._is_clean, self._known = form == "clean", condition
        # who sets the strength wants the network that is told it
        self.specs = specs_for(self._named, scale, form if self._options.strength is None else None)
        self.model = self._options.model if self.specs is self._named else self.specs[0].name

    @property
    def spec(self) -> ModelSpec | None:
        """The model at the scale of the first pass; None for "resize"."""
        if not self.specs:
            return None
        passes = plan_passes([spec.scale for spec in self.specs], self.scale if self.size is None else 2)
        return next(spec for spec in self.specs if spec.scale == (passes or (self.specs[0].scale,))[0])

    @property
    def is_recurrent(self) -> bool:
        return any(spec.states for spec in self.specs)

    @property
    def has_chroma(self) -> bool:
        return any(spec.has_chroma for spec in self.specs)

    @property
    def condition(self) -> Condition | None:
        """The condition of a known source."""
        return None if self._known is None else self._settled(self._known)

    def condition_of(self, luma: np.ndarray, bits: int) -> Condition:
        """The condition of a source with this luma (h, w) in its first frame."""
        return self._settled(self._known or estimate([luma], bits=bits))

    def _settled(self, found: Condition) -> Condition:
        """What is told where `found` was estimated: what a user says goes first, and a clean source is taken as it is."""
        options = self._options
        assumed = LEAST + SHARE * found.blur if options.look == "natural" else found.blur
        blur, damage = (0.0, 0.0) if self._is_clean else (assumed, found.damage)
        return Condition(blur if options.strength is None else options.strength, damage if options.damage is None else options.damage)

    def output_size(self, width: int, height: int, pix_fmt: str) -> tuple[int, int]:
        """(width, height) of what a stream that starts with such a frame becomes."""
        if self.size is not None:
            return self.size
        layout = find_layout(pix_fmt)
        log2_chroma = (0, 0) if layout is None else layout.log2_chroma
        sides = []
        for side, log2 in zip((width, height), log2_chroma, strict=True):
            target = max(math.floor(side * self.scale + 0.5), 1)
            sides.append(target + target % 2 if log2 else target)
        return sides[0], sides[1]

    def plan(self, width: int, height: int, target: tuple[int, int], *, is_picture: bool = False) -> list[ModelSpec]:
        """The model at each pass from width x height to at least the target; [] where no network is needed."""
        needed, specs = max(target[0] / width, target[1] / height), self.specs
        if is_picture:
            if needed not in self._picture_specs:
                form: Form | None = "picture" if self._options.strength is None else None
                self._picture_specs[needed] = specs_for(self._named, needed, form)
            specs = self._picture_specs[needed]
        by_scale = {spec.scale: spec for spec in specs}
        return [by_scale[scale] for scale in plan_passes(list(by_scale), needed)]
