"""Studio: makes moments with settings, one at a time, and keeps what may be wanted again: frames, engines and pictures."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from fractions import Fraction
from time import perf_counter
from typing import Generic, Literal, TypeVar

import av

from ..device.device_selection import find_devices
from ..device.upscaler_factory import open_upscaler
from ..engines import count_threads
from ..errors import SourceError
from ..io.compression import form_of
from ..io.containers import find_format
from ..io.encoder_defaults import settle_encoder
from ..io.encoder_settings import Encoding
from ..io.moments import origin_of, read_at
from ..io.source import Source
from ..models import RESIZE, Form
from ..options import Crop, Deinterlace, RunOptions, SourceOptions, UpscaleOptions
from ..outlook import Outlook, look_ahead
from ..pipeline import find_condition, fit_box
from ..resample import planar_format
from ..upscaling.source_condition import Condition
from ..upscaling.upscaler import Upscaler
from .moments import Moment

_RUN_IN = 3  # frames before the moment, which a recurrent network sees first
_ENGINES, _FRAMES, _SHOTS = 3, 12, 24  # kept
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Setting:
    """How a moment is made."""

    upscale: UpscaleOptions
    deinterlace: Deinterlace = "auto"
    crop: Crop | Literal["auto"] | None = None


@dataclass(frozen=True, slots=True)
class Video:
    """What is known of an input."""

    origin: Fraction  # seconds on the time line of its frames
    rate: Fraction
    num_frames: int | None
    width: int  # of the pictures, after cropping
    height: int
    whole_size: tuple[int, int]  # (width, height) before cropping
    crop: Crop | None
    form: Form | None
    condition: Condition | None  # as a run of the whole video is told
    bit_rate_bps: float | None  # of the video
    pixel_aspect: Fraction


@dataclass(frozen=True, slots=True)
class Shot:
    """A moment before and after, of one size."""

    before: av.VideoFrame
    after: av.VideoFrame
    size: tuple[int, int]  # (width, height) of the source
    model: str  # the one that ran, which may be a form of the one that was chosen
    frame_s: float | None  # time of upscaling one frame with all cores


class Kept(OrderedDict[Hashable, Value], Generic[Value]):
    """The newest `limit` values."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def keep(self, key: Hashable, value: Value) -> Value | None:
        """Keep it; returns the one that was evicted."""
        self[key] = value
        self.move_to_end(key)
        return self.popitem(last=False)[1] if len(self) > self._limit else None


