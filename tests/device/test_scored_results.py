"""`--judge N` beside a network on the simulated GPU: results are scored as on the CPU, in a run and live, wherever they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from machine import CPU, GPU, Machine
from media import make_clip, streamsr

from streamsr.compare import result_check
from streamsr.errors import EngineError
from streamsr.live.telemetry import StreamTelemetry

# PyAV cannot say on planes that it is given where chroma lies, so they come back to the source's size a fraction of a sample off
SITE = 5e-3


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Stands for the metric, which no GPU here has: sums of both pictures. Gives what it said."""
    said: list[float] = []

    class PbanScorer:
        min_side = 16

        def __init__(self, *, device: str = "cpu", threads: int = 0) -> None:
            if device != "cpu":
                raise EngineError(f"there is no {device}")

        def __call__(self, one: np.ndarray, other: np.ndarray) -> float:
            assert one.shape == other.shape == (48, 64, 3)
            said.append(float(one.sum() / other.sum()) / 2 + int(other.sum()) * 1e-12)
            return said[-1]

    monkeypatch.setattr(result_check, "PbanScorer", PbanScorer)
    return said


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "in.mkv", num_frames=12)


@pytest.mark.parametrize("segment_seconds", ["0", "10"])
def test_a_run_is_scored_as_on_the_cpu(
    machine: Machine, judged: list[float], model: Path, clip: Path, tmp_path: Path, segment_seconds: str
) -> None:
    found: list[Any] = []
    for number, own in enumerate((CPU, GPU)):
        report = tmp_path / f"{number}.json"
        outcome = streamsr("run", clip, tmp_path / f"{number}.mkv", "--model", model, *own, "--judge", "3", "--report", report,
                           "--segment-seconds", segment_seconds)  # fmt: skip
        assert outcome.code == 0, outcome.err
        found.append(json.loads(report.read_text())["judge"])
    assert "the metric runs on the CPU: there is no cuda:0" in outcome.err
    assert [each["num_measured"] for each in found] == [4, 4]
    assert found[0]["lowest_s"] == found[1]["lowest_s"]
    assert judged[:4] == pytest.approx(judged[4:], rel=SITE)
    assert len(set(judged[:4])) == 4
    assert machine.networks


def test_a_live_stream_is_scored(
    machine: Machine, judged: list[float], model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    monkeypatch.setattr(StreamTelemetry, "scored", lambda _, score: told.append(score))
    patient = ("--live", "--max-latency", "60000")
    outcome = streamsr("run", clip, tmp_path / "out.mkv", "--model", model, *GPU, *patient, "--judge", "2")
    assert outcome.code == 0, outcome.err
    assert told == judged
    assert 1 <= len(told) <= 6  # one that comes while another is measured is passed over
    for score in told:
        assert 0.45 < score < 0.56  # the picture brought back is as bright as its source
    assert machine.sim.used == 0
