"""An engine on the CPU, where this machine has it."""

from __future__ import annotations

import pytest

from streamsr.engines import Engine, open_engine
from streamsr.errors import EngineError
from streamsr.models import ModelSpec


def open_or_skip(spec: ModelSpec, *, engine: str, precision: str = "f32", bits: int = 8) -> Engine:
    """Skips where its package is missing, and for bf16 on a processor without it."""
    pytest.importorskip(engine)
    try:
        return open_engine(spec, engine=engine, device="cpu", precision=precision, bits=bits)  # type: ignore[arg-type]
    except EngineError as error:
        if "no bf16" in str(error):
            pytest.skip(str(error))
        raise
