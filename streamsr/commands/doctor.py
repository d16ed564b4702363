"""streamsr doctor"""

from __future__ import annotations

import argparse
import json

HELP = "show what this machine can do and what is missing"
EPILOG = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(options: argparse.Namespace) -> int:
    """Print one line per finding; exit code 5 when no engine works."""
    from ..doctor import examine
    from ..errors import EngineError

    findings = examine()
    if options.json:
        print(json.dumps([finding.as_dict() for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{'ok     ' if finding.ok else 'missing'}  {finding.name:16s} {finding.words}")
            if finding.command:
                print(f"{'':9s}{'':16s} {finding.command}")
    works = any(finding.ok for finding in findings if finding.kind == "engine" and finding.name != "resize")
    return 0 if works else EngineError.exit_code
