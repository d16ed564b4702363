"""Video devices: what FFmpeg is told, and what is said of one that is not there. No picture is taken: machines for tests have no camera."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import pytest
from media import streamsr

from streamsr.errors import SourceError
from streamsr.io.input_container import open_input
from streamsr.live.address import input_options, is_live, is_paced
from streamsr.options import LiveOptions, SourceOptions


def test_a_device_that_is_not_there_ends_the_run(tmp_path: object) -> None:
    outcome = streamsr("run", "/dev/video99", f"{tmp_path}/out.mkv")
    assert outcome.code == 3
    assert "/dev/video99: there is no such device" in outcome.err
    assert "v4l2-ctl --list-devices" in outcome.err


def test_options_reach_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def open_device(url: str, mode: str, **options: Any) -> None:
        asked.update(options, url=url)
        raise ValueError("no device")

    monkeypatch.setattr(av, "open", open_device)
    monkeypatch.setattr("pathlib.Path.exists", lambda _: True)
    wanted = SourceOptions(input_size=(640, 360), input_rate=Fraction(25), input_pix_fmt="yuyv422", input_format="v4l2", timeout_s=5)
    with pytest.raises(SourceError):
        open_input("/dev/video0", wanted, protocol=input_options("/dev/video0", LiveOptions()))
    assert asked["url"] == "/dev/video0"
    assert asked["format"] == "v4l2"
    assert asked["timeout"] == 5
    options = asked["options"]
    assert (options["video_size"], options["framerate"], options["pixel_format"]) == ("640x360", "25", "yuyv422")


def test_a_device_is_live_and_has_its_own_clock() -> None:
    assert is_live("/dev/video0")
    assert not is_live("/dev/video")
    assert not is_paced("/dev/video0")
