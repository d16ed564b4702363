"""What this machine can do, and the pip command for what it lacks."""

from __future__ import annotations

import importlib.util
import platform
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from .device.device_selection import has_cupy
from .device.inventory import describe_codecs, inspect_gpus
from .device.upscaler_factory import open_device
from .engines import ENGINES, INSTALL, count_threads, is_installed
from .engines.distributions import find_flavour, installed_flavours
from .engines.gpus import list_gpus
from .engines.plan_cache import PlanCache
from .errors import EngineError, StreamsrError
from .io.encoder_table import ENCODERS
from .models import list_models


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination."""

    kind: Literal["machine", "engine", "model", "codec", "extra"]
    name: str
    ok: bool
    words: str
    command: str | None = None  # how to get what is missing

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def examine() -> list[Finding]:
    """Check everything; imports and queries each installed engine."""
    return [*_machine(), *_engines(), *_models(), *_codecs(), *_extras()]


def _machine() -> list[Finding]:
    cores = count_threads(0)
    return [
        Finding("machine", "cpu", True, f"{cores} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"),
        *_gpus(),
    ]


def _gpus() -> list[Finding]:
    gpus = inspect_gpus()
    if not gpus:
        return [Finding("machine", "gpu", False, "no NVIDIA GPU; work runs on the CPU")]
    findings = []
    for facts in gpus:
        name = f"cuda:{facts.index}"
        findings += [Finding("machine", name, True, facts.words), Finding("machine", f"{name} codecs", True, describe_codecs(facts.index))]
    return [*findings, _frames(gpus[0].index)]


def _frames(index: int) -> Finding:
    """Whether frames can be on a GPU: it is opened, which compiles and runs a kernel."""
    name = "frames on a GPU"
    if not has_cupy():
        words = "CuPy is not installed, so frames go through host memory"
        return Finding("machine", name, False, words, "pip install 'streamsr[cuda13]' (or [cuda12])")
    try:
        open_device(index).close()
    except EngineError as error:
        return Finding("machine", name, False, error.message, error.hint)
    return Finding("machine", name, True, f"CuPy runs our kernels on cuda:{index}")


def _engines() -> list[Finding]:
    findings = []
    for name in ENGINES:
        if name == "cuda":
            continue  # a way to use two of the others
        if not is_installed(name):
            findings.append(Finding("engine", name, False, "not installed", INSTALL[name]))
        elif name == "openvino":
            findings.append(_openvino())
        elif name == "tensorrt":
            findings.append(_tensorrt())
        else:
            words = "built in, the Lanczos baseline" if name not in INSTALL else _version(name)
            findings.append(Finding("engine", name, True, words))
    return findings


def _openvino() -> Finding:
    try:
        import openvino

        core = openvino.Core()
        devices = ", ".join(f"{name} ({core.get_property(name, 'FULL_DEVICE_NAME').strip()})" for name in core.available_devices)
        abilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except (ImportError, RuntimeError) as error:
        return Finding("engine", "openvino", False, f"installed, but does not start: {error}", INSTALL["openvino"])
    return Finding("engine", "openvino", True, f"{_version('openvino')}, devices: {devices}; precisions: {', '.join(abilities)}")


def _tensorrt() -> Finding:
    flavours, gpus = installed_flavours(), list_gpus()
    words = ", ".join(f"{name} {_version(name, f'{name}-cu13', f'{name}-cu12')}" for name in flavours)
    if not gpus:
        return Finding("engine", "tensorrt", False, f"{words}, but no NVIDIA GPU to run on; it can build plans for others")
    missing = [name for name in ("cupy", "onnx") if importlib.util.find_spec(name) is None]
    if missing:
        return Finding("engine", "tensorrt", False, f"{words}, without {' and '.join(missing)}", INSTALL["tensorrt"])
    others = [gpu for gpu in gpus if find_flavour(gpu.capability) is None]
    if len(others) == len(gpus):
        wanted = "pip install 'streamsr[cuda12]' or 'streamsr[cuda13]'"
        return Finding("engine", "tensorrt", False, f"{words}, which does not run on compute capability {others[0].capability}", wanted)
    return Finding("engine", "tensorrt", True, f"{words}, plans in {PlanCache().folder}")


def _models() -> list[Finding]:
    findings = []
    for spec in list_models():
        try:
            spec.read()
            words, ok = f"x{spec.scale}, {spec.macs_per_pixel / 1000:.1f}k multiply-adds a pixel", True
        except StreamsrError as error:
            words, ok = str(error), False
        findings.append(Finding("model", spec.name, ok, words, None if ok else "pip install --force-reinstall streamsr"))
    return findings


def _codecs() -> list[Finding]:
    import av

    here = [name for name in ENCODERS if name in av.codecs_available and not name.endswith("_nvenc")]
    missing = [name for name in ENCODERS if name not in av.codecs_available and not name.endswith("_nvenc")]
    words = ", ".join(here)
    if not missing:
        return [Finding("codec", "encoders", True, words)]
    words = f"{words}; FFmpeg was built without {', '.join(missing)}"
    return [Finding("codec", "encoders", False, words, "pip install --force-reinstall --only-binary av av")]


def _extras() -> list[Finding]:
    findings = []
    for name, extra, module, use in (
        ("watching", "live", "uvicorn", "--metrics and --preview"),
        ("trainer", "train", "torch", "python -m trainer"),
        ("tests", "test", "pytest", "the test suite"),
    ):
        here = importlib.util.find_spec(module) is not None
        findings.append(Finding("extra", name, here, use, None if here else f"pip install 'streamsr[{extra}]'"))
    ffmpeg = shutil.which("ffmpeg")
    findings.append(Finding("extra", "ffmpeg", ffmpeg is not None, ffmpeg or "only for piping; streamsr has its own libraries",
                            None if ffmpeg else "pip install imageio-ffmpeg"))  # fmt: skip
    return findings


def _version(*packages: str) -> str:
    """Of the first that is installed: some libraries come as one of several packages."""
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "unknown version"
