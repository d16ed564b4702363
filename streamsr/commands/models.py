"""streamsr models"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

HELP = "list the installed networks"
EPILOG = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(options: argparse.Namespace) -> int:
    """Print one line per model."""
    from ..models import list_models

    specs = list_models()
    if options.json:
        print(json.dumps([asdict(spec) for spec in specs], indent=2, default=str))
        return 0
    for spec in specs:
        look = spec.look if spec.has_chroma else ""
        print(f"{spec.name:12s} x{spec.scale} {look:8s}  {spec.macs_per_pixel / 1000:5.1f}k multiply-adds a pixel  {spec.description}")
    print(f"{'resize':12s} any                                          Lanczos through FFmpeg, the baseline")
    return 0
