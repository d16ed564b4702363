"""Choice: whether a job is of use, and the information its workers need."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..io.containers import find_format, reads_images
from ..io.encoder_settings import Encoding, has_constant_quality
from ..io.remote import read_facts
from ..io.source import Source
from ..options import RunOptions
from ..resample import planar_format
from ..upscaling.upscaler import Upscaler
from .job_spec import Spec
from .segment_plan import Segment, Uncut, plan_segments, scan, seconds_to_ticks, warmup_frames


def make_spec(
    source: Source, upscaler: Upscaler, options: RunOptions, *, target: str, folder: str, devices: Sequence[str]
) -> Spec:  # fmt: skip
    """The information workers need. Raises Uncut where segments cannot be or are of no use."""
    url = source.url
    is_url = "://" in url and not url.startswith("file:")
    first = source.tags
    shape = (first.width, first.height, first.pix_fmt)
    output = find_format(target, options.sink.format)
    if source.options.decoder == "dali":
        raise Uncut("DALI reads a file from its beginning")
    segment_seconds = options.job.segment_seconds
    if segment_seconds <= 0:
        raise Uncut("--segment-seconds is 0")
    if not Path(url).is_file() and not (is_url and read_facts(url)):
        raise Uncut("the input is not a file" + (", or one whose server does not tell its size" if is_url else ""))
    if source.container.format.name == "rawvideo" or reads_images(source.container.format.name):
        raise Uncut("the input is pictures without times")
    if target == "-" or (Path(target).exists() and not Path(target).is_file()):
        raise Uncut("the output is not a file")
    if output.images or not output.pts or output.raw is not None or output.tick is not None:
        raise Uncut(f"{output.muxer} cannot be joined from packets")
    if source.options.deinterlace in ("bob", "film"):
        raise Uncut(f"--deinterlace {source.options.deinterlace} makes frames of another number than the packets")
    if source.options.num_frames is not None:
        raise Uncut("--frames asks for a number of frames, which packets do not tell")
    if source.duration_s is not None and source.duration_s < 1.5 * segment_seconds:
        raise Uncut("it is short")
    size = upscaler.output_size(*shape[:2], planar_format(shape[2]))
    encoding = Encoding.choose(source, size, planar_format(shape[2]), output=output, wanted=options.sink.encode)
    if not has_constant_quality(encoding):
        raise Uncut("a bit rate is spread over the whole video, so its encoder cannot start anew at each segment")
    upscale = replace(options.upscale, model=upscaler.model, scale=upscaler.scale, size=upscaler.size, engine=upscaler.engine,
                      hint=upscaler.options.hint)  # fmt: skip
    if upscaler.condition is not None:
        upscale = replace(upscale, strength=upscaler.condition.blur, damage=upscaler.condition.damage)
    return Spec(
        url if is_url else str(Path(url).absolute()), source.options, folder, target, options.sink.format, options.sink.encode,
        source.tags, source.time_base, source.rate, shape, upscale, tuple(devices), warmup_frames(upscaler.specs),
        source.aspect,
    )  # fmt: skip


def make_plan(source: Source, spec: Spec, segment_seconds: float, stop: threading.Event) -> list[Segment]:
    ticks = seconds_to_ticks(segment_seconds, spec.time_base)
    segments = plan_segments(scan(source, stop), ticks=ticks, warmup=spec.warmup)
    if len(segments) < 2:
        raise Uncut("it is short")
    return segments
