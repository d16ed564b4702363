"""A work folder that somebody else has prepared: nothing is deleted, followed or run, and every value is checked."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import make_clip, streamsr, times, upscale

from streamsr.errors import SinkError
from streamsr.jobs.job_listing import list_jobs
from streamsr.jobs.journal import Journal

CUT = ("--segment-seconds", "1", "--preset", "ultrafast", "--model", "resize")


@pytest.fixture
def begun(tmp_path: Path, full_after: Callable[[int], AbstractContextManager[None]]) -> Path:
    """A folder with a job that stopped after two of four segments."""
    clip = make_clip(tmp_path / "in.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "25", num_frames=100)
    with full_after(2):
        assert streamsr("run", clip, tmp_path / "out.mkv", *CUT).code == 6
    return tmp_path


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of somebody's that no run has been told of."""
    folder = tmp_path / "victim"
    folder.mkdir()
    for name in ("precious.txt", "00000-0123abcd", "journal.sqlite", "worker0.log"):
        (folder / name).write_text("keep me")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def change(folder: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / "out.mkv.streamsr" / "journal.sqlite")) as db, db:
        db.execute(statement, values)


def run(folder: Path, *more: str) -> Any:
    outcome = streamsr("run", folder / "in.mp4", folder / "out.mkv", *CUT, *more)
    assert "Traceback" not in outcome.err
    return outcome


def test_folder_that_a_journal_names_is_not_deleted(begun: Path, victim: Path) -> None:
    before = contents(victim)
    with Journal(begun / "out.mkv.streamsr") as journal:
        identity = journal.identity()
        assert identity is not None
        journal.state(identity=json.dumps(identity | {"place of the segments": str(victim)}), joined=str(begun / "nowhere"))
    (begun / "out.mkv").write_bytes(b"an older result")
    run(begun, "--overwrite")
    run(begun, "--overwrite", "--restart", "--segment-seconds", "0")
    assert contents(victim) == before


def test_files_of_others_in_a_work_folder_stay(begun: Path) -> None:
    (begun / "out.mkv.streamsr" / "notes.txt").write_text("mine")
    (begun / "out.mkv.streamsr" / "more").mkdir()
    assert run(begun).code == 0
    assert sorted(path.name for path in (begun / "out.mkv.streamsr").iterdir()) == ["more", "notes.txt"]
    assert run(begun, "--overwrite").code == 0  # what is left is no job


@pytest.mark.parametrize("restart", [(), ("--restart",)])
def test_work_folder_that_is_a_link_is_refused(tmp_path: Path, victim: Path, restart: tuple[str, ...]) -> None:
    make_clip(tmp_path / "in.mp4", "-g", "25", num_frames=100)
    (tmp_path / "out.mkv.streamsr").symlink_to(victim)
    before = contents(victim)
    outcome = run(tmp_path, *restart)
    assert outcome.code == 6
    assert "symbolic link" in outcome.err
    assert contents(victim) == before


@pytest.mark.parametrize("name", ["journal.sqlite", "journal.sqlite-journal", "journal.sqlite-wal", "00002-0123abcd", "worker0.log"])
def test_links_inside_a_work_folder_are_not_followed(begun: Path, victim: Path, name: str) -> None:
    before = contents(victim)
    link = begun / "out.mkv.streamsr" / name
    link.unlink(missing_ok=True)
    link.symlink_to(victim / "precious.txt")
    run(begun, "--workers", "2")
    assert run(begun, "--restart", "--overwrite").code == 0
    assert contents(victim) == before


def test_segment_that_is_a_link_is_made_again(begun: Path, victim: Path) -> None:
    folder = begun / "out.mkv.streamsr"
    segment = sorted(folder.glob("00000-*"))[0]
    segment.rename(victim / "moved")
    segment.symlink_to(victim / "moved")
    assert "damaged on the disk" in run(begun).err
    assert (victim / "moved").exists()


