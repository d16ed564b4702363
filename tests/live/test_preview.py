"""The preview over HTTP: pictures, the token, and what keeps other people and other sites out."""

from __future__ import annotations

import io
import json
import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from live_show import Show
from PIL import Image
from web import Answer, get

from streamsr.live.endpoint import Endpoint
from streamsr.live.monitoring import Watch, WatchOptions
from streamsr.live.telemetry import StreamTelemetry

pytestmark = pytest.mark.network

TOKEN = "correct horse ß"
HERE = Endpoint("127.0.0.1", 0)


def open_pair(answer: Answer) -> tuple[Image.Image, Image.Image]:
    assert answer.status == 200, answer.text
    middle = 4 + int.from_bytes(answer.body[:4], "big")
    return Image.open(io.BytesIO(answer.body[4:middle])), Image.open(io.BytesIO(answer.body[middle:]))


def test_pairs_come_one_after_another(watch: Watch, show: Show) -> None:
    url = watch.urls["preview"] + "api/pair?stream=front%20door"
    first = get(url)
    second = get(f"{url}&seen={first.headers['x-pair']}")
    assert int(second.headers["x-pair"]) > int(first.headers["x-pair"])
    assert second.body != first.body
    before, after = open_pair(second)
    assert (before.size, after.size) == ((160, 90), (320, 180))
    assert (second.headers["x-before"], second.headers["x-after"]) == ("160x90", "320x180")


def test_counters_are_the_snapshots(watch: Watch, show: Show) -> None:
    (row,) = json.loads(get(watch.urls["preview"] + "api/streams").body)
    assert row["stream"] == "front door"
    assert row["model"] == "resize"
    assert row["state"] == {"source": "connected", "sink": "connected"}
    assert row.keys() == show.telemetry.snapshot().keys()


def test_an_unknown_stream_is_not_found(watch: Watch, show: Show) -> None:
    assert get(watch.urls["preview"] + "api/pair?stream=nobody").status == 404
    assert get(watch.urls["preview"] + "api/pair").status == 404
    assert get(watch.urls["preview"] + "nothing").status == 404


def test_a_stream_that_shows_nothing_answers_in_time(watch: Watch) -> None:
    watch.add(StreamTelemetry("dark"))
    assert get(watch.urls["preview"] + "api/pair?stream=dark").status == 204


@pytest.mark.parametrize("seen", ["", "x", "-1", "9" * 40, "1e3"])
def test_any_number_may_be_said_to_be_seen(watch: Watch, show: Show, seen: str) -> None:
    assert get(watch.urls["preview"] + f"api/pair?stream=front%20door&seen={seen}").status == 200


def test_a_removed_stream_releases_its_viewers_and_may_come_back(watch: Watch) -> None:
    telemetry = StreamTelemetry("cam")
    watch.add(telemetry)
    watch.remove(telemetry)
    assert get(watch.urls["preview"] + "api/pair?stream=cam").status == 404
    watch.add(telemetry)
    assert [row["stream"] for row in json.loads(get(watch.urls["preview"] + "api/streams").body)] == ["cam"]


def test_every_answer_carries_the_security_headers(watch: Watch, show: Show) -> None:
    for path in ("", "api/streams", "api/pair?stream=front%20door", "nothing"):
        headers = get(watch.urls["preview"] + path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers


def test_the_page_runs_its_own_script_only_and_loads_nothing_from_elsewhere(watch: Watch) -> None:
    page = get(watch.urls["preview"])
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert re.findall(r"""(?:src|href)=["'](?!data:)""", page.text) == []
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page.text) == []


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200), ("localhost:8080", 200), ("[::1]:9", 200), ("preview.localhost", 200),
        ("evil.example", 403), ("evil.example:8080", 403), ("127.0.0.1.evil.example", 403), ("192.0.2.7", 403),
        ("localhost@evil", 403), ("", 403),
    ],
)  # fmt: skip
def test_names_that_are_not_this_machine_are_refused(watch: Watch, host: str, status: int) -> None:
    """DNS rebinding: a site's own name that suddenly points to 127.0.0.1."""
    for url in (watch.urls["preview"], watch.urls["metrics"] + "metrics"):
        assert get(url, {"Host": host}).status == status


def test_other_sites_get_no_pictures(watch: Watch, show: Show) -> None:
    url = watch.urls["preview"] + "api/pair?stream=front%20door"
    assert get(url, {"Sec-Fetch-Site": "cross-site"}).status == 403
    assert get(url, {"Sec-Fetch-Site": "same-origin"}).status == 200
    assert get(watch.urls["preview"], {"Sec-Fetch-Site": "cross-site"}).status == 200  # a link to the page


def test_what_is_not_http_is_refused_and_not_logged(watch: Watch, capfd: pytest.CaptureFixture[str]) -> None:
    """stderr belongs to the event lines, which may be JSON."""
    for nonsense in (b"\x16\x03\x01 this is TLS\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", urlsplit(watch.urls["preview"]).port), timeout=30) as connection:
            connection.sendall(nonsense)
            assert connection.recv(100).startswith(b"HTTP/1.1 4")
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def locked() -> Iterator[str]:
    """URL of a preview with a token."""
    with Watch(WatchOptions(preview=HERE, preview_token=TOKEN)) as opened:
        yield opened.urls["preview"]


def test_without_the_token_there_is_only_the_question(locked: str) -> None:
    for path in ("", "api/streams", "api/pair?stream=x", "nothing"):
        answer = get(locked + path)
        assert answer.status == 401
        assert 'name="token"' in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert TOKEN not in answer.text


def test_who_knows_the_token_may_come_through_a_proxy(locked: str) -> None:
    """A proxy passes its own name on; another name has no cookie, so that rebinding one gains nothing."""
    proxied = {"Host": "cameras.example", "X-Forwarded-Proto": "https"}
    assert get(locked, proxied).status == 401
    cookie, *rules = get(locked + "?token=correct%20horse%20%C3%9F", proxied).headers["set-cookie"].split("; ")
    assert "Secure" in rules
    assert get(locked, {**proxied, "Cookie": cookie}).status == 200


def test_the_token_becomes_a_cookie_and_leaves_the_url(locked: str) -> None:
    answer = get(locked + "?token=correct%20horse%20%C3%9F")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie, *rules = answer.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=lax"} <= set(rules)
    assert "horse" not in cookie
    for path in ("", "api/streams"):
        assert get(locked + path, {"Cookie": f"other=1; {cookie}"}).status == 200


@pytest.mark.parametrize("token", ["", "correct", "correct%20horse%20%C3%9Fx", "%00", "%FF"])
def test_a_wrong_token_sets_no_cookie(locked: str, token: str) -> None:
    answer = get(f"{locked}?token={token}")
    assert answer.status == 401
    assert "set-cookie" not in answer.headers


def test_a_forged_cookie_is_refused(locked: str) -> None:
    name = get(locked + "?token=correct%20horse%20%C3%9F").headers["set-cookie"].partition("=")[0]
    for value in ("", TOKEN.encode().hex(), "x" * 43, "\xff"):
        assert get(locked, {"Cookie": f"{name}={value}"}).status == 401
