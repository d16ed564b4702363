"""The headline: frames a second end to end, the network alone, where the time goes, memory, and the first frame.

    python benchmarks/fps.py [--frames 600] [--model lite] [--runs 3] [--vapoursynth PYTHON] [--output results/NAME.json]

854x480 is upscaled to 1708x960 and encoded by x264 ultrafast. With --vapoursynth (an interpreter that has vapoursynth,
vapoursynth-mlrt-ov and vapoursynth-bestsource) the same ONNX file runs there too, in turn with streamsr, with the same
encoder behind a pipe; ratios are taken pair by pair.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import av
import clips
import fps_gpu
import machine

from streamsr import Upscaler
from streamsr.errors import EngineError
from streamsr.models import find_model

X264 = ["--encoder", "libx264", "--preset", "ultrafast"]


def run_streamsr(clip: Path, target: Path, model: str, precision: str, threads: int) -> dict[str, Any]:
    """One run as a process of its own: its report, wall time and resident memory over time."""
    report = target.with_suffix(".json")
    command = [sys.executable, "-m", "streamsr", "run", str(clip), str(target), "--model", model, "--precision", precision,
               "--threads", str(threads), *X264, "--overwrite", "--quiet", "--report", str(report)]  # fmt: skip
    started = time.perf_counter()
    process = subprocess.Popen(command)
    rss: list[tuple[float, float]] = []
    thread = threading.Thread(target=_watch, args=(process, started, rss), daemon=True)
    thread.start()
    if process.wait() != 0:
        raise SystemExit(f"streamsr ended with {process.returncode}")
    wall = time.perf_counter() - started
    thread.join()
    facts: dict[str, Any] = json.loads(report.read_text())
    return {"wall_s": wall, "fps": facts["num_frames"] / wall, "frames": facts["num_frames"], "stage_s": facts["stage_s"],
            "engine": facts["engine"], "reason": facts["reason"], "first_frame_s": facts["first_frame_s"],
            "reused": facts["num_reused"], "account": facts["account"]["line"], "rss_mb": _memory(rss)}  # fmt: skip


def _watch(process: subprocess.Popen[bytes], started: float, rss: list[tuple[float, float]]) -> None:
    status = Path(f"/proc/{process.pid}/statm")
    while process.poll() is None:
        try:
            pages = int(status.read_text().split()[1])
        except (OSError, IndexError, ValueError):
            return  # no procfs here, or the process has just gone
        rss.append((time.perf_counter() - started, pages * os.sysconf("SC_PAGE_SIZE") / 2**20))
        time.sleep(0.2)


def _memory(rss: list[tuple[float, float]]) -> dict[str, float] | None:
    if len(rss) < 8:
        return None
    quarter = len(rss) // 4
    return {"peak": max(value for _, value in rss),
            "second_quarter": statistics.median(value for _, value in rss[quarter : 2 * quarter]),
            "last_quarter": statistics.median(value for _, value in rss[3 * quarter :])}  # fmt: skip


def run_vapoursynth(python: str, clip: Path, model: Path, target: Path, streams: int) -> dict[str, Any]:
    """vs-mlrt's OpenVINO with the same file, piped into the same x264."""
    import imageio_ffmpeg

    script = Path(__file__).with_name("vs_mlrt.py")
    started = time.perf_counter()
    frames = subprocess.Popen([python, str(script), str(clip), str(model), "2", str(streams)], stdout=subprocess.PIPE)
    encode = ["-v", "error", "-y", "-i", "-", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", str(target)]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *encode], stdin=frames.stdout, check=True)
    if frames.wait() != 0:
        raise SystemExit(f"VapourSynth ended with {frames.returncode}")
    wall = time.perf_counter() - started
    with av.open(str(target)) as container:
        count = sum(1 for packet in container.demux(video=0) if packet.size)
    return {"wall_s": wall, "frames": count, "fps": count / wall}


def measure_network(clip: Path, model: str, precision: str, threads: int, seconds: float = 8) -> dict[str, Any]:
    """Frames a second of the upscaler alone (network and chroma), fed with decoded frames for so long."""
    with av.open(str(clip)) as container:
        frames = [frame for frame, _ in zip(container.decode(video=0), range(60), strict=False)]
    with Upscaler(model, 2, precision=precision, threads=threads) as upscaler:  # type: ignore[arg-type]
        for _ in upscaler(iter(frames[:4])):
            pass
        used = upscaler.engine_seconds
        started = time.perf_counter()
        until_then = itertools.takewhile(lambda _: time.perf_counter() < started + seconds, itertools.cycle(frames))
        count = sum(1 for _ in upscaler(until_then))
        took = time.perf_counter() - started
        engine_ms = (upscaler.engine_seconds - used) / count * 1000
        return {"precision": upscaler.precision, "frames": count, "fps": count / took, "engine_ms": engine_ms,
                "concurrency": upscaler.concurrency}  # fmt: skip


def measure_networks(clip: Path, model: str, threads: int) -> dict[str, dict[str, Any]]:
    """`measure_network` in every precision that the processor and the model have; the others are named."""
    networks = {}
    for precision in ("f32", "bf16", "int8"):
        try:
            networks[precision] = measure_network(clip, model, precision, threads)
        except EngineError as error:
            print(f"{precision}: not measured. {error}", flush=True)
    return networks


def measure_first_frame(clip: Path, model: str) -> float:
    """Seconds from the command to the first upscaled frame on stdout."""
    command = [sys.executable, "-m", "streamsr", "run", str(clip), "-", "--format", "rawvideo", "--model", model, "--quiet"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.read(1708 * 960 * 3 // 2)
    took = time.perf_counter() - started
    process.kill()
    process.wait()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--vapoursynth", metavar="PYTHON", help="an interpreter with vapoursynth and vs-mlrt's OpenVINO plugin")
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv]
    results: dict[str, Any] = {"command": " ".join(words), "machine": machine.describe()}
    spec = find_model(options.model, 2)
    if options.vapoursynth and spec.has_chroma:
        parser.error(f"vs-mlrt runs networks of luma alone, and {options.model} takes chroma, too. Compare with --model lite-clean.")
    with tempfile.TemporaryDirectory() as folder:
        clip, ours, theirs = (Path(folder) / name for name in ("in.mp4", "streamsr.mp4", "vapoursynth.mp4"))
        clips.loop(clip, options.frames)
        runs, peers = [], []
        for number in range(options.runs):
            runs.append(run_streamsr(clip, ours, options.model, options.precision, options.threads))
            print(f"run {number + 1}: {runs[-1]['fps']:.1f} fps end to end ({runs[-1]['engine']}: {runs[-1]['reason']})", flush=True)
            if options.vapoursynth:
                files = {"f32": spec.path} | ({"int8": spec.int8_path} if spec.int8_path else {})
                streams = os.cpu_count() or 1
                peers.append({name: run_vapoursynth(options.vapoursynth, clip, path, theirs, streams) for name, path in files.items()})
                print("       " + ", ".join(f"vs-mlrt {name} {peer['fps']:.1f} fps" for name, peer in peers[-1].items()), flush=True)
        networks = measure_networks(clip, options.model, options.threads)
        first = [measure_first_frame(clip, options.model) for _ in range(5)]
    macs = spec.macs_per_pixel * 854 * 480
    peak = {precision: machine.measure_peak(precision) for precision in networks}
    share = {precision: macs * network["fps"] / peak[precision] for precision, network in networks.items()}
    results |= {"end_to_end": runs, "vapoursynth": peers, "network": networks, "first_frame_s": first}
    results |= {"peak_macs_per_s": peak, "share_of_peak": share, "ratio_to_vapoursynth": compare(runs, peers)}
    print_results(options.model, results)
    if fps_gpu.is_here():
        results["gpu"] = fps_gpu.measure(models=[options.model])
        for line in results["gpu"]["not_run"]:
            print(f"  not run on the GPU: {line}")
    if options.output:
        options.output.write_text(json.dumps(results, indent=2) + "\n")


def compare(runs: list[dict[str, Any]], peers: list[dict[str, Any]]) -> dict[str, list[float]]:
    """streamsr's frames a second over the peer's, pair by pair, for each file that the peer ran."""
    names = peers[0] if peers else []
    return {name: [run["fps"] / peer[name]["fps"] for run, peer in zip(runs, peers, strict=True)] for name in names}


def print_results(model: str, results: dict[str, Any]) -> None:
    """The page that a person reads; the JSON holds all of it."""
    runs = results["end_to_end"]
    median = sorted(runs, key=lambda run: run["fps"])[len(runs) // 2]
    print(f"\n854x480 to 1708x960, {model}, x264 ultrafast, {median['frames']} frames: {median['fps']:.1f} fps, median of {len(runs)}")
    for stage, busy in median["stage_s"].items():
        print(f"  {stage:8s} {busy / median['frames'] * 1000:6.2f} ms a frame (busy; stages overlap, network: sum of its threads)")
    for precision, network in results["network"].items():
        peak, share = results["peak_macs_per_s"][precision] / 1e9, results["share_of_peak"][precision]
        print(f"  network alone, {precision}: {network['fps']:.1f} fps, {share:.0%} of this machine's {peak:.0f} G multiply-adds a second")
    first = results["first_frame_s"]
    print(f"  first frame after {statistics.median(first):.2f} s (median of {len(first)})")
    if median["rss_mb"]:
        print("  resident memory: " + ", ".join(f"{key} {value:.0f} MB" for key, value in median["rss_mb"].items()))
    for name, ratios in results["ratio_to_vapoursynth"].items():
        pairs = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"  {statistics.median(ratios):.2f} times vs-mlrt OpenVINO with the {name} file (pair by pair: {pairs})")
    print(f"  {median['account']}")


if __name__ == "__main__":
    main()
