"""Several streams in one process, as the command runs them: faults of one, signals, reloads."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from media import make_clip, times
from servers import PATIENCE_S, free_port
from web import get, until

pytestmark = [pytest.mark.network, pytest.mark.slow]
RATE = 10
METRICS = ("--metrics", "0")


class Process:
    """`streamsr live` in a process, its events read as they come."""

    def __init__(self, folder: Path, config: str, *arguments: str) -> None:
        self.path = folder / "streams.toml"
        self.path.write_text(config)
        self.events: list[dict[str, Any]] = []
        command = [sys.executable, "-m", "streamsr", "live", str(self.path), "--log-json", *arguments]
        self.process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.events.extend(json.loads(line) for line in self.process.stderr)

    def named(self, event: str, stream: str) -> list[dict[str, Any]]:
        return [entry["fields"] for entry in self.events if (entry["event"], entry["stream"]) == (event, stream)]

    def until(self, event: str, stream: str, count: int = 1) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE_S
        while len(found := self.named(event, stream)) < count:
            assert self._thread.is_alive(), self.events  # the process has ended, or said what is no JSON
            assert time.monotonic() < end, (event, stream, self.events)
            time.sleep(0.02)
        return found[count - 1]

    def until_out(self, *streams: str, count: int = 2 * RATE) -> None:
        """Wait until each of them has sent so many frames; needs --metrics 0."""
        url = self.until("metrics served", "streamsr")["url"] + "metrics"
        for stream in streams:
            line = re.compile(rf'^streamsr_frames_out_total\{{stream="{stream}"\}} (\S+)$', re.MULTILINE)
            until(lambda line=line: sum(map(float, line.findall(get(url).text))) >= count, wait_s=PATIENCE_S)

    def reload(self, config: str) -> None:
        self.path.write_text(config)
        self.process.send_signal(signal.SIGHUP)

    def end(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_S)
        self._thread.join(PATIENCE_S)
        return code

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a clip that is longer than any test, and a short one."""
    make_clip(tmp_path / "long.ts", size="64x48", rate=str(RATE), num_frames=180 * RATE)
    make_clip(tmp_path / "short.ts", size="64x48", rate=str(RATE), num_frames=3 * RATE)
    return tmp_path


def table(name: str, source: str = "long.ts", output: str | None = None, more: str = "") -> str:
    return f'[streams.{name}]\ninput = "{source}"\noutput = "{output or name + ".mkv"}"\nmax-latency = 5000\n{more}\n'


def test_one_that_ends_or_fails_leaves_the_others_alone(folder: Path) -> None:
    dead = table("dead", f"tcp://127.0.0.1:{free_port()}", more='reconnect = "off"')
    config = table("a") + dead + table("short", "short.ts", more='report = "short.json"') + table("b")
    with Process(folder, config, *METRICS) as process:
        assert "refused" in process.until("ended", "dead")["reason"]
        ended = process.until("ended", "short")
        assert (ended["exit_code"], ended["reason"]) == (0, "source")
        assert "account balanced" in ended["account"]
        process.until_out("a", "b")
        assert process.named("ended", "a") == process.named("ended", "b") == []
        process.process.send_signal(signal.SIGHUP)  # the file is as it was: only what failed is tried again
        assert process.until("configuration read", "streamsr", 2)["streams"]["started"] == ["dead"]
        process.until("ended", "dead", 2)
        assert process.end() == 3  # of the stream that failed
    for name in ("a", "b"):
        (ended,) = process.named("ended", name)
        assert (ended["exit_code"], ended["reason"]) == (0, "stop")
        assert len(times(folder / f"{name}.mkv")) > RATE
    report = json.loads((folder / "short.json").read_text())
    assert len(times(folder / "short.mkv")) == report["num_out"] + report["num_held"]


def test_when_all_have_ended_it_ends(folder: Path) -> None:
    with Process(folder, table("a", "short.ts") + table("b", "short.ts")) as process:
        assert process.process.wait(PATIENCE_S) == 0
    assert times(folder / "a.mkv")


