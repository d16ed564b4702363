"""ModelSpec: what a model file is, and where to find one. A model is a pair: NAME_xSCALE.onnx and NAME_xSCALE.json.

The ONNX contract of a model of luma: one float32 input (N, 1, H, W), luma codes divided by the largest code; one float32 output
(N, 1, scale * H, scale * W), neither clipped nor rounded. N, H and W are free. A model may also come as int8
(QuantizeLinear / DequantizeLinear), NAME_xSCALE_int8.onnx, with the same input and output.

A model of luma and chroma (`"chroma": true` in its description) has three float32 inputs: luma (N, 1, H, W), chroma (N, 2, H, W), Cb
and Cr codes divided by the largest code, and condition (1, 2, 1, 1), the source's blur and damage
(streamsr.upscaling.source_condition). Its outputs are luma_hr (N, 1, scale * H, scale * W) and chroma_hr (N, 2, H, W). Where chroma
lies: Note [Chroma grid] of streamsr.upscaling.chroma_grid.

A recurrent model also carries states from frame to frame: for each entry {"name", "channels", "scale"} of the
description's `state_shapes` one float32 input NAME (N, channels, scale * H, scale * W), zeros before the first frame, and
one output NAME_next of the same shape, which is NAME of the next frame. `receptive_field` then holds for luma and states
alike, in one step.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from streamsr_kernels import Filter

from streamsr.errors import EngineError, UsageError
from streamsr.options import Look

WEIGHTS = Path(__file__).parent / "weights"
Form = Literal["clean", "picture"]  # kinds of sources that a model may have another form for
MAX_DESCRIPTION_BYTES = 16 << 20
MAX_STATES = 64
# what numbers of a description may be: (least, most). Others are not refused for their size
RANGES = {"scale": (1, 16), "size_multiple": (1, 256), "channels": (1, 4096), "layers": (0, 4096), "receptive_field": (0, 4096)}
RESIZE = "resize"  # not a file: the Lanczos baseline of streamsr.resample


@dataclass(frozen=True)
class StateShape:
    """One of the tensors that a recurrent model carries from frame to frame."""

    name: str  # of the ONNX input; the output is called NAME_next
    channels: int
    scale: int = 1  # its pixels per input pixel and axis


@dataclass(frozen=True)
class ModelSpec:
    """One model at one scale."""

    name: str
    scale: int
    path: Path  # the float32 ONNX file
    sha256: str | None  # of `path`; None for a file without a description, which is not checked
    int8_path: Path | None = None
    int8_sha256: str | None = None
    int8_live_only: bool = False  # files get bf16 or f32 by default: what int8 costs is seen
    channels: int = 16  # of the widest activation: sets how much memory a pixel takes
    layers: int = 0
    macs_per_pixel: int = 0  # multiply-adds per input pixel
    receptive_field: int | None = None  # radius in input pixels; None: unknown, so frames are not tiled
    size_multiple: int = 1  # width and height must be multiples of this
    input: str = "luma"
    output: str = "luma_hr"
    has_chroma: bool = False  # takes and gives chroma, and is told the source's condition
    chroma_filter: Filter = "linear"  # by which chroma is brought to the network's grid, as it was in training
    clean_form: str | None = None  # name of the model that takes its place for sources that have hardly been compressed
    picture_form: str | None = None  # name of the model that takes its place for single pictures
    look: Look = "natural"
    states: tuple[StateShape, ...] = ()  # what a recurrent model carries from frame to frame
    description: str = ""
    degradation: str = ""
    license: str = ""
    details: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)  # the whole JSON

    @property
    def is_named(self) -> bool:
        """Whether the names of its tensors count; a bare file's one input and one output may have any."""
        return bool(self.states) or self.has_chroma

    def read(self, *, int8: bool = False) -> bytes:
        """The ONNX file as bytes, its sha256 checked. Raises EngineError when it is missing or not what was described."""
        path, expected = (self.int8_path, self.int8_sha256) if int8 else (self.path, self.sha256)
        if path is None:
            raise EngineError(f"Model {self.name!r} at x{self.scale} has no int8 file. Precisions that work: f32, bf16.")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise EngineError(f"Cannot read the model {path}: {error.strerror}.") from error
        actual = hashlib.sha256(data).hexdigest()
        if expected is not None and actual != expected:
            raise EngineError(
                f"{path} is damaged or was changed: its sha256 is not {expected}, as its description says.",  # and not whose it is
                hint="install it again, or export it again with its description",
            )
        return data


