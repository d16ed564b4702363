"""streamsr jobs FOLDER"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from .terminal import show

HELP = "list unfinished jobs and their progress"
EPILOG = """To resume a job, run the same `streamsr run` command again. To discard it, delete its folder OUTPUT.streamsr.

"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", nargs="?", default=".", help="folder of the outputs (default: the current folder)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(options: argparse.Namespace) -> int:
    """Print a line for each job."""
    from ..errors import UsageError
    from ..jobs.job_listing import list_jobs

    folder = Path(options.folder)
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.", hint="give the folder of the outputs")
    found = list_jobs(folder)
    if options.json:
        print(json.dumps([asdict(job) for job in found], indent=2))
        return 0
    for job in found:
        if job.trouble is not None:
            show(f"{job.output}: its journal cannot be read: {job.trouble}")
            continue
        share = job.num_frames_done / job.num_frames if job.num_frames else 0
        state = "stopped" if job.running is None else f"running, {job.running}"
        show(f"{job.output}: {share:.0%}, {job.num_done} of {job.num_segments} segments, "
              f"{job.num_frames_done} of {job.num_frames} frames, {job.bytes_done / 2**20:.1f} MiB, from {job.input}, {state}")  # fmt: skip
    if not found:
        show(f"no unfinished jobs in {folder}")
    return 0
