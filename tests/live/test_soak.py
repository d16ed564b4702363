"""What benchmarks/soak.py calls growth."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CODE = """
import json, sys, soak
for run in json.load(sys.stdin):
    growth, faults = soak.judge([soak.Point(*point) for point in run])
    print(json.dumps([growth, faults]))
"""


def run(*, leak_mib: float = 0.0, slower_s: float = 0.0, dropped: int = 0, outliers: bool = False) -> list[list[float | None]]:
    """A hundred points over 500 s: memory that fills at first, noise, and what is asked for over the whole run."""
    chance = random.Random(1)
    points: list[list[float | None]] = []
    for number in range(1, 101):
        memory = 100 + min(number, 15) * 4 + chance.uniform(-2, 2) + leak_mib * number / 100
        late_s = 0.03 + chance.uniform(-0.01, 0.01) + slower_s * number / 100
        if outliers and number % 10 == 0:
            memory, late_s = memory + 200, late_s + 5
        points.append([number * 5.0, memory, number * 125, dropped * number // 100, late_s])
    return points


def test_growth_is_found_and_noise_is_not() -> None:
    silent = [[1.0, 100.0, 0, 0, None], [2.0, 100.0, 0, 0, None]]
    runs = [run(), run(outliers=True), run(leak_mib=60), run(slower_s=0.2), run(dropped=50), silent]
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=BENCHMARKS, input=json.dumps(runs), capture_output=True, text=True, check=True
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    steady, noisy, leaking, slowing, dropping, empty = (faults for _, faults in found)
    assert steady == noisy == []
    assert [words.split(" by ")[0] for words in leaking] == ["memory grew"]
    assert found[2][0]["memory_growth_mib"] > 40
    assert [words.split(" by ")[0] for words in slowing] == ["latency grew"]
    assert dropping == ["50 of 12500 frames were dropped"]
    assert empty == ["no frame went out"]
