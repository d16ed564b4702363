"""TokenGate: admits clients that have the token, and remembers them in a cookie."""

from __future__ import annotations

import asyncio
import secrets

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..pages import content_policy

WRONG_S = 0.5  # what a wrong guess costs
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="dark light">
<title>streamsr {what}</title>
<style>{style}</style>
<form action="/"><h1>streamsr {what}</h1>
<p><label for="token">{words}</label></p>
<p><input id="token" name="token" type="password" autocomplete="current-password" required autofocus> <button>Open</button></p></form>
</html>
"""
STYLE = """
body { display: grid; place-items: center; min-height: 90vh; font: 1rem/1.5 system-ui, sans-serif }
h1 { font-size: 1.1rem } input, button { font: inherit; padding: .4em .7em }
"""


class TokenGate:
    """Answers 401 with a form, unless the request has `?token=TOKEN` (then a cookie is set and the token leaves the URL) or the cookie.

    The cookie holds a secret of this run, not the token. Both are compared in constant time.
    """

    def __init__(self, app: ASGIApp, *, token: str, what: str = "preview") -> None:
        """what: the page is, for the form's title."""
        self._app, self._what = app, what
        self._token = token.encode()
        self._secret = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        cookie = f"streamsr_preview_{(scope.get('server') or ('', 0))[1]}"  # browsers share cookies between the ports of a host
        given = request.query_params.get("token")
        answer: ASGIApp = self._app
        if given is not None:
            answer = await self._try(given, request, cookie)
        elif not secrets.compare_digest(request.cookies.get(cookie, "").encode(), self._secret.encode()):
            answer = self._refuse(f"This {self._what} is for those who know its token.")
        await answer(scope, receive, send)

    async def _try(self, given: str, request: Request, cookie: str) -> Response:
        if not secrets.compare_digest(given.encode(errors="replace"), self._token):
            await asyncio.sleep(WRONG_S)
            return self._refuse("That was not the token.")
        response = RedirectResponse("/", 303)
        # not "strict": a browser would not send it on the redirect of a link that was clicked in a mail
        response.set_cookie(cookie, self._secret, httponly=True, samesite="lax", secure=request.url.scheme == "https")
        return response

    def _refuse(self, words: str) -> Response:
        html = PAGE.format(words=words, style=STYLE, what=self._what)
        return HTMLResponse(html, 401, headers={"content-security-policy": content_policy(style=STYLE)})
