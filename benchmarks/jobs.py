"""Jobs in segments: what they survive, what they cost, what more workers give, and what a seam looks like.

    python benchmarks/jobs.py kills    [--seconds 180] [--size 426x240]
    python benchmarks/jobs.py overhead [--seconds 600] [--size 320x180] [--runs 2]
    python benchmarks/jobs.py workers  [--seconds 60] [--size 854x480] [--runs 2]
    python benchmarks/jobs.py seams    [--seconds 40] [--size 854x480] [--plot docs/seam.png]

Each prints a page and, with --output, writes the numbers as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import clips
import imageio_ffmpeg
import machine

from streamsr.jobs.job_listing import list_jobs

FFMPEG = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-nostdin"]


def make_clip(target: Path, seconds: int, size: str) -> Path:
    """The clip of the repository, again and again, at another size, with a tone; a key frame every two seconds."""
    width, height = size.split("x")
    command = [*FFMPEG, "-stream_loop", "-1", "-i", str(clips.BUNNY), "-f", "lavfi", "-i", "sine=frequency=440", "-t", str(seconds),
               "-map", "0:v", "-map", "1:a", "-vf", f"scale={width}:{height},setsar=1", "-c:v", "libx264", "-preset", "veryfast",
               "-crf", "20", "-g", "48", "-c:a", "aac", str(target)]  # fmt: skip
    subprocess.run(command, check=True)
    return target


def command_of(clip: Path, out: Path, model: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "streamsr", "run", str(clip), str(out), "--model", model, "--overwrite", "--quiet", *options]


def run(command: list[str], out: Path, cores: set[int] | None = None) -> dict[str, Any]:
    """One run to its end: wall and processor seconds, and the report."""
    report = out.with_suffix(".json")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    at = time.perf_counter()
    pin = (lambda: os.sched_setaffinity(0, cores)) if cores else None
    subprocess.run([*command, "--report", str(report)], check=True, preexec_fn=pin)
    wall_s = time.perf_counter() - at
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    facts = json.loads(report.read_text())
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": wall_s, "cpu_s": cpu_s, "frames": facts["num_frames"], "segments": facts["num_segments"], "stage_s": facts["stage_s"],
            "resumed": facts["num_resumed"], "account": facts["account"]["line"], "bytes": out.stat().st_size}  # fmt: skip


def fingerprint(path: Path) -> dict[str, Any]:
    """Checksums of the video's packets and of the whole file."""
    packets = hashlib.sha256()
    count = 0
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                count += 1
                packets.update(f"{packet.pts} {packet.dts} {packet.duration} {packet.is_keyframe} ".encode() + bytes(packet))
    return {"frames": count, "packets": packets.hexdigest(), "file": hashlib.sha256(path.read_bytes()).hexdigest()}