class Studio:
    """Use as a context manager; its methods may be called from several threads, and work one after another."""

    def __init__(self, moments: list[Moment], source: SourceOptions) -> None:
        self.moments = moments
        self._source = source
        self._lock = threading.Lock()
        self._videos: dict[Hashable, Video] = {}
        self._frames: Kept[list[av.VideoFrame]] = Kept(_FRAMES)
        self._engines: Kept[Upscaler] = Kept(_ENGINES)
        self._shots: Kept[Shot] = Kept(_SHOTS)
        self._timed: dict[Hashable, float] = {}  # seconds a frame

    def __enter__(self) -> Studio:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            for upscaler in self._engines.values():
                upscaler.close()
            self._engines.clear()

    def video(self, url: str, crop: Crop | Literal["auto"] | None = None) -> Video:
        """Raises SourceError, and UsageError for what cannot be cut out of its pictures."""
        key = url, crop
        if key not in self._videos:
            with Source(url, replace(self._source, start_s=None, end_s=None, num_frames=None, crop=crop)) as source:
                tags = source.tags
                rate = source.stream.bit_rate or source.container.bit_rate
                settled = source.options.crop
                assert settled != "auto"
                self._videos[key] = Video(
                    origin_of(source), source.rate, source.expected_frames, tags.width, tags.height, source.whole_size, settled,
                    form_of(source), find_condition(source),
                    float(rate) if rate else None, source.stream.sample_aspect_ratio or Fraction(1),
                )  # fmt: skip
        return self._videos[key]

    def shoot(self, number: int, setting: Setting) -> Shot:
        """Moment number `number`, before and after. Raises what opening and upscaling raise."""
        with self._lock:
            key = number, setting
            if key not in self._shots:
                self._shots.keep(key, self._make(self.moments[number], setting))
            self._shots.move_to_end(key)
            return self._shots[key]

    def look_ahead(self, url: str, run: RunOptions, shot: Shot, output: str) -> Outlook:
        """What a whole run would take, by the time that a moment took. Raises what opening raises."""
        crop = self.video(url, run.source.crop).crop
        with self._lock, Source(url, replace(self._source, deinterlace=run.source.deinterlace, crop=crop)) as source:
            upscaler, size = self._upscaler(run.upscale), (shot.after.width, shot.after.height)
            pix_fmt, form = planar_format(source.tags.pix_fmt), find_format(output, run.sink.format)
            encoder = Encoding.choose(source, size, pix_fmt, output=form, wanted=run.sink.encode).encoder
            cores = count_threads(run.sink.encode.threads)
            wanted = settle_encoder(run.sink.encode, encoder, cores=cores, source=source, size=size)
            encoding = Encoding.choose(source, size, pix_fmt, output=form, wanted=wanted)
            return look_ahead(source, upscaler, encoding, size, deinterlace=run.source.deinterlace, frame_s=shot.frame_s)

    def _make(self, moment: Moment, setting: Setting) -> Shot:
        video = self.video(moment.url, setting.crop)
        upscaler = self._upscaler(setting.upscale)
        box = setting.upscale.size
        size = None if box is None else fit_box((video.width, video.height), box, whole=video.whole_size)
        scale = setting.upscale.scale if size is None else size[0] / video.width
        upscaler.turn_to(scale, size=size, form=video.form, condition=video.condition)
        frames = self._read(moment, video, setting.deinterlace, _RUN_IN if upscaler.is_recurrent else 0)
        at = perf_counter()
        afters = list(upscaler.stream(iter(frames)))
        took_s = (perf_counter() - at) / len(frames)
        timed = setting.upscale, moment.url
        if timed in self._timed or len(frames) > 1 or upscaler.model == RESIZE:
            self._timed[timed] = min(took_s, self._timed.get(timed, took_s))
        elif video.form != "picture":  # the first frame of an engine waits for its compilation: once more, by the clock
            upscaler.restart()
            at = perf_counter()
            for _ in upscaler.stream(iter(frames)):
                pass
            self._timed[timed] = perf_counter() - at
        after = afters[-1]
        plain = self._upscaler(UpscaleOptions(model=RESIZE))
        plain.turn_to(2, size=(after.width, after.height))
        (before,) = plain.stream(iter(frames[-1:]))
        return Shot(before, after, (video.width, video.height), upscaler.model, self._timed.get(timed))

    def _upscaler(self, options: UpscaleOptions) -> Upscaler:
        """An open one; its scale is settled for each moment."""
        key = replace(options, scale=2, size=None)
        if key not in self._engines:
            opened = open_upscaler(replace(key, device=find_devices(key)[0]), say=lambda _: None)
            retired = self._engines.keep(key, opened)
            if retired is not None:
                retired.close()
        self._engines.move_to_end(key)
        return self._engines[key]

    def _read(self, moment: Moment, video: Video, deinterlace: Deinterlace, run_in: int) -> list[av.VideoFrame]:
        key = moment, deinterlace, video.crop, run_in
        if key not in self._frames:
            first = max(float(video.origin), float(video.origin) + moment.time_s - run_in / float(video.rate))
            source = replace(self._source, deinterlace=deinterlace, crop=video.crop)
            found = read_at(moment.url, first, origin=video.origin, rate=video.rate, num_frames=run_in + 1, options=source)
            if not found:
                raise SourceError(f"{moment.url} has no frame at {moment.time_s:g} s.", hint="give an earlier --at")
            self._frames.keep(key, [frame for _, frame in found])
        return self._frames[key]
