"""The configuration of several streams: a TOML file whose keys are the options of `streamsr run`.

[defaults] holds for every stream, [streams.NAME] is one. The table of options says which keys there are and reads their values, so
a key means what its option means, and its value is checked by the same parser: a schema of msgspec or pydantic would be a second table.
"""

from __future__ import annotations

import argparse
import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..report_file import check_report
from .option_table import DEFAULTS, OPTIONS, live_options, read_value, run_options, show_value

if TYPE_CHECKING:
    from ..live.stream_config import StreamConfig

_ENDS = ("input", "output")
_RIVALS = {"scale": "size", "size": "scale"}
_MOST_BYTES = 1 << 20
_MOST_DOTS = 100  # on a line: tomllib takes the square of a key's parts in time
_NAME = re.compile(r"[\w.-]+( [\w.-]+)*")


def read_config(path: Path) -> list[StreamConfig]:
    """The streams in the order of the file.

    Raises UsageError that names file, table and key for what cannot be; no connection is made and no file of a stream is opened.
    """
    from ..errors import UsageError

    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise UsageError(f"{path} is larger than {_MOST_BYTES >> 20} MiB: no configuration of streams.")
        dots = max(line.count(b".") for line in data.split(b"\n"))
        if dots > _MOST_DOTS:
            raise UsageError(f"{path} has a line with {dots} dots; there may be {_MOST_DOTS}.")
        tables = tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text, byte {error.start}.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}.", hint="strings must be quoted, such as input = \"rtsp://camera/stream\"") from error
    except ValueError as error:  # a number of thousands of digits
        raise UsageError(f"{path}: {error}.") from error
    except RecursionError:
        raise UsageError(f"{path}: it is nested too deeply.") from None
    for key in tables:
        if key not in ("defaults", "streams"):
            raise UsageError(f"{path}: unknown table [{key}].", hint="there are [defaults] and [streams.NAME]")
    defaults, streams = tables.get("defaults", {}), tables.get("streams", {})
    for name, table in (("defaults", defaults), ("streams", streams)):
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {name} is {show_value(table)}; it must be a table.")
    if not streams:
        raise UsageError(f"{path} has no stream.", hint='[streams.NAME] with input = "..." and output = "..."')
    given = _read_table(f"{path}: [defaults]", defaults, ends=False)
    return check_places(path, [_read_stream(path, name, table, given) for name, table in streams.items()])


def check_places(path: Path, configs: list[StreamConfig]) -> list[StreamConfig]:
    """Raises UsageError where two streams have one output, or read one pipe."""
    from ..errors import UsageError
    from ..live.redaction import redact

    for number, config in enumerate(configs):
        for other in configs[:number]:
            if other.place == config.place:
                place = redact(config.dst)
                raise UsageError(f"{path}: [streams.{config.name}] output: {place} is the output of [streams.{other.name}] too.")
            if "-" == other.src == config.src:
                raise UsageError(f"{path}: [streams.{config.name}] input: [streams.{other.name}] reads stdin already.")
            if config.report is not None and other.report is not None and config.report.absolute() == other.report.absolute():
                raise UsageError(f"{path}: [streams.{config.name}] report: {config.report} is that of [streams.{other.name}] too.")
    return configs


def _read_stream(path: Path, name: str, table: Any, defaults: dict[str, Any]) -> StreamConfig:
    from ..errors import StreamsrError, UsageError
    from ..live.address import resolve
    from ..live.stream_config import StreamConfig

    where = f"{path}: [streams.{name}]"
    if not _NAME.fullmatch(name):
        raise UsageError(f"{where}: {name!r} is no name.", hint="letters, digits, spaces and ._- make one")
    if not isinstance(table, dict):
        raise UsageError(f"{where} is {show_value(table)}; it must be a table.")
    own = _read_table(where, table, ends=True)
    for key in _ENDS:
        if key not in own:
            raise UsageError(f"{where} has no {key}.", hint=f'{key} = "..."')
    if own.keys() >= _RIVALS.keys() or (defaults.keys() >= _RIVALS.keys() and not own.keys() & _RIVALS.keys()):
        raise UsageError(f"{where}: scale and size exclude each other.")
    inherited = {key: value for key, value in defaults.items() if _RIVALS.get(key) not in own}
    values = DEFAULTS | inherited | own
    try:
        src, dst, report = resolve(values["input"]), resolve(values["output"]), values["report"]
        check_report(report, option="report")
        return StreamConfig(name, src, dst, run_options(values, src), live_options(values), report)
    except StreamsrError as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from error


def _read_table(where: str, table: Mapping[str, Any], *, ends: bool) -> dict[str, Any]:
    """The values by the keys of their options."""
    from ..errors import UsageError

    options = {name: option for name, option in OPTIONS.items() if option.is_config}
    known = [*(_ENDS if ends else ()), *options]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            words = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known))}"
            raise UsageError(f"{where}: unknown key {key!r}.", hint=words)
        if key in _ENDS:
            if not isinstance(value, str) or not value:
                raise UsageError(f"{where} {key} is {show_value(value)}; it must be a string, such as \"rtsp://camera/stream\".")
            values[key] = value
            continue
        try:
            values[options[key].key] = read_value(options[key], value)
        except (argparse.ArgumentTypeError, ValueError) as error:
            raise UsageError(f"{where} {key}: {error}.") from error
    return values

