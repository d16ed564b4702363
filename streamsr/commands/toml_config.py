"""The configuration of several streams: a TOML file whose keys are the options of `streamsr run`.

[defaults] holds for every stream, [streams.NAME] is one. The parser of the command line says which keys there are and reads their
values, so a key means what its option means.
"""

from __future__ import annotations

import argparse
import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..live.stream_config import StreamOrder

# of the process, of files, or without a meaning where the file is the only input
_NOT_HERE = {"help", "start", "end", "segment-seconds", "workers", "cluster", "work-folder", "restart", "recursive", "realtime", "live",
             "batch", "quiet", "metrics", "preview", "preview-token", "log-json"}  # fmt: skip
_ENDS = ("input", "output")
_RIVALS = {"scale": "size", "size": "scale"}
_NAME = re.compile(r"[\w.-]+( [\w.-]+)*")


def read_config(path: Path) -> list[StreamOrder]:
    """The streams in the order of the file.

    Raises UsageError that names file, table and key for what cannot be; nothing is connected and no file of a stream is looked at.
    """
    from ..errors import UsageError

    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text, byte {error.start}.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}.", hint="texts stand in quotes, such as input = \"rtsp://camera/stream\"") from error
    for key in tables:
        if key not in ("defaults", "streams"):
            raise UsageError(f"{path}: unknown table [{key}].", hint="there are [defaults] and [streams.NAME]")
    defaults, streams = tables.get("defaults", {}), tables.get("streams", {})
    for name, table in (("defaults", defaults), ("streams", streams)):
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {name} is {_shown(table)}; it must be a table.")
    if not streams:
        raise UsageError(f"{path} has no stream.", hint='[streams.NAME] with input = "..." and output = "..."')
    options = _options()
    given = _read_table(f"{path}: [defaults]", defaults, options, ends=False)
    return check_places(path, [_read_stream(path, name, table, options, given) for name, table in streams.items()])


def check_places(path: Path, orders: list[StreamOrder]) -> list[StreamOrder]:
    """Raises UsageError where two streams have one output, or read one pipe."""
    from ..errors import UsageError
    from ..live.redaction import redact

    for number, order in enumerate(orders):
        for other in orders[:number]:
            if other.place == order.place:
                raise UsageError(f"{path}: [streams.{order.name}] output: {redact(order.dst)} is the output of [streams.{other.name}] too.")
            if "-" == other.src == order.src:
                raise UsageError(f"{path}: [streams.{order.name}] input: [streams.{other.name}] reads stdin already.")
            if order.report is not None and other.report is not None and order.report.absolute() == other.report.absolute():
                raise UsageError(f"{path}: [streams.{order.name}] report: {order.report} is that of [streams.{other.name}] too.")
    return orders


def _options() -> argparse.ArgumentParser:
    from . import run

    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    return parser


def _read_stream(path: Path, name: str, table: Any, options: argparse.ArgumentParser, defaults: dict[str, Any]) -> StreamOrder:
    from ..errors import StreamsrError, UsageError
    from ..live.address import resolve
    from ..live.stream_config import StreamOrder
    from . import live_run, run

    where = f"{path}: [streams.{name}]"
    if not _NAME.fullmatch(name):
        raise UsageError(f"{where}: {name!r} is no name.", hint="letters, digits, spaces and ._- make one")
    if not isinstance(table, dict):
        raise UsageError(f"{where} is {_shown(table)}; it must be a table.")
    own = _read_table(where, table, options, ends=True)
    for key in _ENDS:
        if key not in own:
            raise UsageError(f"{where} has no {key}.", hint=f'{key} = "..."')
    if own.keys() >= _RIVALS.keys() or (defaults.keys() >= _RIVALS.keys() and not own.keys() & _RIVALS.keys()):
        raise UsageError(f"{where}: scale and size exclude each other.")
    inherited = {key: value for key, value in defaults.items() if _RIVALS.get(key) not in own}
    settled = options.parse_args(["-", "-"])
    vars(settled).update(inherited | own)
    try:
        settled.input, settled.output = resolve(settled.input), resolve(settled.output)
        settled.engine = run.settled_engine(settled)
        if settled.report is not None and not settled.report.parent.is_dir():
            raise UsageError(f"report: the folder {settled.report.parent} does not exist.")
        return StreamOrder(
            name, settled.input, settled.output, settled.scale or 2, settled.size, settled.model, settled.engine, settled.device,
            settled.precision, settled.threads, run.source_options(settled), run.sink_options(settled), live_run.live_options(settled),
            settled.frames_in_flight, settled.report,
        )  # fmt: skip
    except StreamsrError as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from error


def _read_table(where: str, table: Mapping[str, Any], options: argparse.ArgumentParser, *, ends: bool) -> dict[str, Any]:
    """The values by the names that the parser gives them."""
    from ..errors import UsageError

    actions = {action.option_strings[-1][2:]: action for action in options._actions if action.option_strings}
    actions = {name: action for name, action in actions.items() if name.removeprefix("no-") not in _NOT_HERE}
    known = [*(_ENDS if ends else ()), *actions]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            words = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known))}"
            raise UsageError(f"{where}: unknown key {key!r}.", hint=words)
        if key in _ENDS:
            if not isinstance(value, str) or not value:
                raise UsageError(f"{where} {key} is {_shown(value)}; it must be a text, such as \"rtsp://camera/stream\".")
            values[key] = value
            continue
        try:
            values[actions[key].dest] = _read_value(actions[key], value)
        except (argparse.ArgumentTypeError, ValueError) as error:
            raise UsageError(f"{where} {key}: {error}.") from error
    return values


def _read_value(action: argparse.Action, value: Any) -> Any:
    """One value as its option reads it. Raises ValueError or ArgumentTypeError in words."""
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ValueError(f"{_shown(value)} is neither true nor false")
        return value
    if isinstance(action.default, list):  # repeatable: key=value pairs
        if isinstance(value, dict):
            return [(key, _text(item)) for key, item in value.items()]
        if isinstance(value, list) and action.type is not None:
            return [action.type(_text(item)) for item in value]  # type: ignore[operator]
        raise ValueError(f'{_shown(value)} is not a table, such as {{ tune = "film" }}')
    if action.type in (None, Path):
        if not isinstance(value, str):
            raise ValueError(f"{_shown(value)} is not a text in quotes")
        if action.choices is not None and value not in action.choices:
            raise ValueError(f"{value!r} is none of {', '.join(action.choices)}")
        return Path(value) if action.type is Path else value
    text = _text(value)
    try:
        return action.type(text)  # type: ignore[misc,operator]
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{_shown(value)} is neither a number nor a text")
    return str(value)


def _shown(value: Any) -> str:
    """A value as TOML writes it, roughly."""
    if isinstance(value, bool):
        return str(value).lower()
    return "a table" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)