def load_spec(description: Path) -> ModelSpec:
    """The ModelSpec of a JSON description. Raises EngineError naming the key that is missing or wrong."""
    try:
        with description.open("rb") as file:
            data = file.read(MAX_DESCRIPTION_BYTES + 1)
        if len(data) > MAX_DESCRIPTION_BYTES:
            raise EngineError(f"{description} is larger than {MAX_DESCRIPTION_BYTES >> 20} MiB: no description of a model.")
        entries = json.loads(data.decode("utf-8"))
    except (OSError, ValueError) as error:
        raise EngineError(f"Cannot read the model description {description}: {error}.") from error
    except RecursionError:
        raise EngineError(f"Cannot read the model description {description}: it is nested too deeply.") from None
    if not isinstance(entries, dict):
        raise EngineError(f"{description} holds a {type(entries).__name__}, not an object with the model's keys.")

    def take(owner: Mapping[str, Any], key: str, kind: type) -> Any:
        value = owner.get(key)
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool) or (isinstance(value, int) and value < 0):
            raise EngineError(f"{description}: {key!r} is {_shown(value)}; it must be a {kind.__name__}.")
        least, most = RANGES.get(key, (0, 1 << 53))
        if isinstance(value, int) and not least <= value <= most:
            raise EngineError(f"{description}: {key!r} is {_shown(value)}; it must be {least} to {most}.")
        return value

    def take_file(owner: Mapping[str, Any]) -> Path:
        name = take(owner, "file", str)
        if not re.fullmatch(r"[^/\\\x00-\x1f]{1,255}", name) or name in (".", ".."):
            raise EngineError(f"{description}: 'file' is {_shown(name)}; it must be a file in the same folder.")
        return description.parent / name

    def take_sha256(owner: Mapping[str, Any]) -> str:
        digest = take(owner, "sha256", str)
        if not re.fullmatch(r"[0-9a-f]{64}", digest, re.ASCII):
            raise EngineError(f"{description}: 'sha256' is {_shown(digest)}; it must be 64 hexadecimal digits.")
        return cast(str, digest)

    def take_state(entry: object) -> StateShape:
        if not isinstance(entry, dict):
            raise EngineError(f"{description}: 'state_shapes' has the entry {_shown(entry)}; it must be an object with name and channels.")
        return StateShape(take(entry, "name", str), take(entry, "channels", int), take(entry, "scale", int) if "scale" in entry else 1)

    def take_one_of(choices: object, key: str, default: str) -> Any:
        value = entries.get(key, default)
        if not isinstance(value, str) or value not in get_args(choices):
            raise EngineError(f"{description}: {key!r} is {_shown(value)}; it must be one of {', '.join(get_args(choices))}.")
        return value

    int8 = entries.get("int8")
    if int8 is not None and not isinstance(int8, dict):
        raise EngineError(f"{description}: 'int8' is {_shown(int8)}; it must be an object with file and sha256, or null.")
    state_shapes = take(entries, "state_shapes", list) if "state_shapes" in entries else []
    if len(state_shapes) > MAX_STATES:
        raise EngineError(f"{description}: 'state_shapes' has {len(state_shapes)} entries; there may be {MAX_STATES}.")
    return ModelSpec(
        name=take(entries, "name", str),
        scale=take(entries, "scale", int),
        path=take_file(entries),
        sha256=take_sha256(entries),
        int8_path=take_file(int8) if int8 else None,
        int8_sha256=take_sha256(int8) if int8 else None,
        int8_live_only=take(int8, "live_only", bool) if int8 and "live_only" in int8 else False,
        channels=take(entries, "channels", int),
        layers=take(entries, "layers", int),
        macs_per_pixel=take(entries, "macs_per_pixel", int),
        receptive_field=take(entries, "receptive_field", int),
        size_multiple=take(entries, "size_multiple", int) if "size_multiple" in entries else 1,
        input=take(entries, "input", str),
        output=take(entries, "output", str),
        has_chroma=take(entries, "chroma", bool) if "chroma" in entries else False,
        chroma_filter=take_one_of(Filter, "chroma_filter", "linear"),
        clean_form=take(entries, "clean_form", str) if "clean_form" in entries else None,
        picture_form=take(entries, "picture_form", str) if "picture_form" in entries else None,
        look=take_one_of(Look, "look", "natural"),
        states=tuple(take_state(entry) for entry in state_shapes),
        description=str(entries.get("description", "")),
        degradation=str(entries.get("degradation", "")),
        license=str(entries.get("license", "")),
        details=entries,
    )


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 1 << 64 else "a number of many digits"
    return text if len(text) <= 80 else f"{text[:80]}..."


def list_models(folder: Path = WEIGHTS) -> list[ModelSpec]:
    """The models in `folder` (those that are shipped, by default), sorted by name and scale."""
    return sorted((load_spec(path) for path in folder.glob("*.json")), key=lambda spec: (spec.name, spec.scale, spec.look != "natural"))


def find_models(model: str | Path, folder: Path = WEIGHTS, *, look: Look = "natural") -> list[ModelSpec]:
    """All scales of one model in one look, ascending; [] for "resize", which needs no file.

    model: the name of a shipped model, or the path of an ONNX file with its JSON description beside it.
    Raises UsageError for a name that is not shipped, EngineError for files that are missing or wrong.
    """
    if str(model) == RESIZE:
        return []
    path = Path(model)
    if path.suffix == ".onnx":
        if not path.is_file():
            raise EngineError(f"There is no model file {path}.")
        if not path.with_suffix(".json").is_file():
            raise EngineError(
                f"{path} has no description {path.with_suffix('.json').name} beside it.",
                hint="streamsr.engines.describe_model measures what it needs to know",
            )
        # this file was asked for, and no other
        return [replace(load_spec(path.with_suffix(".json")), clean_form=None, picture_form=None)]
    shipped = list_models(folder)
    named = [spec for spec in shipped if spec.name == str(model)]
    found = [spec for spec in named if spec.look == look]
    if named and not found:
        looks = ", ".join(dict.fromkeys(spec.look for spec in named))
        raise UsageError(f"Model {str(model)!r} has no look {look!r}. Available: {looks}.")
    if not found:
        names = [*dict.fromkeys(spec.name for spec in shipped), RESIZE]
        raise UsageError(f"There is no model {str(model)!r}. Available: {', '.join(names)}, or the path of an .onnx file.")
    return found


def find_model(model: str | Path, scale: int, folder: Path = WEIGHTS) -> ModelSpec:
    """The model at exactly one scale. Raises UsageError naming the scales that exist."""
    if str(model) == RESIZE:
        raise UsageError(f"{RESIZE!r} is the Lanczos baseline: it has no model file.")
    found = find_models(model, folder)
    for spec in found:
        if spec.scale == scale:
            return spec
    scales = ", ".join(f"x{spec.scale}" for spec in found)
    raise UsageError(f"Model {str(model)!r} has no scale x{scale}. Available: {scales}.")
