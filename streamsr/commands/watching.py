"""The options that watch live streams, for every command that runs them.

    watching.add_arguments(parser)
    ...
    with Watch(watching.watch_options(options)) as watch:   # ports are bound here, before anything connects
        tap = watch.add(telemetry)                           # for each stream; None without --preview
    log = EventLog(telemetry.name, as_json=options.log_json, quiet=options.quiet, urls=[source, sink])
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from . import values

if TYPE_CHECKING:
    from ..live.watch import WatchOptions

def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the group of options."""
    group = parser.add_argument_group("watching live streams")
    group.add_argument("--metrics", type=values.endpoint, metavar="A", help="serve /metrics, /healthz and /readyz on HOST:PORT")
    group.add_argument("--preview", type=values.endpoint, metavar="A", help="serve a page with the picture before and after on HOST:PORT")
    group.add_argument("--preview-token", metavar="T", help="what viewers have to know; env:NAME takes a variable")
    group.add_argument("--log-json", action="store_true", help="events on stderr as JSON, an object a line")


def watch_options(options: argparse.Namespace) -> WatchOptions:
    """The options as Watch takes them. Raises UsageError for what cannot be."""
    from ..errors import UsageError
    from ..live.watch import WatchOptions

    token = options.preview_token
    if token is not None and options.preview is None:
        raise UsageError("--preview-token needs --preview.", hint="such as --preview 127.0.0.1:8080")
    if token is not None and token.startswith("env:"):  # what `ps` does not show to others
        name = token.removeprefix("env:")
        token = os.environ.get(name)
        if token is None:
            raise UsageError(f"--preview-token env:{name}: there is no environment variable {name!r}.")
    return WatchOptions(metrics=options.metrics, preview=options.preview, preview_token=token)
