"""Lets a live stream run and fails where memory, latency or drops grow.

    python benchmarks/soak.py [--minutes 10] [--size 320x180] [--rate 25] [--model lite] [--input URL] [--output results/NAME.json]

Without --input the camera is GStreamer's RTSP server with a moving picture and a tone (Debian packages in .ci/debian.txt). The
output is MPEG-TS over UDP to nobody. Once in --every seconds a line says resident memory of streamsr and of the process that
writes for it, latency (99 % of the frames of that time, from packet read to frame sent), drops and frames so far.

Growth is judged without the first fifth, in which caches fill: the slope of Theil and Sen (the median of the slopes between all
pairs of points, which single outliers do not move) times the length. It fails with exit code 1 above 8 MiB plus 5 % of the memory, above
20 ms plus half of the latency, or where more than 0.1 % of the frames were dropped.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import machine
from live import camera

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "live"))

from servers import RtspServer, free_port

MEMORY_MIB, MEMORY_SHARE = 8.0, 0.05
LATENCY_S, LATENCY_SHARE = 0.02, 0.5
DROP_SHARE = 0.001
WARM_SHARE = 0.2
START_S = 60.0
ANSWER_S = 30.0  # that a scrape may take on a machine that does other things too


@dataclass(frozen=True, slots=True)
class Point:
    """What was seen at one moment."""

    at_s: float
    rss_mib: float
    frames_in: int
    dropped: int
    p99_s: float | None  # of the frames since the point before


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """The median of the slopes between all pairs: Theil 1950, Sen 1968. 0 for fewer than two points."""
    points = list(zip(times, values, strict=True))
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if b[0] > a[0]]
    return statistics.median(slopes) if slopes else 0.0


def judge(points: Sequence[Point]) -> tuple[dict[str, float], list[str]]:
    """Growth over the run, and words for each that is too much."""
    warm = [point for point in points if point.at_s >= points[-1].at_s * WARM_SHARE]
    late = [(point.at_s, point.p99_s) for point in warm if point.p99_s is not None]
    length_s = warm[-1].at_s - warm[0].at_s
    memory = slope([point.at_s for point in warm], [point.rss_mib for point in warm]) * length_s
    latency = slope([at for at, _ in late], [p99 for _, p99 in late]) * length_s
    share = points[-1].dropped / max(points[-1].frames_in, 1)
    faults = []
    if memory > MEMORY_MIB + MEMORY_SHARE * warm[0].rss_mib:
        faults.append(f"memory grew by {memory:.1f} MiB from {warm[0].rss_mib:.0f}")
    if not late:
        faults.append("no frame went out")
    elif latency > LATENCY_S + LATENCY_SHARE * late[0][1]:
        faults.append(f"latency grew by {latency * 1000:.0f} ms from {late[0][1] * 1000:.0f}")
    if share > DROP_SHARE:
        faults.append(f"{points[-1].dropped} of {points[-1].frames_in} frames were dropped")
    return {"memory_growth_mib": memory, "latency_growth_ms": latency * 1000, "drop_share": share}, faults


class Metrics:
    """Reads what streamsr counts."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._buckets: dict[float, float] = {}

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Until it serves."""
        end = time.monotonic() + START_S
        while process.poll() is None and time.monotonic() < end:
            try:
                self.read()
                return
            except OSError:
                time.sleep(0.2)
        raise SystemExit(f"streamsr served no metrics within {START_S:g} s")

    def read(self) -> tuple[int, int, float | None]:
        """(frames in, frames dropped, latency that 99 % of the frames since the last call stayed within)."""
        with urllib.request.urlopen(f"{self._url}metrics", timeout=ANSWER_S) as answer:
            text = answer.read().decode()
        found = re.findall(r"^streamsr_latency_seconds_bucket\{(?=[^}]*le=\"([^\"]+)\")[^}]*\} (\S+)$", text, re.MULTILINE)
        buckets = {float(bound): float(count) for bound, count in found}
        new = {bound: count - self._buckets.get(bound, 0) for bound, count in sorted(buckets.items())}
        self._buckets = buckets
        wanted = 0.99 * new.get(float("inf"), 0)
        below, lower = 0.0, 0.0
        p99 = None
        for bound, count in new.items():
            if wanted and count >= wanted:
                p99 = lower if bound == float("inf") else lower + (bound - lower) * (wanted - below) / max(count - below, 1e-9)
                break
            below, lower = count, bound
        dropped = re.findall(r"^streamsr_frames_dropped_total\{.*\} (\S+)$", text, re.MULTILINE)
        frames = re.findall(r"^streamsr_frames_in_total\{.*\} (\S+)$", text, re.MULTILINE)
        return int(sum(map(float, frames))), int(sum(map(float, dropped))), p99


def resident_mib(pid: int) -> float:
    """Memory of a process and its children."""
    family = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    return sum(int(Path(f"/proc/{member}/statm").read_text().split()[1]) for member in family) * 4096 / 2**20


def soak(url: str, minutes: float, every_s: float, model: str) -> tuple[list[Point], dict[str, Any]]:
    """One run: the points, and streamsr's own report."""
    port, points = free_port(), []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "streamsr", "run", url, f"udp://127.0.0.1:{free_port()}?pkt_size=1316", "--live", "--model", model,
                   "--metrics", str(port), "--report", str(report), "--quiet"]  # fmt: skip
        process = subprocess.Popen(command)
        try:
            metrics = Metrics(f"http://127.0.0.1:{port}/")
            metrics.wait(process)
            started = time.monotonic()
            while time.monotonic() - started < minutes * 60:
                time.sleep(every_s)
                if process.poll() is not None:
                    raise SystemExit(f"streamsr ended with {process.returncode}")
                frames_in, dropped, p99 = metrics.read()
                points.append(Point(time.monotonic() - started, resident_mib(process.pid), frames_in, dropped, p99))
                shown = "      -" if p99 is None else f"{p99 * 1000:7.1f}"
                print(f"{points[-1].at_s:7.0f} s {points[-1].rss_mib:8.1f} MiB {shown} ms {dropped:6} dropped {frames_in:8} in", flush=True)
            process.send_signal(signal.SIGTERM)
            if process.wait(30) != 0:
                raise SystemExit(f"streamsr ended with {process.returncode}")
            facts: dict[str, Any] = json.loads(report.read_text())
        finally:
            process.kill()
            process.wait()
    return points, facts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two lines (default: 5)")
    parser.add_argument("--size", default="320x180")
    parser.add_argument("--rate", type=int, default=25)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--input", help="a URL in place of the built-in camera")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    about = machine.describe()
    with ExitStack() as stack:
        url = options.input
        if url is None:
            url = stack.enter_context(RtspServer(play={"/cam": camera(options.size, options.rate)})).url("/cam")
        points, facts = soak(url, options.minutes, options.every, options.model)
    growth, faults = judge(points)
    latency = {key: facts["latency"][key] for key in ("p50_s", "p99_s", "max_s")}
    result = {"benchmark": "soak", **about, "minutes": options.minutes, "size": options.size, "rate": options.rate, "model": facts["model"],
              **growth, "latency_s": latency, "frames_in": facts["num_in"], "frames_out": facts["num_out"], "dropped": facts["dropped"],
              "reconnects": facts["reconnects"], "faults": faults, "points": [asdict(point) for point in points]}  # fmt: skip
    print(json.dumps({key: value for key, value in result.items() if key != "points"}, indent=2))
    if options.output is not None:
        options.output.write_text(json.dumps(result, indent=2) + "\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
