"""Peak memory of `streamsr run` by the size of the result, and how much of it is the encoder's.

    python benchmarks/memory.py [--clip CLIP] [--size 960p --size 4k] [--frames 60] [--limit-mb 700] [--output results/NAME.json]

Each run is a process of its own, with the defaults (x264); its peak is what the kernel says when it ends. The same run without a
lasting encoder (raw video into nothing) tells the encoder's part. Ends with 1 where a peak is above --limit-mb. Load on the machine does
not change these numbers, other core counts do.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import clips
import machine


def peak_mb(*arguments: str) -> float:
    """The most resident memory of one process, in MB of 10^6 bytes."""
    process = subprocess.Popen([sys.executable, "-m", "streamsr", "run", *arguments, "--quiet", "--overwrite"])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"streamsr ended with {process.returncode}")
    return usage.ru_maxrss * 1024 / 1e6  # Linux counts kB


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, default=clips.BUNNY)
    parser.add_argument("--size", action="append", metavar="S", help="repeatable (default: 960p, 1440p and 4k)")
    parser.add_argument("--frames", type=int, default=60, help="more than x264 looks ahead")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--limit-mb", type=float, default=float("inf"))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for size in options.size or ["1708x960", "1440p", "4k"]:
            given = [str(options.clip), "--size", size, "--frames", str(options.frames), "--model", options.model]
            whole = peak_mb(*given[:1], f"{folder}/out.mp4", *given[1:])
            without = peak_mb(*given[:1], os.devnull, *given[1:], "--format", "rawvideo")
            rows.append({"size": size, "peak_mb": round(whole), "without_encoder_mb": round(without)})
            print(f"{size}: {whole:.0f} MB, {without:.0f} MB without the encoder", flush=True)
    facts = {"machine": machine.describe(), "clip": options.clip.name, "frames": options.frames, "model": options.model, "peaks": rows}
    if options.output is not None:
        options.output.write_text(json.dumps(facts, indent=1) + "\n")
    worst = max(row["peak_mb"] for row in rows)
    return int(worst > options.limit_mb)


if __name__ == "__main__":
    raise SystemExit(main())