def test_hot_journal_deletes_no_file(begun: Path, victim: Path) -> None:
    """SQLite, on its own, deletes the file that a rollback journal calls its super-journal."""
    name = os.fsencode(victim / "precious.txt")
    page_size, num_pages = 4096, (begun / "out.mkv.streamsr" / "journal.sqlite").stat().st_size // 4096
    magic = bytes.fromhex("d9d505f920a163d7")
    head = magic + struct.pack(">IIIII", 0, 1, num_pages, 512, page_size)
    record = struct.pack(">I", (1 << 30) // page_size + 1) + name + struct.pack(">II", len(name), sum(name)) + magic
    (begun / "out.mkv.streamsr" / "journal.sqlite-journal").write_bytes(head.ljust(512, b"\0") + record)
    assert run(begun).code == 6
    assert (victim / "precious.txt").exists()
    assert run(begun, "--restart").code == 0
    assert (victim / "precious.txt").exists()


def test_trigger_in_a_journal_does_not_run(begun: Path) -> None:
    change(begun, "CREATE TRIGGER t AFTER INSERT ON lease BEGIN DELETE FROM segment; END")
    outcome = run(begun)
    assert outcome.code == 6
    assert "other tables" in outcome.err
    assert run(begun, "--restart").code == 0
    assert times(begun / "out.mkv") == times(begun / "in.mp4")


def test_work_folder_without_a_journal_is_cleared(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", "-g", "25", num_frames=100)
    folder = tmp_path / "out.mkv.streamsr"
    folder.mkdir()
    (folder / "00000-0123abcd.draft").write_text("half")
    (job,) = list_jobs(tmp_path)
    assert "no journal" in str(job.trouble)
    upscale(clip, tmp_path / "out.mkv", "--segment-seconds", "0")  # in one piece: nothing of a job stands in the way
    assert not folder.exists()


WRONG = [
    "UPDATE fact SET value = '[]' WHERE name = 'identity'",
    "UPDATE fact SET value = x'ff00' WHERE name = 'identity'",
    "UPDATE fact SET value = '" + "[" * 100_000 + "' WHERE name = 'identity'",
    "UPDATE fact SET value = '-1' WHERE name = 'threads'",
    "UPDATE segment SET plan = '{}' WHERE number = 1",
    "UPDATE segment SET num_frames = 'many' WHERE number = 1",
    "UPDATE segment SET plan = replace(plan, '\"number\": 1', '\"number\": 1e99') WHERE number = 1",
    "UPDATE segment SET plan = replace(plan, '\"keys\": [', '\"keys\": [null, ') WHERE number = 1",
    "UPDATE segment SET result = replace(result, '\"name\": \"', '\"name\": \"../../../') WHERE number = 0",
    "UPDATE segment SET result = replace(result, '\"reorder\": ', '\"reorder\": -1') WHERE number = 0",
    "UPDATE segment SET result = '7' WHERE number = 0",
    "UPDATE segment SET pts = x'00' WHERE number = 0",
    "UPDATE segment SET pts = NULL WHERE number = 0",
    "DELETE FROM segment WHERE number = 2",
    "DELETE FROM segment",
    "INSERT INTO lease VALUES (1, 't', '../../etc', 'h', 'b', 's', 'now')",
    "INSERT INTO lease VALUES (1, 't', 1, 'h', 'b', '1', 9e99)",
    "DROP TABLE fact",
    "CREATE VIEW v AS SELECT 1",
]


@pytest.mark.parametrize("statement", WRONG, ids=range(len(WRONG)))
def test_value_that_streamsr_does_not_write_is_named(begun: Path, statement: str) -> None:
    change(begun, statement)
    assert streamsr("jobs", begun).code == 0
    (job,) = list_jobs(begun)
    assert job.trouble or "threads" in statement
    outcome = run(begun)
    assert outcome.code == 6, outcome.err
    assert "journal.sqlite cannot be used" in outcome.err
    assert "--restart" in outcome.err
    assert run(begun, "--restart").code == 0


def test_one_bad_journal_does_not_hide_the_others(begun: Path) -> None:
    for number, statement in enumerate(WRONG):
        folder = begun / f"bad{number}.mkv.streamsr"
        folder.mkdir()
        (folder / "journal.sqlite").write_bytes((begun / "out.mkv.streamsr" / "journal.sqlite").read_bytes())
        with closing(sqlite3.connect(folder / "journal.sqlite")) as db, db:
            db.execute(statement)
    assert "2 of 4 segments" in streamsr("jobs", begun).out


@pytest.fixture(scope="module")
def journal_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small journal as streamsr writes it, with a plan of three segments and one result."""
    from array import array

    from streamsr.jobs.job_spec import Result
    from streamsr.jobs.segment_plan import Segment

    folder = tmp_path_factory.mktemp("journal")
    segments = [Segment(n, n * 10, n * 10 + 9, None if n == 2 else n * 10 + 10, 10, n * 10, (n * 10,)) for n in range(3)]
    with Journal(folder) as journal:
        journal.begin(segments, {"identity": json.dumps({"input": "in.mp4"}), "output": "out.mkv", "threads": "2"})
        journal.record(Result(0, "00000-0123abcd", 100, "0" * 32, "00ff", "libx264", array("q", range(10)).tobytes(), 10, 10, 10))
        journal.check()
    return (folder / "journal.sqlite").read_bytes()


@settings(max_examples=200)
@given(
    changes=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=24),
    cut=st.none() | st.integers(0, 1 << 16),
    companion=st.binary(max_size=64),
)
def test_mutated_journal_ends_in_words(
    journal_bytes: bytes, tmp_path: Path, changes: list[tuple[int, int]], cut: int | None, companion: bytes
) -> None:
    data = bytearray(journal_bytes)
    for place, value in changes:
        data[place % len(data)] = value
    folder = tmp_path / "out.mkv.streamsr"
    folder.mkdir(exist_ok=True)
    (folder / "journal.sqlite").write_bytes(bytes(data[:cut]))
    (folder / "journal.sqlite-journal").write_bytes(companion)
    list_jobs(tmp_path)
    with suppress(SinkError), Journal(folder) as journal:
        journal.check()
