"""The page of a trial: moments before and after, with switches for options of a run.

    GET /            the page (trial_page.html)
    GET /api/trial   moments, switches and what they are set to, as JSON
    GET /api/shot?moment=N&OPTION=VALUE...   4 bytes (big-endian length of the JSON), JSON, 4 bytes (length of the first JPEG), JPEG, JPEG;
                     400 with a message for invalid values
    POST /api/run    {"moment": N, "chosen": {OPTION: VALUE}}: runs the command line that belongs to them; 409 while another runs
    POST /api/cancel {}: ends that run and deletes what it has written
    GET /api/run     the state of the run, as POST answers too: state, output, num_frames, expected_frames, words
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
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
from ..live.json_request import BadRequestError, read_json
from ..live.token_auth import TokenGate
from ..pages import policy_of, read_page
from .runner import Runner, Tell
from .studio import Setting, Shot, Studio

Words = dict[str, str]  # option name: its value as text


@dataclass(frozen=True, slots=True)
class Desk:
    """What the page needs of the command: its switches, and what a choice of them means."""

    switches: list[dict[str, Any]]  # name, label, kind ("choice" or "range"), choices, value
    read: Callable[[Words], Setting]  # raises UsageError or ArgumentTypeError
    command: Callable[[str, Words], str]  # (input, choices) -> the command line
    expect: Callable[[str, Words, Shot], str]  # expected time and size of the run, in words
    output: Callable[[str, Words], str]  # (input, choices) -> the name that `command` has, of no file that there is
    run: Callable[[str, Words, str, threading.Event, Tell], str]  # (input, choices, output, ...): what `command` does, and its summary


def serve_trial(endpoint: Endpoint, studio: Studio, desk: Desk, runner: Runner, *, token: str | None) -> Server:
    """The server of the page, not yet started. Raises UsageError when the port cannot be bound."""
    html = read_page("streamsr.trial", "trial_page.html")
    headers = {"content-security-policy": policy_of(html)}
    names = {switch["name"] for switch in desk.switches}
    moments = [
        {"label": Path(moment.url).name if studio.video(moment.url).form == "picture" else _clock(moment.time_s), "url": moment.url}
        for moment in studio.moments
    ]

    def moment_of(number: object) -> int:
        if not (str(number).isascii() and str(number).isdigit() and int(str(number)) < len(moments)):
            raise ValueError(f"There is no moment {number!r}; there are {len(moments)}.")
        return int(str(number))

    async def page(_: Request) -> Response:
        return HTMLResponse(html, headers=headers)

    async def trial(_: Request) -> Response:
        return JSONResponse({"moments": moments, "switches": desk.switches})

    async def shot(request: Request) -> Response:
        words = {name: value for name, value in request.query_params.items() if name in names and value}
        try:
            return await asyncio.to_thread(_shoot, studio, desk, moment_of(request.query_params.get("moment", "")), words)
        except (StreamsrError, argparse.ArgumentTypeError, ValueError) as error:
            return _refused(error)

    async def run(request: Request) -> Response:
        try:
            body = await read_json(request)
            url = studio.moments[moment_of(body.get("moment"))].url
            chosen = body.get("chosen")
            if not isinstance(chosen, dict):
                raise BadRequestError('"chosen" is an object of options.')
            words = {name: str(value) for name, value in chosen.items() if name in names and value}
            desk.read(words)  # raises for what cannot be
        except (StreamsrError, argparse.ArgumentTypeError, ValueError) as error:
            return _refused(error)
        output = desk.output(url, words)
        if not runner.start(output, partial(desk.run, url, words, output)):
            return PlainTextResponse(f"{runner.standing.output} is being made; cancel it first.\n", 409)
        return await standing(request)

    async def cancel(request: Request) -> Response:
        try:
            await read_json(request)
        except BadRequestError as error:
            return _refused(error)
        runner.cancel()
        return await standing(request)

    async def standing(_: Request) -> Response:
        return JSONResponse(asdict(runner.standing))

    gate = None if token is None else Middleware(TokenGate, token=token)
    routes = [
        Route("/", page), Route("/api/trial", trial), Route("/api/shot", shot), Route("/api/run", standing),
        Route("/api/run", run, methods=["POST"]), Route("/api/cancel", cancel, methods=["POST"]),
    ]  # fmt: skip
    return Server(routes, endpoint, option="--listen", gate=gate)


def _refused(error: Exception) -> Response:
    return PlainTextResponse(f"{getattr(error, 'message', error)}\n", 400)


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
