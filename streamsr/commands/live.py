"""streamsr live CONFIG"""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from . import monitoring_arguments, toml_config
from .signals import stop_on_signals

if TYPE_CHECKING:
    from ..live.event_log import EventLog
    from ..live.fleet import Fleet
    from ..live.stream_config import StreamConfig

HELP = "upscale several live streams in one process"
EPILOG = """a configuration, whose keys are the options of `streamsr run`:
  [defaults]
  max-latency = 300

  [streams.gate]
  input = "rtsp://gate/stream"
  output = "hls/gate/index.m3u8"
  overwrite = true

  [streams.yard]
  input = "env:YARD"                      # a URL with a password, from the environment
  output = "rtsp://server/yard"

signals: SIGHUP reloads the file (unchanged streams continue); SIGTERM and Ctrl-C end all streams cleanly.
The process ends when all streams have ended. The exit code is 0, or that of the first stream in the file that failed for good.

"""
_POLL_S = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a TOML file with a table for each stream")
    parser.add_argument("--check", action="store_true", help="check the file without connecting")
    parser.add_argument("--quiet", action="store_true", help="errors only")
    monitoring_arguments.add_arguments(parser)


def main(options: argparse.Namespace) -> int:
    """Run until all streams have ended or a signal comes; the exit code says what failed."""
    from ..errors import StreamsrError
    from ..live.event_log import EventLog
    from ..live.fleet import Fleet
    from ..live.monitoring import Watch

    stop = stop_on_signals(("SIGINT", "SIGTERM"))
    reload = threading.Event()
    if hasattr(signal, "SIGHUP"):  # first: one that comes before the streams run must not end the process
        signal.signal(signal.SIGHUP, lambda *_: reload.set())
    log = EventLog("streamsr")
    try:
        configs = toml_config.read_config(options.config)
        check(options.config, configs)
        if options.check:
            print(f"{options.config}: {len(configs)} streams, nothing wrong: {', '.join(config.name for config in configs)}")
            return 0
        with Watch(monitoring_arguments.watch_options(options)) as watch:
            for name, url in watch.urls.items():
                log.event(f"{name} served", url=url)
            fleet = Fleet(watch)
            log.event("configuration read", file=options.config, streams=fleet.apply(configs))
            while fleet.is_alive and not stop.wait(_POLL_S):
                log.tick()
                if reload.is_set():
                    reload.clear()
                    read_again(options.config, fleet, log)
            fleet.drain()
            return fleet.exit_code()
    except StreamsrError as error:
        if not options.log_json:
            raise
        log.failure(error)
        return error.exit_code
    finally:
        log.close()


def check(path: Path, configs: list[StreamConfig]) -> None:
    """Check schemes, models, folders and files of the streams to start. Raises with the table's name in front."""
    from ..errors import StreamsrError

    for config in configs:
        try:
            config.check()
        except StreamsrError as error:
            raise type(error)(f"{path}: [streams.{config.name}]: {error.message}", hint=error.hint) from error


def read_again(path: Path, fleet: Fleet, log: EventLog) -> None:
    """Apply the current file; if it is invalid, log why and keep the running configuration."""
    from ..errors import StreamsrError

    try:
        configs = toml_config.read_config(path)
        check(path, fleet.changed(configs))
        fleet.check_recordings(configs)
    except StreamsrError as error:
        log.event("configuration refused", level="error", reason=error.message, hint=error.hint, words="the streams continue unchanged")
        return
    log.event("configuration read", file=path, streams=fleet.apply(configs))
