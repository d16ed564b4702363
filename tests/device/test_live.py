"""Live streams on a simulated GPU: the pictures of the CPU, several on their way at once, and none lost whatever happens there."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from both import assert_same, make_frames, on_cpu, stills
from machine import CPU, GPU, Machine
from media import make_clip, rows, streamsr, times
from networks import count_words
from simulation import SimDevice

from streamsr.errors import EngineError, StreamsrError
from streamsr.frame import Frame
from streamsr.live.api import run_live
from streamsr.live.event_log import EventLog
from streamsr.live.fallback_models import LiveModels
from streamsr.live.fleet import Fleet
from streamsr.live.frame_buffer import FrameBuffer
from streamsr.live.live_encoder import LiveEncoder
from streamsr.live.live_report import LiveReport
from streamsr.live.monitoring import Watch, WatchOptions
from streamsr.live.observers import Observers
from streamsr.live.stream_loop import LiveRun
from streamsr.live.telemetry import StreamTelemetry
from streamsr.options import LiveOptions, UpscaleOptions

PATIENT = ("--live", "--max-latency", "60000", "--encoder", "ffv1")  # nothing is late, however busy the machine is


def open_models(
    model: Path, *, fixed: bool = True, device: str = "cuda:0", frames_in_flight: int | None = None, **options: Any
) -> LiveModels:
    engine = "torch" if device == "cuda:0" else "openvino"
    upscale = UpscaleOptions(str(model), engine=engine, device=device, precision="f32", threads=1, frames_in_flight=frames_in_flight)
    return LiveModels(upscale, fixed=fixed, **options)


def pass_through(models: LiveModels, frames: list[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """As many on their way as there is room for."""
    for frame in frames:
        if len(models) and not models.has_room:
            yield models.take()
        models.put(frame)
    while len(models):
        yield models.take()


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "uyvy422"])
@pytest.mark.parametrize("recurrence", [False, True])
def test_pictures_are_those_of_the_cpu(machine: Machine, model: Path, recurrent: Path, pix_fmt: str, recurrence: bool) -> None:
    path = recurrent if recurrence else model
    frames = stills(9) if pix_fmt == "yuv420p" else [frame.reformat(format=pix_fmt) for frame in make_frames(9)]
    with open_models(path) as models:
        models.open(frames[0])
        models.restart()
        assert_same(list(pass_through(models, frames)), on_cpu(path, 2, frames))
    assert machine.sim.used == 0
    assert machine.sim.is_closed


def test_several_pictures_are_on_their_way_and_come_out_in_order(machine: Machine, model: Path) -> None:
    frames = make_frames(7)
    with open_models(model, frames_in_flight=2) as models:
        models.open(frames[0])
        for frame in frames[:2]:
            assert models.has_room
            models.put(frame)
        assert not models.has_room
        assert len(models) == 2
        assert models.take().pts == frames[0].pts
        assert models.has_room
        assert models.take().pts == frames[1].pts
        assert len(models) == 0
        assert 0 < models.take_engine_s() < 600


def test_a_source_that_comes_back_begins_anew_and_loses_nothing(machine: Machine, recurrent: Path) -> None:
    frames = make_frames(8)
    with open_models(recurrent) as models:
        models.open(frames[0])
        models.restart()
        models.put(frames[0])
        models.put(frames[1])
        models.restart()  # while two are on their way
        results = [models.take(), models.take(), *pass_through(models, frames[2:])]
    assert_same(results, [*on_cpu(recurrent, 2, frames[:2]), *on_cpu(recurrent, 2, frames[2:])])


def test_another_size_in_the_middle_becomes_what_it_becomes_on_the_cpu(machine: Machine, model: Path) -> None:
    frames = [*make_frames(4), *make_frames(3, size=(80, 60)), *make_frames(3, size=(48, 48)), *make_frames(2)]
    results = {}
    for device in ("cuda:0", "cpu"):
        with open_models(model, device=device) as models:
            models.open(frames[0])
            results[device] = list(pass_through(models, frames))
    assert_same(results["cuda:0"], results["cpu"])
    assert {(frame.width, frame.height) for frame in results["cpu"]} == {(128, 96)}


@pytest.mark.parametrize("recurrence", [False, True])
def test_another_engine_takes_over_between_two_pictures(machine: Machine, model: Path, recurrent: Path, recurrence: bool) -> None:
    path, frames = (recurrent if recurrence else model), make_frames(12)
    machine.successor = (5, "float32")
    with open_models(path) as models:
        models.open(frames[0])
        models.restart()
        results = list(pass_through(models, frames))
    assert_same(results, on_cpu(path, 2, frames))
    assert len(machine.networks) == 2
    assert machine.networks[1].seen


def test_memory_that_runs_out_takes_pictures_on_their_way_first(machine: Machine, recurrent: Path) -> None:
    frames = make_frames(12)
    with open_models(recurrent, fixed=False) as models:
        models.open(frames[0])
        models.restart()
        machine.sim.failures = {"launch": {machine.sim.calls["launch"] + 3}}
        assert_same(list(pass_through(models, frames)), on_cpu(recurrent, 2, frames))
        assert models.step == 0
        assert any("too little memory for 3 frames in flight; it goes on with 2" in words for words in models.notes)


def test_where_no_part_of_a_picture_fits_a_lighter_model_takes_over(machine: Machine, model: Path) -> None:
    frames = make_frames(6)
    with open_models(model, fixed=False) as models:
        models.open(frames[0])
        results = [*pass_through(models, frames[:3])]
        models.restart()
        machine.sim.trim()
        machine.sim.budget = machine.sim.used  # another program takes the rest
        results += pass_through(models, frames[3:])
        assert (models.name, models.step, models.num_changes) == ("resize", 1, 1)
        assert any("too little memory for one frame of 64x48" in words and "resize takes over" in words for words in models.notes)
        machine.sim.budget = 1 << 40
        models.use(0)
        (again,) = pass_through(models, frames[:1])
    assert [frame.pts for frame in results] == [frame.pts for frame in frames]
    assert_same([*results[:3], *results[3:], again], [*on_cpu(model, 2, frames[:3]), *on_cpu("resize", 2, frames[3:]), *results[:1]])


def test_without_a_lighter_model_it_is_an_error(machine: Machine, model: Path) -> None:
    machine.budget = 30_000
    with open_models(model) as models, pytest.raises(EngineError, match="too little memory for one frame"):
        models.open(make_frames(1)[0])


@pytest.fixture
def patient_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that waits for the output to open, and for pictures to be taken: of two seconds of video, a busy machine may need more
    than all to start the process that writes it, and then no picture, or no audio, is left."""
    put = FrameBuffer.put

    def put_and_wait(buffer: FrameBuffer, picture: Any) -> None:
        put(buffer, picture)
        while not buffer._is_closed and (len(buffer) > 8 or not buffer._is_open):
            time.sleep(0.01)

    monkeypatch.setattr(FrameBuffer, "put", put_and_wait)


