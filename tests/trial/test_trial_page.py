"""The page of `streamsr preview` in headless Chromium."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from media import STREAMSR, make_clip, streamsr, times
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from web import get, post, until

pytestmark = [pytest.mark.network, pytest.mark.slow]

PIXELS = """
    const canvas = document.querySelector(arguments[0] + " canvas"), {width, height} = canvas;
    const bytes = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    return [width, height, bytes.reduce((sum, value, at) => (sum * 31 + value + at) % 1e9, 7)];
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("trial") / "a 'clip'.mp4", size="128x72", num_frames=75)


@pytest.fixture(scope="module")
def url(clip: Path) -> Iterator[str]:
    """The address that the command prints."""
    command = [*STREAMSR, "preview", str(clip), "--at", "0.5", "--at", "2", "--model", "resize"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.match(r"preview: (http://127\.0\.0\.1:\d+/)", process.stdout.readline())
        assert found is not None
        yield found[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0


@pytest.fixture
def page(browser: webdriver.Chrome, url: str) -> Iterator[webdriver.Chrome]:
    browser.get_log("browser")
    browser.get(url)
    ready(browser)
    yield browser
    complaints = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE" and entry["source"] != "network"]
    requests = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    browser.get("about:blank")
    assert complaints == []
    assert [name for name in requests if not name.startswith((url, "data:", "blob:"))] == []


def ready(page: webdriver.Chrome) -> None:
    until(lambda: page.find_element(By.ID, "state").text == "ready")


def pixels(page: webdriver.Chrome, side: str) -> tuple[int, int, int]:
    width, height, checksum = page.execute_script(PIXELS, side)
    return width, height, checksum


def test_source_and_result_stand_under_a_border_that_moves(page: webdriver.Chrome) -> None:
    assert pixels(page, "#before") == pixels(page, "#after")  # both by Lanczos
    assert pixels(page, "#after")[:2] == (256, 144)
    slider = page.find_element(By.ID, "slider")
    slider.send_keys(Keys.ARROW_RIGHT * 3)
    assert slider.get_attribute("aria-valuenow") == "56"


def test_a_switch_changes_the_picture_and_the_command(page: webdriver.Chrome, clip: Path) -> None:
    before = pixels(page, "#after")
    Select(page.find_element(By.NAME, "model")).select_by_value("lite")
    until(lambda: pixels(page, "#after") != before)
    assert "lite" in page.find_element(By.CSS_SELECTOR, "#after .label").text
    Select(page.find_element(By.NAME, "size")).select_by_value("3x")
    until(lambda: pixels(page, "#after")[:2] == (384, 216))
    until(lambda: page.find_element(By.ID, "state").text == "ready")
    command = page.find_element(By.ID, "command").text
    assert command.startswith("streamsr run ")
    assert command.endswith("--scale 3")
    outcome = subprocess.run(["sh", "-c", command.replace("streamsr run", "printf '%s\\n'", 1)], capture_output=True, text=True, check=True)
    assert outcome.stdout.splitlines()[:2] == [str(clip), str(clip.with_name("a 'clip'-3x.mp4"))]


def test_moments_change_by_key_and_by_button(page: webdriver.Chrome) -> None:
    first = pixels(page, "#before")
    page.find_element(By.TAG_NAME, "body").send_keys("n")
    until(lambda: pixels(page, "#before") != first)
    page.find_elements(By.CSS_SELECTOR, "#moments button")[0].click()
    until(lambda: pixels(page, "#before") == first)


def test_what_cannot_be_made_is_said(page: webdriver.Chrome, url: str) -> None:
    page.execute_script("chosen.size = '65536x65536'; shoot()")
    until(lambda: page.find_element(By.ID, "problem").text)
    assert page.find_element(By.ID, "state").text == "no picture"
    assert get(f"{url}api/shot?moment=9").status == 400
    assert "none of" in get(f"{url}api/shot?moment=0&deinterlace=maybe").text
    assert "0.1 to 16" in get(f"{url}api/shot?moment=0&size=99x").text
    assert "no model 'nothing'" in get(f"{url}api/shot?moment=0&model=nothing").text


def test_run_makes_what_the_command_line_says(page: webdriver.Chrome, clip: Path) -> None:
    command, output = page.find_element(By.ID, "command").text, clip.with_name("a 'clip'-2x.mp4")
    page.find_element(By.ID, "run").click()
    until(lambda: "account balanced" in page.find_element(By.ID, "words").text)
    assert len(times(output)) == 75
    assert not page.find_element(By.ID, "cancel").is_displayed()
    until(lambda: page.find_element(By.ID, "command").text == command.replace("-2x.mp4", "-2x-2.mp4"))  # a name that does not exist yet
    page.find_element(By.ID, "run").click()
    until(lambda: clip.with_name("a 'clip'-2x-2.mp4").exists())
    assert output.read_bytes() == clip.with_name("a 'clip'-2x-2.mp4").read_bytes()
    for made in clip.parent.glob("*-2x*.mp4"):
        made.unlink()


def test_a_run_shows_its_progress_and_is_cancelled(page: webdriver.Chrome, clip: Path, url: str) -> None:
    before = sorted(clip.parent.iterdir())
    Select(page.find_element(By.NAME, "size")).select_by_value("1440p")
    until(lambda: "--size 1440p" in page.find_element(By.ID, "command").text)
    page.find_element(By.ID, "run").click()
    until(lambda: "/75 frames" in page.find_element(By.ID, "words").text)
    assert 0 < float(page.find_element(By.ID, "bar").get_attribute("value") or 0) < 75
    assert post(f"{url}api/run", {"moment": 0, "chosen": {}}).status == 409
    page.refresh()  # the run goes on, and is found again
    until(lambda: page.find_element(By.ID, "cancel").is_displayed())
    page.find_element(By.ID, "cancel").click()
    until(lambda: "Cancelled" in page.find_element(By.ID, "words").text)
    assert sorted(clip.parent.iterdir()) == before


def test_only_the_page_itself_can_run(url: str, clip: Path) -> None:
    body = {"moment": 0, "chosen": {}}
    for path in ("api/run", "api/cancel"):
        assert post(f"{url}{path}", body, {"content-type": "text/plain"}).status == 400  # what a form of another site can send
        assert post(f"{url}{path}", body, {"Sec-Fetch-Site": "cross-site"}).status == 403
        assert post(f"{url}{path}", body, {"Host": "attacker.example"}).status == 403
    without_choice, of_no_moment = {"moment": 0}, [{"moment": number, "chosen": {}} for number in (2, -1, "x", None)]
    for wrong in (*of_no_moment, without_choice, {"moment": 0, "chosen": {"size": "99x"}}, [], 3):
        assert post(f"{url}api/run", wrong).status == 400, wrong
    assert list(clip.parent.iterdir()) == [clip]


def test_other_sites_and_names_are_refused(url: str) -> None:
    assert get(f"{url}api/trial", {"Sec-Fetch-Site": "cross-site"}).status == 403
    assert get(url, {"Host": "attacker.example"}).status == 403


def test_a_page_for_others_needs_a_token(clip: Path) -> None:
    outcome = streamsr("preview", clip, "--at", "0", "--listen", "0.0.0.0:0")
    assert outcome.code == 2
    assert "--token TOKEN" in outcome.err
    outcome = streamsr("preview", clip, "--at", "0", "--listen", "0.0.0.0:0", "--token", "short")
    assert (outcome.code, "8 or more" in outcome.err) == (2, True)
