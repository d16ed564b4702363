"""Live streams are dealt to the GPUs of a machine, and stay there while others come and go."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from streamsr.device import device_selection
from streamsr.engines.gpus import Gpu
from streamsr.errors import EngineError
from streamsr.live import fleet
from streamsr.live.fleet import Fleet
from streamsr.live.stream_config import StreamConfig
from streamsr.options import LiveOptions, RunOptions, UpscaleOptions

GPUS = [Gpu(number, "NVIDIA", "8.9", 1 << 34) for number in range(2)]


def config(name: str, device: str = "cuda:all") -> StreamConfig:
    upscale = UpscaleOptions(engine="torch", device=device)
    return StreamConfig(name, f"rtsp://host/{name}", f"{name}.mkv", RunOptions(upscale), LiveOptions())


class Watch:
    def add(self, telemetry: Any) -> None: ...
    def remove(self, telemetry: Any) -> None: ...


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Name and device of each stream that ran; each runs until it is stopped."""
    found: dict[str, str] = {}
    monkeypatch.setattr(device_selection, "list_gpus", lambda: tuple(GPUS))

    def run(self: StreamConfig, *, stop: threading.Event, **_: object) -> Any:
        found[self.name] = self.device
        stop.wait(30)
        return SimpleNamespace(ended_by="stop", line=lambda: "", notes=[], as_dict=dict)

    monkeypatch.setattr(StreamConfig, "run", run)
    return found


def apply(streams: Fleet, configs: list[StreamConfig]) -> dict[str, str]:
    streams.apply(configs)
    return {member.config.name: member.device for member in streams.members}


def test_streams_are_spread_and_stay_where_they_are(ran: dict[str, str]) -> None:
    streams = Fleet(Watch())  # type: ignore[arg-type]
    first = apply(streams, [config("a"), config("b"), config("c"), config("fixed", "cuda:1")])
    assert first == {"a": "cuda:0", "b": "cuda:1", "c": "cuda:0", "fixed": "cuda:1"}
    after = apply(streams, [config("b"), config("c"), config("new"), config("fixed", "cuda:1")])
    assert after == {"b": "cuda:1", "c": "cuda:0", "new": "cuda:0", "fixed": "cuda:1"}
    streams.drain()
    assert ran == first | after


def test_a_stream_on_the_cpu_counts_for_no_gpu(ran: dict[str, str]) -> None:
    assert fleet.deal_stream(config("x"), ["cpu", "cpu", "cuda:0"]) == "cuda:1"
    assert fleet.deal_stream(config("x", "cpu"), []) == "cpu"
    assert fleet.deal_stream(config("x", "auto"), []) == "auto"


def test_all_gpus_where_there_is_none_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_selection, "list_gpus", tuple)
    with pytest.raises(EngineError, match="no NVIDIA GPU"):
        config("x").check()
