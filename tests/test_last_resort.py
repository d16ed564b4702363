"""Errors that nobody has foreseen, reports that cannot be written, folders that go away: words and an exit code, never a traceback."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from media import Outcome, make_clip, streamsr, times

from streamsr.pipeline import Progress


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("last") / "in.mp4", num_frames=20)


def run(clip: Path, out: Path, *more: object) -> Outcome:
    return streamsr("run", clip, out, "--model", "resize", *more)


def at_frame(number: int, act: object, patch: pytest.MonkeyPatch) -> None:
    """Let `act` happen when a run has made so many frames."""
    from streamsr.commands.progress import Display

    def update(_: Display, progress: Progress) -> None:
        if progress.num_frames == number:
            act()  # type: ignore[operator]

    patch.setattr(Display, "update", update)


def fault() -> None:
    raise ZeroDivisionError("nobody thought of this")


def test_bug_says_so_and_keeps_what_is_done(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_frame(10, fault, monkeypatch)
    outcome = run(clip, tmp_path / "out.mkv")
    assert outcome.code == 1
    assert "This is a bug in streamsr: ZeroDivisionError: nobody thought of this" in outcome.err
    assert f"`streamsr run` of {clip}" in outcome.err
    assert f"the first {len(times(tmp_path / 'out.partial.mkv'))} frames are in" in outcome.err
    assert "Traceback" not in outcome.err
    assert "Traceback" in run(clip, tmp_path / "out.mkv", "--debug").err


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("live", [(), ("--live",)])
def test_report_onto_a_folder_is_found_before_the_run(clip: Path, tmp_path: Path, batch: bool, live: tuple[str, ...]) -> None:
    out = tmp_path / ("results/" if batch else "out.mkv")
    outcome = run(clip, out, "--report", tmp_path, *(() if batch else live))
    assert outcome.code == 2
    assert "is a folder" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_report_on_a_read_only_mount_is_found_before_the_run(clip: Path, tmp_path: Path) -> None:
    outcome = run(clip, tmp_path / "out.mkv", "--report", "/proc/self/report.json")
    assert outcome.code == 2
    assert "no permission to write in /proc/self" in outcome.err


@pytest.mark.parametrize("number", [5, 20])
def test_output_folder_that_goes_away_is_named(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    at_frame(number, lambda: shutil.rmtree(folder), monkeypatch)
    outcome = run(clip, folder / "out.mkv")
    assert outcome.code in (4, 6), outcome.err
    blamed = [line for line in outcome.err.splitlines() if line.startswith("streamsr:")]  # the line before a run names the encoder, too
    assert blamed
    assert not any("libx264" in line for line in blamed)
    assert "bug" not in outcome.err
    assert "Traceback" not in outcome.err


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    evil = tmp_path / "a\x1b]0;owned\x07\u202e\x9b31m.mp4"
    evil.write_bytes(b"no video")
    for command in (["run", evil, tmp_path / "out.mkv"], ["info", evil], ["verify", evil, evil]):
        outcome = streamsr(*command)
        assert outcome.code == 3
        assert not set("\x1b\x07\u202e\x9b") & set(outcome.err + outcome.out)
        assert r"a\x1b]0;owned\x07\u202e\x9b31m.mp4" in outcome.err


@pytest.mark.parametrize("command", ["info", "verify"])
def test_no_password_shows_in_info_and_verify(command: str) -> None:
    url = "rtsp://admin:hunter2@127.0.0.1:1/key/hunter2?pwd=hunter2"
    outcome = streamsr(command, url, *([url] if command == "verify" else []))
    assert outcome.code == 3
    assert "hunter2" not in outcome.err + outcome.out


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux shows and hides command lines so")
@pytest.mark.parametrize("command", ["info", "verify", "run"])
def test_ps_shows_no_password_once_the_program_runs(command: str) -> None:
    """Before av, numpy and the commands are loaded."""
    url = "rtsp://admin:hunter2@127.0.0.1:1/a"
    code = (
        "import sys, pathlib, streamsr.cli as cli\n"
        "cli.main = lambda: print(pathlib.Path('/proc/self/cmdline').read_bytes())\n"
        "from streamsr.__main__ import main; main()"
    )
    words = [sys.executable, "-c", code, command, url, url, "--preview-token=hunter2"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "hunter2" not in done.stdout
    assert "***@127.0.0.1" in done.stdout
    loaded = "import sys, streamsr.__main__; print(sorted({'av', 'numpy', 'argparse'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout.strip() == "[]"
