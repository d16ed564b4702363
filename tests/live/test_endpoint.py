"""Where servers listen: how it is written, who reaches it, and what is said when it cannot be."""

from __future__ import annotations

import socket

import pytest

from streamsr.errors import UsageError
from streamsr.live.endpoint import Endpoint, bound, is_loopback, listen, parse_endpoint


@pytest.mark.parametrize(
    ("text", "endpoint", "shown"),
    [
        ("127.0.0.1:9464", Endpoint("127.0.0.1", 9464), "127.0.0.1:9464"),
        ("localhost:8080", Endpoint("localhost", 8080), "localhost:8080"),
        ("[::1]:8080", Endpoint("::1", 8080), "[::1]:8080"),
        ("9464", Endpoint("127.0.0.1", 9464), "127.0.0.1:9464"),
        ("0.0.0.0:0", Endpoint("0.0.0.0", 0), "0.0.0.0:0"),
    ],
)
def test_written_forms(text: str, endpoint: Endpoint, shown: str) -> None:
    assert parse_endpoint(text) == endpoint
    assert str(endpoint) == shown
    assert endpoint.url == f"http://{shown}/"


@pytest.mark.parametrize(
    ("text", "way_out"),
    [
        ("localhost", "such as 127.0.0.1:8080"), ("", "such as"), ("host:port", "such as"), ("http://localhost:80/", "such as"),
        ("::1:8080", r"\[::1\]:8080"), (":8080", "127.0.0.1:8080 is this machine only"), ("host:70000", "65535"),
        ("[nonsense]:80", "not an IPv6 address"), ("host:８０", "such as"), ("a b:80", "such as"),
    ],
)  # fmt: skip
def test_what_is_no_endpoint_names_a_way_out(text: str, way_out: str) -> None:
    with pytest.raises(ValueError, match=way_out):
        parse_endpoint(text)


@pytest.mark.parametrize(("host", "alone"), [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("::", False)])
def test_who_reaches_it(host: str, alone: bool) -> None:
    assert is_loopback(Endpoint(host, 80), option="--preview") is alone


@pytest.mark.network
def test_a_taken_port_names_the_way_out() -> None:
    with listen(Endpoint("127.0.0.1", 0), option="--metrics") as first:
        taken = bound(first, Endpoint("127.0.0.1", 0))
        with pytest.raises(UsageError, match=f"--metrics 127.0.0.1:{taken.port}: the port is taken") as caught:
            listen(taken, option="--metrics")
        assert f"such as --metrics 127.0.0.1:{taken.port + 1}" in (caught.value.hint or "")
    listen(taken, option="--metrics").close()  # free again at once


@pytest.mark.network
@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".invalid"])
def test_an_unknown_host_is_a_usage_error(host: str) -> None:
    with pytest.raises(UsageError, match="is unknown"):
        listen(Endpoint(host, 8080), option="--preview")


@pytest.mark.network
def test_an_address_of_another_machine_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="cannot listen there"):
        listen(Endpoint("192.0.2.1", 8080), option="--preview")  # RFC 5737: nobody's


@pytest.mark.network
def test_it_listens_where_it_says() -> None:
    with listen(Endpoint("127.0.0.1", 0), option="--metrics") as listener:
        with socket.create_connection(("127.0.0.1", bound(listener, Endpoint("127.0.0.1", 0)).port), timeout=10):
            pass
        assert listener.getsockname()[0] == "127.0.0.1"
