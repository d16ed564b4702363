"""The page of a trial: moments before and after, with switches for what a run may be told.

    GET /            the page (trial_page.html)
    GET /api/trial   moments, switches and what they are set to, as JSON
    GET /api/shot?moment=N&OPTION=VALUE...   4 bytes (big-endian length of the JSON), JSON, 4 bytes (length of the first JPEG), JPEG, JPEG;
                     400 with words for values that cannot be
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..errors import StreamsrError
from ..io.pictures import encode_jpeg
from ..live.endpoint import Endpoint
from ..live.http_server import Server
from ..live.token_auth import TokenGate
from ..pages import policy_of, read_page
from .studio import Setting, Shot, Studio

Words = dict[str, str]  # option name: its value as text


@dataclass(frozen=True, slots=True)
class Desk:
    """What the page needs of the command: its switches, and what a choice of them means."""

    switches: list[dict[str, Any]]  # name, label, kind ("choice" or "range"), choices, value
    read: Callable[[Words], Setting]  # raises UsageError or ArgumentTypeError
    command: Callable[[str, Words], str]  # (input, choices) -> the command line
    expect: Callable[[str, Words, Shot], str]  # expected time and size of the run, in words


def serve_trial(endpoint: Endpoint, studio: Studio, desk: Desk, *, token: str | None) -> Server:
    """The server of the page, not yet started. Raises UsageError when the port cannot be bound."""
    html = read_page("streamsr.trial", "trial_page.html")
    headers = {"content-security-policy": policy_of(html)}
    names = {switch["name"] for switch in desk.switches}
    moments = [
        {"label": Path(moment.url).name if studio.video(moment.url).form == "picture" else _clock(moment.time_s), "url": moment.url}
        for moment in studio.moments
    ]

    async def page(_: Request) -> Response:
        return HTMLResponse(html, headers=headers)

    async def trial(_: Request) -> Response:
        return JSONResponse({"moments": moments, "switches": desk.switches})

    async def shot(request: Request) -> Response:
        words = {name: value for name, value in request.query_params.items() if name in names and value}
        number = request.query_params.get("moment", "")
        if not (number.isascii() and number.isdigit() and int(number) < len(moments)):
            return PlainTextResponse(f"There is no moment {number!r}; there are {len(moments)}.\n", 400)
        try:
            return await asyncio.to_thread(_shoot, studio, desk, int(number), words)
        except (StreamsrError, argparse.ArgumentTypeError, ValueError) as error:
            return PlainTextResponse(f"{getattr(error, 'message', error)}\n", 400)

    gate = None if token is None else Middleware(TokenGate, token=token)
    return Server([Route("/", page), Route("/api/trial", trial), Route("/api/shot", shot)], endpoint, option="--listen", gate=gate)


def _shoot(studio: Studio, desk: Desk, number: int, words: Words) -> Response:
    made = studio.shoot(number, desk.read(words))
    url = studio.moments[number].url
    facts = {
        "before": f"{made.size[0]} × {made.size[1]}", "after": f"{made.after.width} × {made.after.height}", "model": made.model,
        "command": desk.command(url, words), "expected": desk.expect(url, words, made),
        "pixel_aspect": float(studio.video(url).pixel_aspect),
    }  # fmt: skip
    head = json.dumps(facts).encode()
    before, after = encode_jpeg(made.before), encode_jpeg(made.after)
    body = b"".join([len(head).to_bytes(4, "big"), head, len(before).to_bytes(4, "big"), before, after])
    return Response(body, media_type="application/octet-stream")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"