def measure_kills(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """End one job ten times with SIGKILL at random moments, go on each time, and compare with an uninterrupted run."""
    clip = make_clip(folder / "in.mp4", options.seconds, options.size)
    whole = run(command_of(clip, folder / "whole.mp4", options.model), folder / "whole.mp4")
    print(f"uninterrupted: {whole['frames']} frames, {whole['segments']} segments, {whole['wall_s']:.0f} s", flush=True)
    moments = random.Random(options.seed)
    out = folder / "out.mp4"
    kills: list[dict[str, float]] = []
    while len(kills) < options.kills:
        wait_s = moments.uniform(0.5, 2.2 * whole["wall_s"] / options.kills)
        process = subprocess.Popen(command_of(clip, out, options.model))
        time.sleep(wait_s)
        if process.poll() is not None:
            raise SystemExit("the job was done before it was killed often enough: take a longer clip")
        process.kill()
        process.wait()
        found = list_jobs(folder)
        done = found[0].num_done if found else 0
        kills.append({"after_s": wait_s, "segments_done": done})
        print(f"killed after {wait_s:.1f} s: {done} of {whole['segments']} segments are done", flush=True)
    last = run(command_of(clip, out, options.model), out)
    ours, theirs = fingerprint(out), fingerprint(folder / "whole.mp4")
    print(f"last run: {last['resumed']} segments taken over; {last['account']}")
    print(f"packets equal: {ours['packets'] == theirs['packets']}, files equal: {ours['file'] == theirs['file']}, {ours['frames']} frames")
    return {"whole": whole, "kills": kills, "last": last, "result": ours, "equal": ours == theirs}


def measure_overhead(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The same job in segments and in one piece, in turn."""
    clip = make_clip(folder / "in.mp4", options.seconds, options.size)
    out = folder / "out.mp4"
    pairs = []
    for number in range(options.runs):
        order = [("segments", "10"), ("whole", "0")]
        pair = {}
        for name, seconds in order if number % 2 else order[::-1]:
            pair[name] = run(command_of(clip, out, options.model, "--segment-seconds", seconds, *options.encode), out)
        pairs.append(pair)
        for key in ("wall_s", "cpu_s", "bytes"):
            print(f"{key}: {pair['whole'][key]:.1f} whole, {pair['segments'][key]:.1f} in {pair['segments']['segments']} segments: "
                  f"{pair['segments'][key] / pair['whole'][key] - 1:+.1%}", flush=True)  # fmt: skip
    keys = ("wall_s", "cpu_s", "bytes")
    more = {key: statistics.median(pair["segments"][key] / pair["whole"][key] - 1 for pair in pairs) for key in keys}
    print("median: " + ", ".join(f"{key} {value:+.2%}" for key, value in more.items()))
    print("stages of the last run: " + ", ".join(f"{stage} {busy:.2f} s" for stage, busy in pairs[-1]["segments"]["stage_s"].items()))
    return {"pairs": pairs, "median": more}


def measure_workers(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One worker with one thread on one core, two of them on two cores, and one that has both cores; in turn."""
    clip = make_clip(folder / "in.mp4", options.seconds, options.size)
    out = folder / "out.mp4"
    first = min(os.sched_getaffinity(0))
    runs: dict[str, list[dict[str, Any]]] = {"one on one core": [], "two on two cores": [], "one on two cores": []}
    for number in range(options.runs):
        ways = {"one on one core": (["--threads", "1"], {first}), "two on two cores": (["--workers", "2", "--threads", "1"], None),
                "one on two cores": ([], None)}  # fmt: skip
        for name, (words, cores) in ways.items():
            words = [*words, "--segment-seconds", "2"]  # enough of them, so that no worker waits long for the last
            runs[name].append(run(command_of(clip, out, options.model, *words, *options.encode), out, cores))
            print(f"{name}, run {number + 1}: {runs[name][-1]['frames'] / runs[name][-1]['wall_s']:.1f} fps", flush=True)
    speed = {name: statistics.median(one["frames"] / one["wall_s"] for one in found) for name, found in runs.items()}
    ratios = [a["wall_s"] / b["wall_s"] for a, b in zip(runs["one on one core"], runs["two on two cores"], strict=True)]
    print(", ".join(f"{name}: {value:.1f} fps" for name, value in speed.items()))
    print(f"two workers are {statistics.median(ratios):.2f} times one (pair by pair: {', '.join(f'{ratio:.2f}' for ratio in ratios)})")
    return {"runs": runs, "fps": speed, "ratios": ratios}


def measure_seams(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """VMAF of each frame against what the encoder was given, in segments and in one piece."""
    clip = make_clip(folder / "in.mp4", options.seconds, options.size)
    given = folder / "given.mkv"
    run(command_of(clip, given, "resize", "--encoder", "ffv1", "--segment-seconds", "0"), given)
    scores = {}
    for name, seconds in (("in segments of 10 s", "10"), ("in one piece", "0")):
        out = folder / "out.mp4"
        run(command_of(clip, out, "resize", "--segment-seconds", seconds, *options.encode), out)
        log = folder / "vmaf.json"
        vmaf = f"[0:v][1:v]libvmaf=log_fmt=json:log_path={log}:n_threads={os.cpu_count()}"
        subprocess.run([*FFMPEG, "-i", str(out), "-i", str(given), "-lavfi", vmaf, "-f", "null", "-"], check=True)
        scores[name] = [frame["metrics"]["vmaf"] for frame in json.loads(log.read_text())["frames"]]
        if seconds == "10":
            with av.open(str(out)) as container:
                base = container.streams.video[0].time_base
                assert base is not None
                found = [packet for packet in container.demux(video=0) if packet.size and packet.is_keyframe]
                keys = sorted(float((packet.pts or 0) * base) for packet in found)
    rate = len(scores["in one piece"]) / options.seconds
    whole, cut = scores["in one piece"], scores["in segments of 10 s"]
    near = sorted({frame for key in keys[1:] for frame in range(round(key * rate) - 12, round(key * rate) + 12) if 0 <= frame < len(cut)})
    facts = {"mean": [statistics.mean(cut), statistics.mean(whole)], "min": [min(cut), min(whole)],
             "mean_near_seams": [statistics.mean(cut[i] for i in near), statistics.mean(whole[i] for i in near)],
             "largest_drop": max(b - a for a, b in zip(cut, whole, strict=True))}  # fmt: skip
    for key, value in facts.items():
        print(f"{key}: {value}")
    if options.plot:
        from plot import draw_lines

        low, high = (max(0, round((keys[1] + offset) * rate)) for offset in (-2, 2))
        near_seam = {name: values[low:high] for name, values in scores.items()}
        title = "VMAF of each frame around a seam (grey)"
        draw_lines(options.plot, near_seam, rate=rate, start=low / rate, marks=[keys[1]], title=title)
    return facts | {"scores": scores, "keys": keys}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measures = {"kills": (measure_kills, 180, "426x240"), "overhead": (measure_overhead, 600, "320x180"),
                "workers": (measure_workers, 60, "854x480"), "seams": (measure_seams, 40, "854x480")}  # fmt: skip
    parser.add_argument("measure", choices=measures)
    parser.add_argument("--seconds", type=int, help="of video")
    parser.add_argument("--size", help="of the input")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", default="medium", help="of x264")
    parser.add_argument("--plot", type=Path, help="draw the seams into this PNG")
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    measure, seconds, size = measures[options.measure]
    options.seconds, options.size = options.seconds or seconds, options.size or size
    options.encode = ["--encoder", "libx264", "--preset", options.preset]
    folder = Path(tempfile.mkdtemp())
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv]
    try:
        results = {"command": " ".join(words), "machine": machine.describe()} | measure(folder, options)
    finally:
        shutil.rmtree(folder)
    if options.output:
        options.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
