"""Monitoring of the streams of a process: one metrics server and one preview server for all of them."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import UsageError
from .endpoint import Endpoint, check_access, is_loopback
from .telemetry import PreviewTap, StreamTelemetry

if TYPE_CHECKING:
    from .http_server import Server
    from .preview import Preview

_log = logging.getLogger("streamsr.live.monitoring")


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What to serve where; None leaves it out."""

    metrics: Endpoint | None = None
    preview: Endpoint | None = None
    preview_token: str | None = None  # what viewers have to know; needed where others than this machine reach the preview


class Watch:
    """Serves metrics and preview of the streams that are added, until it is closed.

    Binds the ports at once, so make it before anything connects. Raises UsageError for a port that is taken, a preview
    that others reach without a token, or packages that are not installed.
    """

    def __init__(self, options: WatchOptions) -> None:
        self._lock = threading.Lock()
        self._streams: list[StreamTelemetry] = []
        self._preview: Preview | None = None
        self._servers: list[Server] = []
        self.urls: dict[str, str] = {}  # "metrics" and "preview", as people reach them; never with the token
        _check(options)
        try:
            if options.metrics is not None:
                from .prometheus import serve_metrics

                self._keep("metrics", serve_metrics(options.metrics, self.streams))
            if options.preview is not None:
                from .preview import Preview, serve_preview

                self._preview = Preview(self.streams)
                self._keep("preview", serve_preview(options.preview, self._preview, token=options.preview_token))
        except ModuleNotFoundError as error:
            self.close()
            raise UsageError(f"--metrics and --preview need {error.name}.", hint="pip install 'streamsr[live]'") from error
        except UsageError:
            self.close()
            raise

    def _keep(self, name: str, server: Server) -> None:
        self._servers.append(server)
        self.urls[name] = server.url
        server.start()

    def streams(self) -> list[StreamTelemetry]:
        """The streams of the moment."""
        with self._lock:
            return list(self._streams)

    def add(self, telemetry: StreamTelemetry) -> PreviewTap | None:
        """Watch a stream. Its tap, or None without --preview. Raises UsageError when its name is in use."""
        with self._lock:
            if any(stream.name == telemetry.name for stream in self._streams):
                raise UsageError(f"Two streams are called {telemetry.name!r}; names must differ.")
            self._streams.append(telemetry)
        return None if self._preview is None else self._preview.add(telemetry.name)

    def remove(self, telemetry: StreamTelemetry) -> None:
        """Stop watching a stream; metrics and page forget it."""
        with self._lock:
            self._streams = [stream for stream in self._streams if stream is not telemetry]
        if self._preview is not None:
            self._preview.remove(telemetry.name)

    def close(self) -> None:
        """End the servers."""
        if self._preview is not None:
            self._preview.close()  # first, so that no viewer's request holds up its server
        for server in self._servers:
            server.close()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _check(options: WatchOptions) -> None:
    """Raise UsageError for what cannot be, before a port is bound."""
    if options.metrics is not None and not is_loopback(options.metrics, option="--metrics"):
        _log.warning("--metrics %s tells everybody who reaches %s the names and counts of all streams; 127.0.0.1 is this machine only.",
                     options.metrics, options.metrics.host)  # fmt: skip
    if options.preview is None:
        return
    check_access(options.preview, options.preview_token, option="--preview")
    if options.preview.port and options.preview == options.metrics:
        raise UsageError(f"--metrics and --preview are both on {options.preview}.", hint="give them two ports, such as 9464 and 8080")
