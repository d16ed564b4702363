"""VMAF by an FFmpeg program with libvmaf: from the PATH, or the one inside imageio-ffmpeg.

Both pictures go through one pipe, the result above the original, so that nothing has to be written to disk.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np

from ..errors import EngineError

INSTALL = "it comes with pip install 'streamsr[compare]', or with an ffmpeg on the PATH that was built with libvmaf"
_MODELS = "version=vmaf_v0.6.1\\:name=vmaf|version=vmaf_v0.6.1neg\\:name=vmaf_neg"


@functools.cache
def find_ffmpeg() -> str | None:
    """An FFmpeg program that has libvmaf, or None."""
    candidates = [shutil.which("ffmpeg")]
    try:
        import imageio_ffmpeg

        candidates.append(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # RuntimeError: the package came without a program
        pass
    for program in candidates:
        if program is None:
            continue
        try:
            listed = subprocess.run([program, "-hide_banner", "-filters"], capture_output=True, text=True, check=False, timeout=30).stdout
        except (OSError, subprocess.TimeoutExpired):
            continue
        if " libvmaf " in listed:
            return program
    return None


class Vmaf:
    """A context manager: `add` luma planes in pairs, then `finish`. Raises EngineError where no FFmpeg has libvmaf.

    VMAF 0.6.1 and its NEG form (no reward for enhancement). Source: github.com/Netflix/vmaf.
    """

    def __init__(self, width: int, height: int, *, threads: int = 1) -> None:
        program = find_ffmpeg()
        if program is None:
            raise EngineError("VMAF needs an FFmpeg program with libvmaf.", hint=INSTALL)
        self._shape = (height, width)
        self._folder = tempfile.TemporaryDirectory(prefix="streamsr-vmaf-")
        self._log = Path(self._folder.name) / "vmaf.json"
        graph = (
            f"split[a][b];[a]crop={width}:{height}:0:0[out];[b]crop={width}:{height}:0:{height}[ref];"
            f"[out][ref]libvmaf=model='{_MODELS}':log_fmt=json:log_path=vmaf.json:n_threads={threads}"
        )
        given = ["-f", "rawvideo", "-pix_fmt", "yuv444p", "-video_size", f"{width}x{2 * height}", "-framerate", "25", "-i", "pipe:0"]
        command = [program, "-v", "error", *given, "-lavfi", graph, "-f", "null", "-"]
        # run inside the folder: a path may hold characters that a filter graph would take for its own
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=self._folder.name
        )
        self._chroma = np.full((4 * height, width), 128, np.uint8).tobytes()  # VMAF looks at luma alone

    def __enter__(self) -> Vmaf:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
        self._folder.cleanup()

    def add(self, result: np.ndarray, original: np.ndarray) -> None:
        """One pair of luma planes (height, width), uint8."""
        assert self._process.stdin is not None
        for plane in (result, original):
            if plane.shape != self._shape or plane.dtype != np.uint8:
                raise ValueError(f"VMAF was opened for uint8 planes of {self._shape}; this one is {plane.shape} {plane.dtype}.")
        try:
            for plane in (result, original):
                self._process.stdin.write(np.ascontiguousarray(plane).tobytes())
            self._process.stdin.write(self._chroma)
        except BrokenPipeError as broken:
            raise EngineError(f"FFmpeg's libvmaf ended early: {self._words()}") from broken

    def finish(self) -> list[dict[str, float]]:
        """libvmaf's numbers of every pair, in their order: "vmaf" and "vmaf_neg", and the features that these are made of."""
        words = self._words()
        if self._process.returncode or not self._log.is_file():
            raise EngineError(f"FFmpeg's libvmaf failed: {words}")
        frames = json.loads(self._log.read_text())["frames"]
        return [{name: float(value) for name, value in frame["metrics"].items()} for frame in frames]

    def _words(self) -> str:
        _, stderr = self._process.communicate()
        return stderr.decode(errors="replace").strip() or f"exit code {self._process.returncode}"