def live(source: Path, folder: Path, model: Path, *options: str) -> dict[str, Any]:
    own = (*GPU[:-2], *PATIENT, "--report", folder / "live.json")
    outcome = streamsr("run", source, folder / "live.mkv", "--model", model, *own, *options)
    assert outcome.code == 0, outcome.err
    report: dict[str, Any] = json.loads((folder / "live.json").read_text())
    assert report["num_in"] == report["num_out"]
    return report


def test_the_command_writes_the_pictures_of_the_cpu(machine: Machine, model: Path, tmp_path: Path, patient_source: None) -> None:
    source = make_clip(tmp_path / "in.mp4", "-c:a", "aac", num_frames=50, inputs=["-f", "lavfi", "-i", "sine=duration=2"])
    report = live(source, tmp_path, model, "--fixed-model")
    whole = streamsr("run", source, tmp_path / "cpu.mkv", "--model", model, *CPU[:-2], "--encoder", "ffv1")
    assert whole.code == 0, whole.err
    made, wanted = [row.md5 for row in rows(tmp_path / "live.mkv")], [row.md5 for row in rows(tmp_path / "cpu.mkv")]
    assert made == wanted
    assert (report["num_out"], report["num_before_start"]) == (50, 0)
    assert "3 frames in flight" in report["reason"]
    assert report["latency"]["p50_s"] > 0
    words = count_words(machine.sim.log)
    assert words["download"] >= 3 * len(made)
    assert machine.sim.used == 0
    assert times(tmp_path / "live.mkv", "a:0")


