"""Pages: HTML that is one file with one <style> and one <script>, put together from the parts that pages share."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from importlib.resources import files
from typing import Any

_INCLUDE = re.compile(r"^/\* include ([\w.]+) \*/$", re.MULTILINE)


def read_page(package: str, name: str) -> str:
    """The page `name` of a package, its lines `/* include PART */` replaced by the parts beside this file."""
    text = files(package).joinpath(name).read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda found: files(__name__).joinpath(found[1]).read_text(encoding="utf-8").rstrip("\n"), text)


def policy_of(page: str, *, server: bool = True) -> str:
    """The Content-Security-Policy under which the page's one <style> and one <script> work, and nothing else does."""
    style, script = (re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[0] for tag in ("style", "script"))
    return content_policy(style=style, script=script, server=server)


def content_policy(*, style: str, script: str = "", server: bool = True) -> str:
    """A Content-Security-Policy for one <style> and one <script>. server: of a page that talks to where it came from."""
    allowed = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in (style, script)]
    policy = f"default-src 'none'; style-src {allowed[0]}; script-src {allowed[1]}; base-uri 'none'"
    if not server:
        return f"{policy}; img-src data: blob:; form-action 'none'"
    return f"{policy}; img-src 'self' data: blob:; media-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'"


def with_data(page: str, title: str, data: Any) -> str:
    """A page that opens from the disk: DATA in its script replaced by the data, TITLE by the title, and its policy in it."""
    # no "</script>" and no "<!--" may stand inside a script
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")
    page = page.replace("/* DATA */", text, 1).replace("TITLE", html.escape(title), 1)
    return page.replace("POLICY", html.escape(policy_of(page, server=False)), 1)
