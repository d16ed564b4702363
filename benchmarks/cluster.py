"""What Ray costs: one job over a cluster of two nodes of one core each on this machine, and with two workers, in turn.

    python benchmarks/cluster.py [--seconds 30] [--size 854x480] [--runs 3]

Prints a page and, with --output, writes the numbers as JSON. The cluster is up before the clock starts; connecting is counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import machine
from jobs import command_of, fingerprint, make_clip, run

WAYS = {"workers": ["--workers", "2"], "cluster": ["--cluster", "auto"]}


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Runs of both ways, each pair in another order."""
    clip = make_clip(folder / "in.mp4", options.seconds, options.size)
    pairs = []
    prints = set()
    for number in range(options.runs):
        pair = {}
        for name in list(WAYS)[:: 1 if number % 2 else -1]:
            out = folder / f"{name}.mp4"
            pair[name] = run(command_of(clip, out, options.model, "--threads", "1", "--segment-seconds", "5", *WAYS[name]), out)
            prints.add(fingerprint(out)["packets"])
        pairs.append(pair)
        print(f"{pair['workers']['wall_s']:.1f} s with 2 workers, {pair['cluster']['wall_s']:.1f} s on 2 nodes "
              f"({pair['cluster']['segments']} segments, {pair['cluster']['frames']} frames)", flush=True)  # fmt: skip
    ratio = statistics.median(pair["cluster"]["wall_s"] / pair["workers"]["wall_s"] for pair in pairs)
    print(f"cluster / workers: {ratio:.3f} (median of {len(pairs)}); packets {'equal' if len(prints) == 1 else 'DIFFER'}")
    return {"pairs": pairs, "ratio": ratio, "equal": len(prints) == 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--size", default="854x480")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    # before Ray is imported; 0: stay on 127.0.0.1
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "OMP_NUM_THREADS": "1"})
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        for cores in (0, 1, 1):
            cluster.add_node(num_cpus=cores, include_dashboard=False, node_ip_address="127.0.0.1", object_store_memory=80 << 20)
        os.environ["RAY_ADDRESS"] = cluster.address
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Path(folder), options)
    finally:
        cluster.shutdown()
    if options.output is not None:
        facts = {"machine": machine.describe(), "options": vars(options), **found}
        options.output.write_text(json.dumps(facts, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
