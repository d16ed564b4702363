"""The page of a vote.

    GET /                      the page (vote_page.html)
    POST /api/next             {"voter"}: the next ballot, or {"done": true}
    POST /api/vote             {"voter", "ballot", "side", "took_ms"}: keeps the answer, then as /api/next
    POST /api/back             {"voter"}: forgets the last answer, then as /api/next
    GET /file/KEY              a picture or video of an open ballot
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import av
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..errors import StreamsrError
from ..io.pictures import encode_jpeg, ruin
from ..io.source import open_source
from ..live.endpoint import Endpoint
from ..live.http_server import Server
from ..live.json_request import BadRequestError, read_json
from ..live.token_auth import TokenGate
from ..pages import policy_of, read_page
from .candidates import KINDS
from .poll import Ballot, Poll, Side

MAX_NAME = 40  # letters of a voter's name
_LONGEST_MS = 3_600_000


def serve_vote(endpoint: Endpoint, poll: Poll, *, title: str, token: str | None) -> Server:
    """The server of the page, not yet started. Raises UsageError when the port cannot be bound."""
    html = read_page("streamsr.vote", "vote_page.html")
    headers = {"content-security-policy": policy_of(html)}

    async def page(_: Request) -> Response:
        return HTMLResponse(html, headers=headers)

    async def file(request: Request) -> Response:
        side = poll.file(request.path_params["key"])
        if side is None:
            return PlainTextResponse("There is no such file on an open ballot.\n", 404)
        if side.ruined:
            return Response(await asyncio.to_thread(_ruined, side), media_type="image/jpeg")
        # no name in the headers: it says what made the picture
        return FileResponse(side.candidate.path, media_type=KINDS[side.candidate.path.suffix.lower()])

    def answering(act: Callable[[dict[str, Any], str], object]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                body = await read_json(request)
                voter = _voter(body)
                await asyncio.to_thread(act, body, voter)
                return JSONResponse(_ballot(await asyncio.to_thread(poll.next, voter)) | {"title": title})
            except BadRequestError as error:
                return PlainTextResponse(f"{error}\n", 400)
            except StreamsrError as error:  # the disk
                return PlainTextResponse(f"{error.message}\n", 500)

        return answer

    def vote(body: dict[str, Any], voter: str) -> None:
        side, took, key = body.get("side"), body.get("took_ms"), body.get("ballot")
        if side not in ("left", "right") or not isinstance(took, int) or isinstance(took, bool) or not isinstance(key, str):
            raise BadRequestError('A vote has "ballot", "side" (left or right) and "took_ms".')
        if not poll.cast(key, voter, side, min(max(took, 0), _LONGEST_MS)):
            raise BadRequestError("This ballot is not open any more.")

    gate = None if token is None else Middleware(TokenGate, token=token, what="vote")
    routes = [
        Route("/", page), Route("/file/{key}", file),
        Route("/api/next", answering(lambda body, voter: None), methods=["POST"]),
        Route("/api/vote", answering(vote), methods=["POST"]),
        Route("/api/back", answering(lambda body, voter: poll.take_back(voter)), methods=["POST"]),
    ]  # fmt: skip
    return Server(routes, endpoint, option="--listen", gate=gate)


def _voter(body: dict[str, Any]) -> str:
    voter = body.get("voter")
    name = " ".join(voter.split()) if isinstance(voter, str) else ""
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise BadRequestError(f"A voter's name has 1 to {MAX_NAME} letters.")
    return name


def _ballot(ballot: Ballot | None) -> dict[str, Any]:
    if ballot is None:
        return {"done": True}
    kind = "video" if ballot.left.candidate.is_video else "image"
    files = [f"/file/{key}" for key in ballot.keys]
    return {"done": False, "ballot": ballot.key, "kind": kind, "files": files, "num_done": ballot.num_done, "num_pairs": ballot.num_pairs}


def _ruined(side: Side) -> bytes:
    with open_source(side.candidate.path) as source:
        frame: av.VideoFrame = next(source.frames())
        return encode_jpeg(ruin(frame))
