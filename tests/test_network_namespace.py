"""In a network namespace whose resolver records: streamsr asks for no name, native libraries included, and writes no file elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from media import STREAMSR, make_clip

pytestmark = pytest.mark.slow

RESOLVER = Path(__file__).with_name("resolver.py")
FOLDERS = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "TMPDIR")
ASK = """
import socket
try:
    socket.getaddrinfo("example.invalid", 443)
except socket.gaierror:
    pass
"""


class Namespace:
    """Runs commands with folders of their own; `questions` are the names that were asked for, `files` those that were written."""

    def __init__(self, folder: Path, unshare: list[str]) -> None:
        self._unshare, self._log = unshare, folder / "questions"
        self._resolv_conf = folder / "resolv.conf"
        self.written = folder / "written"
        self._environment = dict(os.environ)
        for name in FOLDERS:
            (self.written / name).mkdir(parents=True)
            self._environment[name] = str(self.written / name)

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        words = [*self._unshare, sys.executable, RESOLVER, self._log, self._resolv_conf, *command]
        return subprocess.run(
            [str(word) for word in words], cwd=self.written, env=self._environment, capture_output=True, text=True, check=False, timeout=120
        )  # fmt: skip

    @property
    def questions(self) -> list[str]:
        return self._log.read_text().splitlines()

    @property
    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.written)) for path in self.written.rglob("*") if not path.is_dir())


@pytest.fixture
def namespace(tmp_path: Path) -> Namespace:
    """Skips the test where no namespace may be made."""
    program = shutil.which("unshare")
    if program is None:
        pytest.skip("no unshare program: namespaces are Linux's")
    unshare = [program, "--mount", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    tried = subprocess.run([*unshare, "mount", "--bind", "/etc/hosts", "/etc/resolv.conf"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no namespace may be made here: {tried.stderr.strip()}")
    return Namespace(tmp_path, unshare)


def test_the_resolver_records_a_question(namespace: Namespace) -> None:
    done = namespace.run(sys.executable, "-c", ASK)
    assert done.returncode == 0, done.stderr
    assert set(namespace.questions) == {"example.invalid"}


def test_a_run_asks_for_no_name_and_writes_no_file_but_output_and_cache(namespace: Namespace, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", num_frames=2)
    done = namespace.run(*STREAMSR, "run", clip, "out.mp4")
    assert done.returncode == 0, done.stderr
    assert namespace.questions == []
    assert [name for name in namespace.files if not name.startswith("XDG_CACHE_HOME/streamsr/")] == ["out.mp4"]
