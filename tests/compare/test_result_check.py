"""Results scored against their own source while a run goes on: what is right scores high, what is off does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from media import make_clip, streamsr

from streamsr.compare import result_check
from streamsr.compare.result_check import ResultCheck
from streamsr.frame import Frame


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> list[tuple[np.ndarray, np.ndarray]]:
    """Stands for the metric: 1 minus the mean difference of 255."""
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    class PbanScorer:
        min_side = 16

        def __init__(self, **_: Any) -> None: ...

        def __call__(self, one: np.ndarray, other: np.ndarray) -> float:
            seen.append((one, other))
            return 1 - float(np.abs(one.astype(float) - other).mean()) / 255

    monkeypatch.setattr(result_check, "PbanScorer", PbanScorer)
    return seen


def pair(number: int, *, size: int = 32, change: Callable[[tuple[np.ndarray, ...]], None] = lambda planes: None) -> Any:
    source, result = av.VideoFrame(size, size, "yuv420p"), av.VideoFrame(2 * size, 2 * size, "yuv420p")
    rng = np.random.default_rng(number)
    for plane, large in zip(Frame(source).planes, Frame(result).planes, strict=True):
        plane[:] = rng.integers(60, 180, plane.shape)
        large[:] = plane.repeat(2, 0).repeat(2, 1)
    change(Frame(result).planes)
    source.pts, source.time_base = number, Fraction(1, 10)
    return source, result


def shift_chroma(planes: tuple[np.ndarray, ...]) -> None:
    planes[1][:] += 60


def test_a_plain_enlargement_scores_high_and_shifted_colours_do_not(judge: list[Any]) -> None:
    with ResultCheck(2) as check:
        for number in range(6):
            check(*pair(number, change=shift_chroma if number == 4 else lambda planes: None))
    found = check.as_dict()
    assert (found["num_measured"], found["lowest_s"]) == (3, 0.4)
    assert found["lowest"] < 0.9 < min(score for _, score in check.scores[:2])
    assert "lowest" in check.line()
    assert all(one.shape == other.shape == (32, 32, 3) for one, other in judge)


def test_what_is_too_small_for_the_metric_is_counted(judge: list[Any]) -> None:
    with ResultCheck(1) as check:
        check(*pair(0, size=8))
    assert check.as_dict() | {"num_passed_over": 1, "mean": None} == check.as_dict()
    assert "16 pixels a side" in check.line()


def test_a_stream_does_not_wait_for_the_metric(judge: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    check = ResultCheck(1, waits=False, on_score=told.append)
    check._running = SimpleNamespace(done=lambda: False, result=lambda: None)  # type: ignore[assignment]
    check(*pair(0))
    assert check.num_passed_over == 1
    check._running = None
    check(*pair(1))
    check.close()
    assert len(told) == 1


@pytest.mark.parametrize("seconds", ["0", "10"])
def test_run_tells_what_the_metric_says(tmp_path: Path, seconds: str) -> None:
    clip, report = make_clip(tmp_path / "in.mkv", size="112x96", num_frames=5), tmp_path / "report.json"
    outcome = streamsr("run", clip, tmp_path / "out.mkv", "--model", "resize", "--judge", "4", "--report", report,
                       "--segment-seconds", seconds)  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "2 frames by Efficient-PBAN: mean" in outcome.err
    found = json.loads(report.read_text())["judge"]
    assert (found["every"], found["num_measured"]) == (4, 2)
    assert 0.5 < found["lowest"] <= found["mean"] <= 1
    refused = streamsr("run", clip, tmp_path / "b.mkv", "--model", "resize", "--judge", "4", "--workers", "2")
    assert refused.code == 2
    assert "--judge" in refused.err
