"""EngineCache: the engines of one upscaler, opened when they are first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from streamsr.engines import Engine
from streamsr.models import ModelSpec
from streamsr.options import UpscaleOptions


@dataclass(slots=True)
class EngineCache:
    """One engine for each model, scale and bit depth. Safe to call from many threads."""

    name: str  # of the engine, as `open_engine` takes it
    options: UpscaleOptions
    opener: Callable[..., Engine]
    _engines: dict[tuple[str, int, int], Engine] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, spec: ModelSpec, bits: int) -> Engine:
        """The engine for this model on planes of so many bits. Raises EngineError."""
        key, options = (spec.name, spec.scale, bits), self.options
        with self._lock:
            if key not in self._engines:
                self._engines[key] = self.opener(
                    spec, bits=bits, engine=self.name, device=options.device, precision=options.precision, threads=options.threads,
                    hint=options.hint,
                )  # fmt: skip
            return self._engines[key]

    @property
    def engines(self) -> list[Engine]:
        """Those that are open, the latest last."""
        return list(self._engines.values())

    def close(self) -> None:
        with self._lock:
            engines, self._engines = list(self._engines.values()), {}
        for engine in engines:
            engine.close()
