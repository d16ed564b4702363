"""Metrics as Prometheus reads them, and health, over HTTP."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from live_show import Show
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse
from web import Answer, get, until

from streamsr.live.monitoring import Watch
from streamsr.live.prometheus import STANDSTILL_S, GpuCollector, check_health
from streamsr.live.telemetry import LATENCY_BUCKETS_S, StreamTelemetry

pytestmark = pytest.mark.network


def scrape(watch: Watch) -> dict[str, dict[tuple[str, ...], float]]:
    """Samples by name, then by label values in the order of their names."""
    answer = get(watch.urls["metrics"] + "metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in parse(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


def test_counts_are_those_of_the_telemetry(watch: Watch) -> None:
    telemetry = StreamTelemetry("cam")
    watch.add(telemetry)
    telemetry.frame_in(7)
    for latency_s in (0.004, 0.04, 0.07, 20.0):
        telemetry.frame_out(latency_s)
    telemetry.frame_held()
    telemetry.dropped("late", 2)
    telemetry.dropped("sink lost")
    telemetry.reconnected("source")
    telemetry.queue_depth(3)
    telemetry.engine_seconds(1.5)
    telemetry.model("lite")
    telemetry.state("source", "connected")
    found = scrape(watch)
    assert found["streamsr_frames_in_total"] == {("cam",): 7}
    assert found["streamsr_frames_out_total"] == {("cam",): 4}
    assert found["streamsr_frames_held_total"] == {("cam",): 1}
    assert found["streamsr_frames_dropped_total"] == {("late", "cam"): 2, ("sink lost", "cam"): 1}
    assert found["streamsr_reconnects_total"] == {("source", "cam"): 1, ("sink", "cam"): 0}
    assert found["streamsr_connected"] == {("source", "cam"): 1, ("sink", "cam"): 0}
    assert found["streamsr_queue_depth"] == {("cam",): 3}
    assert found["streamsr_engine_seconds_total"] == {("cam",): 1.5}
    assert found["streamsr_model_info"] == {("lite", "cam"): 1}
    assert found["streamsr_latency_seconds_count"] == {("cam",): 4}
    assert found["streamsr_latency_seconds_sum"] == {("cam",): pytest.approx(20.114)}
    buckets = {float(bound): value for (bound, _), value in found["streamsr_latency_seconds_bucket"].items()}
    assert list(buckets) == [*LATENCY_BUCKETS_S, math.inf]
    assert (buckets[0.005], buckets[0.04], buckets[0.06], buckets[0.08], buckets[10.0], buckets[math.inf]) == (1, 2, 2, 3, 3, 4)
    assert found["process_resident_memory_bytes"][()] > 1e7


def test_the_documentation_lists_every_metric(watch: Watch, show: Show) -> None:
    text = (Path(__file__).parents[2] / "docs/live.md").read_text()
    documented = set(re.findall(r"`(streamsr_[a-z_]+)`", text))
    show.telemetry.dropped("late")
    for score in (0.9, 0.7, 0.8):
        show.telemetry.scored(score)
    found = scrape(watch)
    assert [next(iter(found[f"streamsr_{name}"].values())) for name in ("scored_total", "score", "score_lowest")] == [3, 0.8, 0.7]
    served = {re.sub(r"_(bucket|count|sum)$", "", name) for name in scrape(watch) if name.startswith("streamsr_")}
    assert documented - served <= {"streamsr_gpu_memory_used_bytes"}
    assert served - documented <= {"streamsr_gpu_memory_total_bytes"}
    for bound_s in LATENCY_BUCKETS_S:
        shown = f"{bound_s * 1000:g}" if bound_s < 1 else f"{bound_s:g}"
        assert re.search(rf"bounds of the latency buckets[^|]*\b{shown}\b", text), bound_s


def test_openmetrics_when_asked_for(watch: Watch) -> None:
    watch.add(StreamTelemetry('a "quoted"\nname'))
    answer = get(watch.urls["metrics"] + "metrics", {"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in parse_open(answer.text)}
    assert families["streamsr_frames_in"].samples[0].labels == {"stream": 'a "quoted"\nname'}
    assert families["streamsr_latency_seconds"].type == "histogram"


def test_a_playing_stream_counts_on(watch: Watch, show: Show) -> None:
    first = scrape(watch)["streamsr_frames_out_total"]["front door",]
    until(lambda: scrape(watch)["streamsr_frames_out_total"]["front door",] > first)
    until(lambda: scrape(watch)["streamsr_fps_out"]["front door",] > 0)


def test_several_streams_share_a_server_and_one_may_leave(watch: Watch) -> None:
    first, second = StreamTelemetry("one"), StreamTelemetry("two")
    watch.add(first)
    watch.add(second)
    second.frame_in(5)
    assert scrape(watch)["streamsr_frames_in_total"] == {("one",): 0, ("two",): 5}
    watch.remove(first)
    assert scrape(watch)["streamsr_frames_in_total"] == {("two",): 5}


def test_gpu_memory_is_there_exactly_where_a_gpu_is(watch: Watch) -> None:
    import pynvml

    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        count = 0
    assert len(scrape(watch).get("streamsr_gpu_memory_used_bytes", {})) == count
    assert len(scrape(watch).get("streamsr_gpu_memory_total_bytes", {})) == count


def test_gpu_memory_as_the_driver_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the driver; the test above asks the real one where there is a GPU."""
    import pynvml

    memory = [SimpleNamespace(used=3 << 30, total=8 << 30), SimpleNamespace(used=1 << 30, total=16 << 30)]
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: len(memory))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: memory[index])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: handle)
    collector = GpuCollector()
    found = {family.name: {sample.labels["gpu"]: sample.value for sample in family.samples} for family in collector.collect()}
    assert found == {
        "streamsr_gpu_memory_used_bytes": {"0": 3 << 30, "1": 1 << 30},
        "streamsr_gpu_memory_total_bytes": {"0": 8 << 30, "1": 16 << 30},
    }

    def fall_off_the_bus() -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", fall_off_the_bus)
    assert list(collector.collect()) == []


