"""Spec: what a worker receives about a job; Result: what it returns for a segment."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Protocol

from ..allocator import return_large_blocks
from ..device.upscaler_factory import open_upscaler
from ..io.tags import Tags
from ..options import EncoderOptions, SourceOptions, UpscaleOptions
from ..upscaling.upscaler import Upscaler
from .segment_plan import Segment

CORES_EACH = 4  # of a worker that nobody gave a number of threads: one process already keeps several frames in its engine


@dataclass(frozen=True, slots=True)
class Spec:
    """All that a worker needs about a job; picklable, and the same for every segment."""

    url: str
    source: SourceOptions
    folder: str  # where segments go, a path that the worker reaches
    target: str  # the output, whose name and `format` choose the container
    format: str | None
    encode: EncoderOptions
    tags: Tags  # of the source
    time_base: Fraction
    rate: Fraction
    shape: tuple[int, int, str]  # width, height and pixel format of the source's first frame
    upscale: UpscaleOptions  # settled: the model, the scale or the exact size, the engine; a worker gets its own device and threads
    devices: tuple[str, ...]  # that workers share
    warmup: int  # frames that the network sees before a segment
    aspect: Fraction | None = None  # width to height of the source's first picture, as it is shown
    may_fall_back: bool = False  # to the CPU, where a GPU cannot: nobody named one

    def open_upscaler(self) -> Upscaler:
        if self.upscale.hint == "memory":
            return_large_blocks()
        upscaler = open_upscaler(replace(self.upscale, device=self.devices[0]))
        upscaler.allow_fallback(self.may_fall_back)
        return upscaler


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a segment: its file, and its part of the frame account."""

    number: int
    name: str | None  # of the file; None where no frame came out
    size: int = 0  # bytes
    checksum: str = ""
    parameters: str = ""  # the encoder's extradata in hex, equal for all segments that can be joined
    encoder: str = ""
    pts: bytes = field(default=b"", repr=False)  # of the decoded frames, int64
    num_decoded: int = 0
    num_upscaled: int = 0
    num_encoded: int = 0  # packets
    num_missing: int = 0  # packets of the source that gave no frame
    num_errors: int = 0  # of the decoder in this segment and packets around it
    num_reused: int = 0
    num_deinterlaced: int = 0
    reorder: int = 0  # how many packets a frame may come early
    complete: bool = True
    engine: str = ""
    reason: str = ""
    kinds: tuple[int, ...] = ()  # of side data of its frames

    def times(self) -> array[int]:
        times = array("q")
        times.frombytes(self.pts)
        return times


class SegmentExecutor(Protocol):
    """Who makes the segments of a job: one Worker in this process, or many somewhere. Used as a context manager."""

    unfinished: list[Result]  # what an ended run had of segments in hand

    @property
    def num_workers(self) -> int: ...
    @property
    def num_retried(self) -> int: ...  # segments that were made again, because a worker ended or failed
    @property
    def stage_s(self) -> dict[str, float]: ...  # busy seconds by stage, summed over workers
    def __enter__(self) -> Any: ...
    def __exit__(self, *error: object) -> None: ...
    def run(
        self, segments: Iterable[Segment], *, stop: threading.Event | None = None, on_frames: Callable[[int], None] | None = None
    ) -> Iterator[Result]:
        """Yield a Result for each segment, in any order, once it is safe on the disk.

        stop: when set, the run ends early. on_frames: called with the number of frames encoded in current segments.
        Raises what stopped a worker for good; finished segments have been yielded by then.
        """
