"""Job: `run` makes a file in segments where that is of use, and in one piece where it is not.

Order of a job: plan (one pass over the packets), lease, segments that are not in the journal yet, join, frame account,
the output's name, and the end of the work folder. Whatever ends it early, the same call goes on from the journal.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Unpack

import av

from ..allocator import return_large_blocks
from ..device.device_selection import find_devices, settle_codecs
from ..device.upscaler_factory import open_upscaler
from ..engines import count_threads
from ..errors import AccountError, Interrupted, SinkError, StreamsrError, UsageError
from ..io.compression import form_of
from ..io.containers import find_format
from ..io.encoder_defaults import settle_encoder
from ..io.encoder_settings import Encoding, explain_disk, reason_of
from ..io.sink import Sink
from ..io.source import Source
from ..options import LARGE_PIXELS, RunKeywords, RunOptions, SinkOptions, UpscaleOptions, gather
from ..outlook import Outlook, look_ahead
from ..pipeline import Progress, Report, balance, fill, find_condition, fit_scale, fit_size, open_in_thread, rehearse, upscale_source
from ..resample import planar_format
from ..upscaling.upscaler import Upscaler
from .eligibility import make_plan, make_spec
from .executors import open_executor
from .job_folder import ChangedJobError, claimed, discard, remove_damaged, segment_folder, work_folder
from .job_identity import describe_job, find_changes
from .job_spec import Result, SegmentExecutor, Spec
from .journal import Journal
from .lease import Lease
from .ray_connection import connected
from .segment_join import join
from .segment_plan import Segment, Uncut
from .segment_store import Store, sync_folder
from .worker_pool import count_workers


def run(
    src: str | Path,
    dst: str | Path,
    *,
    options: RunOptions | None = None,
    upscaler: Upscaler | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_start: Callable[[Outlook], None] | None = None,
    stop: threading.Event | None = None,
    check: Callable[[av.VideoFrame, av.VideoFrame], None] | None = None,
    **keywords: Unpack[RunKeywords],
) -> Report:
    """Upscale a video and write it with everything that came along.

    src: a path, an image pattern or "-"; dst: the same. keywords: single fields of `options`, such as scale=3, crf=18 or
    overwrite=True; see streamsr.options. A long file is made in segments, in the folder DST.streamsr, and the same call goes on
    where an earlier one ended. upscaler: one that serves several runs in turn, and whose model, engine, device, precision and
    threads are those of this call; it stays open. None: one is opened for this run. on_start: called with what the run will do, before
    it begins. stop: when set, the run ends early and raises Interrupted. check: is shown each source frame with its result
    (streamsr.compare.result_check), where one worker makes them.
    Raises UsageError, SourceError, EngineError, SinkError, AccountError (nothing is lost silently), Interrupted.
    """
    started = time.perf_counter()
    stop = stop or threading.Event()
    options = gather(keywords, options)
    upscale, job = options.upscale, options.job
    given = upscale
    workers: int | Literal["auto"] = "auto" if upscale.device == "cuda:all" and job.workers == 1 else job.workers
    devices = find_devices(upscale)
    upscale = replace(upscale, device=devices[0])
    num_workers = count_workers(workers, devices)
    if check is not None and (num_workers > 1 or job.cluster is not None):
        raise UsageError("Results are scored in one worker alone.", hint="leave out --judge, or --workers, --cluster and cuda:all")
    url, target = str(src), str(dst)
    source, encode = settle_codecs(upscale, options.source, options.sink.encode)
    container = find_format(target, options.sink.format)
    source = replace(source, negative=container.negative and not container.cuts)
    options = RunOptions(upscale, source, replace(options.sink, encode=encode), job)
    folder = work_folder(target)
    if job.cluster is not None and num_workers > 1:
        hint = "leave one of them out"
        raise UsageError(f"--workers {workers} are of this machine, and --cluster {job.cluster} has its own.", hint=hint)
    if job.work_folder is not None and "://" in job.work_folder and job.cluster is None:
        raise UsageError(f"--work-folder {job.work_folder} is for --cluster.", hint="give a folder of this machine")
    report = Report(url, target)
    with (
        claimed(target, job.work_folder, options.sink, source_url=url),
        connected(job.cluster) if job.cluster else nullcontext(),
        open_in_thread(url, source, stop) as opened,
        nullcontext(upscaler) if upscaler else open_upscaler(replace(frugal(upscale, opened), size=None)) as upscaler,
    ):  # fmt: skip
        upscaler.allow_fallback(given.device == "auto")
        upscaler.check = check
        box = upscale.size
        factor, size = (upscale.scale, None) if box is None else (fit_scale(opened, box), fit_size(opened, box))
        form = form_of(opened)
        upscaler.turn_to(factor, size=size, form=form)
        if upscaler.has_chroma:
            # one look at the whole file: every segment, on whatever machine, is told the same
            upscaler.turn_to(factor, size=size, form=form, condition=find_condition(opened))
        pix_fmt = planar_format(opened.tags.pix_fmt)
        shape = upscaler.output_size(opened.tags.width, opened.tags.height, pix_fmt)
        output = find_format(target, options.sink.format)
        encoder = Encoding.choose(opened, shape, pix_fmt, output=output, wanted=encode).encoder
        encode = settle_encoder(encode, encoder, cores=count_threads(encode.threads), source=opened, size=shape)
        options = replace(options, sink=replace(options.sink, encode=encode))
        encoding = Encoding.choose(opened, shape, pix_fmt, output=output, wanted=encode)
        rehearse(target, opened, shape, pix_fmt, options.sink)
        if on_start is not None:
            on_start(look_ahead(opened, upscaler, encoding, shape, deinterlace=source.deinterlace))
        try:
            place = segment_folder(target, job.work_folder)
            spec = make_spec(opened, upscaler, options, target=target, folder=place, devices=devices)
            spec = replace(spec, may_fall_back=given.device == "auto")
            at = time.perf_counter()
            plan = None if folder.is_dir() and not job.restart else make_plan(opened, spec, job.segment_seconds, stop)
            report.stage_s["plan"] = time.perf_counter() - at
        except Uncut as reason:
            if folder.is_dir():
                discard(target, job.work_folder, str(reason), restart=job.restart)
            if workers not in (1, "auto") or job.cluster is not None:
                report.notes.append(f"one worker{' of this machine' if job.cluster else ''} made the video in one piece: {reason}")
            if len(devices) > 1:
                report.notes.append(f"one GPU of {','.join(devices)} made the video, in one piece: {reason}")
            upscaler.deliver_surfaces(encoding.surface is not None)
            upscale_source(opened, upscaler, options.sink, report, started=started, on_progress=on_progress, stop=stop)
            return report
        spec, open_crew = open_executor(spec, upscaler, num_workers, job.cluster)
        segmented = Job(opened, upscaler, spec, options.sink, report, started, on_progress, stop, open_crew)
        segmented.run(folder, plan, lambda: make_plan(opened, spec, job.segment_seconds, stop))
    return report


def frugal(upscale: UpscaleOptions, source: Source) -> UpscaleOptions:
    """Where the results are large: options for few frames at once."""
    tags = source.tags
    width, height = fit_size(source, upscale.size) if upscale.size else (tags.width * upscale.scale, tags.height * upscale.scale)
    if width * height < LARGE_PIXELS:
        return upscale
    return_large_blocks()
    return replace(upscale, hint="memory") if upscale.hint == "throughput" else upscale


@dataclass(slots=True)
class Job:
    """One run of a job in segments."""

    source: Source
    upscaler: Upscaler
    spec: Spec
    options: SinkOptions
    report: Report
    started: float  # time.perf_counter() at the start of the run
    on_progress: Callable[[Progress], None] | None
    stop: threading.Event
    open_crew: Callable[[Spec], SegmentExecutor]
    num_done: int = 0  # frames of finished segments, of this run and those before
    num_before: int = 0  # of those before
    num_planned: int = 0

    def run(self, folder: Path, plan: list[Segment] | None, plan_anew: Callable[[], list[Segment]]) -> None:
        """Do what is left of the job; the report is filled in. plan: of a job that begins; None to go on with one."""
        lost = threading.Event()
        try:
            folder.mkdir(exist_ok=True)
            Store(self.spec.folder).prepare()
        except OSError as error:
            raise explain_disk(error, str(folder)) or SinkError(f"{folder}: {reason_of(error)}.") from error
        facts = {"identity": json.dumps(describe_job(self.spec, self.upscaler, self.options)), "output": self.spec.target,
                 "threads": str(self.spec.encode.threads)}  # fmt: skip
        if plan is not None:
            remove_damaged(folder)
        with Journal(folder) as journal, Lease(folder, lost=lost):
            before = journal.identity()
            if plan is None and before is not None:
                changes = find_changes(before, json.loads(facts["identity"]))
                if changes:
                    hint = "--restart throws the unfinished job away; or give the options and the input of before"
                    raise ChangedJobError(f"{folder} holds an unfinished job that differs: {'; '.join(changes)}.", hint=hint)
                self.spec = replace(self.spec, encode=replace(self.spec.encode, threads=journal.threads()))
            else:
                Store(self.spec.folder).clear()
                journal.begin(plan or plan_anew(), facts)
            segments = journal.plan()
            done = self._verified(journal)
            self._make(segments, done, journal, lost)
            self._finish(segments, done, journal)
        Store(self.spec.folder).remove()
        Store(str(folder)).remove()

    def _verified(self, journal: Journal) -> dict[int, Result]:
        """The finished segments whose files are as they were written."""
        store, done = Store(self.spec.folder), journal.results()
        for number, result in list(done.items()):
            if result.name is not None and store.describe(result.name) != (result.size, result.checksum):
                journal.forget(number)
                del done[number]
                self.report.notes.append(f"segment {number} was damaged on the disk and was made again")
        store.clear(keep={result.name for result in done.values() if result.name is not None})
        self.report.num_resumed = len(done)
        return done

    def _make(self, segments: Sequence[Segment], done: dict[int, Result], journal: Journal, lost: threading.Event) -> None:
        todo = [segment for segment in segments if segment.number not in done]
        self.num_planned = sum(segment.num_frames for segment in segments)
        self.num_done = self.num_before = sum(result.num_decoded for result in done.values())
        crew = self.open_crew(self.spec)
        try:
            with crew:
                for result in crew.run(todo, stop=self.stop, on_frames=self._count):
                    if lost.is_set():
                        raise SinkError(f"Another process has taken over {self.spec.folder}.", hint="was this one suspended?")
                    journal.record(result)
                    done[result.number] = result
                    self.num_done += result.num_decoded
            if self.stop.is_set():
                raise Interrupted("Interrupted.")
        except StreamsrError as error:
            self._keep_partial(error, segments, done, crew.unfinished)
            raise
        self.report.stage_s.update(crew.stage_s)
        self.report.num_workers = crew.num_workers
        if crew.num_retried:
            self.report.notes.append(f"{crew.num_retried} segments were made again, because a worker ended")

    def _count(self, num_in_hand: int) -> None:
        num_frames = self.num_done + num_in_hand
        now = time.perf_counter() - self.started
        if self.report.first_frame_s is None:
            self.report.first_frame_s = now
        if self.on_progress is not None:
            media_s = num_frames / float(self.source.rate)
            self.on_progress(
                Progress(num_frames, self.num_planned, media_s, now, self.upscaler.model, self.upscaler.engine, self.num_before)
            )

    def _join(self, results: Sequence[Result], stop: threading.Event | None = None) -> Sink:
        width, height, pix_fmt = self.spec.shape
        pix_fmt = planar_format(pix_fmt)
        size = self.upscaler.output_size(width, height, pix_fmt)
        return join(self.source, self.spec, results, self.options, size=size, pix_fmt=pix_fmt, stop=stop or threading.Event())

    def _finish(self, segments: Sequence[Segment], done: dict[int, Result], journal: Journal) -> None:
        results = [done[segment.number] for segment in segments]
        at = time.perf_counter()
        try:
            sink = self._join(results, self.stop)
        except StreamsrError as error:
            words = f"all {len(segments)} segments are done, the same command joins them"
            error.hint = f"{error.hint}; {words}" if error.hint else words
            raise
        report, account = self.report, self.report.account
        report.stage_s["join"] = time.perf_counter() - at
        last = next(result for result in reversed(results) if result.engine)
        report.model, report.engine, report.reason = self.upscaler.model, last.engine, last.reason
        report.notes += self.upscaler.notes
        fill(report, self.source, sink, self.started)
        report.num_segments = len(segments)
        report.num_reused = sum(result.num_reused for result in results)
        report.num_deinterlaced = sum(result.num_deinterlaced for result in results)
        report.fps = (report.num_frames - self.num_before) / report.elapsed_s
        account.num_decoded = sum(result.num_decoded for result in results)
        account.num_upscaled = sum(result.num_upscaled for result in results)
        missing = sum(result.num_missing for result in results)
        # two workers may meet the same damage, and not every packet without a picture is damaged
        account.num_corrupt_packets = min(missing, sum(result.num_errors for result in results))
        if missing > account.num_corrupt_packets:
            report.notes.append(f"{missing - account.num_corrupt_packets} packets of the video hold no picture of their own")
        balance(account, self.source, sink)
        if not account.ok:
            raise AccountError(account.line(), hint=f"the result was kept as {sink.path}, the segments in {self.spec.folder}")
        with open(sink.path, "rb+") as file:
            os.fsync(file.fileno())  # the segments go, so the output has to be on the disk
        journal.state(joined=sink.path)
        sink.commit()
        sync_folder(Path(self.spec.target).parent)

    def _keep_partial(
        self, error: StreamsrError, segments: Sequence[Segment], done: dict[int, Result], unfinished: Sequence[Result]
    ) -> None:
        """Join what is there from the beginning on, so that it plays, and say so in the error's hint."""
        leading: list[Result] = []
        known = {result.number: result for result in unfinished} | done
        for segment in segments:
            result = known.get(segment.number)
            if result is None:
                break
            leading.append(result)
            if not result.complete:
                break
        words = [f"{len(done)} of {len(segments)} segments are done, the same command goes on from there"]
        times = [time for result in leading for time in result.times()[-1:]]
        if times:
            try:
                self.source.times.end = times[-1] * self.spec.time_base + 1 / self.spec.rate
                sink = self._join(leading)
                words.insert(0, f"the first {sink.num_encoded} frames are in {sink.path}")
            except StreamsrError:
                pass  # the disk may be full; the segments are what matters
        error.hint = "; ".join([*([error.hint] if error.hint else []), *words])
