"""The command line: pick a command, run it, turn errors into messages and exit codes.

argparse and not a larger framework: `streamsr --help` has to answer in under 0.3 s, and typer alone takes most of that.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from ._version import __version__
from .commands import compare, doctor, engine, info, jobs, live, models, preview, run, verify, vote
from .commands.log_output import log_to_stderr
from .errors import StreamsrError

_log = logging.getLogger("streamsr.cli")
_EXIT_CODES = """exit codes:
  0 done   2 usage   3 input   4 frame account   5 engine   6 encoder or output   130 interrupted"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="streamsr", description="Upscale video; lose no frame, timestamp or colour.", epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"streamsr {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (run, preview, live, jobs, verify, compare, vote, info, models, engine, doctor):
        added = commands.add_parser(
            command.__name__.rpartition(".")[2], help=command.HELP, description=command.HELP, epilog=command.EPILOG + _EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
        )  # fmt: skip
        command.add_arguments(added)
        added.set_defaults(command=command.main)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = build_parser()
    options, words = parser.parse_known_args(arguments)
    if words and (any(word.startswith("-") and word != "-" for word in words) or not hasattr(options, "inputs")):
        parser.error(f"unrecognized arguments: {' '.join(words)}")
    if words:  # argparse takes positional words up to the next option only
        options.inputs += [options.output, *words[:-1]]
        options.output = words[-1]
    with log_to_stderr(quiet=getattr(options, "quiet", False), as_json=getattr(options, "log_json", False)):
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    """The command, and what ends it as a message and an exit code."""
    try:
        code: int = options.command(options)
        sys.stdout.flush()
        return code
    except StreamsrError as error:
        hint = f"\n  {error.hint}" if error.hint else ""
        _log.error("streamsr: %s%s", error.message, hint)
        return error.exit_code
    except KeyboardInterrupt:
        _log.error("streamsr: Interrupted at once; nothing was finished.")
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of stdout has gone; Python would complain on exit
        return 6
