"""The page of `streamsr vote` in headless Chromium."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import web
from media import ffmpeg, streamsr
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from web import until

from streamsr.live.endpoint import Endpoint
from streamsr.vote.candidates import read_candidates
from streamsr.vote.page import serve_vote
from streamsr.vote.poll import Poll
from streamsr.vote.store import VoteStore

GREYS = {"a": 64, "b": 128, "c": 192}

pytestmark = [pytest.mark.network, pytest.mark.slow]


@dataclass(frozen=True)
class Opened:
    """A vote that is going on."""

    url: str
    store: VoteStore
    folder: Path


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Two contents with three methods each, flat pictures of different greys."""
    for content in ("sky", "sea"):
        for method, grey in GREYS.items():
            source = f"color=0x{3 * f'{grey:02x}'}:s=160x120,format=rgb24"
            ffmpeg("-f", "lavfi", "-i", source, "-frames:v", 1, tmp_path / f"{content}_{method}.png")
    with VoteStore(tmp_path / "votes.sqlite") as store:
        poll = Poll(read_candidates(tmp_path), store, seed=1)
        with serve_vote(Endpoint("127.0.0.1", 0), poll, title="a title", token=None) as server:
            yield Opened(server.url, store, tmp_path)


@pytest.fixture
def page(browser: webdriver.Chrome, opened: Opened) -> Iterator[webdriver.Chrome]:
    """The page as "ann" sees it, with her first ballot."""
    browser.get_log("browser")
    browser.get(opened.url)
    browser.find_element(By.ID, "voter").clear()
    browser.find_element(By.ID, "voter").send_keys("ann", Keys.ENTER)
    until(lambda: len(browser.find_elements(By.CSS_SELECTOR, ".choice img")) == 2)
    yield browser
    complaints = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE" and entry["source"] != "network"]
    requests = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    browser.get("about:blank")
    assert complaints == []
    assert [name for name in requests if not name.startswith((opened.url, "data:"))] == []


def shown(page: webdriver.Chrome) -> list[str]:
    return [str(img.get_attribute("src")) for img in page.find_elements(By.CSS_SELECTOR, ".choice img")]


def brightness(page: webdriver.Chrome, side: str) -> int:
    """The grey of a side."""
    return int(page.execute_script("""
        const img = document.querySelector(arguments[0] + " img"), context = document.createElement("canvas").getContext("2d");
        context.drawImage(img, 0, 0);
        return context.getImageData(10, 10, 1, 1).data[0];
    """, side))  # fmt: skip


def answer(page: webdriver.Chrome, key: str) -> None:
    before = shown(page)
    page.find_element(By.TAG_NAME, "body").send_keys(key)
    until(lambda: page.execute_script("return !busy") and shown(page) != before)


def test_keys_store_the_picture_that_was_chosen(page: webdriver.Chrome, opened: Opened) -> None:
    greys = {"#left": brightness(page, "#left"), "#right": brightness(page, "#right")}
    answer(page, Keys.ARROW_RIGHT)
    (vote,) = opened.store.votes()
    assert (vote.voter, vote.side, vote.kind) == ("ann", "right", "pair")
    assert abs(GREYS[vote.chosen[4]] - greys["#right"]) < 4
    assert abs(GREYS[vote.other[4]] - greys["#left"]) < 4
    assert vote.took_ms > 0
    assert page.find_element(By.ID, "progress").text == "1 of 6"


def test_nothing_that_the_page_gets_tells_the_methods(page: webdriver.Chrome, opened: Opened) -> None:
    assert not any(word in url for url in shown(page) for word in ("sky", "sea", "_a", ".png"))
    fetched = page.execute_script("return fetch(arguments[0]).then(answer => [...answer.headers].flat().join(' '))", shown(page)[0])
    assert ".png" not in fetched
    assert "sky" not in fetched


def test_a_touch_chooses_and_the_last_answer_is_taken_back(page: webdriver.Chrome, opened: Opened) -> None:
    box = page.find_element(By.ID, "left").rect
    for kind, points in (("touchStart", [{"x": box["x"] + 50, "y": box["y"] + 50}]), ("touchEnd", [])):
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    until(lambda: len(opened.store.votes()) == 1)
    assert opened.store.votes()[0].side == "left"
    until(lambda: page.execute_script("return !busy"))
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.BACKSPACE)
    until(lambda: opened.store.votes() == [])


