"""The table of options of `streamsr run` on the command line and in TOML files, and the field that each one sets.

    add_options(parser)                                  # the command line
    options = run_options(vars(namespace), src)          # RunOptions, checked; `live_options` for streams
    options = run_options(DEFAULTS | table, src)         # a table of a TOML file, whose values `read_value` has read
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from ..options import (
    Content,
    Decoder,
    Deinterlace,
    EncoderOptions,
    HlsType,
    JobOptions,
    LiveOptions,
    Look,
    OnLoss,
    Precision,
    RunOptions,
    SinkOptions,
    SourceOptions,
    Transport,
    UpscaleOptions,
)
from . import values

STAGES: dict[str, type[Any]] = {
    "upscale": UpscaleOptions, "source": SourceOptions, "encode": EncoderOptions, "sink": SinkOptions, "job": JobOptions,
    "live": LiveOptions,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Option:
    """One option of `streamsr run`."""

    name: str  # on the command line after "--", and the key in a TOML file
    help: str
    fields: tuple[str, ...] = ()  # that take its value, as STAGE.FIELD; none for what only the command itself needs
    metavar: str | None = None
    parse: Callable[[str], Any] | None = None  # from text; raises ArgumentTypeError or ValueError
    choices: tuple[str, ...] = ()
    kind: Literal["value", "flag", "switch", "pairs"] = "value"  # switch: with a --no- form; pairs: KEY=VALUE, repeatable
    is_config: bool = True  # whether it is a key of a TOML file: not what concerns the process, or files

    @property
    def key(self) -> str:
        return self.name.replace("-", "_")

    @property
    def default(self) -> Any:
        if self.kind == "pairs":
            return []
        if self.kind == "flag":
            return False
        return find_default(self.fields[0]) if self.fields else None


def find_default(path: str) -> Any:
    """The default of STAGE.FIELD."""
    stage, _, name = path.partition(".")
    found = next(field for field in fields(STAGES[stage]) if field.name == name)
    assert found.default is not MISSING
    return found.default


def _value(name: str, field: str, metavar: str, help: str, parse: Callable[[str], Any] | None = None, *, is_config: bool = True) -> Option:
    return Option(name, help, (field,), metavar, parse, is_config=is_config)


def _choice(name: str, field: str, closed: Any, help: str, *, is_config: bool = True) -> Option:
    return Option(name, help, (field,), choices=get_args(closed), is_config=is_config)


def _flag(name: str, field: str, help: str, *, is_config: bool = True) -> Option:
    return Option(name, help, (field,) if field else (), kind="flag", is_config=is_config)


PICTURE = (
    _value("model", "upscale.model", "M", "see `streamsr models`, or PATH.onnx (default: lite)"),
    _choice("look", "upscale.look", Look, "sharper, or as close to the original as possible (default: natural)"),
    _value("strength", "upscale.strength", "S", "how blurred the source is, 0 (not at all) to 1 (default: estimated)", values.share),
    _value("damage", "upscale.damage", "D", "how noisy or compressed the source is, 0 to 1 (default: estimated)", values.share),
    _choice("deinterlace", "source.deinterlace", Deinterlace, "default: as flagged in the frames"),
    _value("crop", "source.crop", "C", "auto (without black bars), off, or WxH+X+Y (default: off)", values.crop),
    _value("start", "source.start_s", "T", "start time: seconds or h:mm:ss", values.seconds, is_config=False),
    _value("end", "source.end_s", "T", "end time (exclusive)", values.seconds, is_config=False),
    _value("frames", "source.num_frames", "N", "at most N frames", values.count),
)
SIZE = (  # one of them
    _value("scale", "upscale.scale", "N", "factor, 2 by default; 3, 4 or any other such as 1.5", values.scale),
    _value("size", "upscale.size", "S", "fit into 1440p, 4k or WxH; aspect kept, even sides", values.size),
)
ENGINE = (
    _value("engine", "upscale.engine", "E", "auto, openvino, onnxruntime, torch, tensorrt, resize (see `streamsr doctor`)"),
    _value("device", "upscale.device", "D", "auto, cpu, cuda:0, cuda:all, mps (default: auto)"),
    _choice("precision", "upscale.precision", Precision, "default: auto"),
    _flag("wait-engine", "", "build TensorRT first, instead of switching to it during the run"),
    _value("frames-in-flight", "upscale.frames_in_flight", "N", "on a GPU, 1 to 4 (default: 3)", values.flight),
    _value("batch", "upscale.batch", "N", "batch size of the network, on a GPU (default: 1)", values.count, is_config=False),
    Option("threads", "number of threads of the engine and the codecs, 0 = all cores",
           ("upscale.threads", "source.threads", "encode.threads"), "N", values.natural),
    _flag("realtime", "encode.realtime", "select settings that run in real time on this machine", is_config=False),
)  # fmt: skip
ENCODING = (
    _value("encoder", "encode.encoder", "NAME", "auto, libx264, libx265, libsvtav1, libvpx-vp9, ffv1, ..."),
    _value("crf", "encode.crf", "Q", "constant quality on the encoder's scale, lower is better", float),
    _value("preset", "encode.preset", "P", "speed of the encoder, such as ultrafast or slow"),
    _choice("content", "encode.content", Content, "kind of content, which selects the encoder's tuning"),
    _value("pix-fmt", "encode.pix_fmt", "F", "default: the source's"),
    Option("encoder-option", "any encoder option; repeatable", ("encode.options",), "K=V", values.pair, kind="pairs"),
    _value("format", "sink.format", "F", "output format, if the name does not tell: nut, y4m, mpegts, rawvideo, ..."),
    _flag("overwrite", "sink.overwrite", "overwrite an existing output"),
    _flag("strict", "sink.strict", "fail instead of dropping a stream or a tag"),
)
INPUT = (
    _value("input-format", "source.input_format", "F", "FFmpeg's name of the input format, such as rawvideo, nut or yuv4mpegpipe"),
    _value("input-size", "source.input_size", "WxH", "size of raw video", values.pixels),
    _value("input-pix-fmt", "source.input_pix_fmt", "F", "pixel format of raw video, such as yuv420p"),
    _value("input-rate", "source.input_rate", "R", "frame rate of raw video and image sequences (default: 25)", values.rate),
    _flag("keep-gaps", "source.keep_gaps", "if numbers of an image sequence are missing, show the previous picture for longer"),
    _choice("decoder", "source.decoder", Decoder, "default: NVDEC, or else the CPU"),
    _value("max-errors", "source.max_errors", "N", "number of consecutive corrupt packets to skip (default: 32)", values.natural),
)
JOB = (
    _value("segment-seconds", "job.segment_seconds", "S",
           "length of the segments of a long file, which let it resume after a crash; 0: no segments", values.duration, is_config=False),
    _value("workers", "job.workers", "N", "processes for segments, or auto: one for each device, or for every four cores (default: 1)",
           values.workers, is_config=False),
    _value("cluster", "job.cluster", "C", "a Ray cluster for segments: auto or ray://HOST:10001 (docs/cluster.md)",
           is_config=False),
    _value("work-folder", "job.work_folder", "F",
           "where segments are stored: a folder or URL that all nodes can access (default: OUTPUT.streamsr)", is_config=False),
    _flag("restart", "job.restart", "discard the progress of an earlier run", is_config=False),
    _flag("recursive", "", "for a folder as INPUT: include its subfolders", is_config=False),
)  # fmt: skip
LIVE = (
    Option("live", "drop late frames instead of falling behind (default: for URLs and devices)", kind="switch", is_config=False),
    _value("max-latency", "live.max_latency_s", "MS", "drop frames that are later than this (default: 500)", values.milliseconds),
    _flag("fixed-model", "live.fixed_model",
          "drop frames on overload (default: select a lighter model, then resize)"),
    _value("timeout", "live.timeout_s", "T", "timeout of every open, read and write, in seconds (default: 10)", values.seconds),
    _value("reconnect", "live.reconnect", "R", "forever, off or a number of attempts (default: forever)", values.attempts),
    _choice("on-loss", "live.on_loss", OnLoss, "while the source is lost: repeat the last frame, show a slate, or stop"),
    _value("slate", "live.slate", "IMAGE", "picture for --on-loss slate (default: dark grey)"),
    _choice("rtsp-transport", "live.rtsp_transport", Transport, "for reading (default: tcp)"),
    _value("segment-time", "live.segment_s", "T",
           "split the output into files of 10m, 1h, ...; its name is a pattern: cam-%%Y%%m%%d-%%H%%M%%S.mp4 or cam-%%05d.mp4; "
           "of an HLS folder (out/index.m3u8), the length of a segment (default: 2s)", values.span),
    _choice("hls-type", "live.hls_type", HlsType, "type of HLS segments (default: fmp4)"),
    _value("hls-segments", "live.hls_segments", "N", "segments in the playlist; older ones are deleted (default: 10)", values.count),
)  # fmt: skip
REPORT = (
    _flag("quiet", "", "errors only", is_config=False),
    Option("report", "write a JSON report", metavar="FILE", parse=Path),
    _value("judge", "live.judge", "N", "score every N-th picture against its source with Efficient-PBAN (default: none)", values.count),
)
GROUPS: dict[str, tuple[Option, ...]] = {
    "picture": PICTURE, "engine": ENGINE, "encoding": ENCODING, "input": INPUT, "job": JOB, "live streams": LIVE, "report": REPORT,
}  # fmt: skip
_ABOUT = {"live streams": "rtsp, rtmp, srt, udp, rtp, tcp, http and HLS URLs, /dev/video0; Ctrl-C and SIGTERM end them with exit code 0"}
OPTIONS = {option.name: option for options in (SIZE, *GROUPS.values()) for option in options}
DEFAULTS: dict[str, Any] = {option.key: option.default for option in OPTIONS.values()}


def add_options(parser: argparse.ArgumentParser, group: str) -> None:
    """Add one group of the table."""
    added = parser.add_argument_group(group, _ABOUT.get(group))
    if group == "picture":
        either = added.add_mutually_exclusive_group()
        for option in SIZE:
            _add(either, option)
    for option in GROUPS[group]:
        _add(added, option)


def _add(group: argparse._ActionsContainer, option: Option) -> None:
    words: dict[str, Any] = {"help": option.help, "default": option.default}
    if option.kind == "flag":
        words["action"] = "store_true"
    elif option.kind == "switch":
        words["action"] = argparse.BooleanOptionalAction
    else:
        words |= {"metavar": option.metavar, "type": option.parse} if not option.choices else {"choices": option.choices}
        words |= {"action": "append"} if option.kind == "pairs" else {}
    group.add_argument(f"--{option.name}", **words)


def run_options(given: Mapping[str, Any], src: str) -> RunOptions:
    """The options of one video or stream from the input `src`. Raises UsageError for invalid values."""
    stages = _sort(given)
    if given["wait_engine"]:
        stages["upscale"]["engine"] = _waiting_engine(given["engine"], given["device"])
    if given["size"] is not None:
        stages["upscale"].pop("scale")
    stages["encode"]["options"] = dict(given["encoder_option"])
    source = SourceOptions(**stages["source"], timeout_s=given["timeout"] if "://" in src else None)
    encode = EncoderOptions(**stages["encode"])
    return RunOptions(UpscaleOptions(**stages["upscale"]), source, SinkOptions(encode, **stages["sink"]), JobOptions(**stages["job"]))


def live_options(given: Mapping[str, Any]) -> LiveOptions:
    """How a stream is treated. Raises UsageError for invalid values."""
    return LiveOptions(**_sort(given)["live"])


def _sort(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Field and value by stage."""
    stages: dict[str, dict[str, Any]] = {stage: {} for stage in STAGES}
    for option in OPTIONS.values():
        for path in option.fields:
            stage, _, name = path.partition(".")
            stages[stage][name] = given[option.key]
    return stages


