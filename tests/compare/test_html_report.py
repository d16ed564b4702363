"""The report of `streamsr compare --html` in headless Chromium, opened from the disk."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media import ffmpeg, make_clip, streamsr
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from web import until

from streamsr.compare import Comparison, FrameScores
from streamsr.compare.html_report import choose_moments

pytestmark = pytest.mark.slow

# the red, green and blue of every pixel that a side shows
RGB = """
    const img = document.querySelector(arguments[0] + " img"), canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [img.naturalWidth, img.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(img, 0, 0);
    return [...context.getImageData(0, 0, canvas.width, canvas.height).data].filter((_, at) => at % 4 !== 3);
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two results of one original, whose name holds what HTML takes for its own."""
    folder = tmp_path_factory.mktemp("report")
    original = make_clip(folder / "a <b> & 'c'.mp4", "-qp", "0", "-c:v", "libx264", "-pix_fmt", "yuv420p", size="192x108", num_frames=8)
    for name, crf in (("fair", 28), ("poor", 48)):
        ffmpeg("-i", original, "-c:v", "libx264", "-crf", crf, folder / f"{name}.mp4")
    outcome = streamsr("compare", folder / "fair.mp4", folder / "poor.mp4", "--ref", original, "--html", folder / "report.html")
    assert outcome.code == 0, outcome.err
    assert f"report: {folder / 'report.html'}" in outcome.out
    return folder / "report.html"


@pytest.fixture
def page(browser: webdriver.Chrome, report: Path) -> Any:
    browser.get_log("browser")
    browser.get(report.as_uri())
    yield browser
    assert browser.get_log("browser") == []
    browser.get("about:blank")


def test_it_is_one_file_that_asks_nobody_for_anything(page: webdriver.Chrome, report: Path) -> None:
    assert re.findall(r"(?:src|href)=[\"']?(?!data:)\w+:", report.read_text()) == []
    requests = page.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [url for url in requests if not url.startswith("data:")] == []
    assert page.title == "fair.mp4 against a <b> & 'c'.mp4"


def test_the_border_moves_and_the_videos_change(page: webdriver.Chrome) -> None:
    slider = page.find_element(By.ID, "slider")
    slider.send_keys(Keys.ARROW_LEFT * 5)
    assert slider.get_attribute("aria-valuenow") == "40"
    before = page.execute_script("return document.querySelector('#after img').src")
    Select(page.find_element(By.ID, "right")).select_by_visible_text("poor.mp4")
    assert page.execute_script("return document.querySelector('#after img').src") != before
    assert page.find_element(By.CSS_SELECTOR, "#after b").text == "poor.mp4"
    assert page.find_element(By.CSS_SELECTOR, "#before b").text == "Original"


def test_the_moments_are_those_of_the_video(page: webdriver.Chrome, report: Path) -> None:
    """The picture of a moment is the original's frame of that time, as FFmpeg decodes it."""
    original = report.with_name("a <b> & 'c'.mp4")
    time_s = page.execute_script("choose(1); return data.moments[1].time")
    until(lambda: page.execute_script("return document.querySelector('#before img').complete"))
    shown = np.array(page.execute_script(RGB, "#before"), float)
    frames = ffmpeg("-i", original, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    distances = np.abs(np.frombuffer(frames, np.uint8).reshape(8, -1) - shown).mean(axis=1)
    assert int(distances.argmin()) == round(time_s * 25)
    assert distances.min() < 8


def test_keys_flip_show_the_difference_and_change_the_moment(page: webdriver.Chrome) -> None:
    body = page.find_element(By.TAG_NAME, "body")

    def visibility() -> str:
        return page.find_element(By.ID, "before").value_of_css_property("visibility")

    body.send_keys(" ")
    assert visibility() == "visible"
    body.send_keys(" ")
    assert visibility() == "hidden"
    body.send_keys("d")
    assert page.find_element(By.ID, "before").value_of_css_property("mix-blend-mode") == "difference"
    body.send_keys("s")
    assert page.find_element(By.ID, "mode-slider").get_attribute("aria-pressed") == "true"
    body.send_keys("n")
    pressed = [button.get_attribute("aria-pressed") for button in page.find_elements(By.CSS_SELECTOR, "#moments button")]
    assert pressed.index("true") == 1
    assert len(pressed) >= 3


def test_it_zooms_to_pixels(page: webdriver.Chrome) -> None:
    def width() -> float:
        return float(page.execute_script("return document.querySelector('#after img').getBoundingClientRect().width"))

    whole = width()
    page.find_element(By.TAG_NAME, "body").send_keys("z")
    until(lambda: width() > 1.9 * whole)
    assert "pixels" in (page.find_element(By.ID, "stage").get_attribute("class") or "")
    page.find_element(By.TAG_NAME, "body").send_keys("z")
    until(lambda: abs(width() - whole) < 1)


def test_a_click_into_the_plot_chooses_the_moment(page: webdriver.Chrome) -> None:
    assert len(page.find_elements(By.CSS_SELECTOR, "#plot path")) == 2
    plot = page.find_element(By.ID, "plot")
    webdriver.ActionChains(page).move_to_element_with_offset(plot, round(plot.rect["width"] / 2 - 12), 0).click().perform()
    chosen = page.execute_script("return data.moments[moment].time")
    assert chosen == page.execute_script("return Math.max(...data.moments.map(entry => entry.time))")


def test_the_worst_frames_come_first(page: webdriver.Chrome) -> None:
    rows = page.find_elements(By.CSS_SELECTOR, "#worst tr[data-time]")
    scores = [float(row.find_elements(By.TAG_NAME, "td")[1].text) for row in rows]
    assert scores == sorted(scores)
    assert len(scores) == 8


def test_moments_of_one_half_second_count_once() -> None:
    comparison = Comparison("a", "b", 8, 8, 1, frames=[FrameScores(i / 10, psnr=30 + abs(i - 20)) for i in range(100)])
    times = [moment.time_s for moment in choose_moments(comparison)]
    worst = times[:4]
    assert worst[0] == 2
    assert all(abs(one - other) > 0.5 for one in worst for other in worst if one != other)
    assert len(times) == 8


def test_bad_names_are_refused_before_measuring(report: Path) -> None:
    for name, words in (("report.txt", "must end in .html"), ("none/report.html", "does not exist")):
        outcome = streamsr("compare", report.with_name("fair.mp4"), report.with_name("fair.mp4"), "--html", report.parent / name)
        assert (outcome.code, words in outcome.err) == (2, True)
