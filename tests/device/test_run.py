"""`streamsr run --device cuda:0` on a simulated GPU writes the file that it writes on the CPU, whatever the input is like."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from machine import CPU, GPU, Machine
from media import make_clip, rows, streams, streamsr, times, tone

import streamsr as library
from streamsr.errors import Interrupted
from streamsr.siting import find_chroma_location


def same_on_both(source: Path, folder: Path, model: Path, *options: str, name: str = "out.mkv") -> dict[str, Any]:
    """Upscale on both and compare what FFmpeg's program decodes; the report of the run on the GPU."""
    (folder / "cpu").mkdir()
    (folder / "gpu").mkdir()
    for kind, own in (("cpu", CPU), ("gpu", GPU)):
        outcome = streamsr("run", source, folder / kind / name, "--model", model, *own, *options, "--report", folder / f"{kind}.json")
        assert outcome.code == 0, outcome.err
        assert "account balanced" in outcome.err
    assert rows(folder / "gpu" / name) == rows(folder / "cpu" / name)
    assert streams(folder / "gpu" / name) == streams(folder / "cpu" / name)
    report: dict[str, Any] = json.loads((folder / "gpu.json").read_text())
    return report


VFR = ["-vf", "setpts='N*N/50/TB'", "-fps_mode", "passthrough"]
CLIPS: dict[str, Callable[[Path], Path]] = {
    "plain": lambda folder: make_clip(folder / "in.mp4", num_frames=20),
    "vfr": lambda folder: make_clip(folder / "in.mkv", *VFR, num_frames=12),
    "odd": lambda folder: make_clip(
        folder / "in.mkv", "-vf", "format=yuv444p,crop=63:47,format=yuv420p", "-c:v", "ffv1", "-pix_fmt", "yuv420p", num_frames=8
    ),
    "10 bit": lambda folder: make_clip(folder / "in.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", num_frames=8),
    "4:4:4": lambda folder: make_clip(folder / "in.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv444p", num_frames=8),
    "packed": lambda folder: make_clip(folder / "in.mkv", "-c:v", "rawvideo", "-pix_fmt", "uyvy422", num_frames=6),
    "interlaced": lambda folder: make_clip(folder / "in.mkv", "-vf", "setfield=tff", "-c:v", "ffv1", "-pix_fmt", "yuv420p", num_frames=8),
    "audio": lambda folder: make_clip(folder / "in.mp4", "-c:a", "aac", num_frames=20, inputs=tone(0.8)),
    "hdr": lambda folder: make_clip(
        folder / "in.mkv", "-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params",
        "log-level=error:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:max-cll=1000,400:"
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)", num_frames=6,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CLIPS)
def test_a_file_becomes_what_it_becomes_on_the_cpu(machine: Machine, model: Path, tmp_path: Path, kind: str) -> None:
    report = same_on_both(CLIPS[kind](tmp_path), tmp_path, model)
    assert machine.networks, "the network was not on the GPU"
    assert machine.sim.used == 0
    assert machine.sim.is_closed
    assert "3 frames in flight" in report["reason"]


@pytest.mark.parametrize("site", ["center", "topleft", "bottom"])  # all of them: test_device_upscaler.py
def test_the_file_says_where_chroma_lies(machine: Machine, model: Path, tmp_path: Path, site: str) -> None:
    """By FFmpeg's decoder of the file: `streams` compares it, too, but not with the source."""
    source = make_clip(tmp_path / "in.mp4", "-vf", f"setparams=chroma_location={site}", "-c:v", "libx264", "-pix_fmt", "yuv420p",
                       "-chroma_sample_location", site, num_frames=3)  # fmt: skip
    same_on_both(source, tmp_path, model)
    for folder in ("cpu", "gpu"):
        with av.open(str(tmp_path / folder / "out.mkv")) as container:
            assert {find_chroma_location(frame) for frame in container.decode(video=0)} == {site}


def test_a_recurrent_network_and_segments(machine: Machine, recurrent: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "12", num_frames=60)
    report = same_on_both(source, tmp_path, recurrent, "--segment-seconds", "0.8", name="out.mp4")
    assert report["num_segments"] > 1
    assert machine.sim.used == 0


def test_a_decoder_that_is_not_there_is_one_line(machine: Machine, model: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4")
    outcome = streamsr("run", source, tmp_path / "out.mp4", "--model", model, *GPU)
    assert outcome.code == 0
    assert [line for line in outcome.err.splitlines() if "NVDEC" in line] == [
        "warning: decoded on the CPU, not by NVDEC: the driver's libraries are not here"
    ]
    quiet = streamsr("run", source, tmp_path / "cpu.mp4", "--model", model, *GPU, "--decoder", "cpu")
    assert "NVDEC" not in quiet.err


def test_a_decoder_that_was_asked_for_has_to_be_there(machine: Machine, model: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4")
    outcome = streamsr("run", source, tmp_path / "out.mp4", "--model", model, *GPU, "--decoder", "nvdec")
    assert outcome.code == 3
    assert "NVDEC cannot decode it" in outcome.err
    assert "--decoder auto" in outcome.err
    outcome = streamsr("run", source, tmp_path / "out.mp4", "--model", model, *CPU, "--decoder", "nvdec")
    assert outcome.code == 2
    assert "--device cuda:0" in outcome.err


def test_an_error_of_the_network_keeps_the_frames_before_it(machine: Machine, model: Path, tmp_path: Path) -> None:
    machine.options = {"broken_at": 2}
    source = make_clip(tmp_path / "in.mp4", num_frames=20)
    outcome = streamsr("run", source, tmp_path / "out.mp4", "--model", model, *GPU)
    assert outcome.code == 5
    assert "The simulated network failed" in outcome.err
    assert "the first 2 frames are in" in outcome.err
    assert len(times(tmp_path / "out.partial.mp4")) == 2
    assert not (tmp_path / "out.mp4").exists()
    assert not any(stream.queue for stream in machine.sim.streams)


def test_memory_that_runs_out_is_told_and_costs_nothing(machine: Machine, model: Path, tmp_path: Path) -> None:
    machine.sim.failures = {"launch": {3}}
    source = make_clip(tmp_path / "in.mp4", num_frames=20)
    report = same_on_both(source, tmp_path, model)
    assert any("too little memory for 3 frames in flight; it goes on with 2" in note for note in report["notes"])
    assert "2 frames in flight" in report["reason"]


def test_an_interrupted_run_keeps_what_is_done_and_leaves_the_gpu_empty(machine: Machine, model: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", num_frames=60)
    stop = threading.Event()
    with pytest.raises(Interrupted):
        library.run(
            source, tmp_path / "out.mp4", model=str(model), engine="torch", device="cuda:0", threads=1, stop=stop,
            on_progress=lambda progress: stop.set() if progress.num_frames == 5 else None,
        )  # fmt: skip
    kept = times(tmp_path / "out.partial.mp4")
    assert 5 <= len(kept) < 60
    assert kept == times(source)[: len(kept)]
    assert machine.sim.used == 0


def test_batches_and_one_frame_in_flight_by_options(machine: Machine, model: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", num_frames=11)
    report = same_on_both(source, tmp_path, model)
    assert "3 frames in flight" in report["reason"]
    outcome = streamsr("run", source, tmp_path / "b.mkv", "--model", model, *GPU, "--batch", "4", "--frames-in-flight", "2")
    assert outcome.code == 0, outcome.err
    assert "8 frames in flight in batches of 4" in outcome.err
    assert rows(tmp_path / "b.mkv") == rows(tmp_path / "cpu" / "out.mkv")
    outcome = streamsr("run", source, tmp_path / "b.mkv", "--model", model, *GPU, "--frames-in-flight", "9")
    assert outcome.code == 2
    assert "'9'" in outcome.err


def test_the_cpu_is_left_alone(tmp_path: Path, model: Path) -> None:
    """Without CuPy nothing of the GPU is imported."""
    import subprocess
    import sys

    source = make_clip(tmp_path / "in.mp4")
    code = (
        "import sys; from streamsr.cli import main; main(sys.argv[1:])\n"
        "heavy = ('streamsr.device.device_upscaler', 'streamsr.device.cu', 'streamsr.device.gpu_stream', 'cupy', 'torch')\n"
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    words = ["run", str(source), str(tmp_path / "out.mp4"), "--model", str(model), "--device", "cpu", "--quiet"]
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


def test_source_options_of_a_library_call_are_kept(machine: Machine, model: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", num_frames=20)
    report = library.run(
        source, tmp_path / "out.mp4", model=str(model), engine="torch", device="cuda:0", threads=1, num_frames=4
    )
    assert report.num_frames == 4
    assert report.account.ok
