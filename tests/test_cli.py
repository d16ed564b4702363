"""The command line: help that is quick, JSON that parses, words on stderr, a bar on a terminal and lines elsewhere."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from media import STREAMSR, make_clip, streamsr, times, tone, upscale

import streamsr as package

COMMANDS = ["run", "verify", "info", "models", "engine", "doctor"]
HEAVY = ["av", "numpy", "openvino", "onnxruntime", "rich", "torch", "onnx", "tensorrt", "tensorrt_rtx", "cupy"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("cli") / "in.mkv", "-vf", "setsar=4/3", "-c:a", "aac", "-metadata:s:a:0", "language=fra",
                     "-metadata", "title=A film", inputs=tone())  # fmt: skip


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([command, "--help"] for command in COMMANDS)], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom streamsr.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        f"print(','.join(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
    assert done.stdout


def test_help_names_every_command() -> None:
    outcome = streamsr("--help")
    assert outcome.code == 0
    for word in (*COMMANDS, "exit codes"):
        assert word in outcome.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_ends_with_the_exit_codes(command: str) -> None:
    assert "130 interrupted" in streamsr(command, "--help").out


def test_version_is_the_packages() -> None:
    assert streamsr("--version").out == f"streamsr {package.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["walk"], ["run"], ["run", "a.mp4"], ["verify", "a.mp4"]], ids=" ".join)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    outcome = streamsr(*arguments)
    assert outcome.code == 2
    assert outcome.err.endswith("--help)\n")


def test_info_says_what_is_in_the_file(clip: Path) -> None:
    facts = json.loads(streamsr("info", clip, "--json").out)
    video = facts["video"]
    assert (video["codec"], video["width"], video["height"], video["pix_fmt"], video["sar"]) == ("h264", 64, 48, "yuv420p", "4/3")
    assert video["rate"] == "25"
    assert facts["duration_s"] == pytest.approx(0.42, abs=0.03)
    assert facts["metadata"]["title"] == "A film"
    assert [(stream["type"], stream["codec"], stream["language"]) for stream in facts["streams"]] == [("audio", "aac", "fra")]


def test_info_for_people_names_every_stream(clip: Path) -> None:
    outcome = streamsr("info", clip)
    for word in ("h264 64x48 yuv420p", "audio #1: aac (fra)", "pixel aspect 4/3", "matroska"):
        assert word in outcome.out


def test_info_of_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    outcome = streamsr("info", tmp_path / "none.mp4")
    assert outcome.code == 3
    assert "none.mp4" in outcome.err


def test_models_lists_what_is_shipped() -> None:
    specs = json.loads(streamsr("models", "--json").out)
    assert {"lite"} <= {spec["name"] for spec in specs}
    assert all(spec["scale"] in (2, 3, 4) for spec in specs)
    words = streamsr("models").out
    assert "lite" in words
    assert "resize" in words


def test_quiet_says_nothing(clip: Path, tmp_path: Path) -> None:
    outcome = streamsr("run", clip, tmp_path / "out.mp4", "--model", "resize", "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_quiet_still_says_what_failed(tmp_path: Path) -> None:
    assert "no such file" in streamsr("run", tmp_path / "none.mp4", tmp_path / "out.mp4", "--quiet").err


def test_account_is_the_last_line(clip: Path, tmp_path: Path) -> None:
    lines = upscale(clip, tmp_path / "out.mp4").err.splitlines()
    assert lines[-1].startswith("account balanced | frames: 10 decoded, 10 upscaled, 10 encoded, 10 muxed")
    assert "10 frames 64x48 to 128x96" in lines[-2]


def test_without_a_terminal_there_are_plain_lines(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamsr.commands import progress

    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    outcome = upscale(clip, tmp_path / "out.mp4")
    assert outcome.out == ""
    assert "\x1b" not in outcome.err
    assert "5/" in outcome.err
    assert "fps" in outcome.err


def test_on_a_terminal_there_is_a_bar(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", size="320x240", num_frames=60)
    parent, child = pty.openpty()
    run = subprocess.Popen([*STREAMSR, "run", str(clip), str(tmp_path / "out.mkv"), "--model", "resize"],
                           stderr=child, stdout=subprocess.PIPE,
                           env=os.environ | {"TERM": "xterm", "COLUMNS": "120"})  # fmt: skip
    os.close(child)
    shown = b""
    while True:
        try:
            data = os.read(parent, 4096)
        except OSError:  # the other side has closed
            break
        if not data:
            break
        shown += data
    os.close(parent)
    assert run.wait(30) == 0
    assert run.stdout is not None
    assert run.stdout.read() == b""
    assert b"\x1b[" in shown
    assert "━".encode() in shown
    assert b"account balanced" in shown


def test_realtime_says_what_it_chose(clip: Path, tmp_path: Path) -> None:
    outcome = streamsr("run", clip, tmp_path / "out.mp4", "--realtime")
    assert outcome.code == 0, outcome.err
    assert "real time: " in outcome.err
    assert "ms a frame" in outcome.err
    assert len(times(tmp_path / "out.mp4")) == 10


def test_module_runs_as_the_command_does() -> None:
    done = subprocess.run([*STREAMSR, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"streamsr {package.__version__}\n"
