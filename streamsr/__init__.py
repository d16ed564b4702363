"""streamsr: real-time video upscaling that never loses a frame, a timestamp or a colour.

    import streamsr

    large = streamsr.Upscaler("lite", scale=2)(rgb)  # an RGB array, an av.VideoFrame, or an iterable of frames

Names are loaded when they are first used: `import streamsr` itself imports nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from streamsr._version import __version__

if TYPE_CHECKING:
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
    from streamsr.models import ModelSpec, list_models
    from streamsr.upscale import Upscaler

_MODULES = {
    "AccountError": "errors",
    "EngineError": "errors",
    "Frame": "frame",
    "Interrupted": "errors",
    "ModelSpec": "models",
    "SinkError": "errors",
    "SourceError": "errors",
    "StreamsrError": "errors",
    "Upscaler": "upscale",
    "UsageError": "errors",
    "list_models": "models",
}

__all__ = [
    "AccountError",
    "EngineError",
    "Frame",
    "Interrupted",
    "ModelSpec",
    "SinkError",
    "SourceError",
    "StreamsrError",
    "Upscaler",
    "UsageError",
    "__version__",
    "list_models",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'streamsr' has no attribute {name!r}")
    return getattr(importlib.import_module(f"streamsr.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
