"""Options: one frozen dataclass a stage, built once, checked here and passed whole.

`streamsr.run(src, dst, crf=18, overwrite=True)` takes the fields as plain keywords: `gather` sorts them into the stages. On the
command line and in TOML files, streamsr.commands.option_table names the option of each field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, TypeVar, get_args

from .errors import UsageError

Look = Literal["natural", "faithful"]
Precision = Literal["auto", "f32", "f16", "bf16", "int8"]
Hint = Literal["throughput", "latency", "memory"]
Deinterlace = Literal["auto", "on", "off", "bob", "film"]
Decoder = Literal["auto", "nvdec", "cpu", "dali"]
Content = Literal["film", "animation", "screen"]
OnLoss = Literal["hold", "slate", "stop"]
Transport = Literal["tcp", "udp"]
HlsType = Literal["fmp4", "ts"]

MAX_SCALE = 64
MAX_SIDE = 65_535  # pixels
MAX_IN_FLIGHT = 4
LARGE_PIXELS = 6_000_000  # of a result: from here on few frames are kept, because each takes tens of megabytes
FOREVER = math.inf


@dataclass(frozen=True, slots=True)
class UpscaleOptions:
    """How to enlarge a frame. Raises UsageError for values that cannot be."""

    model: str = "lite"  # a shipped model's name, the path of an ONNX file, or "resize" for the Lanczos baseline
    scale: float = 2  # of width and height
    size: tuple[int, int] | None = None  # (width, height) in pixels instead of a scale: a box for files and streams, 0 leaves a side free
    look: Look = "natural"  # what people like to see, or as close to the original as can be known
    strength: float | None = None  # how blurred the source is, 0 (as soft as it is meant to be) to 1; None: estimated from the source
    damage: float | None = None  # by noise and compression, 0 to 1 (streamsr.upscaling.source_condition); None: estimated
    engine: str = "auto"  # see streamsr.engines
    device: str = "auto"  # "auto", "cpu", "cuda:0", "cuda:0,cuda:1", "cuda:all", "mps"
    precision: Precision = "auto"
    threads: int = 0  # of the engine; 0: all cores
    hint: Hint = "throughput"  # several frames side by side, each one on all cores, or so with one more on its way
    frames_in_flight: int | None = None  # on a GPU, 1 to MAX_IN_FLIGHT; None: the usual number
    batch: int = 1  # frames that the network takes at once, on a GPU

    def __post_init__(self) -> None:
        box = None if self.size is None else tuple(side or 1 for side in self.size) if any(self.size) else self.size
        check_scale(self.scale, box)  # type: ignore[arg-type]
        check_choice("look", self.look, get_args(Look))
        if self.strength is not None and not 0 <= self.strength <= 1:
            raise UsageError(f"strength is {self.strength:g}; it must be 0 (the source is as soft as it is meant to be) to 1.")
        if self.damage is not None and not 0 <= self.damage <= 1:
            raise UsageError(f"damage is {self.damage:g}; it must be 0 (a clean source) to 1.")
        check_choice("precision", self.precision, get_args(Precision))
        check_choice("hint", self.hint, get_args(Hint))
        if self.threads < 0:
            raise UsageError(f"threads is {self.threads}; use 0 for all cores, or a positive number.")
        if self.frames_in_flight is not None and not 1 <= self.frames_in_flight <= MAX_IN_FLIGHT:
            raise UsageError(f"frames_in_flight is {self.frames_in_flight}; it must be 1 to {MAX_IN_FLIGHT}.")
        if self.batch < 1:
            raise UsageError(f"batch is {self.batch}; it must be 1 or more.")


class Crop(NamedTuple):
    """The part of each picture that is kept, in pixels as they are stored: before rotation, and before the pixel aspect counts."""

    width: int
    height: int
    left: int
    top: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}+{self.left}+{self.top}"


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How to read an input. Raises UsageError for values that cannot be."""

    start_s: float | None = None  # first time wanted, in seconds from the start of the input
    end_s: float | None = None  # first time not wanted any more
    num_frames: int | None = None  # at most so many frames
    deinterlace: Deinterlace = "auto"
    crop: Crop | Literal["auto"] | None = None  # "auto": without black bars, where moments of all the file show some; None: whole
    max_errors: int = 32  # so many corrupt packets in a row are skipped
    threads: int = 0  # decoder threads, 0 = FFmpeg's choice
    input_format: str | None = None  # FFmpeg's name: "rawvideo", "nut"
    input_size: tuple[int, int] | None = None  # rawvideo only
    input_pix_fmt: str | None = None  # rawvideo only
    input_rate: Fraction | None = None  # rawvideo and image sequences, frames per second
    keep_gaps: bool = False  # pictures of an image sequence are shown at their numbers' times, where numbers are missing
    timeout_s: float | None = None  # of opening and of each read; None: forever
    decoder: Decoder = "auto"
    negative: bool = True  # the output holds times before 0
    gpu: int | None = None  # that frames are decoded on and stay on, where it can; None: frames are in host memory

    def __post_init__(self) -> None:
        if self.start_s is not None and self.end_s is not None and self.end_s <= self.start_s:
            raise UsageError(f"--end {self.end_s:g} is not after --start {self.start_s:g}.")
        if self.input_format == "rawvideo" and (self.input_size is None or self.input_pix_fmt is None):
            hint = "such as --input-size 640x360 --input-pix-fmt yuv420p"
            raise UsageError("Raw video needs --input-size and --input-pix-fmt.", hint=hint)


