"""Addresses: what is live, where it can go, and what is refused before anything connects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from media import streamsr

from streamsr.errors import UsageError
from streamsr.live.address import check_input, is_live, resolve
from streamsr.live.output_target import find_target
from streamsr.options import LiveOptions


@pytest.mark.parametrize(("url", "live"), [
    ("rtsp://cam/1", True), ("RTSP://cam/1", True), ("/dev/video0", True), ("udp://:5000", True), ("https://host/live.m3u8", True),
    ("film.mp4", False), ("-", False), ("a/b.mkv", False), ("C:/film.mp4", False), ("/dev/shm/film.mp4", False),
])  # fmt: skip
def test_what_is_live(url: str, live: bool) -> None:
    assert is_live(url) == live


@pytest.mark.parametrize(("url", "muxer", "network"), [
    ("rtsp://host/up", "rtsp", True), ("rtmp://host/app/key", "flv", True), ("srt://host:9000", "mpegts", True),
    ("udp://host:1234", "mpegts", True), ("rtp://host:1234", "rtp_mpegts", True), ("out.mkv", "matroska", False),
    ("out.ts", "mpegts", False),
])  # fmt: skip
def test_the_scheme_says_the_muxer(url: str, muxer: str, network: bool) -> None:
    target = find_target(url, None, LiveOptions())
    assert (target.format.muxer, target.is_network) == (muxer, network)


@pytest.mark.parametrize("url", ["foo://host/x", "rtsp://", "rtsp:///path", "gopher://host"])
def test_an_input_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        check_input(url)


@pytest.mark.parametrize(("url", "name"), [("http://host/up", None), ("foo://host", None), ("rtsp://host/up", "mpegts"), ("-", None)])
def test_an_output_that_cannot_be_is_refused(url: str, name: str | None) -> None:
    with pytest.raises(UsageError):
        find_target(url, name, LiveOptions())


def test_a_url_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAM", "rtsp://user:secret@cam/1")
    assert resolve("env:CAM") == "rtsp://user:secret@cam/1"
    assert resolve("film.mp4") == "film.mp4"
    with pytest.raises(UsageError, match="NOT_THERE is not set"):
        resolve("env:NOT_THERE")


@pytest.mark.parametrize(("arguments", "words"), [
    (["foo://user:hunter2@host/x", "out.mp4"], "unknown scheme 'foo'"),
    (["rtsp://host/x", "foo://user:hunter2@host"], "cannot send to scheme 'foo'"),
    (["rtsp://host/x", "out.mkv", "--max-latency", "5"], "--max-latency is 5 ms"),
    (["rtsp://host/x", "out.mkv", "--max-latency", "soon"], "'soon' is not a time"),
    (["rtsp://host/x", "out.mkv", "--reconnect", "often"], "'often' is not forever"),
    (["rtsp://host/x", "out.mkv", "--timeout", "0.1"], "--timeout is 0.1 s"),
    (["rtsp://host/x", "out.mkv", "--slate", "a.png"], "--slate needs --on-loss slate"),
    (["rtsp://host/x", "out.mkv", "--start", "5"], "no --start"),
    (["rtsp://host/x", "out.mkv", "--realtime"], "--realtime is for files"),
    (["rtsp://host/x", "out.mkv", "--model", "nothing"], "no model 'nothing'"),
    (["in.mp4", "rtsp://host/x", "--no-live"], "A network output is live"),
    (["env:NOT_THERE", "out.mkv"], "NOT_THERE is not set"),
    (["rtsp://host/x", "-"], "needs --format"),
])  # fmt: skip
def test_mistakes_are_told_before_anything_connects(arguments: list[str], words: str) -> None:
    outcome = streamsr("run", *arguments)
    assert outcome.code == 2, outcome.err
    assert words in outcome.err
    assert "hunter2" not in outcome.err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux shows and hides command lines so")
def test_passwords_leave_the_command_line() -> None:
    url = "rtsp://admin:hunter2@cam/stream"
    code = (
        "import sys, pathlib; from streamsr.live.command_line import hide_arguments\n"
        "hide_arguments(*sys.argv[1:]); print(pathlib.Path('/proc/self/cmdline').read_bytes()); print(sys.argv[1])"
    )
    shown = subprocess.run([sys.executable, "-c", code, url, str(Path("out.mkv"))], capture_output=True, check=True, text=True).stdout
    line, argument = shown.splitlines()
    assert "hunter2" not in line
    assert "rtsp://***@cam/stream" in line
    assert "out.mkv" in line
    assert argument == url  # the program itself still knows