def test_a_reload_changes_what_changed_and_nothing_else(folder: Path) -> None:
    with Process(folder, table("same") + table("gone") + table("other") + table("short", "short.ts"), *METRICS) as process:
        for name in ("same", "gone", "other", "short"):
            process.until("sink connected", name)
        process.until("ended", "short")
        process.until_out("same", "gone", "other")
        process.reload(table("same") + "oops")
        refused = process.until("configuration refused", "streamsr")
        assert "streams.toml: Expected" in refused["reason"]
        process.reload(table("same") + table("new", output="same.mkv"))
        assert "is the output of [streams.same] too" in process.until("configuration refused", "streamsr", 2)["reason"]
        process.reload(table("same", more="bogus = 1"))
        assert "unknown key 'bogus'" in process.until("configuration refused", "streamsr", 3)["reason"]
        assert [process.named("ended", name) for name in ("same", "gone", "other")] == [[], [], []]
        process.reload(table("same") + table("short", "short.ts") + table("new") + table("other", output="changed.mkv"))
        changes = process.until("configuration read", "streamsr", 2)["streams"]
        assert changes == {"started": ["new", "other"], "drained": ["gone", "other"], "kept": ["same", "short"]}
        assert process.until("ended", "gone")["exit_code"] == 0
        process.until("sink connected", "new")
        process.until("sink connected", "other", 2)
        assert process.named("ended", "same") == []
        assert len(process.named("source connected", "same")) == len(process.named("source connected", "short")) == 1
        process.until_out("same", "new", "other")
        assert process.end() == 0
    for name in ("same", "gone", "other", "new", "changed"):
        assert times(folder / f"{name}.mkv")


def test_nothing_runs_where_one_table_is_wrong(folder: Path) -> None:
    with Process(folder, table("a") + table("b", output="no/such/b.mkv")) as process:
        assert process.process.wait(PATIENCE_S) == 6
    process._thread.join(PATIENCE_S)
    (ended,) = process.named("ended", "streamsr")
    assert "[streams.b]: no/such/b.mkv: the folder no/such does not exist" in ended["reason"]
    assert not list(folder.glob("*.mkv"))


def test_all_streams_are_in_the_metrics_and_the_preview(folder: Path) -> None:
    with Process(folder, table("a") + table('"back yard"', output="b.mkv"), *METRICS, "--preview", "0") as process:
        metrics, preview = (process.until(f"{name} served", "streamsr")["url"] for name in ("metrics", "preview"))
        for name in ("a", "back yard"):
            process.until("sink connected", name)
            until(lambda name=name: f'streamsr_frames_out_total{{stream="{name}"}}' in get(f"{metrics}metrics").text)
        until(lambda: get(f"{metrics}readyz").status == 200)
        assert [stream["stream"] for stream in json.loads(get(f"{preview}api/streams").text)] == ["a", "back yard"]
        assert process.end() == 0


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_reload_never_replaces_a_recording_that_grows(folder: Path, name: str) -> None:
    """Neither for the same stream with another option, nor for another stream on the same file."""
    with Process(folder, table("a", more="overwrite = true")) as process:
        process.until("sink connected", "a")
        growing = folder / "a.partial.mkv"
        until(growing.exists)
        file = growing.stat().st_ino
        process.reload(table(name, output="a.mkv", more="overwrite = true\ncrf = 30"))
        refused = process.until("configuration refused", "streamsr")
        assert f"[streams.{name}]: a.mkv is being recorded by [streams.a]" in refused["reason"]
        size = growing.stat().st_size
        until(lambda: growing.stat().st_size > size)
        assert growing.stat().st_ino == file
        assert process.end() == 0
        assert len(process.named("ended", "a")) == 1
    assert (folder / "a.mkv").stat().st_ino == file
    assert times(folder / "a.mkv")
