"""Pipeline: a source, an upscaler and a sink, and the account that closes the job.

Three things overlap: FFmpeg decodes in a thread of `prefetch`, the upscaler keeps several frames in its engine, the
encoder works in threads of its own. This thread takes finished frames in order and hands them to the encoder; where
frames are on a GPU, another one launches its work, so that an encoder that blocks never keeps the GPU waiting.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import av

from ._version import __version__
from .account import Account, align, check_counts, check_pts, check_tags, read_facts
from .errors import AccountError, Interrupted, SinkError, SourceError, StreamsrError
from .flow import prefetch
from .frame import Frame
from .io import rehearsal
from .io.containers import find_format
from .io.encoder_settings import Encoding
from .io.frame_samples import sample_frames
from .io.sink import Sink
from .io.source import Source
from .options import SinkOptions, SourceOptions
from .resample import to_planar
from .stream_account import check_streams, facts_of
from .upscaling.source_condition import Condition, estimate
from .upscaling.upscaler import Upscaler

AHEAD = 4  # decoded frames that wait for the upscaler
DONE = 3  # upscaled frames that wait for the encoder, where a thread of its own makes them


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run, passed to `on_progress` after every frame."""

    num_frames: int
    expected_frames: int | None
    media_s: float  # of the input
    elapsed_s: float
    model: str
    engine: str
    num_before: int = 0  # of num_frames, made by an earlier run of the same job


@dataclass(slots=True)
class Report:
    """What a run did; `as_dict` is what --report writes."""

    input: str
    output: str
    model: str = ""
    engine: str = ""
    reason: str = ""  # why this engine and precision
    encoder: str = ""
    source: dict[str, Any] = field(default_factory=dict)  # tags of the input
    result: dict[str, Any] = field(default_factory=dict)  # tags of the output
    crop: str | None = None  # the part of the input's pictures that was kept, as WxH+X+Y; None: all
    num_frames: int = 0
    num_reused: int = 0  # frames equal to the one before, whose luma was taken from it
    num_deinterlaced: int = 0
    num_repaired_pts: int = 0
    num_segments: int = 1
    num_resumed: int = 0  # segments that an earlier run had finished
    num_workers: int = 1
    elapsed_s: float = 0.0
    first_frame_s: float | None = None  # from the start of the run to the first frame encoded
    fps: float = 0.0  # frames of this run
    media_s: float = 0.0
    stage_s: dict[str, float] = field(default_factory=dict)  # busy time by stage; stages overlap
    notes: list[str] = field(default_factory=list)
    account: Account = field(default_factory=Account)
    version: str = __version__

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"account": asdict(self.account) | {"ok": self.account.ok, "line": self.account.line()}}


def upscale_source(
    opened: Source,
    upscaler: Upscaler,
    options: SinkOptions,
    report: Report,
    *,
    started: float,
    on_progress: Callable[[Progress], None] | None,
    stop: threading.Event,
) -> None:
    """Upscale a whole video in one piece: `report` names the output and is filled in.

    started: time.perf_counter() at the start of the run. stop: when set, it ends early and raises Interrupted.
    Raises SourceError, EngineError, SinkError, AccountError (nothing is lost silently), Interrupted.
    """
    result: Sink | None = None
    try:
        timed = Timed(opened.frames())
        with closing(prefetch(timed, depth=AHEAD, stop=stop)) as ahead, closing(upscaled(upscaler, ahead)) as frames:
            for frame, _ in frames:
                at = time.perf_counter()
                if result is None:
                    result = Sink(report.output, opened, frame, options)
                result.copy(opened.take_packets())
                result.write(frame)
                now = time.perf_counter()
                report.stage_s["encode"] = report.stage_s.get("encode", 0.0) + now - at
                if report.first_frame_s is None:
                    report.first_frame_s = now - started
                if on_progress is not None:
                    media_s = float((result.pts[-1] - result.pts[0]) * opened.time_base)
                    on_progress(
                        Progress(result.num_encoded, opened.expected_frames, media_s, now - started, upscaler.model, upscaler.engine)
                    )
        if stop.is_set():
            raise Interrupted("Interrupted.")
        if result is None:
            raise SourceError(f"{report.input}: no frame came out.")
        result.copy(opened.take_packets())
        at = time.perf_counter()
        result.finish()
        report.stage_s["encode"] += time.perf_counter() - at
        report.stage_s["decode"] = timed.busy_s
        report.stage_s["network"] = upscaler.engine_seconds
        report.model, report.engine, report.reason = upscaler.model, upscaler.engine, upscaler.reason
        report.num_reused = upscaler.num_reused
        report.notes += upscaler.notes
        fill(report, opened, result, started)
        account = report.account
        account.num_decoded, account.num_upscaled = opened.count.num_decoded, upscaler.num_upscaled
        account.num_corrupt_packets = opened.count.num_corrupt_packets
        balance(account, opened, result)
        if not account.ok:
            raise AccountError(account.line(), hint=f"the result was kept as {result.path}")
        result.commit()
    except BaseException as error:
        give_up(error, result)
        raise


