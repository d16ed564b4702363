"""Leases: one process at a time, and none that has gone keeps the others out."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from streamsr.errors import SinkError
from streamsr.jobs import lease
from streamsr.jobs.journal import Journal
from streamsr.jobs.lease import LEASE_S, Holder, Lease


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Journal(tmp_path).close()
    return tmp_path


def hold(folder: Path, holder: Holder, silent_s: float = 0.0) -> None:
    """Write the row of another process."""
    with sqlite3.connect(folder / "journal.sqlite") as db:
        row = ("other", holder.pid, holder.host, holder.boot, holder.started, time.time() - silent_s)
        db.execute("INSERT OR REPLACE INTO lease VALUES (1, ?, ?, ?, ?, ?, ?)", row)


def take(folder: Path) -> bool:
    """Whether the lease can be had."""
    try:
        with Lease(folder, lost=threading.Event()):
            return True
    except SinkError as error:
        return "is working on" not in error.message


@pytest.fixture
def other() -> Holder:
    """A process of this machine that has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        gone = replace(Holder.me(), pid=process.pid, started=lease._started(process.pid) or "")
    assert gone.started
    return gone


def test_lease_is_free_again_after_its_block(folder: Path) -> None:
    assert take(folder)
    assert take(folder)


def test_living_process_keeps_others_out_however_silent(folder: Path) -> None:
    with Lease(folder, lost=threading.Event()):
        assert not take(folder)
    hold(folder, Holder.me(), silent_s=10 * LEASE_S)
    assert not take(folder)


def test_process_that_has_ended_keeps_nobody_out(folder: Path, other: Holder) -> None:
    hold(folder, other)
    assert take(folder)


def test_another_process_with_the_same_number_is_told_apart(folder: Path) -> None:
    hold(folder, replace(Holder.me(), started="1"))
    assert take(folder)


def test_restarted_machine_keeps_nobody_out(folder: Path) -> None:
    hold(folder, replace(Holder.me(), boot="an earlier one"))
    assert take(folder)


def test_other_machine_keeps_others_out_until_its_lease_is_over(folder: Path) -> None:
    hold(folder, replace(Holder.me(), host="elsewhere"), silent_s=LEASE_S / 2)
    assert not take(folder)
    hold(folder, replace(Holder.me(), host="elsewhere"), silent_s=2 * LEASE_S)
    assert take(folder)


def test_process_learns_that_its_lease_was_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.02)
    lost = threading.Event()
    with Lease(folder, lost=lost):
        time.sleep(0.1)
        assert not lost.is_set()
        hold(folder, replace(Holder.me(), host="elsewhere"))
        assert lost.wait(10)
    assert not take(folder), "the end of a lost lease must not free the new one"


def test_beats_are_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.02)
    with Lease(folder, lost=threading.Event()), sqlite3.connect(folder / "journal.sqlite") as db:
        before = db.execute("SELECT beat FROM lease").fetchone()
        time.sleep(0.3)
        assert db.execute("SELECT beat FROM lease").fetchone() > before
