"""Plans: models as TensorRT built them, kept in the user's cache folder.

Note [Plan files]: a line that says what the file is, a line of JSON (the key, the steps, a sha256 of all that follows), and
the serialized engine of each part. A file gets its name when it is complete, so half a plan is never found. Its name is a
digest of its key: a plan of another model file, TensorRT, GPU or version of this format is never taken for the one that
is wanted. A plan is code that TensorRT runs: the folder is the user's alone, and no plan is ever fetched.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock

from streamsr.engines.step_lane import Attention, Tensor
from streamsr.errors import EngineError
from streamsr.output_file import atomic_output

MAGIC = b"streamsr plan 1\n"
FORMAT = 1  # counts up when the same key would give another plan
ENVIRONMENT = "STREAMSR_CACHE"
LOCK_EVERY_S = 0.2

Shape = tuple[int, int, int]  # n, h, w of the luma planes


@dataclass(frozen=True)
class PlanKey:
    """All that a plan depends on."""

    model: str  # "lite_x2", for people
    sha256: str  # of the ONNX file
    smallest: Shape
    usual: Shape  # the one that is fast
    largest: Shape  # all three alike: a plan for one size
    precision: str  # "f16", "f32"
    flavour: str  # "tensorrt", "tensorrt_rtx"
    version: str
    gpu: str  # "NVIDIA H100 80GB HBM3"; ANY_GPU: all of the compute capability
    capability: str  # "9.0"

    @property
    def is_dynamic(self) -> bool:
        return self.smallest != self.largest

    def takes(self, shape: Shape) -> bool:
        """Whether the plan runs planes of this shape."""
        return all(low <= side <= high for low, side, high in zip(self.smallest, shape, self.largest, strict=True))

    @property
    def file_name(self) -> str:
        n, h, w = self.usual
        digest = hashlib.sha256(json.dumps([FORMAT, asdict(self)], sort_keys=True).encode()).hexdigest()[:16]
        return f"{self.model}-{n}x{w}x{h}{'-dynamic' if self.is_dynamic else ''}-{self.precision}-{digest}.plan"


ANY_GPU = "any"


@dataclass(frozen=True)
class PlanPart:
    """A serialized engine; `bindings` are the names that its tensors have inside it."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    data: bytes
    bindings: dict[str, str]


PlanStep = PlanPart | Attention


@dataclass(frozen=True)
class Plan:
    key: PlanKey
    steps: tuple[PlanStep, ...]


class DamagedPlanError(EngineError):
    """A file that is no plan, or not the one that was written."""


def cache_folder() -> Path:
    """Where streamsr keeps what it can make again: $STREAMSR_CACHE, or `streamsr` in the system's folder for such things."""
    if os.environ.get(ENVIRONMENT):
        return Path(os.environ[ENVIRONMENT]).expanduser()
    # a relative path is to be ignored, says the XDG base directory specification; platformdirs takes it
    if sys.platform == "linux" and not Path(os.environ.get("XDG_CACHE_HOME", "/")).is_absolute():
        return Path.home() / ".cache" / "streamsr"
    return platformdirs.user_cache_path("streamsr", appauthor=False)