class Nvenc(NamedTuple):
    """An encoder of a GPU, for surfaces of so many bits."""

    name: str  # FFmpeg's
    bits: int  # 8 or 10


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """How to encode. None: the default of the encoder's row in streamsr.io.encoder_table.ENCODERS."""

    encoder: str = "auto"  # FFmpeg's name
    crf: float | None = None  # constant quality, on the encoder's own scale; lower is better
    preset: str | None = None
    content: Content | None = None  # what the video shows, for the encoder's tuning
    pix_fmt: str | None = None
    options: Mapping[str, str] | None = None  # encoder options, passed to FFmpeg as they are
    threads: int = 0  # 0 = the encoder's choice
    realtime: bool = False  # favour speed
    live: bool = False  # favour delay: no look-ahead, a key frame every LIVE_GOP_S, headers with each of them
    max_bit_rate_bps: int | None = None  # beside constant quality: what a network can carry; of files, some times the source's
    gpu: int | None = None  # that frames are on, for encoders there; None: frames are in host memory
    nvenc: tuple[Nvenc, ...] = ()  # this GPU's encoders, which "auto" prefers

    def __post_init__(self) -> None:
        if self.crf is not None and not -64 <= self.crf <= 255:  # nan is in no range
            raise UsageError(f"crf is {self.crf:g}; it must be a number on the encoder's scale, such as 18.")


@dataclass(frozen=True, slots=True)
class SinkOptions:
    """How to write an output."""

    encode: EncoderOptions = field(default_factory=EncoderOptions)
    format: str | None = None  # a name of streamsr.io.containers.BY_NAME; None: from the output's ending
    overwrite: bool = False
    strict: bool = False  # what would be dropped is an error instead


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How a file is divided into segments, and who makes them."""

    segment_seconds: float = 10.0  # about the length of a segment; 0: the file in one piece
    workers: int | Literal["auto"] = 1  # processes; "auto": one a device where several are named, else one for four cores
    cluster: str | None = None  # "auto" or "ray://HOST:PORT": a Ray cluster whose nodes make the segments
    work_folder: str | None = None  # where segments go, a folder or a store's URL that all workers reach; None: OUTPUT.streamsr
    restart: bool = False  # throw away what an earlier run has done


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How a live stream is treated. Raises UsageError for values that cannot be."""

    max_latency_s: float = 0.5  # a frame further behind the source's clock is dropped where a newer one is there
    timeout_s: float = 10.0  # of every open, read and write
    reconnect: float = FOREVER  # attempts in a row before a side is given up; 0: the first loss ends the stream
    on_loss: OnLoss = "hold"  # what goes out while the source is gone
    slate: str | None = None  # a picture for "slate"; dark grey without
    fixed_model: bool = False  # never give up quality for time
    rtsp_transport: Transport = "tcp"
    segment_s: float | None = None  # length of a file, where the output is cut into several; of an HLS segment
    hls_type: HlsType = "fmp4"
    hls_segments: int = 10  # that the playlist names
    judge: int = 0  # each N-th result is scored against its source; 0: none

    def __post_init__(self) -> None:
        if not 0.02 <= self.max_latency_s <= 60:
            raise UsageError(f"--max-latency is {self.max_latency_s * 1000:g} ms; it must be 20 to 60000.")
        if not 0.5 <= self.timeout_s <= 3600:
            raise UsageError(f"--timeout is {self.timeout_s:g} s; it must be 0.5 to 3600.")
        if self.reconnect < 0:
            raise UsageError(f"--reconnect is {self.reconnect:g}; it must be forever, off or a number of attempts.")
        if self.segment_s is not None and not 0.5 <= self.segment_s <= 86400:
            raise UsageError(f"--segment-time is {self.segment_s:g} s; it must be 0.5 s to a day.")
        if not 2 <= self.hls_segments <= 100_000:
            raise UsageError(f"--hls-segments is {self.hls_segments}; it must be 2 to 100000.")
        if self.slate is not None and self.on_loss != "slate":
            raise UsageError("--slate needs --on-loss slate.")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """All stages of one video or stream."""

    upscale: UpscaleOptions = field(default_factory=UpscaleOptions)
    source: SourceOptions = field(default_factory=SourceOptions)
    sink: SinkOptions = field(default_factory=SinkOptions)
    job: JobOptions = field(default_factory=JobOptions)


