"""`--judge N` of a live stream as a user starts it: the scores that Prometheus reads are those of the pictures that went out."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
from media import STREAMSR, make_clip
from web import get, until

from streamsr.compare.pban import PbanScorer

parse = pytest.importorskip("prometheus_client.parser", reason="not run: pip install 'streamsr[live]'").text_string_to_metric_families
pytestmark = [pytest.mark.network, pytest.mark.slow]


def first_picture(path: Path, size: tuple[int, int]) -> np.ndarray:
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return frame.reformat(*size, "rgb24", interpolation="AREA").to_ndarray()


def test_scores_are_those_of_the_pictures_that_went_out(tmp_path: Path) -> None:
    source, out = tmp_path / "in.mkv", tmp_path / "out.mkv"
    # one picture again and again: whichever is scored, its score is the same
    make_clip(source, "-vf", "trim=end_frame=1,loop=loop=1500:size=1,setpts=N/25/TB", "-c:v", "ffv1", "-pix_fmt", "yuv444p", size="112x96")
    command = [*STREAMSR, "run", source, out, "--live", "--model", "resize", "--encoder", "ffv1", "--judge", "2",
               "--metrics", "127.0.0.1:0", "--log-json", "--max-latency", "30000"]  # fmt: skip
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        url = next(row["fields"]["url"] for row in map(json.loads, process.stderr) if row["event"] == "metrics served")

        def sample(name: str) -> float | None:
            samples = [each for family in parse(get(url + "metrics").text) for each in family.samples if each.name == name]
            return samples[0].value if samples else None

        until(lambda: (sample("streamsr_scored_total") or 0) >= 2, wait_s=60)
        last, lowest = sample("streamsr_score"), sample("streamsr_score_lowest")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    expected = PbanScorer()(first_picture(out, (112, 96)), first_picture(source, (112, 96)))
    assert last is not None
    assert last == pytest.approx(expected, abs=2e-3)
    assert lowest == pytest.approx(last, abs=1e-4)
    assert 0.3 < expected < 1