def rehearse(url: str, source: Source, size: tuple[int, int], pix_fmt: str, options: SinkOptions) -> None:
    """Check before any work for problems of encoder, container or source tracks that would otherwise appear at the end.

    size, pix_fmt: (width, height) in pixels and format of the upscaled frames. Raises SinkError.
    """
    found = rehearsal.rehearse(url, source, size, pix_fmt, options)
    output = find_format(url, options.format)
    if found is None or not output.tags:
        return
    encoding = Encoding.choose(source, size, pix_fmt, output=output, wanted=options.encode)
    trial = Account()
    check_tags(trial, encoding.tags, found, rotation=output.rotation)
    if not trial.ok:
        hint = "try another --encoder, or a container such as .mkv"
        raise SinkError(f"{url}: {encoding.encoder} in {output.muxer} would lose tags: {'; '.join(trial.problems)}.", hint=hint)


def open_in_thread(url: str, options: SourceOptions, stop: threading.Event) -> Source:
    """Open the input in a thread: a pipe without data yet must not keep Ctrl-C from ending the run."""
    opening = prefetch((Source(name, options) for name in (url,)), depth=1, stop=stop)
    with closing(opening):
        source = next(opening, None)
    if source is None:
        raise Interrupted("Interrupted before the first frame.")
    return source


def find_condition(source: Source) -> Condition | None:
    """The source condition for the whole file; None if only its first frame can tell (`sample_frames`)."""
    lumas = []
    for frame in sample_frames(source):
        planar = Frame(to_planar(frame))
        if planar.layout.kind == "rgb":
            return None
        # of interlaced pictures one field: two moments between each other's rows are no structure
        lumas.append((planar.luma[::2] if frame.interlaced_frame else planar.luma, planar.layout.bits))
    return estimate([luma for luma, _ in lumas], bits=lumas[0][1]) if lumas else None


def fit_size(source: Source, box: tuple[int, int]) -> tuple[int, int]:
    """`fit_box` for the source's pictures."""
    return fit_box((source.tags.width, source.tags.height), box, whole=source.whole_size)


def fit_box(size: tuple[int, int], box: tuple[int, int], *, whole: tuple[int, int] | None = None) -> tuple[int, int]:
    """The even size of a picture of `size`, enlarged by what brings `whole` into `box`; a side of 0 is free. All are (width, height).

    whole: the size before cropping, None for `size`. A film of 1080p has fewer rows without its bars, as on a Blu-ray.
    """
    (width, height), factors = size, [wanted / have for wanted, have in zip(box, whole or size, strict=True) if wanted]
    factor = min(factors)
    return max(2, round(width * factor / 2) * 2), max(2, round(height * factor / 2) * 2)


def fit_scale(source: Source, box: tuple[int, int]) -> float:
    return fit_size(source, box)[0] / source.tags.width


class Timed:
    """Iterates over frames and adds up the time that each took to come."""

    def __init__(self, frames: Iterator[av.VideoFrame]) -> None:
        self.frames = frames
        self.busy_s = 0.0

    def __iter__(self) -> Iterator[av.VideoFrame]:
        while True:
            at = time.perf_counter()
            frame = next(self.frames, None)
            self.busy_s += time.perf_counter() - at
            if frame is None:
                return
            yield frame


