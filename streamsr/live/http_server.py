"""A small HTTP server in a thread of its own: the app, the socket it listens on, and what every answer has to carry."""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .connections import IDLE_S, Crowd, sparse_logs
from .endpoint import Endpoint, bound, is_loopback, listen

STOP_S = 2.0  # viewers get this long to finish when the stream ends
_ACCEPT_AT_ONCE = 32  # connections: asyncio takes so many before it tells us of the first, each a descriptor
_WAITING = 4096  # connections that the system keeps, without a descriptor
HEADERS = {
    b"cache-control": b"no-store",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
}


class Server:
    """Serves routes from a thread until it is closed.

    The port is bound at once: UsageError when that cannot be. `start` answers what came in the meantime.
    option: that the address came from, for messages.
    gate: requires a token, so that it does not matter by which name a request comes.
    """

    def __init__(self, routes: Iterable[Route], endpoint: Endpoint, *, option: str, gate: Middleware | None = None) -> None:
        self._listener = listen(endpoint, option=option)
        self.endpoint = bound(self._listener, endpoint)
        self._crowd = Crowd()
        guard = Middleware(Guard, local=gate is None and is_loopback(endpoint, option=option))
        app = Starlette(routes=list(routes), middleware=[guard] if gate is None else [guard, gate])
        self._server = uvicorn.Server(
            uvicorn.Config(
                app, log_config=None, log_level="error", access_log=False, lifespan="off", server_header=False, date_header=False,
                ws="none", loop="asyncio", http=self._crowd.protocol,  # type: ignore[arg-type]
                timeout_graceful_shutdown=1, backlog=_ACCEPT_AT_ONCE,
                timeout_keep_alive=round(IDLE_S),
            )
        )  # fmt: skip
        self._thread = threading.Thread(target=self._run, name=f"{option[2:]} server", daemon=True)

    @property
    def url(self) -> str:
        return self.endpoint.url

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        with sparse_logs():
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        sweeping = asyncio.create_task(self._crowd.sweep())
        serving = asyncio.create_task(self._server.serve([self._listener]))
        while not self._server.started and not serving.done():
            await asyncio.sleep(0.005)
        with suppress(OSError):  # closed already
            self._listener.listen(_WAITING)  # asyncio has set it to what it takes at once
        await serving
        sweeping.cancel()

    def close(self) -> None:
        """End the server; waits up to STOP_S for answers under way."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        self._listener.close()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Guard:
    """Refuses other sites' requests and adds HEADERS to every answer.

    local: bound to loopback and open to all there, so the Host must be a loopback address or localhost. Otherwise a page in a
    browser on this machine could reach the server through a name of its own that it lets point to 127.0.0.1 (DNS rebinding);
    where a cookie is asked for, that page would not have it.
    """

    def __init__(self, app: ASGIApp, *, local: bool) -> None:
        self._app = app
        self._local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {key: value.decode("latin-1") for key, value in scope["headers"]}

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {key for key, _ in message["headers"]}
                message["headers"] = [*message["headers"], *((key, value) for key, value in HEADERS.items() if key not in present)]
            await send(message)

        refusal = self._refusal(scope, headers)
        app = self._app if refusal is None else PlainTextResponse(refusal + "\n", 403)
        await app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, headers: dict[bytes, str]) -> str | None:
        host = headers.get(b"host", "")
        if self._local and not _is_local_name(host):
            return f"This address answers only to this machine's own names, such as localhost; the request was for {host!r}."
        if scope["path"] != "/" and headers.get(b"sec-fetch-site", "none") not in ("none", "same-origin"):
            return "This address does not answer to other sites."
        return None


def _is_local_name(host: str) -> bool:
    """Not by Starlette's TrustedHostMiddleware: that takes no IPv6 address, and no name under .localhost."""
    name = host[: host.rfind(":")] if host.rpartition(":")[2].isdigit() else host
    name = name.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


