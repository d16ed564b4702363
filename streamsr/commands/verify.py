"""streamsr verify IN OUT"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from ..live.redaction import redact_text
from .terminal import show

HELP = "compare frames, timestamps and tags of two files"
EPILOG = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", metavar="IN", help="the source")
    parser.add_argument("after", metavar="OUT", help="the result")
    parser.add_argument("--json", action="store_true", help="print the account as JSON")


def main(options: argparse.Namespace) -> int:
    """Print the account; exit code 4 when it does not balance."""
    from ..account import verify
    from ..errors import AccountError

    account = verify(options.before, options.after)
    if options.json:
        print(redact_text(json.dumps(asdict(account) | {"ok": account.ok}, indent=2)))
    else:
        show(account.line())
    return 0 if account.ok else AccountError.exit_code
