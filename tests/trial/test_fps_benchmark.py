"""benchmarks/fps.py goes on where a processor or a model lacks a precision."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmark_module import open_benchmark

from streamsr.errors import EngineError


def test_a_precision_that_is_not_there_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fps = open_benchmark("fps")

    def measure(clip: Path, model: str, precision: str, threads: int) -> dict[str, object]:
        if precision == "bf16":
            raise EngineError("cpu has no bf16. Precisions that work here: f32, int8.")
        return {"precision": precision, "fps": 9.0}

    monkeypatch.setattr(fps, "measure_network", measure)
    assert list(fps.measure_networks(Path("in.mp4"), "lite", 2)) == ["f32", "int8"]
    assert capsys.readouterr().out == "bf16: not measured. cpu has no bf16. Precisions that work here: f32, int8.\n"
