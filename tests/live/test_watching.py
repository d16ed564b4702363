"""The options that watch live streams, as a command reads them."""

from __future__ import annotations

import argparse

import pytest

from streamsr.commands import watching
from streamsr.errors import UsageError
from streamsr.live.endpoint import Endpoint
from streamsr.live.watch import WatchOptions


def read(*arguments: str) -> WatchOptions:
    parser = argparse.ArgumentParser(exit_on_error=False)
    watching.add_arguments(parser)
    return watching.watch_options(parser.parse_args(arguments))


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
    with pytest.raises(UsageError, match="no environment variable 'NOT_THERE'"):
        read("--preview", "8080", "--preview-token", "env:NOT_THERE")
