"""An HTTP client for tests, with any headers; no redirect is followed."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def get(url: str, headers: Mapping[str, str] | None = None, *, timeout_s: float = 30.0) -> Answer:
    """GET with exactly these headers besides Host, which may be among them."""
    return _request("GET", url, None, headers or {}, timeout_s)


def post(url: str, body: Any, headers: Mapping[str, str] | None = None, *, timeout_s: float = 30.0) -> Answer:
    """POST `body`, as JSON where it is not bytes, with these headers besides Host and Content-Type, which may be among them."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return _request("POST", url, content, {"content-type": "application/json"} | dict(headers or {}), timeout_s)


def _request(method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float) -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, body=body, headers=dict(headers))
        response = connection.getresponse()
        return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def until(condition: Callable[[], Any], *, wait_s: float = 30.0) -> Any:
    """What the condition gives once it is true; fails when it does not become so."""
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{condition} did not become true in {wait_s:g} s")