class PlanCache:
    """The plans in a folder, `engines` in the cache folder by default. Raises EngineError where the folder cannot be used."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder() / "engines"

    def path(self, key: PlanKey) -> Path:
        return self.folder / key.file_name

    def find(self, key: PlanKey) -> Plan | None:
        """The plan of exactly this key; None where there is none. Raises DamagedPlanError for a file that was damaged."""
        try:
            plan = read_plan(self.path(key))
        except FileNotFoundError:
            return None
        if plan.key != key:
            raise DamagedPlanError(f"{self.path(key)} is the plan of another key.")
        return plan

    def entries(self) -> Iterator[tuple[Path, PlanKey | DamagedPlanError]]:
        """Each plan file with its key, or with what is wrong with it; the plans themselves are not read."""
        for path in sorted(path for path in self.folder.glob("*.plan") if not path.name.startswith(".")):  # a draft
            try:
                yield path, _read_header(path)[0]
            except DamagedPlanError as error:
                yield path, error
            except FileNotFoundError:
                continue  # cleared meanwhile

    def write(self, plan: Plan) -> Path:
        """Put a plan into the cache; returns its file."""
        path = self.path(plan.key)
        write_plan(path, plan)
        return path

    @contextmanager
    def locked(self, key: PlanKey) -> Iterator[None]:
        """Held by one process at a time, so that several do not build the same plan; the lock of a dead process is free."""
        lock = FileLock(self.path(key).with_suffix(".lock"), poll_interval=LOCK_EVERY_S)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        try:
            yield
        finally:
            lock.release()

    def read_blob(self, name: str) -> bytes:
        """What TensorRT kept of earlier builds or runs under this name (timing and runtime caches); b"" for nothing."""
        try:
            return (self.folder / name).read_bytes()
        except OSError:
            return b""

    def write_blob(self, name: str, data: bytes) -> None:
        with _replacing(self.folder / name) as file:
            file.write(data)

    def clear(self, model: str | None = None, *, stale: dict[str, str] | None = None) -> list[Path]:
        """Delete plans and return which; with no limit, also what TensorRT kept for later builds.

        model: "lite" for all scales or "lite_x2". stale: the version of each flavour that is here: keep those plans that
        it can run.
        """
        gone = []
        for path, key in self.entries():
            if isinstance(key, PlanKey):
                if model is not None and model not in (key.model, key.model.rpartition("_x")[0]):
                    continue
                if stale is not None and stale.get(key.flavour) == key.version:
                    continue
            gone.append(path)
        if model is None and stale is None:
            gone += sorted(path for kind in ("*.cache", "*.lock", ".streamsr-*") for path in self.folder.glob(kind))
        for path in gone:
            path.unlink(missing_ok=True)
        return gone


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan file (Note [Plan files])."""
    parts = [step for step in plan.steps if isinstance(step, PlanPart)]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.data)
    header = {"key": asdict(plan.key), "steps": [_describe(step) for step in plan.steps], "sha256": digest.hexdigest()}
    with _replacing(path) as file:
        file.write(MAGIC + json.dumps(header).encode() + b"\n")
        for part in parts:
            file.write(part.data)


def read_plan(path: Path) -> Plan:
    """The plan in a file. Raises FileNotFoundError, and DamagedPlanError for one whose checksum does not hold."""
    key, header, start = _read_header(path)
    try:
        with path.open("rb") as file:
            file.seek(start)
            steps: list[PlanStep] = []
            digest = hashlib.sha256()
            for entry in header["steps"]:
                inputs, outputs = (tuple(Tensor(*tensor) for tensor in entry[side]) for side in ("inputs", "outputs"))
                if "radius" in entry:
                    steps.append(Attention(inputs, outputs[0], entry["radius"]))
                    continue
                data = file.read(entry["bytes"])
                digest.update(data)
                steps.append(PlanPart(inputs, outputs, data, entry["bindings"]))
            is_whole = digest.hexdigest() == header["sha256"] and not file.read(1)
    except FileNotFoundError:
        raise
    except (OSError, KeyError, TypeError, IndexError) as error:
        raise DamagedPlanError(f"{path} is damaged: {error!r}.") from error
    if not is_whole:
        raise DamagedPlanError(f"{path} is damaged: its checksum is wrong.")
    return Plan(key, tuple(steps))


def _read_header(path: Path) -> tuple[PlanKey, dict[str, Any], int]:
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise DamagedPlanError(f"{path} was not built by this version of streamsr.")
            line = file.readline(1 << 20)
            start = file.tell()
        header = json.loads(line)
        entries = header["key"]
        shapes = {name: tuple(entries[name]) for name in ("smallest", "usual", "largest")}
        return PlanKey(**entries | shapes), header, start
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DamagedPlanError(f"{path} is damaged: {error!r}.") from error


def _describe(step: PlanStep) -> dict[str, Any]:
    sides = {"inputs": [_row(tensor) for tensor in step.inputs], "outputs": [_row(tensor) for tensor in step.outputs]}
    if isinstance(step, Attention):
        return sides | {"radius": step.radius}
    return sides | {"bytes": len(step.data), "bindings": step.bindings}


def _row(tensor: Tensor) -> list[Any]:
    return [tensor.name, tensor.channels, tensor.scale]


@contextmanager
def _replacing(path: Path) -> Iterator[Any]:
    """A file that takes the place of `path` once it is complete and on the disk."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with atomic_output(path) as draft, draft.open("wb") as file:
            draft.chmod(0o600)  # code that runs on the GPU is nobody else's to write
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unwritable(path.parent, error) from error


def _unwritable(folder: Path, error: OSError) -> EngineError:
    return EngineError(f"Cannot write to the cache {folder}: {error.strerror}.", hint=f"set {ENVIRONMENT} to another folder")
