"""streamsr runs its own code alone, asks nobody on the network, and writes nothing but the output and its cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from media import make_clip

SHADOWED = ("random", "json", "queue", "av", "numpy", "streamsr", "sitecustomize", "usercustomize", "encodings_extra")
START = "import sys; from streamsr.cli import main; sys.exit(main(sys.argv[1:]))"  # as the program `streamsr` starts: no current folder
WATCHED = """
import json, os, sys
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def hook(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto"):
        os.write(log, (json.dumps([event, str(arguments)]) + "\\n").encode())
sys.addaudithook(hook)
from streamsr.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder whose modules leave a trace when they are imported."""
    folder = tmp_path / "trap"
    folder.mkdir()
    for name in SHADOWED:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'a').write({name!r})\n")
    return folder


def run(code: str, folder: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["workers", "live"])
def test_children_run_no_code_of_the_current_folder(tmp_path: Path, trap: Path, kind: str) -> None:
    clip = make_clip(tmp_path / "in.mp4", "-g", "5", num_frames=20)
    how = {"workers": ["--segment-seconds", "0.2", "--workers", "2"], "live": ["--live"]}[kind]
    done = run(START, trap, "run", clip, "out.mkv", "--model", "resize", *how)
    assert done.returncode == 0, done.stderr
    assert (trap / "out.mkv").exists()
    assert not (tmp_path / "trace").exists()


def test_builder_of_plans_runs_no_code_of_the_current_folder(tmp_path: Path, trap: Path) -> None:
    from streamsr.child_process import child_command

    command = child_command("streamsr.engines.plan_process")
    assert Path(command[0]).is_absolute()
    environment = os.environ | {"PYTHONPATH": str(trap)}
    done = subprocess.run(command, cwd=trap, env=environment, input="{}", capture_output=True, text=True, check=False)
    assert "Order" in done.stderr  # it came as far as reading what to build
    assert not (tmp_path / "trace").exists()


@pytest.mark.slow
def test_nothing_is_looked_up_and_nothing_is_written_elsewhere(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", num_frames=3)
    home = tmp_path / "home"
    home.mkdir()
    for words in (["run", clip, tmp_path / "out.mp4"], ["doctor"], ["info", clip], ["models"]):
        done = run(WATCHED, tmp_path, tmp_path / "log", *words, HOME=str(home), XDG_CACHE_HOME="", TMPDIR=str(home))
        assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()] == []
    assert [path for path in home.rglob("*") if path.is_file() and ".cache/streamsr" not in str(path)] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "in.mp4", "log", "out.mp4"]
