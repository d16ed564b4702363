"""The command line: pick a command, run it, turn errors into messages and exit codes.

argparse and not a larger framework: `streamsr --help` has to answer in under 0.3 s, and typer alone takes most of that.
"""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ._version import __version__
from .commands import compare, completion, doctor, engine, info, jobs, live, models, preview, recipes, run, verify, vote
from .commands.log_output import log_to_stderr
from .errors import EngineError, StreamsrError, UsageError

_log = logging.getLogger("streamsr.cli")
_EXIT_CODES = """exit codes:
  0 done   1 a bug in streamsr   2 usage   3 input   4 frame account   5 engine   6 encoder or output   130 interrupted"""


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message.rstrip('.')} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="streamsr", description="Upscale video; preserve every frame, timestamp and colour tag.", epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"streamsr {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (run, preview, live, jobs, verify, compare, vote, info, models, engine, doctor, completion):
        added = commands.add_parser(
            command.__name__.rpartition(".")[2], help=command.HELP, description=command.HELP, epilog=command.EPILOG + _EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
        )  # fmt: skip
        command.add_arguments(added)
        added.add_argument("--debug", action="store_true", help="show where an error comes from")
        added.set_defaults(command=command.main)
        if command is completion:
            added.set_defaults(parser=parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = build_parser()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] in (["run"], ["preview"]):
        try:
            recipes.apply_defaults(completion.commands_of(parser)[0][words[0]], words[1:])
        except UsageError as error:
            hint = f" ({error.hint})" if error.hint else ""
            parser.error(f"{error.message}{hint}")
    options, words = parser.parse_known_args(words)
    if words and (any(word.startswith("-") and word != "-" for word in words) or not hasattr(options, "output")):
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
        if options.debug:
            _log.error("%s", "".join(traceback.format_exception(error)))
        hint = f"\n  {error.hint}" if error.hint else ""
        _log.error("streamsr: %s%s", error.message, hint)
        return error.exit_code
    except KeyboardInterrupt:
        _log.error("streamsr: Interrupted at once; nothing was finished.")
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of stdout has gone; Python would complain on exit
        return 6
    except MemoryError:
        _log.error("streamsr: Not enough memory.\n  try a smaller --scale, fewer --workers, or another model")
        return EngineError.exit_code
    except Exception as error:
        if options.debug:
            _log.error("%s", "".join(traceback.format_exception(error)))
        _log.error("%s", _bug(options, error))
        return StreamsrError.exit_code


def _bug(options: argparse.Namespace, error: Exception) -> str:
    """Words for an error that nobody has foreseen."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    name = options.command.__module__.rpartition(".")[2]
    keys = ("inputs", "output", "config", "file", "before", "after", "result")
    given = [getattr(options, key, None) for key in keys]
    about = [str(word) for value in given if value for word in (value if isinstance(value, list) else [value])]
    lines = [
        f"streamsr: This is a bug in streamsr: {type(error).__name__}: {error} ({Path(last.filename).name} line {last.lineno}).",
        f"  it happened in `streamsr {name}` of {', '.join(about) or 'this machine'}",
        *(f"  {note}" for note in getattr(error, "__notes__", ())),
        "  please report it with what the same command says with --debug",
    ]
    return "\n".join(lines)