def test_every_pair_is_asked_and_then_the_page_says_so(page: webdriver.Chrome, opened: Opened) -> None:
    for _ in range(20):
        if page.find_element(By.ID, "thanks").is_displayed():
            break
        before = len(opened.store.votes())
        until(lambda: page.execute_script("return !busy && ballot !== null"))
        page.find_element(By.TAG_NAME, "body").send_keys("1")
        until(lambda before=before: len(opened.store.votes()) > before)
        until(lambda: page.execute_script("return !busy"))
    assert page.find_element(By.ID, "thanks").is_displayed()
    assert len({frozenset((v.chosen, v.other)) for v in opened.store.votes() if v.kind == "pair"}) == 6
    assert "ann: 6 votes" in streamsr("vote", opened.folder, "--results", "--no-metric").out


def test_zoom_enlarges_both_sides_alike(page: webdriver.Chrome) -> None:
    def widths() -> list[float]:
        script = "return [...document.querySelectorAll('.choice img')].map(img => img.getBoundingClientRect().width)"
        return [float(width) for width in page.execute_script(script)]

    before = widths()
    page.find_element(By.TAG_NAME, "body").send_keys("z")
    assert widths() == pytest.approx([3 * width for width in before], rel=0.01)


def test_short_videos_play_in_a_loop(browser: webdriver.Chrome, tmp_path: Path) -> None:
    for method, colour in (("a", "red"), ("b", "blue")):
        ffmpeg("-f", "lavfi", "-i", f"color={colour}:s=64x48:d=0.4", "-c:v", "libvpx", "-threads", 1, tmp_path / f"sky_{method}.webm")
    with VoteStore(tmp_path / "votes.sqlite") as store:
        poll = Poll(read_candidates(tmp_path), store)
        with serve_vote(Endpoint("127.0.0.1", 0), poll, title="", token=None) as server:
            browser.get(server.url)
            browser.find_element(By.ID, "voter").send_keys("ann", Keys.ENTER)
            until(lambda: len(browser.find_elements(By.CSS_SELECTOR, ".choice video")) == 2)
            until(lambda: browser.execute_script("return document.querySelector('video').currentTime > 0"))
            assert browser.execute_script("return [...document.querySelectorAll('video')].every(video => video.loop && video.muted)")
            browser.get("about:blank")


def post(url: str, body: bytes, kind: str = "application/json", **headers: str) -> int:
    return web.post(url, body, {"content-type": kind} | headers).status


def test_requests_that_the_page_does_not_make_are_refused(opened: Opened) -> None:
    url, good = f"{opened.url}api/next", json.dumps({"voter": "ann"}).encode()
    assert post(url, good) == 200
    assert post(url, good, "text/plain") == 400  # what a form of another site can send
    assert post(url, good, **{"sec-fetch-site": "cross-site"}) == 403
    assert post(url, good, host="attacker.example") == 403
    for body in (b"[]", b"{", b'{"voter": ""}', b'{"voter": 3}', json.dumps({"voter": "x" * 41}).encode(), b'{"voter": "a\\u0000b"}'):
        assert post(url, body) == 400
    assert post(url, b'{"voter": "' + b"x" * 10_000 + b'"}') == 400
    for body in ({}, {"ballot": "no", "side": "left", "took_ms": 5}, {"ballot": "no", "side": "up", "took_ms": 5}, {"side": "left"}):
        assert post(f"{opened.url}api/vote", json.dumps(body | {"voter": "ann"}).encode()) == 400
    assert opened.store.votes() == []


def test_the_token_is_asked_for_in_the_name_of_the_vote(opened: Opened) -> None:
    poll = Poll(read_candidates(opened.folder), opened.store, seed=1)
    with serve_vote(Endpoint("127.0.0.1", 0), poll, title="", token="open sesame") as server:
        answer = web.get(server.url)
        assert answer.status == 401
        assert "<title>streamsr vote</title>" in answer.text
        assert "This vote is for those who know its token." in answer.text