def test_the_command_counts_its_frames_and_its_flight(machine: Machine, model: Path, tmp_path: Path) -> None:
    report = live(make_clip(tmp_path / "in.mp4", num_frames=200), tmp_path, model, "--frames", "7", "--frames-in-flight", "1")
    assert report["num_out"] >= 7
    assert len(rows(tmp_path / "live.mkv")) == 7
    assert "1 frame in flight" in report["reason"]


def test_auto_is_the_gpu_for_live_streams_too(machine: Machine, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamsr.live.api.find_devices", lambda options: ["cuda:0"] if options.device == "auto" else [options.device])
    source = make_clip(tmp_path / "in.mp4", num_frames=20)
    report = run_live(source, tmp_path / "out.mkv", model=str(model), engine="torch", threads=1, live=LiveOptions(max_latency_s=60))
    assert "frames in flight" in report.reason


class Running:
    """`run_live` of a long file in a thread."""

    def __init__(self, source: Path, out: Path, model: Path, **options: Any) -> None:
        self.telemetry, self.stop = StreamTelemetry("test"), threading.Event()
        self.report: LiveReport | None = None
        self.failure: StreamsrError | None = None
        self.log = EventLog("test", urls=[])
        live = LiveOptions(max_latency_s=options.pop("max_latency_s", 60), fixed_model=options.pop("fixed", True))
        named = {"model": str(model), "engine": "torch", "device": "cuda:0", "threads": 1, "live": live}

        def work() -> None:
            try:
                self.report = run_live(source, out, **named, **options, observers=Observers(self.telemetry, self.log), stop=self.stop)  # type: ignore[arg-type]
            except StreamsrError as error:
                self.failure = error

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()

    def until_out(self, count: int) -> None:
        until(lambda: self.telemetry.snapshot()["frames_out"] >= count or not self.thread.is_alive())

    def end(self) -> None:
        self.stop.set()
        self.thread.join(60)
        assert not self.thread.is_alive()


def until(check: Any) -> None:
    end = time.monotonic() + 60
    while not check():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def long_clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "long.mp4", num_frames=1500)


@pytest.mark.parametrize(("max_latency_s", "most"), [(60.0, 3), (0.05, 1)])
def test_pictures_that_wait_are_begun_early_unless_they_would_be_late(
    machine: Machine, model: Path, long_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_latency_s: float, most: int
) -> None:
    encode, land = LiveEncoder.encode, LiveRun._land
    flying: list[int] = []

    def slow(self: LiveEncoder, *arguments: Any, **options: Any) -> Any:
        time.sleep(0.1)  # so pictures wait, and each takes longer than the shorter of the delays
        return encode(self, *arguments, **options)

    def watched(self: LiveRun) -> None:
        flying.append(len(self.flying))
        land(self)

    monkeypatch.setattr(LiveEncoder, "encode", slow)
    monkeypatch.setattr(LiveRun, "_land", watched)
    running = Running(long_clip, tmp_path / "out.mkv", model, max_latency_s=max_latency_s)
    running.until_out(12)
    running.end()
    assert running.report is not None
    assert running.report.balanced, running.report.line()
    assert max(flying[4:]) == most  # at first it is not known how long a picture takes
    assert ("late" in running.report.dropped) == (most == 1)


def test_what_is_on_its_way_is_delivered_at_the_end(machine: Machine, recurrent: Path, long_clip: Path, tmp_path: Path) -> None:
    running = Running(long_clip, tmp_path / "out.mkv", recurrent)
    running.until_out(10)
    running.end()
    assert running.failure is None
    assert running.report is not None
    assert running.report.balanced, running.report.line()
    assert running.report.dropped.keys() <= {"at the end"}
    assert len(times(tmp_path / "out.mkv")) == running.report.num_out
    assert not any(stream.queue for sim in machine.sims for stream in sim.streams)
    assert [sim.used for sim in machine.sims] == [0]


