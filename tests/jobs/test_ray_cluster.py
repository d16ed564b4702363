"""A real Ray cluster on this machine: what its nodes make is what one process makes, also when one of them is killed."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from media import STREAMSR, make_clip, rows, streamsr, times, tone, upscale
from ray_crew import NEEDS, Case
from stores import http_server, s3_server

from streamsr.errors import EngineError, SourceError, UsageError
from streamsr.jobs import ray_connection
from streamsr.jobs.eligibility import make_spec
from streamsr.jobs.job_folder import segment_folder
from streamsr.jobs.job_spec import Spec
from streamsr.jobs.ray_connection import connected
from streamsr.jobs.resources import Needs, count_bytes, find_needs
from streamsr.jobs.segment_store import Store

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.xdist_group("cluster")]
CUT = ("--segment-seconds", "1", "--preset", "veryfast", "--threads", "1")
WAIT_S = 180


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("cluster") / "in.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "15", "-bf", "3",
                     "-c:a", "aac", size="160x120", num_frames=300, inputs=tone(12))  # fmt: skip


@pytest.fixture(scope="module")
def whole(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one worker makes."""
    out = tmp_path_factory.mktemp("whole") / "out.mp4"
    upscale(clip, out, *CUT)
    return out


class Machines:
    """The cluster of ray_machines.py."""

    bucket: str  # of an S3 server that its nodes know

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        self.address, self.url = facts["address"], facts["url"]

    def replace_node(self) -> None:
        """Kill a node and add another."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "replaced\n"


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    words = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "OMP_NUM_THREADS": "1"}  # 0: stay on 127.0.0.1
    before = {name: os.environ.get(name) for name in (*words, "RAY_ADDRESS", "PYTHONPATH")}
    path = [str(Path(__file__).parents[2]), *filter(None, [before["PYTHONPATH"]])]
    os.environ.update(words | {"PYTHONPATH": os.pathsep.join(path)})
    pytest.importorskip("ray")
    try:
        with s3_server() as bucket:  # before the nodes, which have to know of it
            command = [sys.executable, Path(__file__).with_name("ray_machines.py")]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
                found = Machines(process)
                found.bucket = bucket
                os.environ["RAY_ADDRESS"] = found.address
                yield found
                assert process.stdin is not None
                process.stdin.close()
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def same_packets(a: Path, b: Path) -> bool:
    return all(rows(a, stream, copy=True) == rows(b, stream, copy=True) for stream in ("v:0", "a:0"))


def wait_for_segments(out: Path, run: subprocess.Popen[bytes], number: int) -> None:
    """Until the journal names so many."""
    end = time.monotonic() + WAIT_S
    found = -1
    while found < number:
        assert run.poll() is None, run.stderr and run.stderr.read()
        assert time.monotonic() < end
        with suppress(sqlite3.Error), sqlite3.connect(f"file:{out}.streamsr/journal.sqlite?mode=ro", uri=True) as db:
            (found,) = db.execute("SELECT count(*) FROM segment WHERE result IS NOT NULL").fetchone()
        time.sleep(0.02)


def test_node_that_is_killed_and_one_that_joins_cost_no_frame(clip: Path, whole: Path, machines: Machines, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    command = [*STREAMSR, "run", clip, out, "--model", "resize", *CUT, "--cluster", "auto", "--report", tmp_path / "r.json"]
    run = subprocess.Popen([*map(str, command)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for_segments(out, run, 3)
    machines.replace_node()
    _, words = run.communicate(timeout=WAIT_S)
    assert run.returncode == 0, words
    assert b"account balanced" in words
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["num_segments"] > 8
    assert report["num_resumed"] == 0
    assert times(out) == times(clip)
    assert same_packets(out, whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "r.json"]


def test_input_by_http_and_segments_in_s3_through_a_ray_client(clip: Path, whole: Path, machines: Machines, tmp_path: Path) -> None:
    import fsspec

    # Ray's own client first: where its server does not start, streamsr cannot be judged
    probe = [sys.executable, "-c", "import ray, sys; ray.init(sys.argv[1], log_to_driver=False)", machines.url]
    try:
        subprocess.run(probe, capture_output=True, check=True, timeout=20)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("Ray's own client cannot connect on this machine")
    with http_server(clip.parent) as site:
        command = [*STREAMSR, "run", f"{site}/{clip.name}", tmp_path / "out.mp4", "--model", "resize", *CUT, "--cluster", machines.url,
                   "--work-folder", f"{machines.bucket}/work"]  # fmt: skip
        for _ in range(2):  # on a busy machine Ray's client may not answer in time, as in the probe
            done = subprocess.run([*map(str, command)], capture_output=True, check=False, timeout=WAIT_S)
            if b"no answer within" not in done.stderr:
                break
    assert done.returncode == 0, done.stderr
    assert same_packets(tmp_path / "out.mp4", whole)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert not fsspec.filesystem("s3").find(f"{machines.bucket}/work")


@pytest.fixture
def spec(clip: Path, tmp_path: Path) -> Spec:
    from streamsr.io.source import open_source
    from streamsr.options import gather
    from streamsr.upscaling.upscaler import Upscaler

    target = str(tmp_path / "out.mp4")
    options = gather({"preset": "ultrafast", "threads": 1, "segment_seconds": 1.0})
    with open_source(clip) as source, Upscaler("resize") as upscaler:
        found = make_spec(source, upscaler, options, target=target, folder=segment_folder(target, None), devices=["auto"])
    Store(found.folder).prepare()
    return found


def test_faults_of_nodes_name_the_node_and_end_the_job(spec: Spec, machines: Machines, tmp_path: Path) -> None:
    me = socket.gethostname()
    elsewhere = replace(spec, upscale=replace(spec.upscale, model="lite", engine="openvino"), devices=("npu9",))
    cases = {
        Case(spec): "",
        Case(spec, input_bytes=5): f"SourceError: Node {me} sees another file as .*: .* bytes, not 5",
        Case(replace(spec, folder=str(tmp_path / "none"))): f"SinkError: Node {me} does not see the work folder {tmp_path}/none",
        Case(elsewhere): r"EngineError: Segment . failed 3 times: .*npu9.*on node",
        Case(spec, needs=replace(NEEDS, num_cpus=64)):
            r"EngineError: .*no node of the cluster had 64 CPU and 0.1 GiB of memory: the largest of 3 has 1 CPU",
        Case(spec, version="9.9.9"): r"EngineError: Versions differ: streamsr is .* there and 9.9.9 here \(on node",
    }  # fmt: skip
    command = [sys.executable, Path(__file__).with_name("ray_crew.py")]
    done = subprocess.run(command, input=pickle.dumps(list(cases)), capture_output=True, check=False, timeout=WAIT_S)
    assert done.returncode == 0, done.stderr
    first, *faults = pickle.loads(done.stdout)
    assert first == [0, 1, 2, 3]
    for fault, words in zip(faults, list(cases.values())[1:], strict=True):
        assert re.match(words, ": ".join(fault)), fault


def test_paths_that_a_node_does_not_see_are_named(spec: Spec) -> None:
    from streamsr.jobs.ray_node import check_paths

    check_paths(spec, Path(spec.url).stat().st_size)
    with pytest.raises(SourceError, match=f"Node {socket.gethostname()} does not see the input /none/in.mp4"):
        check_paths(replace(spec, url="/none/in.mp4"), 1)
    with pytest.raises(EngineError, match=r"does not see the model /none/net.onnx"):
        check_paths(replace(spec, upscale=replace(spec.upscale, model="/none/net.onnx")), Path(spec.url).stat().st_size)


@pytest.mark.parametrize("address", ["ray://127.0.0.1:1", "auto"])
def test_cluster_that_nobody_serves_is_an_engine_error(clip: Path, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    outcome = streamsr("run", clip, tmp_path / "out.mp4", "--cluster", address)
    assert outcome.code == 5
    assert f"No Ray cluster can be reached at {address}" in outcome.err or "127.0.0.1:1" in outcome.err
    assert "ray start --head" in outcome.err
    assert not list(tmp_path.iterdir())


def test_cluster_that_says_nothing_is_given_up(clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    program = ("import sys; from streamsr.jobs import ray_connection; ray_connection.CONNECT_S = 6.0\n"
               "from streamsr.cli import main; sys.exit(main(sys.argv[1:]))")  # fmt: skip
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"ray://127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-c", program, "run", str(clip), str(tmp_path / "out.mp4"), "--cluster", address]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_S)
    assert done.returncode == 5, done.stderr
    assert f"No Ray cluster can be reached at {address}" in done.stderr


@pytest.mark.parametrize("address", ["10.0.0.1:6379", "ray://host", "cluster"])
def test_address_of_another_kind_is_refused(address: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match="ray://"), connected(address):
        pass


def test_missing_ray_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_connection.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EngineError, match=r"pip install 'streamsr\[cluster\]'"), connected("auto"):
        pass


def test_cluster_and_workers_exclude_each_other(clip: Path, tmp_path: Path) -> None:
    outcome = streamsr("run", clip, tmp_path / "out.mp4", "--cluster", "auto", "--workers", "2")
    assert outcome.code == 2
    assert "leave one of them out" in outcome.err


def test_needs_grow_with_the_picture_and_fit_every_node(spec: Spec) -> None:
    small, large = (count_bytes((width, height, "yuv420p"), (2 * width, 2 * height), [], 4) for width, height in ((640, 360), (3840, 2160)))
    assert large - small > 60 * (7680 * 4320 - 1280 * 720)  # an encoder keeps dozens of results
    wide = replace(spec, upscale=replace(spec.upscale, threads=0))
    assert find_needs(wide, [], (640, 480), [{"CPU": 0}, {"CPU": 16}, {"CPU": 2}]).num_cpus == 2
    assert find_needs(wide, [], (640, 480), [{"CPU": 16}]).num_cpus == 4
    assert find_needs(replace(wide, devices=("cuda:0",)), [], (640, 480), []).num_gpus == 1
    assert Needs(2, 0, 1 << 30).count({"CPU": 8.0, "memory": 3.0 * 2**30}) == 3
    assert Needs(2, 1, 1 << 30).count({"CPU": 8.0, "memory": 3.0 * 2**30}) == 0


def test_segments_in_another_folder_are_found_again(clip: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "out.mp4", tmp_path / "work"
    begun = subprocess.Popen([*STREAMSR, "run", str(clip), str(out), "--model", "resize", *CUT, "--work-folder", str(work)],
                             stderr=subprocess.PIPE)  # fmt: skip
    wait_for_segments(out, begun, 2)
    begun.kill()
    begun.communicate()
    assert [path.name for path in Path(f"{out}.streamsr").iterdir() if path.name.startswith("0")] == []
    outcome = streamsr("run", clip, out, "--model", "resize", *CUT)
    assert outcome.code == 2
    assert "place of the segments was" in outcome.err
    upscale(clip, out, *CUT, "--work-folder", work, "--report", tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["num_resumed"] >= 2
    assert list(work.iterdir()) == []
    shutil.rmtree(work)
