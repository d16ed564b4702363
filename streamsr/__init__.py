"""streamsr: real-time video upscaling that preserves every frame, timestamp, colour tag, audio and subtitle track.

    import streamsr

    streamsr.run("in.mp4", "out.mp4", scale=2)       # a whole file, with everything that comes along
    large = streamsr.Upscaler("lite", scale=2)(rgb)  # an RGB array, an av.VideoFrame, or an iterable of frames

Names are loaded when they are first used: `import streamsr` itself imports nothing heavy.
"""

from __future__ import annotations

import importlib
import logging
import sys
from typing import TYPE_CHECKING, Any

from streamsr._version import __version__

# OpenVINO and NNCF look up an analytics host and write into the home folder where they find this package
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

if TYPE_CHECKING:
    from streamsr.account import Account, verify
    from streamsr.errors import (
        AccountError,
        EngineError,
        Interrupted,
        SinkError,
        SourceError,
        StreamsrError,
        UsageError,
    )
    from streamsr.frame import Frame
    from streamsr.io.sink import Sink, open_sink
    from streamsr.io.source import Source, open_source
    from streamsr.jobs.job import run
    from streamsr.live.api import run_live
    from streamsr.live.live_report import LiveReport
    from streamsr.models import ModelSpec, list_models
    from streamsr.options import EncoderOptions, JobOptions, LiveOptions, RunOptions, SinkOptions, SourceOptions, UpscaleOptions
    from streamsr.pipeline import Report
    from streamsr.upscaling.upscaler import Upscaler

logging.getLogger("streamsr").addHandler(logging.NullHandler())  # silent until the application says where records go

_MODULES = {
    "Account": "account",
    "AccountError": "errors",
    "EncoderOptions": "options",
    "EngineError": "errors",
    "Frame": "frame",
    "Interrupted": "errors",
    "JobOptions": "options",
    "LiveOptions": "options",
    "LiveReport": "live.live_report",
    "ModelSpec": "models",
    "Report": "pipeline",
    "RunOptions": "options",
    "Sink": "io.sink",
    "SinkError": "errors",
    "SinkOptions": "options",
    "Source": "io.source",
    "SourceError": "errors",
    "SourceOptions": "options",
    "StreamsrError": "errors",
    "UpscaleOptions": "options",
    "Upscaler": "upscaling.upscaler",
    "UsageError": "errors",
    "list_models": "models",
    "open_sink": "io.sink",
    "open_source": "io.source",
    "run": "jobs.job",
    "run_live": "live.api",
    "verify": "account",
}

__all__ = [
    "Account",
    "AccountError",
    "EncoderOptions",
    "EngineError",
    "Frame",
    "Interrupted",
    "JobOptions",
    "LiveOptions",
    "LiveReport",
    "ModelSpec",
    "Report",
    "RunOptions",
    "Sink",
    "SinkError",
    "SinkOptions",
    "Source",
    "SourceError",
    "SourceOptions",
    "StreamsrError",
    "UpscaleOptions",
    "Upscaler",
    "UsageError",
    "__version__",
    "list_models",
    "open_sink",
    "open_source",
    "run",
    "run_live",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'streamsr' has no attribute {name!r}")
    return getattr(importlib.import_module(f"streamsr.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
