"""The headline on a GPU: each model from 480p, 720p and 1080p, the network alone, with decoder, with encoder, and all of it.

    python benchmarks/fps_gpu.py [--budget 240] [--models lite] [--engine auto] [--output results/NAME.json] [--plot NAME.svg]

Also latency, memory, the time that the host takes a frame, the share of the GPU's matrix rate and memory bandwidth (both measured
in the same run), and the same network in plain torch, torch.compile and ONNX Runtime where they are installed. What does not fit
into the budget or is not installed is listed as not run. The file holds what is known after each part, so nothing is lost
where it is ended early. `benchmarks/fps.py` calls this where there is a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import fps_peers
import fps_report
import machine
import numpy as np

from streamsr.device.device import Device
from streamsr.device.device_selection import has_cupy
from streamsr.device.device_upscaler import DeviceUpscaler
from streamsr.device.inventory import inspect_gpus
from streamsr.device.upscaler_factory import open_upscaler
from streamsr.engines.gpus import list_gpus
from streamsr.errors import StreamsrError
from streamsr.frame import Frame
from streamsr.io.source import Source
from streamsr.jobs.job import run
from streamsr.models import ModelSpec, list_models
from streamsr.options import EncoderOptions, Hint, RunOptions, SinkOptions, SourceOptions, UpscaleOptions

SIZES = {"480p": (854, 480), "720p": (1280, 720), "1080p": (1920, 1080)}
NUM_FRAMES = 300  # of a measurement, at most
SECONDS = 1.5  # of a measurement, at most
NUM_DIFFERENT = 24  # pictures that are shown again and again
PART_S = 12.0  # that a part of a cell may take, with what it compiles


@dataclass
class Budget:
    """Seconds that the whole may take, and what did not fit."""

    seconds: float
    started: float = field(default_factory=time.perf_counter)
    not_run: list[str] = field(default_factory=list)

    @property
    def left(self) -> float:
        return self.seconds - (time.perf_counter() - self.started)

    def allows(self, what: str, needed: float) -> bool:
        """Whether there is time for it; else it is listed."""
        if self.left >= needed:
            return True
        self.not_run.append(f"{what}: no time left")
        return False

    def attempt(self, what: str, work: Callable[[], Any]) -> Any:
        """What `work` gives; None, and a line, where it fails for a reason of the machine's."""
        try:
            return work()
        except (StreamsrError, ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:
            self.not_run.append(f"{what}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            return None


class Waiting:
    """A Device that adds up how long the host waits for it: the rest of the time is the host's own work."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.waited_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def synchronise(self, event: Any) -> None:
        at = time.perf_counter()
        self._device.synchronise(event)
        self.waited_s += time.perf_counter() - at


def make_frames(width: int, height: int, num: int = NUM_DIFFERENT) -> list[av.VideoFrame]:
    """Pictures that differ from each other."""
    rng = np.random.default_rng(0)
    frames = []
    for number in range(num):
        video = av.VideoFrame(width, height, "yuv420p")
        video.pts, video.time_base = number, Fraction(1, 50)
        for plane in Frame(video).planes:
            rows, columns = plane.shape
            blocks = rng.integers(16, 236, (-(-rows // 8), -(-columns // 8)), np.uint8)
            plane[:] = blocks.repeat(8, 0).repeat(8, 1)[:rows, :columns]
        frames.append(video)
    return frames


def shown(frames: list[av.VideoFrame], seconds: float = SECONDS, most: int = NUM_FRAMES) -> Iterator[av.VideoFrame]:
    """The pictures in turn, with times that go on, for a while."""
    until = time.perf_counter() + seconds
    for number in range(most):
        if number > NUM_DIFFERENT and time.perf_counter() > until:
            return
        video = frames[number % len(frames)]
        video.pts = number
        yield video


def rate_of(results: Iterator[Any]) -> float:
    """Items a second, the first few left out: they compile and capture."""
    warm = 8
    for _, _ in zip(range(warm), results, strict=False):
        pass
    started, count = time.perf_counter(), 0
    for _ in results:
        count += 1
    return count / (time.perf_counter() - started) if count else 0.0


def measure_pipeline(upscaler: DeviceUpscaler, frames: list[av.VideoFrame]) -> dict[str, float]:
    """Without decoder and encoder: upload, network, chroma, download. Frames a second, and the host's own time a frame."""
    device = Waiting(upscaler.gpu)
    upscaler._gpu = device  # type: ignore[assignment]
    before = device.memory()[0]
    list(upscaler.stream(shown(frames, seconds=0.0, most=8)))
    device.waited_s, count, started = 0.0, 0, time.perf_counter()
    least = before
    for count, _ in enumerate(upscaler.stream(shown(frames)), 1):
        if count % 16 == 0:
            least = min(least, device.memory()[0])
    took = time.perf_counter() - started
    return {"fps": count / took, "host_ms": (took - device.waited_s) / count * 1000, "vram_bytes": float(max(0, before - least))}


def measure_latency(open_one: Callable[[], DeviceUpscaler], frames: list[av.VideoFrame], num: int = 120) -> dict[str, float]:
    """Milliseconds from a frame in host memory to its result there, one frame at a time."""
    with open_one() as upscaler:
        taken = []
        for video in shown(frames, seconds=SECONDS, most=num):
            at = time.perf_counter()
            upscaler(video)
            taken.append((time.perf_counter() - at) * 1000)
    taken = sorted(taken[8:])
    return {"p50_ms": statistics.median(taken), "p99_ms": taken[min(len(taken) - 1, round(0.99 * len(taken)))]}


def measure_files(model: str, scale: int, clip: Path, folder: Path, engine: str) -> dict[str, Any]:
    """With decoder, with encoder, and both, as `streamsr run` does it."""
    found: dict[str, Any] = {}
    options: dict[str, Any] = {"device": "cuda:0", "engine": engine}
    # nvdec, not auto: the CPU's decoder must not be taken for it
    decode = SourceOptions(gpu=0, decoder="nvdec")
    with open_upscaler(UpscaleOptions(model, scale, **options)) as upscaler, Source(clip, decode) as source:
        found["with_decoder_fps"] = rate_of(upscaler.stream(source.frames()))
        found["decoder"] = "NVDEC"
    for name, encode in (("auto", EncoderOptions()), ("x264 ultrafast", EncoderOptions(encoder="libx264", preset="ultrafast"))):
        wanted = RunOptions(UpscaleOptions(model, scale, **options), sink=SinkOptions(encode, overwrite=True))
        report = run(clip, folder / "out.mp4", options=wanted)
        assert report.account.ok
        found[f"end_to_end {name}"] = {"fps": report.fps, "encoder": report.encoder, "first_frame_s": report.first_frame_s,
                                       "stage_s": report.stage_s, "reason": report.reason, "account": report.account.line()}  # fmt: skip
    return found


def make_clip(folder: Path, name: str, size: tuple[int, int], num: int = 240) -> Path:
    """An H.264 file of this size, from the pictures above."""
    path = folder / f"{name}.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=50, options={"preset": "ultrafast", "crf": "23"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for video in shown(make_frames(*size, num=12), seconds=60.0, most=num):
            container.mux(stream.encode(video))
        container.mux(stream.encode(None))
    return path


def measure_encoder(size: tuple[int, int], scale: int) -> float:
    """x264 ultrafast alone at the size of the result: what the CPU allows at most."""
    frames = make_frames(size[0] * scale, size[1] * scale, num=6)
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
    context.time_base, context.options = Fraction(1, 50), {"preset": "ultrafast", "crf": "18"}
    return rate_of(len(context.encode(video)) for video in shown(frames, seconds=SECONDS, most=120))


def share(spec: ModelSpec, size: tuple[int, int], fps: float, peaks: dict[str, float]) -> dict[str, float]:
    """Of what this GPU reached on an easy case: of its multiply-adds, and of its memory if each layer is read and written once."""
    pixels = size[0] * size[1]
    flops = 2 * spec.macs_per_pixel * pixels * fps
    moved = 2 * 2 * spec.channels * max(spec.layers, 1) * pixels * fps  # half precision, in and out
    return {"matrix": flops / peaks["flops"], "memory": moved / peaks["bytes_per_s"]}


def title_of(spec: ModelSpec, name: str) -> str:
    return f"{spec.name} {name} x{spec.scale}"


def measure_cell(
    spec: ModelSpec, name: str, folder: Path, engine: str, budget: Budget, peaks: dict[str, float] | None
) -> dict[str, Any]:  # fmt: skip
    """One model at one scale from one size; None for each part that failed."""
    size, title = SIZES[name], title_of(spec, name)
    frames, clip = make_frames(*size), folder / f"{name}.mp4"
    if not clip.exists():
        make_clip(folder, name, size)

    def open_one(hint: Hint) -> DeviceUpscaler:
        upscaler = open_upscaler(UpscaleOptions(spec.name, spec.scale, device="cuda:0", engine=engine, hint=hint))
        assert isinstance(upscaler, DeviceUpscaler)
        return upscaler

    def pipeline() -> dict[str, float]:
        with open_one("throughput") as upscaler:
            assert isinstance(upscaler, DeviceUpscaler)
            return measure_pipeline(upscaler, frames)

    cell: dict[str, Any] = {"model": spec.name, "size": name, "scale": spec.scale}
    parts: dict[str, Callable[[], Any]] = {
        "network": lambda: fps_peers.measure_network(spec, size, engine),
        "pipeline": pipeline,
        "latency": lambda: measure_latency(lambda: open_one("latency"), frames),
        "files": lambda: measure_files(spec.name, spec.scale, clip, folder, engine),
        "x264_alone_fps": lambda: measure_encoder(size, spec.scale),
    }
    for part, work in parts.items():
        what = f"{title}, {part}"
        cell[part] = budget.attempt(what, work) if budget.allows(what, PART_S) else None
    if cell["network"] and peaks:
        cell["share"] = share(spec, size, cell["network"]["fps"], peaks)
    return cell


def measure(
    *, models: list[str] | None = None, engine: str = "auto", budget_s: float = 240.0, say: Callable[[str], None] = print,
    keep: Callable[[dict[str, Any]], None] = lambda results: None,
) -> dict[str, Any]:
    """Everything, in the order of its worth, as long as the budget lasts. keep: is given what is known, after each part."""
    budget = Budget(budget_s)
    specs = [spec for spec in list_models() if models is None or spec.name in models]
    peaks = budget.attempt("peaks of the GPU", fps_peers.measure_peaks)
    cells: list[dict[str, Any]] = []
    results: dict[str, Any] = {"gpus": [facts.words for facts in inspect_gpus()], "peaks": peaks, "cells": cells, "peers": [],
                               "not_run": budget.not_run}  # fmt: skip
    order = sorted(((spec, name) for spec in specs for name in SIZES), key=lambda cell: (cell[0].scale, -SIZES[cell[1]][1], cell[0].name))
    with tempfile.TemporaryDirectory() as text:
        for number, (spec, name) in enumerate(order):
            if budget.allows(title_of(spec, name), PART_S):
                cells.append(measure_cell(spec, name, Path(text), engine, budget, peaks))
                say(fps_report.describe(cells[-1]))
            if number == 0:  # the others beside the headline: all cells may take longer than there is
                results["peers"] += fps_peers.measure_peers([spec], SIZES, budget, clip=Path(text) / "1080p.mp4", say=say)
            keep(results | {"seconds": budget.seconds - budget.left})
        others = [spec for spec in specs if spec is not order[0][0]]
        results["peers"] += fps_peers.measure_peers(others, SIZES, budget, clip=Path(text) / "1080p.mp4", say=say)
    return results | {"seconds": budget.seconds - budget.left}


def is_here() -> bool:
    """Whether frames can be on a GPU of this machine."""
    return bool(list_gpus()) and has_cupy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=240.0, metavar="S", help="seconds that it may take (default: 240)")
    parser.add_argument("--models", nargs="*", metavar="M", help="default: all that are shipped")
    parser.add_argument("--engine", default="auto", metavar="E")
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    parser.add_argument("--plot", type=Path, help="write them as a picture")
    options = parser.parse_args()
    if not is_here():
        raise SystemExit("There is no GPU that frames can be on here: see `streamsr doctor`.")
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv]
    results = {"command": " ".join(words), "machine": machine.describe()}

    def keep(found: dict[str, Any]) -> None:
        if options.output:
            partial = options.output.with_name(f"{options.output.name}.partial")
            partial.write_text(json.dumps(results | found, indent=2) + "\n")
            partial.replace(options.output)

    results |= measure(models=options.models, engine=options.engine, budget_s=options.budget, keep=keep)
    keep({})
    for line in results["not_run"]:  # type: ignore[attr-defined]
        print(f"not run: {line}")
    if options.plot:
        fps_report.draw(results, options.plot)


if __name__ == "__main__":
    main()
