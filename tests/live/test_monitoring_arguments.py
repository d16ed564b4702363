"""The options that watch live streams, as a command reads them."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
from media import make_clip, streamsr

from streamsr.commands import monitoring_arguments
from streamsr.errors import UsageError
from streamsr.live.endpoint import Endpoint
from streamsr.live.monitoring import WatchOptions


def read(*arguments: str) -> WatchOptions:
    parser = argparse.ArgumentParser(exit_on_error=False)
    monitoring_arguments.add_arguments(parser)
    return monitoring_arguments.watch_options(parser.parse_args(arguments))


def test_without_options_nothing_is_served() -> None:
    assert read() == WatchOptions()


def test_all_of_them() -> None:
    wanted = WatchOptions(metrics=Endpoint("127.0.0.1", 9464), preview=Endpoint("::1", 8080), preview_token="12345678")
    assert read("--metrics", "127.0.0.1:9464", "--preview", "[::1]:8080", "--preview-token", "12345678") == wanted


@pytest.mark.parametrize("option", ["--metrics", "--preview"])
def test_what_is_no_endpoint_is_named(option: str) -> None:
    with pytest.raises(argparse.ArgumentError, match="'localhost' is not HOST:PORT, such as"):
        read(option, "localhost")


def test_a_token_without_a_preview_is_refused() -> None:
    with pytest.raises(UsageError, match="--preview-token needs --preview"):
        read("--preview-token", "12345678")


def test_the_token_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREVIEW_TOKEN", "12345678")
    assert read("--preview", "8080", "--preview-token", "env:PREVIEW_TOKEN").preview_token == "12345678"
    with pytest.raises(UsageError, match="NOT_THERE is not set"):
        read("--preview", "8080", "--preview-token", "env:NOT_THERE")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lets a process change its command line")
def test_ps_does_not_show_the_token() -> None:
    code = (
        "import argparse, pathlib; from streamsr.commands import monitoring_arguments\n"
        "parser = argparse.ArgumentParser(); monitoring_arguments.add_arguments(parser)\n"
        "monitoring_arguments.watch_options(parser.parse_args())\n"
        "print(pathlib.Path('/proc/self/cmdline').read_text().split(chr(0))[3:7])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--preview", "8080", "--preview-token", "open sesame"], capture_output=True, text=True, check=True
    )  # fmt: skip
    assert done.stdout.strip() == "['--preview', '8080', '--preview-token', '***********']"


@pytest.mark.parametrize("arguments", [["--metrics", "9464"], ["--preview", "8080"], ["--preview-token", "12345678"]])
def test_a_file_job_has_nothing_to_watch(tmp_path: Path, arguments: list[str]) -> None:
    outcome = streamsr("run", make_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4", *arguments)
    assert outcome.code == 2
    assert f"{arguments[0]} is only for live streams" in outcome.err
    assert not (tmp_path / "out.mp4").exists()
