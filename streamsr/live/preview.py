"""The preview: a web page with the pictures of every stream before and after, and what they count.

    GET /                            the page (preview.html)
    GET /api/streams                 snapshots of all streams, as JSON
    GET /api/pair?stream=S&seen=N    the newest pair as soon as it is not number N: 204 when none came in WAIT_S, else 200 with
                                     X-Pair: number, and a body of 4 bytes (big-endian length of the first JPEG), JPEG, JPEG
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterable

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..pages import policy_of, read_page
from .endpoint import Endpoint
from .http_server import Server
from .preview_tap import Tap
from .telemetry import StreamTelemetry
from .token_auth import TokenGate

WAIT_S = 5.0  # a request for a picture that does not come ends after this, before any proxy ends it


class Preview:
    """The taps of all streams, by name."""

    def __init__(self, streams: Callable[[], Iterable[StreamTelemetry]]) -> None:
        self.streams = streams
        self._lock = threading.Lock()
        self._taps: dict[str, Tap] = {}

    def add(self, name: str) -> Tap:
        tap = Tap(name)
        with self._lock:
            self._taps[name] = tap
        return tap

    def tap(self, name: str) -> Tap | None:
        with self._lock:
            return self._taps.get(name)

    def remove(self, name: str) -> None:
        with self._lock:
            tap = self._taps.pop(name, None)
        if tap is not None:
            tap.close()

    def close(self) -> None:
        for name in list(self._taps):
            self.remove(name)


def serve_preview(endpoint: Endpoint, preview: Preview, *, token: str | None) -> Server:
    """The server of the page, not yet started. Raises UsageError when the port cannot be bound."""
    html = read_page("streamsr.live", "preview.html")
    headers = {"content-security-policy": policy_of(html)}

    async def page(_: Request) -> Response:
        return HTMLResponse(html, headers=headers)

    async def snapshots(_: Request) -> Response:
        return JSONResponse([stream.snapshot() for stream in preview.streams()])

    async def pair(request: Request) -> Response:
        name, seen = request.query_params.get("stream", ""), request.query_params.get("seen", "")
        tap = preview.tap(name)
        if tap is None:
            return PlainTextResponse(f"There is no stream {name!r}.\n", 404)
        future = asyncio.wrap_future(tap.next_pair(int(seen) if re.fullmatch(r"\d{1,18}", seen, re.ASCII) else -1))
        done, _ = await asyncio.wait([future], timeout=WAIT_S)
        if not done:
            future.cancel()
            return Response(status_code=204)
        if future.cancelled():
            return PlainTextResponse(f"The stream {name!r} has ended.\n", 404)
        error = future.exception()
        if error is not None:
            return PlainTextResponse(f"This picture cannot be shown: {error}\n", 500)
        found = future.result()
        sizes = "x".join(map(str, found.before_size)), "x".join(map(str, found.after_size))
        return Response(
            b"".join([len(found.before).to_bytes(4, "big"), found.before, found.after]), media_type="application/octet-stream",
            headers={"x-pair": str(found.number), "x-before": sizes[0], "x-after": sizes[1], "x-pixel-aspect": f"{found.pixel_aspect:.6f}"},
        )  # fmt: skip

    gate = None if token is None else Middleware(TokenGate, token=token)
    routes = [Route("/", page), Route("/api/streams", snapshots), Route("/api/pair", pair)]
    return Server(routes, endpoint, option="--preview", gate=gate)
