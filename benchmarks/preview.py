"""What an open preview costs the stream: processor time a frame and frames a second, without a preview and with 0, 1 and 4 viewers.

    python benchmarks/preview.py [--model lite] [--seconds 8] [--rounds 3] [--output results/NAME.json]

640x360 is upscaled to 1280x720 and encoded by x264 ultrafast, zerolatency. "paced": at 25 fps, as a camera sends it.
"flat out": as fast as it goes, so that every cycle the preview takes is missed. The cases take turns, ratios are taken within
a round. A viewer is a process of its own that asks for pair after pair, as the page does; its own time is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import clips
import machine
from av.video.codeccontext import VideoCodecContext

from streamsr import Upscaler
from streamsr.live.endpoint import Endpoint
from streamsr.live.monitoring import Watch, WatchOptions
from streamsr.live.telemetry import StreamTelemetry

CASES = {"no preview": None, "0 viewers": 0, "1 viewer": 1, "4 viewers": 4}
VIEWER = """
import http.client, sys
connection, seen, count = http.client.HTTPConnection(sys.argv[1]), "", 0
while True:
    connection.request("GET", f"/api/pair?stream=bench&seen={seen}")
    answer = connection.getresponse()
    answer.read()
    seen = answer.headers["X-Pair"] or seen
    count += answer.status == 200
    print(count, flush=True)
"""


def load_frames() -> list[av.VideoFrame]:
    """The shipped clip at 640x360."""
    with av.open(str(clips.BUNNY)) as container:
        return [frame.reformat(640, 360, "yuv420p") for frame in container.decode(video=0)]


def open_encoder() -> VideoCodecContext:
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 1280, 720, "yuv420p", Fraction(1, 25)
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency"}
    return encoder


def play(frames: list[av.VideoFrame], model: str, seconds: float, viewers: int | None, *, fps: float | None) -> dict[str, float]:
    """One run: frames a second, processor milliseconds a frame, p99 latency and pictures a second that the viewers got together."""
    preview = None if viewers is None else Endpoint("127.0.0.1", 0)
    telemetry, encoder = StreamTelemetry("bench"), open_encoder()
    with Watch(WatchOptions(preview=preview)) as watch, Upscaler(model, hint="latency") as upscaler:
        tap = watch.add(telemetry)
        upscaler.prepare(640, 360)
        host = watch.urls.get("preview", "")[len("http://") : -1]
        watching = [subprocess.Popen([sys.executable, "-c", VIEWER, host], stdout=subprocess.PIPE, text=True) for _ in range(viewers or 0)]
        count, counting, began, cpu = 0, False, time.perf_counter(), time.process_time()
        number = 0
        while True:
            now = time.perf_counter()
            if not counting and now - began > 1.5:  # viewers are there, caches warm
                count, counting, began, cpu, telemetry_before = 0, True, now, time.process_time(), telemetry.snapshot()["latency"]["count"]
            if counting and now - began > seconds:
                break
            if fps is not None:
                time.sleep(max(0.0, began + count / fps - now))
            frame = frames[number % len(frames)]
            started = time.perf_counter()
            after = upscaler(frame)
            after.pts = number
            encoder.encode(after)
            telemetry.frame_out(time.perf_counter() - started)
            if tap is not None:
                tap.offer(frame, after)
            number, count = number + 1, count + 1
        elapsed, used = time.perf_counter() - began, time.process_time() - cpu
        assert telemetry.snapshot()["latency"]["count"] == telemetry_before + count
        shown = 0.0
        for process in watching:
            process.terminate()
            shown += int((process.communicate()[0].split() or ["0"])[-1]) / (elapsed + 1.5)
        return {"fps": count / elapsed, "cpu_ms_a_frame": used / count * 1000, "cpu_percent_of_a_core": used / elapsed * 100,
                "p99_ms": telemetry.snapshot()["latency"]["p99_s"] * 1000, "pictures_a_second": shown}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--seconds", type=float, default=8, help="a case (default: 8)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    facts: dict[str, Any] = {"machine": machine.describe(), "model": options.model, "paced": {}, "flat out": {}}
    frames = load_frames()
    for pace, fps in (("paced", 25.0), ("flat out", None)):
        rounds = [{case: play(frames, options.model, options.seconds, viewers, fps=fps) for case, viewers in CASES.items()}
                  for _ in range(options.rounds)]  # fmt: skip
        for case in CASES:
            figures = {key: statistics.median(turn[case][key] for turn in rounds) for key in rounds[0][case]}
            ratios = [turn[case]["fps"] / turn["no preview"]["fps"] for turn in rounds]
            facts[pace][case] = figures | {"fps_ratio": statistics.median(ratios), "fps_ratios": ratios}
            print(f"{pace:9s} {case:11s} {figures['fps']:6.1f} fps ({statistics.median(ratios):.3f})  "
                  f"{figures['cpu_ms_a_frame']:6.2f} ms of processor a frame  {figures['cpu_percent_of_a_core']:5.1f} % of a core  "
                  f"p99 {figures['p99_ms']:.0f} ms  {figures['pictures_a_second']:.1f} pictures/s", flush=True)  # fmt: skip
    if options.output is not None:
        options.output.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