def _waiting_engine(engine: str, device: str) -> str:
    """--engine, with what --wait-engine makes of "auto" on a GPU."""
    from ..engines import choose_engine

    return "tensorrt" if engine in ("auto", "cuda") and choose_engine(engine, device) == "cuda" else engine


def read_value(option: Option, value: Any) -> Any:
    """A value of a TOML file as its option reads it. Raises ValueError or ArgumentTypeError with a message."""
    if option.kind in ("flag", "switch"):
        if not isinstance(value, bool):
            raise ValueError(f"{show_value(value)} is neither true nor false")
        return value
    if option.kind == "pairs":
        if isinstance(value, dict):
            return [(key, _text(item)) for key, item in value.items()]
        if isinstance(value, list):
            return [values.pair(_text(item)) for item in value]
        raise ValueError(f'{show_value(value)} is not a table, such as {{ tune = "film" }}')
    if option.parse in (None, Path):
        if not isinstance(value, str):
            raise ValueError(f"{show_value(value)} is not a string in quotes")
        if option.choices and value not in option.choices:
            raise ValueError(f"{value!r} is none of {', '.join(option.choices)}")
        return Path(value) if option.parse is Path else value
    text = _text(value)
    try:
        return option.parse(text)  # type: ignore[misc]
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def show_value(value: Any) -> str:
    """A value as TOML writes it, roughly."""
    if isinstance(value, bool):
        return str(value).lower()
    return "a table" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{show_value(value)} is neither a number nor a string")
    return str(value)
