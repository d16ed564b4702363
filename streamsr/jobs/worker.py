"""Worker: makes segments. It decodes, upscales and encodes one after another, with one engine, and never waits between.

While the encoder of one segment is flushed and its file goes to the disk, the next segment is on its way already; where
it follows the last one, the decoder just goes on. `work` is the same for a single segment, for any process anywhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import av

from ..errors import StreamsrError
from ..flow import prefetch
from ..io.containers import find_format
from ..io.encoder_settings import Encoding
from ..pipeline import AHEAD, Timed, upscaled
from ..resample import planar_format
from ..upscaling.upscaler import Upscaler
from .job_spec import Result, Spec
from .segment_plan import Segment
from .segment_reader import Reading
from .segment_writer import Note, SegmentWriter


class Worker:
    """Makes segments of one job with one engine. Use as a context manager."""

    def __init__(self, spec: Spec, upscaler: Upscaler | None = None) -> None:
        self.spec = spec
        self.upscaler = upscaler or spec.open_upscaler()
        self._is_owner = upscaler is None
        width, height, pix_fmt = spec.shape
        pix_fmt = planar_format(pix_fmt)
        output = find_format(spec.target, spec.format)
        size = self.upscaler.output_size(width, height, pix_fmt)
        encoding = Encoding.choose(spec, size, pix_fmt, output=output, wanted=spec.encode)
        self.upscaler.deliver_surfaces(encoding.surface is not None)
        self.stage_s: dict[str, float] = {}
        self.num_workers, self.num_retried = 1, 0
        self.unfinished: list[Result] = []  # what the last run got done of a segment before it ended early
        self._num_in_hand = 0  # frames encoded of segments that are not done

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._is_owner:
            self.upscaler.close()

    def run(
        self, segments: Iterable[Segment], *, stop: threading.Event | None = None, on_frames: Callable[[int], None] | None = None
    ) -> Iterator[Result]:
        """Yield a Result for each segment, once it is safe on the disk.

        stop: when set, the run ends early. on_frames: called with the number of frames encoded in current segments.
        Raises SourceError, EngineError, SinkError. What was done of the segment in hand is then in `unfinished`.
        """
        self.unfinished = []
        self._num_in_hand = 0
        # a network with a state starts each segment with a state of its own
        batches = ([segment] for segment in segments) if self.spec.warmup else iter([segments])
        with closing(Reading(self.spec.url, self.spec.source, warmup=self.spec.warmup, aspect=self.spec.aspect)) as reading:
            for batch in batches:
                yield from self._run(reading, reading.frames(batch), stop or threading.Event(), on_frames)
            yield from (Result(part.segment.number, None, num_missing=part.segment.num_frames, num_errors=part.num_errors)
                        for part in reading.parts if part.is_read and not part.num_decoded)  # fmt: skip

    def _run(
        self, reading: Reading, decoded: Iterator[av.VideoFrame], stop: threading.Event, on_frames: Callable[[int], None] | None
    ) -> Iterator[Result]:
        timed = Timed(decoded)
        writer: SegmentWriter | None = None
        failure: StreamsrError | None = None
        num_reused = 0  # of the frames of the segment in hand
        flushing: Future[Result] | None = None  # no more than one at a time
        with ThreadPoolExecutor(1, thread_name_prefix="flush") as flusher:
            try:
                with (
                    closing(prefetch(timed, depth=AHEAD, stop=stop)) as ahead,
                    closing(upscaled(self.upscaler, ahead, self.spec.shape)) as frames,
                ):
                    for frame, is_reused in frames:
                        part = reading.owners.popleft()
                        if part is None:
                            continue
                        if writer is not None and writer.part is not part:
                            if flushing is not None:
                                yield self._hand_over(flushing.result())
                            flushing, writer = flusher.submit(writer.finish, self._note(num_reused)), None
                        if writer is None:
                            writer, num_reused = SegmentWriter(self.spec, part, frame), 0
                        self._encode(writer, frame)
                        num_reused += is_reused
                        self._num_in_hand += 1
                        if on_frames is not None:
                            on_frames(self._num_in_hand)
                        if flushing is not None and flushing.done():
                            done, flushing = flushing, None
                            yield self._hand_over(done.result())
            except StreamsrError as error:
                failure = error
            except BaseException:
                if writer is not None:
                    writer.discard()
                raise
            finally:
                self._add("decode", timed.busy_s)
            at = time.perf_counter()
            try:
                if flushing is not None:
                    yield self._hand_over(flushing.result())
                if writer is not None and failure is None and not stop.is_set():
                    whole, writer = writer, None
                    yield self._hand_over(whole.finish(self._note(num_reused)))
            except StreamsrError as error:
                failure = failure or error
            if writer is not None:
                early = writer.close_early()
                self.unfinished = [] if early is None else [early]
            self._add("encode", time.perf_counter() - at)
            self.stage_s["network"] = self.upscaler.engine_seconds
        if failure is not None:
            raise failure

    def _encode(self, writer: SegmentWriter, frame: av.VideoFrame) -> None:
        at = time.perf_counter()
        writer.write(frame)
        self._add("encode", time.perf_counter() - at)

    def _hand_over(self, result: Result) -> Result:
        self._num_in_hand -= result.num_upscaled
        return result

    def _add(self, stage: str, seconds: float) -> None:
        self.stage_s[stage] = self.stage_s.get(stage, 0.0) + seconds

    def _note(self, num_reused: int) -> Note:
        """What the upscaler says of a segment that has just come out of it."""
        return Note(num_reused, self.upscaler.engine, self.upscaler.reason)


def work(segment: Segment, spec: Spec, *, on_frames: Callable[[int], None] | None = None) -> tuple[Result, dict[str, float]]:
    """Make one segment; its Result and the busy seconds by stage. The engine stays warm for the next call with the same spec."""
    global _warm
    worker, _warm = _warm, None
    if worker is not None and worker.spec != spec:
        worker.close()
        worker = None
    worker = worker or Worker(spec)
    before = dict(worker.stage_s)
    try:
        (result,) = worker.run([segment], on_frames=on_frames)
    except BaseException:
        worker.close()
        raise
    _warm = worker
    return result, {stage: seconds - before.get(stage, 0.0) for stage, seconds in worker.stage_s.items()}


_warm: Worker | None = None


def seldom(tell: Callable[[int], None], every_s: float) -> Callable[[int], None]:
    """`tell`, but at most once in `every_s` seconds; what comes between is left out."""
    told = 0.0

    def tell_sometimes(num_frames: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= every_s:
            told = now
            tell(num_frames)

    return tell_sometimes
