"""What a running job shows: a bar on a terminal, a line every few seconds elsewhere. All of it on stderr."""

from __future__ import annotations

import logging
import sys
import time
from functools import cache
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from ..pipeline import Progress

_LINE_EVERY_S = 5.0
_log = logging.getLogger("streamsr.commands.progress")


@cache
def open_console() -> Console:
    """The terminal, for the bar and for what is logged above it."""
    return Console(stderr=True)


class Meter:
    """A context manager: a bar at a terminal, a line every few seconds elsewhere, for work that is counted in steps."""

    def __init__(self, title: str, *, quiet: bool = False) -> None:
        self._quiet, self._title = quiet, title
        self._num_done = 0
        self._last_line = time.monotonic()
        self._bar = None if quiet or not sys.stderr.isatty() else _bar()
        if self._bar is not None:
            self._task = self._bar.add_task(title, total=None, words="")

    def __enter__(self) -> Meter:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, total: int | None, words: str) -> None:
        """One more step of `total` is done."""
        self._num_done += 1
        if self._bar is not None:
            self._bar.update(self._task, completed=self._num_done, total=total, words=words)
            return
        now = time.monotonic()
        if not self._quiet and now - self._last_line >= _LINE_EVERY_S:
            self._last_line = now
            _log.info("%s: %d%s, %s", self._title, self._num_done, "" if total is None else f" of {total}", words)


def _bar() -> Bar:
    return Bar(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[words]}"),
        console=open_console(), transient=True, refresh_per_second=5,
    )  # fmt: skip


class Display:
    """A context manager whose `update` takes a Progress after every frame."""

    def __init__(self, *, quiet: bool = False, title: str = "") -> None:
        self.quiet = quiet
        self.title = f"{title}: " if title else ""  # before all else
        self.bar: Bar | None = None
        self._last_line = time.monotonic()
        if not quiet and sys.stderr.isatty():
            self.bar = _bar()
            self.task = self.bar.add_task(f"{self.title}starting", total=None, words="")

    def __enter__(self) -> Display:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.stop()

    def update(self, progress: Progress) -> None:
        if self.quiet:
            return
        if self.bar is not None:
            self.bar.update(self.task, completed=progress.num_frames, total=progress.expected_frames,
                            description=f"{self.title}{progress.model} on {progress.engine}", words=words(progress))  # fmt: skip
            return
        now = time.monotonic()
        if now - self._last_line >= _LINE_EVERY_S:
            self._last_line = now
            _log.info("%s", self.title + words(progress))


def words(progress: Progress) -> str:
    """Frames, rate, speed against real time and the time left."""
    share = 1 - progress.num_before / progress.num_frames if progress.num_frames else 1  # of this run
    fps = share * progress.num_frames / progress.elapsed_s
    speed = share * progress.media_s / progress.elapsed_s
    if not progress.expected_frames:
        return f"{progress.num_frames} frames, {fps:.1f} fps, {speed:.2f}x"
    left = f"{max(0, progress.expected_frames - progress.num_frames) / fps:.0f}" if fps else "?"
    return f"{progress.num_frames}/{progress.expected_frames} frames, {fps:.1f} fps, {speed:.2f}x, {left} s left"
