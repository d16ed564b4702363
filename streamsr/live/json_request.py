"""The JSON body of a request that changes something."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

MAX_BODY = 4096  # bytes


class BadRequestError(ValueError):
    """A request that the page does not make."""


async def read_json(request: Request) -> dict[str, Any]:
    """The JSON object. Only a page of this server can send this type of content without being asked first. Raises BadRequestError."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise BadRequestError("The body must be application/json.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise BadRequestError(f"The body has more than {MAX_BODY} bytes.")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError("The body is not JSON.") from error
    if not isinstance(found, dict):
        raise BadRequestError("The body is not a JSON object.")
    return found