def test_a_network_that_fails_ends_the_stream_behind_the_pictures_before(
    machine: Machine, model: Path, long_clip: Path, tmp_path: Path
) -> None:
    machine.options = {"broken_at": 6}
    running = Running(long_clip, tmp_path / "out.mkv", model)
    running.thread.join(60)
    assert isinstance(running.failure, EngineError)
    assert "The simulated network failed" in running.failure.message
    snapshot = running.telemetry.snapshot()
    assert snapshot["frames_out"] == len(times(tmp_path / "out.mkv"))
    assert snapshot["frames_out"] + sum(snapshot["dropped"].values()) == snapshot["frames_in"]
    assert snapshot["dropped"]["failed"] >= 1
    running.failure = None  # its traceback keeps what it came from
    gc.collect()
    for sim in machine.sims:
        sim.trim()
    assert [sim.used for sim in machine.sims] == [0]


def test_a_stream_whose_gpu_is_full_goes_on_and_says_so(machine: Machine, model: Path, long_clip: Path, tmp_path: Path) -> None:
    machine.budget = 30_000
    running = Running(long_clip, tmp_path / "out.mkv", model, fixed=False)
    running.until_out(5)
    running.end()
    assert running.failure is None
    assert running.report is not None
    assert running.report.balanced
    assert running.report.model == "resize"
    assert any("resize takes over" in note for note in running.report.notes)


def test_streams_of_one_process_each_have_their_way_through_the_gpu(machine: Machine, model: Path, long_clip: Path, tmp_path: Path) -> None:
    from streamsr.commands.toml_config import read_config

    table = '[streams.{0}]\ninput = "{1}"\noutput = "{2}/{0}.mkv"\nreport = "{2}/{0}.json"\n'
    head = f'[defaults]\nmodel = "{model}"\nengine = "torch"\ndevice = "cuda:0"\nmax-latency = 60000\nframes-in-flight = 2\n'
    config = tmp_path / "streams.toml"
    config.write_text(head + "".join(table.format(name, long_clip, tmp_path) for name in ("a", "b")))
    with Watch(WatchOptions()) as watch:
        fleet = Fleet(watch)
        fleet.apply(read_config(config))
        until(lambda: all(member.telemetry.snapshot()["frames_out"] >= 5 for member in fleet.members))
        fleet.drain()
        assert fleet.exit_code() == 0
    for name in ("a", "b"):
        report = json.loads((tmp_path / f"{name}.json").read_text())
        assert report["num_in"] == report["num_out"] + sum(report["dropped"].values())
        assert "2 frames in flight" in report["reason"]
        assert len(times(tmp_path / f"{name}.mkv")) == report["num_out"]
    assert len(machine.sims) == 2
    assert [sim.used for sim in machine.sims] == [0, 0]


@pytest.mark.parametrize(("option", "value"), [("--decoder", "nvdec"), ("--decoder", "dali"), ("--batch", "2")])
def test_what_only_files_have_is_refused(tmp_path: Path, option: str, value: str) -> None:
    outcome = streamsr("run", "--live", make_clip(tmp_path / "in.mp4"), tmp_path / "out.mkv", option, value)
    assert outcome.code == 2
    assert option in outcome.err
    assert not (tmp_path / "out.mkv").exists()


def test_the_simulation_sees_results_that_nobody_waited_for(machine: Machine, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above can fail: without the wait, pictures are what was in memory before."""
    frames = make_frames(3)
    with open_models(model) as models:
        models.open(frames[0])
        monkeypatch.setattr(SimDevice, "synchronise", lambda self, event: None)
        with pytest.raises(AssertionError):
            assert_same([Frame(frame).video for frame in pass_through(models, frames)], on_cpu(model, 2, frames))
        monkeypatch.undo()