class UpscaleKeywords(TypedDict, total=False):
    """What `streamsr.Upscaler` takes as keywords beside model and scale."""

    size: tuple[int, int] | None
    engine: str
    device: str
    look: Look
    strength: float | None
    damage: float | None
    precision: Precision
    threads: int
    hint: Hint
    frames_in_flight: int | None
    batch: int


class RunKeywords(UpscaleKeywords, total=False):
    """What `streamsr.run` takes as keywords: every field that a caller sets, of all stages. `threads` counts for each of them."""

    model: str | Path
    scale: float
    start_s: float | None
    end_s: float | None
    num_frames: int | None
    deinterlace: Deinterlace
    crop: Crop | Literal["auto"] | None
    max_errors: int
    input_format: str | None
    input_size: tuple[int, int] | None
    input_pix_fmt: str | None
    input_rate: Fraction | None
    keep_gaps: bool
    timeout_s: float | None
    decoder: Decoder
    encoder: str
    crf: float | None
    preset: str | None
    content: Content | None
    pix_fmt: str | None
    encoder_options: Mapping[str, str] | None
    realtime: bool
    format: str | None
    overwrite: bool
    strict: bool
    segment_seconds: float
    workers: int | Literal["auto"]
    cluster: str | None
    work_folder: str | None
    restart: bool


Options = TypeVar("Options", UpscaleOptions, SourceOptions, EncoderOptions, SinkOptions, JobOptions, LiveOptions)
_RENAMED = {"encoder_options": "options"}  # keyword: field


def gather(keywords: Mapping[str, Any], options: RunOptions | None = None) -> RunOptions:
    """`options` with the fields that the keywords name, in every stage that has such a field. Raises TypeError for other names."""
    options = options or RunOptions()
    unknown = keywords.keys() - RunKeywords.__annotations__.keys()
    if unknown:
        raise TypeError(f"Unknown option {min(unknown)!r}. Options: {', '.join(sorted(RunKeywords.__annotations__))}.")
    encode = _replaced(options.sink.encode, keywords)
    return RunOptions(
        upscale_options(keywords, options.upscale), _replaced(options.source, keywords),
        replace(_replaced(options.sink, keywords), encode=encode), _replaced(options.job, keywords),
    )  # fmt: skip


def upscale_options(keywords: Mapping[str, Any], options: UpscaleOptions | None = None) -> UpscaleOptions:
    """`options` with the fields that the keywords name."""
    keywords = {name: str(value) if name == "model" else value for name, value in keywords.items()}
    return _replaced(options or UpscaleOptions(), keywords)


def _replaced(options: Options, keywords: Mapping[str, Any]) -> Options:
    names = {one.name for one in fields(options)}
    given = {_RENAMED.get(name, name): value for name, value in keywords.items()}
    return replace(options, **{name: value for name, value in given.items() if name in names})


def check_scale(scale: float, size: tuple[int, int] | None) -> None:
    """Raises UsageError for a scale or a size that cannot be."""
    if size is None and not (isinstance(scale, (int, float)) and 0 < scale <= MAX_SCALE):
        raise UsageError(f"scale is {scale!r}; it must be a number above 0, at most {MAX_SCALE}.")
    if size is not None and not all(isinstance(side, int) and 0 < side <= MAX_SIDE for side in size):
        raise UsageError(f"size is {size!r}; it must be (width, height) in pixels, 1 to {MAX_SIDE}.")


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raises UsageError for a value that is not known."""
    if value not in known:
        raise UsageError(f"Unknown {name} {value!r}. {name.capitalize()}s: {', '.join(known)}.")
