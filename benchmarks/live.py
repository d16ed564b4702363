"""A live stream from an RTSP camera to MPEG-TS over UDP: drops, latency, drift and memory.

    python benchmarks/live.py [--seconds 60] [--size 640x360] [--rate 25] [--model lite] [--output results/NAME.json]

The camera is GStreamer's RTSP server with a moving picture and a tone (Debian packages in .ci/debian.txt). The receiver
is this process: it notes when each packet arrives. Latency is streamsr's own figure: from the moment a packet was read from the
camera until FFmpeg handed its upscaled frame to the network, 99 % of the frames. Drift is how far arrival and timestamp moved
apart from the first five seconds to the last five, once for picture and once for audio against picture.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import av
import av.error
import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "live"))

from servers import RtspServer, free_port

EDGE_S = 5.0


def camera(size: str, rate: int) -> str:
    """A bouncing ball and a running clock: no two frames are the same, so none is reused."""
    width, height = size.split("x")
    shape = f"width={width},height={height},framerate={rate}/1"
    return (
        f"( videotestsrc is-live=true pattern=ball ! video/x-raw,{shape} ! timeoverlay ! "
        f"x264enc tune=zerolatency key-int-max={2 * rate} speed-preset=ultrafast bitrate=3000 sliced-threads=false threads=1 ! "
        "h264parse config-interval=-1 ! video/x-h264,alignment=au ! rtph264pay name=pay0 pt=96 "
        "audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! avenc_aac ! aacparse ! rtpmp4gpay name=pay1 pt=97 )"
    )


class Receiver:
    """Notes (arrival, time stamp) of every packet, by kind."""

    def __init__(self, port: int) -> None:
        self.seen: dict[str, list[tuple[float, float]]] = {"video": [], "audio": []}
        self._url = f"udp://127.0.0.1:{port}?buffer_size=4000000&overrun_nonfatal=1"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with av.open(self._url, format="mpegts", timeout=(30, 5), options={"fpsprobesize": "0"}) as container:
                for packet in container.demux():
                    if packet.pts is not None and packet.time_base is not None:
                        self.seen[packet.stream.type].append((time.monotonic(), float(packet.pts * packet.time_base)))
        except av.error.FFmpegError:
            return  # nothing more came

    def drift_s(self, kind: str) -> float:
        """How much later against its time stamp a packet arrives at the end than at the beginning; medians of EDGE_S seconds."""
        # without what the receiver's probing held up at the start, and its flush at the end
        seen = self.seen[kind][25:-4]
        first = [at - pts for at, pts in seen if at < seen[0][0] + EDGE_S]
        last = [at - pts for at, pts in seen if at > seen[-1][0] - EDGE_S]
        return statistics.median(last) - statistics.median(first)

    def wait(self) -> None:
        self._thread.join(10)


def watch(process: subprocess.Popen[bytes], rss: list[float]) -> None:
    """Resident MiB of the process and the one that writes for it, ten times a second."""
    while process.poll() is None:
        total = 0
        try:
            family = [process.pid, *map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())]
            for pid in family:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
        except (OSError, ValueError):
            continue
        rss.append(total / 2**20)
        time.sleep(0.1)


def measure(seconds: float, size: str, rate: int, model: str) -> dict[str, Any]:
    """One run."""
    port = free_port()
    receiver = Receiver(port)
    with RtspServer(play={"/cam": camera(size, rate)}) as server, tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "streamsr", "run", server.url("/cam"), f"udp://127.0.0.1:{port}?pkt_size=1316", "--model", model,
                   "--encoder", "libx264", "--preset", "ultrafast", "--report", str(report), "--quiet"]  # fmt: skip
        process = subprocess.Popen(command)
        rss: list[float] = []
        thread = threading.Thread(target=watch, args=(process, rss), daemon=True)
        thread.start()
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        if process.wait(30) != 0:
            raise SystemExit(f"streamsr ended with {process.returncode}")
        thread.join()
        facts: dict[str, Any] = json.loads(report.read_text())
    receiver.wait()
    quarter = len(rss) // 4
    picture, audio = receiver.drift_s("video"), receiver.drift_s("audio")
    return {
        "size": size, "to": f"{facts['result']['width']}x{facts['result']['height']}", "rate": rate, "seconds": seconds,
        "frames_in": facts["num_in"], "frames_out": facts["num_out"], "dropped": facts["dropped"], "held": facts["num_held"],
        "before_start": facts["num_before_start"], "first_frame_s": facts["first_frame_s"], "latency_s": facts["latency"],
        "quality_changes": facts["num_quality_changes"], "model": facts["model"], "engine": facts["engine"], "reason": facts["reason"],
        "drift_ms": {"picture": 1000 * picture, "sound_against_picture": 1000 * (audio - picture)},
        "received": {kind: len(seen) for kind, seen in receiver.seen.items()},
        "rss_mb": {"peak": max(rss), "second_quarter": statistics.median(rss[quarter : 2 * quarter]),
                   "last_quarter": statistics.median(rss[3 * quarter :])},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--size", action="append", help="640x360 and 320x180 by default; repeatable")
    parser.add_argument("--rate", type=int, default=25)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    about = machine.describe()
    runs = [measure(options.seconds, size, options.rate, options.model) for size in options.size or ["640x360", "320x180"]]
    text = json.dumps({"benchmark": "live", **about, "niceness": os.nice(0), "runs": runs}, indent=2)
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
