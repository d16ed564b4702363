"""Outputs have one writer, and no link leads one elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamsr.errors import SinkError
from streamsr.output_file import OutputLock, atomic_output, create_anew, lock_path

HOLD = "import sys; from streamsr.output_file import OutputLock; lock = OutputLock(sys.argv[1]); print('held', flush=True); input()"


def hold(path: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    with hold(tmp_path / "out.mkv") as process:
        with pytest.raises(SinkError, match=f"Process {process.pid} on .* is working on"):
            OutputLock(str(tmp_path / "out.mkv"))
        process.kill()
    with OutputLock(str(tmp_path / "out.mkv")), pytest.raises(SinkError, match=f"Process {os.getpid()} "):
        OutputLock(str(tmp_path / "out.mkv"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_lock_that_is_no_plain_file_is_refused(tmp_path: Path, kind: str) -> None:
    victim, lock = tmp_path / "victim", tmp_path / ".out.mkv.lock"
    victim.write_text("keep me")
    if kind == "link":
        lock.symlink_to(victim)
    elif kind == "folder":
        lock.mkdir()
    else:
        os.mkfifo(lock)
    with pytest.raises(SinkError, match="not a lock"):
        OutputLock(str(tmp_path / "out.mkv"))
    assert victim.read_text() == "keep me"


def test_hard_link_in_the_place_of_a_lock_loses_its_name_alone(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("keep me")
    (tmp_path / ".out.mkv.lock").hardlink_to(tmp_path / "victim")
    with OutputLock(str(tmp_path / "out.mkv")):
        assert (tmp_path / "victim").read_text() == "keep me"


@pytest.mark.parametrize(
    ("url", "name"),
    [("a/out.mkv", "a/.out.mkv.lock"), ("a/%05d.png", "a/.%05d.png.lock"), ("a/%Y/%m/cam.mp4", "a/.%Y-%m-cam.mp4.lock"),
     ("-", None), ("rtsp://host/up", None), ("/dev/null", None)],
)  # fmt: skip
def test_each_kind_of_output_has_one_lock(url: str, name: str | None) -> None:
    assert lock_path(url) == (None if name is None else Path(name))


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="does not exist"):
        OutputLock(str(tmp_path / "none" / "out.mkv"))


def test_file_is_made_anew_in_place_of_a_link(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "out.partial.mkv"
    victim.write_text("keep me")
    for plant in (path.symlink_to, path.hardlink_to):
        plant(victim)
        os.close(create_anew(path))
        path.write_text("result")
        assert victim.read_text() == "keep me"
        path.unlink()
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        create_anew(path)


def test_atomic_output_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    with pytest.raises(TypeError), atomic_output(path) as draft:
        draft.write_text(None)  # type: ignore[arg-type]
    assert path.read_text() == "old"
    with atomic_output(path) as draft:
        draft.write_text("new")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("report.json", "new")]