def state(answer: Answer) -> tuple[int, Any]:
    return answer.status, json.loads(answer.body)


def test_ready_once_both_sides_are_connected(watch: Watch) -> None:
    url = watch.urls["metrics"] + "readyz"
    assert state(get(url)) == (503, {"ok": False, "streams": [{"stream": None, "ok": False, "why": ["no stream has begun"]}]})
    telemetry = StreamTelemetry("cam")
    watch.add(telemetry)
    status, said = state(get(url))
    assert (status, said["streams"][0]["why"]) == (503, ["source connecting for 0 s", "sink connecting for 0 s"])
    telemetry.state("source", "connected")
    telemetry.state("sink", "connected")
    assert state(get(url)) == (200, {"ok": True, "streams": [{"stream": "cam", "ok": True, "why": []}]})
    telemetry.state("source", "lost")
    assert state(get(url))[1]["streams"][0]["why"] == ["source lost for 0 s"]


def test_one_stream_that_is_not_ready_is_named_among_others(watch: Watch) -> None:
    for name in ("well", "ill"):
        telemetry = StreamTelemetry(name)
        watch.add(telemetry)
        for side in ("source", "sink"):
            telemetry.state(side, "connected" if name == "well" else "lost")  # type: ignore[arg-type]
    status, said = state(get(watch.urls["metrics"] + "readyz"))
    assert (status, [(row["stream"], row["ok"]) for row in said["streams"]]) == (503, [("well", True), ("ill", False)])


def test_healthy_while_the_loop_turns_whatever_the_sides_do(watch: Watch) -> None:
    now = [0.0]
    telemetry = StreamTelemetry("cam", clock=lambda: now[0])
    watch.add(telemetry)
    telemetry.state("source", "lost")
    url = watch.urls["metrics"] + "healthz"
    assert state(get(url)) == (200, {"ok": True, "streams": [{"stream": "cam", "ok": True, "why": []}]})
    now[0] = STANDSTILL_S + 12
    status, said = state(get(url))
    assert (status, said["streams"][0]["why"]) == (503, ["the loop has stood still for 42 s"])
    telemetry.turn()
    assert get(url).status == 200


def test_a_stream_that_has_ended_is_healthy() -> None:
    now = [0.0]
    telemetry = StreamTelemetry("cam", clock=lambda: now[0])
    telemetry.state("source", "ended")
    now[0] = 10 * STANDSTILL_S
    assert not check_health(telemetry.snapshot())["ok"]
    telemetry.state("sink", "ended")
    assert check_health(telemetry.snapshot())["ok"]