def upscaled(
    upscaler: Upscaler, frames: Iterator[av.VideoFrame], like: tuple[int, int, str] | None = None
) -> Generator[tuple[av.VideoFrame, bool], None, None]:
    """Frames as the upscaler gives them back, and whether each was taken from the one before; a generator, which can be closed."""
    made = _told(upscaler, _checked(upscaler, frames, like))
    return prefetch(made, depth=DONE, join_s=None) if upscaler.is_launched else made


def _told(upscaler: Upscaler, frames: Generator[av.VideoFrame, None, None]) -> Generator[tuple[av.VideoFrame, bool], None, None]:
    before = upscaler.num_reused
    with closing(frames):
        for frame in frames:
            after = upscaler.num_reused
            yield frame, after > before
            before = after


def _checked(
    upscaler: Upscaler, frames: Iterator[av.VideoFrame], like: tuple[int, int, str] | None
) -> Generator[av.VideoFrame, None, None]:
    """`upscaler.check` is shown each frame with its source."""
    if upscaler.check is None:
        yield from upscaler.stream(frames, like=like)
        return
    sources: deque[av.VideoFrame] = deque()

    def kept() -> Iterator[av.VideoFrame]:
        for frame in frames:
            sources.append(frame)
            yield frame

    for result in upscaler.stream(kept(), like=like):
        upscaler.check(sources.popleft(), result)
        yield result


def fill(report: Report, source: Source, sink: Sink, started: float) -> None:
    """The part of a report that source and sink know."""
    count = source.count
    report.encoder = sink.encoder
    report.crop = None if source.options.crop is None else str(source.options.crop)
    report.source, report.result = source.tags.describe(), sink.tags.describe()
    report.num_frames = sink.num_encoded
    report.num_deinterlaced, report.num_repaired_pts = count.num_deinterlaced, count.num_repaired_pts
    report.elapsed_s = time.perf_counter() - started
    report.fps = report.num_frames / report.elapsed_s
    report.media_s = float((sink.pts[-1] - sink.pts[0]) * source.time_base + 1 / source.rate)
    report.notes += [*count.notes, *sink.losses, *(track.trouble() for track in sink.tracks if track.errors)]
    report.notes += source.find_shortfalls()


def balance(account: Account, source: Source, sink: Sink) -> None:
    """Close the account of frames decoded and upscaled: everything else is read back from the finished file."""
    account.num_encoded, account.num_muxed = sink.num_encoded, len(sink.muxed_pts)
    account.num_streams = len(sink.tracks)
    account.num_lost_packets = sum(len(track.errors) for track in sink.tracks)
    account.problems += source.coverage.changes()
    if sink.options.strict:
        account.problems += source.find_shortfalls()
    check_counts(account)
    base = source.time_base
    if sink.format.pts:
        found = [p * base for p in sorted(sink.muxed_pts)]
        check_pts(account, [p * base for p in sink.pts], found, tolerance=max(base, sink.encoding.tick))
    if sink.path == "-" or sink.format.images or not sink.format.pts or not Path(sink.path).is_file():
        return
    try:
        facts = read_facts(sink.path)
    except SourceError as error:
        account.problems.append(f"the result cannot be read back: {error.message}")
        return
    if sink.format.moves:
        facts = align(facts, sink.pts[0] * base)
    tick = max(facts.time_base, sink.encoding.tick)
    check_pts(account, [p * base for p in sink.pts], facts.pts, tolerance=(tick + base) / 2)
    if sink.format.tags:
        check_tags(account, sink.tags, facts.tags, rotation=sink.format.rotation)
    check_streams(account.problems, [facts_of(track) for track in sink.tracks], facts.streams)


def give_up(error: BaseException, sink: Sink | None) -> None:
    """Leave no incomplete file under the final name; report where the finished part is."""
    if sink is None:
        return
    kept = sink.abandon(keep=not isinstance(error, KeyboardInterrupt))  # a second Ctrl-C: at once
    if kept is None or isinstance(error, AccountError):
        return
    words = f"the first {sink.num_encoded} frames are in {kept}"
    if isinstance(error, StreamsrError):
        error.hint = f"{error.hint}; {words}" if error.hint else words
    else:
        error.add_note(words)  # a bug: the command line says it
