"""Watch: what is refused before a port is bound, and that nothing stays behind."""

from __future__ import annotations

import socket
import sys
import threading

import pytest
from web import get

from streamsr.errors import UsageError
from streamsr.live.endpoint import Endpoint, listen
from streamsr.live.monitoring import Watch, WatchOptions
from streamsr.live.telemetry import StreamTelemetry

HERE = Endpoint("127.0.0.1", 0)


def test_without_options_it_serves_nothing() -> None:
    with Watch(WatchOptions()) as watch:
        assert watch.add(StreamTelemetry("cam")) is None
        assert watch.urls == {}


@pytest.mark.network
def test_a_preview_that_others_reach_needs_a_token() -> None:
    with pytest.raises(UsageError, match="shows the pictures to everybody") as caught:
        Watch(WatchOptions(preview=Endpoint("0.0.0.0", 0)))
    assert "--preview-token" in (caught.value.hint or "")
    with Watch(WatchOptions(preview=Endpoint("0.0.0.0", 0), preview_token="long enough")) as watch:
        port = watch.urls["preview"].rpartition(":")[2]
        assert get(f"http://127.0.0.1:{port}", {"Host": "anything.example"}).status == 401


def test_a_short_token_is_refused() -> None:
    with pytest.raises(UsageError, match="has 7 characters; it needs 8 or more"):
        Watch(WatchOptions(preview=HERE, preview_token="1234567"))


@pytest.mark.network
def test_metrics_are_for_others_without_a_token() -> None:
    with Watch(WatchOptions(metrics=Endpoint("0.0.0.0", 0))) as watch:
        port = watch.urls["metrics"].rpartition(":")[2].strip("/")
        assert get(f"http://127.0.0.1:{port}/metrics", {"Host": "prometheus.example"}).status == 200


def test_both_on_one_port_is_refused() -> None:
    with pytest.raises(UsageError, match=r"both on 127\.0\.0\.1:8080"):
        Watch(WatchOptions(metrics=Endpoint("127.0.0.1", 8080), preview=Endpoint("127.0.0.1", 8080)))


@pytest.mark.network
def test_a_taken_preview_port_gives_the_metrics_port_back() -> None:
    with listen(HERE, option="--metrics") as probe:
        free = probe.getsockname()[1]
    with listen(HERE, option="--preview") as other:
        taken = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"--preview 127.0.0.1:{taken}: the port is taken"):
            Watch(WatchOptions(metrics=Endpoint("127.0.0.1", free), preview=Endpoint("127.0.0.1", taken)))
    listen(Endpoint("127.0.0.1", free), option="--metrics").close()


@pytest.mark.network
def test_nothing_stays_behind() -> None:
    before = {thread.ident for thread in threading.enumerate()}
    with Watch(WatchOptions(metrics=HERE, preview=HERE)) as watch:
        watch.add(StreamTelemetry("cam"))
        port = int(watch.urls["metrics"].rpartition(":")[2].strip("/"))
        get(watch.urls["preview"])
    assert {thread.ident for thread in threading.enumerate()} <= before
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_two_streams_of_one_name_are_refused() -> None:
    with Watch(WatchOptions()) as watch:
        watch.add(StreamTelemetry("cam"))
        with pytest.raises(UsageError, match="Two streams are called 'cam'"):
            watch.add(StreamTelemetry("cam"))


@pytest.mark.parametrize(("option", "module"), [("metrics", "prometheus_client"), ("preview", "uvicorn")])
def test_a_missing_package_names_the_pip_command(monkeypatch: pytest.MonkeyPatch, option: str, module: str) -> None:
    for name in [name for name in sys.modules if name.startswith((f"{module}.", "streamsr.live."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    from streamsr.live.monitoring import Watch as FreshWatch

    with pytest.raises(UsageError, match=f"need {module}") as caught:
        FreshWatch(WatchOptions(metrics=HERE) if option == "metrics" else WatchOptions(preview=HERE))
    assert caught.value.hint == "pip install 'streamsr[live]'"
