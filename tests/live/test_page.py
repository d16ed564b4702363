"""The preview page in headless Chromium: what a person sees and does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from live_show import Show
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select
from web import until

from streamsr.live.endpoint import Endpoint
from streamsr.live.monitoring import Watch, WatchOptions
from streamsr.live.preview_tap import Tap

pytestmark = [pytest.mark.network, pytest.mark.slow]

PIXELS = """
    const canvas = document.querySelector(arguments[0] + " canvas"), {width, height} = canvas;
    const bytes = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    return [width, height, bytes.reduce((sum, value, at) => (sum * 31 + value + at) % 1e9, 7)];
"""
# which side is on top at a share of the picture's width, a quarter down, and past the slider's line
TOP = """
    const box = document.getElementById("stage").getBoundingClientRect();
    return document.elementFromPoint(box.left + box.width * arguments[0], box.top + box.height / 4).closest("#before, #after, #slider").id;
"""


@pytest.fixture
def page(browser: webdriver.Chrome, watch: Watch, show: Show) -> Iterator[webdriver.Chrome]:
    """The page of one playing stream, with its first pictures; whatever the browser complains of fails the test."""
    browser.get_log("browser")
    browser.get(watch.urls["preview"])
    until(lambda: browser.find_element(By.CSS_SELECTOR, "#after .label").is_displayed())
    yield browser
    complaints = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE" and entry["source"] != "network"]
    browser.get("about:blank")
    assert complaints == []


def pixels(page: webdriver.Chrome, side: str) -> tuple[int, int, int]:
    """Width, height and a checksum of what a side shows."""
    width, height, checksum = page.execute_script(PIXELS, side)
    return width, height, checksum


def text(page: webdriver.Chrome, name: str) -> str:
    return page.find_element(By.ID, name).text


def slider(page: webdriver.Chrome) -> WebElement:
    return page.find_element(By.ID, "slider")


def value(page: webdriver.Chrome) -> int:
    return int(slider(page).get_attribute("aria-valuenow") or -1)


def assert_border_at(page: webdriver.Chrome, share: float) -> None:
    """Before is what one sees left of the border, after what one sees right of it, as soon as the page has drawn it."""
    until(lambda: abs(value(page) - share * 100) <= 0.6 or None, wait_s=5)
    assert page.execute_script(TOP, share - 0.02) == "before"
    assert page.execute_script(TOP, share + 0.02) == "after"
    handle, stage = (page.find_element(By.ID, name).rect for name in ("slider", "stage"))
    assert handle["x"] + handle["width"] / 2 == pytest.approx(stage["x"] + stage["width"] * share, abs=stage["width"] * 0.006)
    assert value(page) == pytest.approx(share * 100, abs=0.6)


def test_both_pictures_are_shown_and_advance(page: webdriver.Chrome) -> None:
    first = pixels(page, "#before"), pixels(page, "#after")
    assert (first[0][:2], first[1][:2]) == ((160, 90), (320, 180))
    until(lambda: pixels(page, "#before") != first[0] and pixels(page, "#after") != first[1])
    assert "160 × 90" in page.find_element(By.CSS_SELECTOR, "#before .label").text
    assert "320 × 180" in page.find_element(By.CSS_SELECTOR, "#after .label").text


def test_wide_pixels_make_a_wide_picture(page: webdriver.Chrome, show: Show) -> None:
    def ratio() -> float:
        stage = page.find_element(By.ID, "stage").rect
        return float(stage["width"] / stage["height"])

    assert ratio() == pytest.approx(16 / 9, rel=0.01)
    show.pixel_aspect = Fraction(3, 4)
    until(lambda: ratio() == pytest.approx(4 / 3, rel=0.01))


def test_counters_and_state_are_those_of_the_stream(page: webdriver.Chrome, show: Show) -> None:
    show.telemetry.dropped("late", 1234)
    until(lambda: text(page, "dropped") == "1,234 late 1,234")
    until(lambda: text(page, "in").endswith(" fps") and text(page, "in") != "0.0 fps")
    until(lambda: "ms p95" in text(page, "latency"))
    assert text(page, "model") == "resize"
    assert text(page, "name") == "front door"
    assert text(page, "state") == "live"
    assert not page.find_element(By.ID, "banner").is_displayed()


def test_dragging_moves_the_border(page: webdriver.Chrome) -> None:
    assert_border_at(page, 0.5)
    width = page.find_element(By.ID, "stage").rect["width"]
    actions = webdriver.ActionChains(page, duration=20)
    actions.click_and_hold(slider(page)).move_by_offset(round(-width * 0.1), 0).move_by_offset(round(-width * 0.15), 30)
    actions.perform()
    assert_border_at(page, 0.25)
    webdriver.ActionChains(page, duration=20).move_by_offset(round(width * 0.5), 0).release().perform()
    assert_border_at(page, 0.75)
    webdriver.ActionChains(page, duration=20).move_by_offset(round(-width * 0.5), 0).perform()  # nothing is held any more
    assert_border_at(page, 0.75)


def test_a_click_on_the_picture_moves_the_border_there(page: webdriver.Chrome) -> None:
    stage = page.find_element(By.ID, "stage")
    webdriver.ActionChains(page).move_to_element_with_offset(stage, round(stage.rect["width"] * 0.3), 40).click().perform()
    assert_border_at(page, 0.8)


def test_a_finger_moves_the_border(page: webdriver.Chrome) -> None:
    stage = page.find_element(By.ID, "stage").rect
    y = stage["y"] + stage["height"] / 2

    def touch(kind: str, *shares: float) -> None:
        points = [{"x": stage["x"] + stage["width"] * share, "y": y} for share in shares]
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 0.5)
    touch("touchMove", 0.45)
    touch("touchMove", 0.2)
    assert_border_at(page, 0.2)
    touch("touchEnd")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (Keys.ARROW_RIGHT * 3, 56), (Keys.ARROW_LEFT, 48), (Keys.ARROW_UP, 52), (Keys.ARROW_DOWN, 48), (Keys.PAGE_UP, 60),
        (Keys.PAGE_DOWN * 2, 30), (Keys.HOME + Keys.ARROW_LEFT, 0), (Keys.END + Keys.ARROW_RIGHT, 100),
    ],
)  # fmt: skip
def test_keys_move_the_border(page: webdriver.Chrome, keys: str, expected: int) -> None:
    slider(page).send_keys(keys)
    assert value(page) == expected
    if 0 < expected < 100:
        assert_border_at(page, expected / 100)
    else:
        assert page.execute_script(TOP, 0.5) == ("before" if expected else "after")


def test_the_slider_is_one_for_assistive_technology_too(page: webdriver.Chrome) -> None:
    nodes = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    (node,) = [node for node in nodes if node.get("role", {}).get("value") == "slider"]
    properties = {entry["name"]: entry["value"].get("value") for entry in node["properties"]}
    assert (node["name"]["value"], node["value"]["value"]) == ("Border between before and after", 50)
    assert (properties["valuemin"], properties["valuemax"]) == (0, 100)
    assert properties["focusable"] is True
    named = {node["name"]["value"] for node in nodes if node.get("role", {}).get("value") in ("image", "button")}
    assert {"Picture before upscaling", "Picture after upscaling", "Full screen"} <= named


def test_a_killed_source_shows_and_the_last_picture_stays(page: webdriver.Chrome, show: Show) -> None:
    show.kill_source()
    until(lambda: text(page, "state") == "source lost")
    assert "The source is gone. Reconnecting; the picture is the last one." in text(page, "banner")
    assert "grayscale" in page.find_element(By.CSS_SELECTOR, "#after canvas").value_of_css_property("filter")
    last = until(lambda: settled(lambda: pixels(page, "#after")))
    page.refresh()  # who comes later sees the last picture too
    until(lambda: page.find_element(By.CSS_SELECTOR, "#after .label").is_displayed())
    assert pixels(page, "#after") == last
    show.telemetry.state("source", "connected")
    until(lambda: text(page, "state") == "live")
    until(lambda: not page.find_element(By.ID, "banner").is_displayed())


def settled(read: Callable[[], Any]) -> Any:
    """What it reads, once half a second does not change it: while the source is there a picture comes every 0.1 s."""
    first = read()
    time.sleep(0.5)
    return first if read() == first else None


def test_a_lost_output_and_a_silent_source_show(page: webdriver.Chrome, show: Show) -> None:
    show.telemetry.state("sink", "lost")
    until(lambda: text(page, "state") == "output lost")
    show.telemetry.state("sink", "connected")
    show.stop()
    until(lambda: text(page, "state") == "no pictures")
    assert "sends no pictures" in text(page, "banner")


def test_a_program_that_has_gone_shows(page: webdriver.Chrome, watch: Watch) -> None:
    watch.close()
    until(lambda: text(page, "state") == "no answer")
    assert "streamsr does not answer" in text(page, "banner")


def test_nothing_is_encoded_for_a_page_that_was_left(page: webdriver.Chrome, show: Show) -> None:
    tap = show.tap
    assert isinstance(tap, Tap)
    page.get("about:blank")

    def frames(num_frames: int) -> int:
        end = show.telemetry.snapshot()["frames_out"] + num_frames
        until(lambda: show.telemetry.snapshot()["frames_out"] >= end)
        return tap.num_encoded

    before = frames(25)  # what was under way is through
    assert before > 0
    assert frames(25) == before


def test_a_picker_for_several_streams(page: webdriver.Chrome, watch: Watch, moving_clip: Path) -> None:
    assert not page.find_element(By.ID, "picker").is_displayed()
    other = Show('back <b>"yard" & gate', watch, moving_clip, model="lite").start()
    try:
        picker = Select(until(lambda: next((found for found in page.find_elements(By.ID, "picker") if found.is_displayed()), None)))
        assert [option.text for option in picker.options] == ["front door", 'back <b>"yard" & gate']
        assert text(page, "model") == "resize"
        picker.select_by_index(1)
        until(lambda: text(page, "model") == "lite")
        first = pixels(page, "#after")
        until(lambda: pixels(page, "#after") != first)
        watch.remove(other.telemetry)
        until(lambda: text(page, "model") == "resize")  # back to one that is there
    finally:
        other.stop()


def test_the_token_is_asked_for(browser: webdriver.Chrome, moving_clip: Path) -> None:
    with Watch(WatchOptions(preview=Endpoint("127.0.0.1", 0), preview_token="open sesame")) as watch:
        show = Show("front door", watch, moving_clip).start()
        browser.get(watch.urls["preview"])
        assert browser.find_elements(By.ID, "stage") == []
        browser.find_element(By.NAME, "token").send_keys("open barley", Keys.ENTER)
        until(lambda: "That was not the token" in browser.page_source)
        browser.find_element(By.NAME, "token").send_keys("open sesame", Keys.ENTER)
        until(lambda: [found for found in browser.find_elements(By.CSS_SELECTOR, "#after .label") if found.is_displayed()])
        assert browser.current_url == watch.urls["preview"]  # without the token
        first = pixels(browser, "#after")
        until(lambda: pixels(browser, "#after") != first)
        browser.get("about:blank")
        show.stop()
