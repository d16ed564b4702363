"""/metrics for Prometheus, /healthz and /readyz: from the streams' snapshots, without a second set of counters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .._version import __version__
from .endpoint import Endpoint
from .http_server import Server
from .telemetry import LATENCY_BUCKETS_S, StreamTelemetry

# A loop that has not gone round for so long stands still: three times the default --timeout, which one write may take.
STANDSTILL_S = 30.0

Streams = Callable[[], Iterable[StreamTelemetry]]


def serve_metrics(endpoint: Endpoint, streams: Streams) -> Server:
    """The server of all streams of the process, not yet started. Raises UsageError when the port cannot be bound."""
    registry = CollectorRegistry()
    registry.register(StreamCollector(streams))
    registry.register(GpuCollector())
    ProcessCollector(registry=registry)

    def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    def healthz(_: Request) -> Response:
        return _answer(check_health(snapshot) for snapshot in _snapshots(streams))

    def readyz(_: Request) -> Response:
        checks = [check_ready(snapshot) for snapshot in _snapshots(streams)]
        return _answer(checks or [{"stream": None, "ok": False, "why": ["no stream has begun"]}])

    return Server([Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)], endpoint, option="--metrics")


def check_health(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Whether the stream's loop turns: {stream, ok, why}. A stream that has ended is as it should be."""
    ended = set(snapshot["state"].values()) == {"ended"}
    ok = ended or snapshot["turned_s"] < STANDSTILL_S
    return {"stream": snapshot["stream"], "ok": ok, "why": [] if ok else [f"the loop has stood still for {snapshot['turned_s']:.0f} s"]}


def check_ready(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Whether source and sink of the stream are connected: {stream, ok, why}."""
    why = [f"{side} {state} for {snapshot['state_s'][side]:.0f} s" for side, state in snapshot["state"].items() if state != "connected"]
    return {"stream": snapshot["stream"], "ok": not why, "why": why}


class StreamCollector(Collector):
    """Turns the streams' snapshots into metrics when somebody asks."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def describe(self) -> Iterable[Metric]:
        return []  # names are known without a first scrape

    def collect(self) -> Iterator[Metric]:
        snapshots = _snapshots(self._streams)
        build = InfoMetricFamily("streamsr_build", "Version of streamsr.")
        build.add_metric([], {"version": __version__})
        yield build
        models = InfoMetricFamily("streamsr_model", "Model that runs now.", labels=["stream"])
        for snapshot in snapshots:
            models.add_metric([snapshot["stream"]], {"model": snapshot["model"]})
        yield models
        for key, words in (
            ("frames_in", "Frames decoded from the source."),
            ("frames_out", "Frames handed to the sink."),
            ("frames_held", "Frames shown again while nothing came from the source."),
        ):
            yield _family(CounterMetricFamily(f"streamsr_{key}", words, labels=["stream"]), snapshots, key)
        for key, name, words in (
            ("fps_in", "fps_in", "Frames a second from the source, mean of the last five."),
            ("fps_out", "fps_out", "Frames a second to the sink, mean of the last five."),
            ("queue_depth", "queue_depth", "Frames that wait before the network."),
            ("uptime_s", "uptime_seconds", "Time since the stream began."),
        ):
            yield _family(GaugeMetricFamily(f"streamsr_{name}", words, labels=["stream"]), snapshots, key)
        yield _family(CounterMetricFamily("streamsr_engine_seconds", "Time spent in the engine.", labels=["stream"]), snapshots, "engine_s")
        yield from _by_label(snapshots)
        yield from _scores(snapshots)
        latency = HistogramMetricFamily("streamsr_latency_seconds", "From packet read to frame handed to the sink.", labels=["stream"])
        for snapshot in snapshots:
            latency.add_metric([snapshot["stream"]], _buckets(snapshot["latency"]["counts"]), snapshot["latency"]["sum_s"])
        yield latency


def _family(family: Any, snapshots: list[dict[str, Any]], key: str) -> Metric:
    for snapshot in snapshots:
        family.add_metric([snapshot["stream"]], snapshot[key])
    assert isinstance(family, Metric)
    return family


def _scores(snapshots: list[dict[str, Any]]) -> Iterator[Metric]:
    """Of results against their sources (--judge)."""
    scored = CounterMetricFamily("streamsr_scored", "Results that were scored against their source.", labels=["stream"])
    last = GaugeMetricFamily("streamsr_score", "Efficient-PBAN of the last of them, 0 to 1.", labels=["stream"])
    lowest = GaugeMetricFamily("streamsr_score_lowest", "The lowest since the stream began.", labels=["stream"])
    for snapshot in snapshots:
        scored.add_metric([snapshot["stream"]], snapshot["scores"]["count"])
        for family, key in ((last, "last"), (lowest, "lowest")):
            if snapshot["scores"][key] is not None:
                family.add_metric([snapshot["stream"]], snapshot["scores"][key])
    yield from (scored, last, lowest)


def _by_label(snapshots: list[dict[str, Any]]) -> Iterator[Metric]:
    """Metrics that have a label besides the stream."""
    dropped = CounterMetricFamily("streamsr_frames_dropped", "Frames that did not go out.", labels=["stream", "reason"])
    reconnects = CounterMetricFamily("streamsr_reconnects", "Times a lost side was connected again.", labels=["stream", "side"])
    connected = GaugeMetricFamily("streamsr_connected", "1 while the side is connected.", labels=["stream", "side"])
    for snapshot in snapshots:
        for reason, count in snapshot["dropped"].items():
            dropped.add_metric([snapshot["stream"], reason], count)
        for side, count in snapshot["reconnects"].items():
            reconnects.add_metric([snapshot["stream"], side], count)
        for side, state in snapshot["state"].items():
            connected.add_metric([snapshot["stream"], side], float(state == "connected"))
    yield from (dropped, reconnects, connected)


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    """Prometheus counts each duration in every bucket that it fits into."""
    total, buckets = 0, []
    for bound_s, count in zip((*LATENCY_BUCKETS_S, math.inf), counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound_s == math.inf else repr(bound_s), float(total)))
    return buckets


class GpuCollector(Collector):
    """Memory of each NVIDIA GPU, as its driver tells; nothing where there is no GPU, no driver or no nvidia-ml-py."""

    def __init__(self) -> None:
        self._nvml: Any = None
        try:
            import pynvml
        except ModuleNotFoundError:
            return
        try:
            pynvml.nvmlInit()
            self._nvml = pynvml
        except pynvml.NVMLError:
            return

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        if self._nvml is None:
            return
        used = GaugeMetricFamily("streamsr_gpu_memory_used_bytes", "GPU memory in use, by all programs.", labels=["gpu"])
        total = GaugeMetricFamily("streamsr_gpu_memory_total_bytes", "GPU memory there is.", labels=["gpu"])
        try:
            for index in range(self._nvml.nvmlDeviceGetCount()):
                memory = self._nvml.nvmlDeviceGetMemoryInfo(self._nvml.nvmlDeviceGetHandleByIndex(index))
                used.add_metric([str(index)], memory.used)
                total.add_metric([str(index)], memory.total)
        except self._nvml.NVMLError:  # the GPU has gone: the other metrics matter more than ever
            return
        yield from (used, total)


def _snapshots(streams: Streams) -> list[dict[str, Any]]:
    return [stream.snapshot() for stream in streams()]


def _answer(checks: Iterable[dict[str, Any]]) -> Response:
    """200 when every check is well, else 503; the body says what is not."""
    listed = list(checks)
    ok = all(check["ok"] for check in listed)
    return JSONResponse({"ok": ok, "streams": listed}, 200 if ok else 503)
