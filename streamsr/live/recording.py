"""Recording: a live stream in files of equal length, each playable on its own; and what an earlier run left of an HLS folder."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av

from ..output_file import partial_name
from .segment_names import free_path, next_number

_MAX_AUDIO_PACKETS = 1000  # packets that wait for a picture
Opener = Callable[[str], tuple[av.container.OutputContainer, list[av.stream.Stream]]]


class Recording:
    """Writes packets into files that begin with a key frame, the next one at the first key frame `cut_s` or more later.

    A file grows as NAME.partial.EXT and gets its name when it is complete. Its times start at 0. Audio waits for the picture
    that it is heard with, so that it goes into the same file; what comes too late for its own opens the next, so that none is lost.
    open_file: opens a path for writing and gives its streams. settle: closes what it opened, raises OSError where a write has failed.
    finished: called with each file that has its final name.
    """

    def __init__(
        self, pattern: str, cut_s: float, open_file: Opener, *, settle: Callable[[], None], finished: Callable[[Path], None]
    ) -> None:
        self._pattern, self._cut_s = pattern, Fraction(cut_s)
        self._open_file, self._settle, self._finished = open_file, settle, finished
        self._number = next_number(pattern)
        self._container: av.container.OutputContainer | None = None
        self._streams: list[av.stream.Stream] = []
        self._path = Path()
        self._start_s = Fraction(0)
        self._cut_at_s: Fraction | None = None
        self._audio: deque[tuple[int, av.Packet]] = deque()

    def mux(self, index: int, packet: av.Packet) -> None:
        """Take a packet of stream `index`, 0 being the video."""
        assert packet.dts is not None
        if index:
            self._audio.append((index, packet))
            if len(self._audio) > _MAX_AUDIO_PACKETS:
                self._write(*self._audio.popleft())
            return
        at_s = packet.dts * packet.time_base
        self._write_audio(until_s=at_s)
        if packet.is_keyframe and (self._cut_at_s is None or at_s >= self._cut_at_s):
            self._end()
            self._begin(at_s)
        self._write(0, packet)

    def close(self) -> None:
        """End the file under way and give it its name."""
        self._write_audio(until_s=None)
        self._end()

    def _write_audio(self, *, until_s: Fraction | None) -> None:
        while self._audio:
            index, packet = self._audio[0]
            if until_s is not None and (packet.dts or 0) * packet.time_base >= until_s:
                return
            self._audio.popleft()
            self._write(index, packet)

    def _write(self, index: int, packet: av.Packet) -> None:
        if self._container is None:
            return  # audio before the first picture
        shift = round(self._start_s / packet.time_base)
        packet.pts, packet.dts = (packet.pts or 0) - shift, (packet.dts or 0) - shift
        packet.stream = self._streams[index]
        self._container.mux(packet)

    def _end(self) -> None:
        if self._container is None:
            return
        container, self._container = self._container, None
        container.close()
        self._settle()
        os.replace(partial_name(self._path), self._path)
        self._number += 1
        self._finished(self._path)

    def _begin(self, at_s: Fraction) -> None:
        self._path = free_path(self._pattern, self._number, time.time())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._container, self._streams = self._open_file(str(partial_name(self._path)))
        self._start_s = at_s
        # on a grid, or what key frames come late would add up; a gap of hours is one step
        grid_s = at_s if self._cut_at_s is None else self._cut_at_s
        self._cut_at_s = grid_s + self._cut_s * ((at_s - grid_s) // self._cut_s + 1)


def clear_hls(playlist: str) -> None:
    """Delete what an earlier run left: the list, its segments and what belongs to them; nothing else in the folder."""
    path = Path(playlist)
    left = re.compile(rf"{re.escape(path.stem)}-(\d+\.(m4s|ts)|init\.mp4)(\.tmp)?|{re.escape(path.name)}(\.tmp)?")
    for entry in list(path.parent.iterdir()):
        if left.fullmatch(entry.name):
            entry.unlink()
