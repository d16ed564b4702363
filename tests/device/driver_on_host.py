"""Libraries that stand for NVIDIA's driver, built by g++, for FFmpeg's own CUDA and NVENC code as PyAV ships it.

FFmpeg finds them by LD_LIBRARY_PATH, so everything happens in a process of its own. They run no kernel and encode nothing: what can be
seen is how decoders and encoders are opened, what they are told, and which memory they read and write.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest

SOURCES = Path(__file__).parent / "stand_ins"


def build(folder: Path) -> None:
    """All three libraries. Skips where FFmpeg is not in PyAV's wheel, or gcc is missing."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    found = sorted((Path(av.__file__).parents[1] / "av.libs").glob("libavcodec*"))
    if not found:
        pytest.skip("PyAV is not installed from its wheel for Linux")
    asked = {name.decode() for name in re.findall(rb"\0(cu(?:vid)?[A-Z]\w+)(?=\0)", found[0].read_bytes())}  # by FFmpeg
    libraries = {
        "libcuda.so.1": (["cuda.c"], {name for name in asked if not name.startswith("cuvid")}),
        "libnvidia-encode.so.1": (["nvenc.c", "cuda.c"], set()),
        "libnvcuvid.so.1": (["nvcuvid.c", "cuda.c"], {name for name in asked if name.startswith("cuvid")}),
    }
    for name, (sources, wanted) in libraries.items():
        ours = set(re.findall(r"^int (cu\w+)\(", "".join((SOURCES / source).read_text() for source in sources), re.MULTILINE))
        stubs = folder / "stubs.c"
        lines = [f'int {each}(void) {{ return stub("{each}"); }}' for each in sorted(wanted - ours)]
        stubs.write_text("int stub(const char *name);\n" + "\n".join(lines))
        command = ["gcc", "-std=c11", "-O1", "-w", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", folder / name, stubs]
        subprocess.run([*map(str, command), *(str(SOURCES / source) for source in sources)], check=True)


class Driver:
    """What a program did with the driver. log: `what value` lines; config: NVENC's, as it was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "LD_LIBRARY_PATH": str(folder), "FAKE_LOG": str(folder / "log"), "FAKE_CONFIG": str(folder / "config"), "FAKE_ENGINES": "3",
        }  # fmt: skip

    def run(self, program: str, *arguments: str, **environment: str) -> str:
        """Run Python code; its output."""
        (self.folder / "log").write_text("")
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], env=self.environment | environment, capture_output=True, text=True, timeout=60
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def log(self) -> dict[str, list[int]]:
        """The values of each event, in their order."""
        found: dict[str, list[int]] = {}
        for line in (self.folder / "log").read_text().splitlines():
            what, _, value = line.rpartition(" ")
            found.setdefault(what, []).append(int(value, 16))
        return found

    @property
    def config(self) -> bytes:
        return (self.folder / "config").read_bytes()
