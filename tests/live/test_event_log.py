"""Event lines: for people, as JSON, at most one a second of each kind, and never a secret."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from io import StringIO

import pytest

from streamsr.commands.log_output import ROOT, StderrHandler
from streamsr.live.event_log import EventLog
from streamsr.live.redaction import redact

SOURCE = "rtsp://admin:hunter2 and a space@cam/stream"


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


MakeLog = Callable[..., tuple[EventLog, StringIO, Clock]]


@pytest.fixture
def make_log() -> Iterator[MakeLog]:
    """A log, what is written of it, and its clock."""
    handlers = []
    level = ROOT.level
    ROOT.setLevel(logging.INFO)

    def make(*, as_json: bool = False, quiet: bool = False, urls: Sequence[str] = ()) -> tuple[EventLog, StringIO, Clock]:
        file, clock = StringIO(), Clock()
        handlers.append(StderrHandler(quiet=quiet, as_json=as_json, file=file))
        ROOT.addHandler(handlers[-1])
        return EventLog("cam", urls=urls, clock=clock), file, clock

    yield make
    ROOT.setLevel(level)
    for handler in handlers:
        ROOT.removeHandler(handler)


def test_a_line_for_people(make_log: MakeLog) -> None:
    log, file, _ = make_log()
    log.event("source lost", level="warning", reason="Connection refused", attempt=2, wait_s=0.51239)
    line = r"\d\d:\d\d:\d\d cam: warning: source lost \(reason: Connection refused, attempt: 2, wait s: 0.5124\)\n"
    assert re.fullmatch(line, file.getvalue())


def test_a_line_of_json(make_log: MakeLog) -> None:
    log, file, _ = make_log(as_json=True)
    log.event("frames dropped", reasons={"late": 3}, size=(640, 360), text="two\nlines", worst=float("nan"), nothing=None)
    (line,) = file.getvalue().splitlines()
    row = json.loads(line)
    assert datetime.fromisoformat(row.pop("time")).tzinfo is not None
    fields = {"reasons": {"late": 3}, "size": [640, 360], "text": "two\nlines", "worst": "nan", "nothing": None}
    assert row == {"level": "info", "event": "frames dropped", "stream": "cam", "suppressed": 0, "fields": fields}


def test_one_line_a_second_of_each_event_and_a_count_of_the_rest(make_log: MakeLog) -> None:
    log, file, clock = make_log(as_json=True)
    for number in range(30):  # 10 a second for 3 s
        clock.now = 50 + number / 10
        log.event("dropped", number=number)
        if number == 5:
            log.event("other")
    log.close()
    rows = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [row["event"] for row in rows if row["event"] == "other"] == ["other"]
    dropped = [row for row in rows if row["event"] == "dropped"]
    assert [row["fields"]["number"] for row in dropped] == [0, 10, 20, 29]
    assert len(dropped) + sum(row["suppressed"] for row in dropped) == 30


def test_the_end_of_a_burst_does_not_wait_for_the_next(make_log: MakeLog) -> None:
    log, file, clock = make_log(as_json=True)
    for number in range(4):
        log.event("dropped", number=number)
    clock.now += 1
    log.tick()
    log.tick()
    rows = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [(row["fields"]["number"], row["suppressed"]) for row in rows] == [(0, 0), (3, 2)]


def test_no_secret_in_any_field(make_log: MakeLog) -> None:
    for as_json in (True, False):
        log, file, _ = make_log(as_json=as_json, urls=[SOURCE])
        log.event("source lost", reason=OSError(111, f"refused: {SOURCE}"), urls=[SOURCE], more={"sink": "rtmp://host/live/hunter2"})
        assert "hunter2" not in file.getvalue()
        assert "space" not in file.getvalue()
        assert "rtsp://***@cam/stream" in file.getvalue()


def test_quiet_leaves_errors(make_log: MakeLog) -> None:
    log, file, _ = make_log(quiet=True)
    log.event("source connected")
    log.event("engine failed", level="error")
    assert file.getvalue().count("\n") == 1
    assert "engine failed" in file.getvalue()


def test_a_reader_that_has_gone_does_not_stop_the_stream() -> None:
    code = (
        "import sys; from streamsr.live.event_log import EventLog\n"
        "from streamsr.commands.log_output import log_to_stderr\n"
        "log = EventLog('cam')\nwriting = log_to_stderr()\nwriting.__enter__()\n"
        "sys.stdin.read()\nlog.event('one')\nlog.event('two')\nprint('went on')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stderr.close()
    process.stdin.close()
    assert process.stdout.read() == "went on\n"
    process.wait()
    process.stdout.close()


def test_a_library_user_hears_nothing_and_can_listen(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    log = EventLog("cam", urls=[SOURCE])
    log.event("source lost", level="warning", reason=f"refused: {SOURCE}")
    assert capfd.readouterr() == ("", "")
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("streamsr.live.events", "WARNING")
    assert record.stream_event["fields"] == {"reason": "refused: rtsp://***@cam/stream"}  # type: ignore[attr-defined]


def test_other_records_are_json_too(make_log: MakeLog) -> None:
    _, file, _ = make_log(as_json=True)
    logging.getLogger("streamsr.jobs.job").warning("reads %s", "rtsp://me:hunter2@cam/a")
    row = json.loads(file.getvalue())
    assert {name: row[name] for name in ("level", "logger", "message")} == {
        "level": "warning", "logger": "streamsr.jobs.job", "message": "reads rtsp://***@cam/a"
    }  # fmt: skip


def test_line_says_the_url_once(caplog: pytest.LogCaptureFixture) -> None:
    log = EventLog(redact(SOURCE), urls=[SOURCE])
    with caplog.at_level("INFO", logger="streamsr"):
        log.event("source lost", url=SOURCE, reason=f"{redact(SOURCE)}: no answer within 3 s.", hint=None)
    assert caplog.messages == [f"{redact(SOURCE)}: source lost (reason: no answer within 3 s.)"]
