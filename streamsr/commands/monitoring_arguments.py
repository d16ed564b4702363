"""The options that watch live streams, for every command that runs them.

    monitoring_arguments.add_arguments(parser)
    ...
    with Watch(monitoring_arguments.watch_options(options)) as watch:   # ports are bound here, before anything connects
        tap = watch.add(telemetry)                           # for each stream; None without --preview
    log = EventLog(telemetry.name, urls=[source, sink])
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from . import values

if TYPE_CHECKING:
    from ..live.monitoring import WatchOptions

def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the group of options."""
    group = parser.add_argument_group("monitoring live streams")
    group.add_argument("--metrics", type=values.endpoint, metavar="A", help="serve /metrics, /healthz and /readyz on HOST:PORT")
    group.add_argument("--preview", type=values.endpoint, metavar="A", help="serve a before-and-after page on HOST:PORT")
    group.add_argument("--preview-token", metavar="T", help="token that viewers need; env:NAME reads an environment variable")
    group.add_argument("--log-json", action="store_true", help="log to stderr as JSON, one object a line")


def refuse(options: argparse.Namespace) -> None:
    """Raises UsageError for options that watch, where there is no live stream to be watched."""
    from ..errors import UsageError

    for name in ("metrics", "preview", "preview_token"):
        if getattr(options, name):
            raise UsageError(f"--{name.replace('_', '-')} is only for live streams; this is not one.", hint="leave it out, or add --live")


def watch_options(options: argparse.Namespace) -> WatchOptions:
    """The options as Watch takes them; the token disappears from `ps`. Raises UsageError for invalid values."""
    from ..errors import UsageError
    from ..live.address import resolve
    from ..live.command_line import hide_arguments
    from ..live.monitoring import WatchOptions

    token = options.preview_token
    if token is not None and options.preview is None:
        raise UsageError("--preview-token needs --preview.", hint="such as --preview 127.0.0.1:8080")
    if token is not None:
        hide_arguments(token=token)
        token = resolve(token)
    return WatchOptions(metrics=options.metrics, preview=options.preview, preview_token=token)
