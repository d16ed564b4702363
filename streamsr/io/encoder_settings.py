"""Encoding: all settings of an encoder; two encoders with the same settings write the same stream, on any machine."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import av.error
from av.codec.context import Flags
from av.codec.hwaccel import HWAccel

from ..errors import SinkError
from ..frame import find_layout, is_on_device
from ..gpu_context import ffmpeg_device
from ..libav import stream_of
from ..options import EncoderOptions
from ..priority import keep_priority
from ..side_data import declare_side_data
from .attached import Attached, find_lost
from .chroma_site import ChromaSite
from .containers import OutputFormat
from .conversion import JFIF, convert, encoded_tags
from .encoder_choice import check_size, choose_encoder, choose_pix_fmt, closest_rate, encoder_options, surface_format
from .encoder_stream import separate_stream
from .encoder_table import ENCODERS
from .palette import Palette
from .tags import Tags, scaled_tags


class Timed(Protocol):
    """What an encoding needs of its source."""

    @property
    def tags(self) -> Tags: ...
    @property
    def time_base(self) -> Fraction: ...  # seconds per tick of a frame's pts
    @property
    def rate(self) -> Fraction: ...


@dataclass(frozen=True, slots=True)
class Encoding:
    """The encoder of a video and its settings; `choose` makes one, `add_stream` and `open_codec` put it to work."""

    encoder: str  # FFmpeg's name
    tags: Tags  # of the encoded pictures
    recoloured: bool  # the encoder wants another matrix or range than the frames have
    losses: tuple[str, ...]  # words for what the encoder cannot hold
    rate: Fraction  # nominal frames per second
    time_base: Fraction
    output: OutputFormat
    wanted: EncoderOptions
    palette: Palette = field(default_factory=Palette, compare=False, repr=False)

    @classmethod
    def choose(cls, source: Timed, size: tuple[int, int], pix_fmt: str, *, output: OutputFormat, wanted: EncoderOptions) -> Encoding:
        """For frames of `size` (width, height) and `pix_fmt`. Raises SinkError and UsageError for what cannot be."""
        tags = scaled_tags(source.tags, *size, pix_fmt)
        encoder = choose_encoder(tags, output, wanted)
        chosen, losses = choose_pix_fmt(encoder, pix_fmt, wanted.pix_fmt, output)
        encoded = encoded_tags(tags, chosen, encoder)
        recoloured = encoder in JFIF and (encoded.matrix, encoded.range) != (tags.matrix, tags.range)
        check_size(encoder, *size)
        losses += find_lost(tags.kinds, encoder, output)
        mastering = encoded.mastering
        if mastering is not None and None in (mastering.primaries, mastering.luminance) and output.muxer not in ("matroska", "webm"):
            encoded = replace(encoded, mastering=None)
            losses.append(f"mastering display metadata dropped: it is not complete, and {output.muxer} holds it whole or not at all")
        return cls(encoder, encoded, recoloured, tuple(losses), closest_rate(source.rate), source.time_base, output, wanted)

    @property
    def surface(self) -> str | None:
        """The kind of surface that frames may have, in the memory of GPU `wanted.gpu`; None: frames are in host memory.

        An encoder that takes surfaces takes frames of host memory as well: PyAV uploads them.
        """
        return surface_format(self.encoder, self.tags.pix_fmt, self.wanted)

    @property
    def tick(self) -> Fraction:
        """Seconds per tick of the output's clock, as far as it is ours to choose."""
        if not self.output.pts or self.output.tick == "rate":
            return 1 / self.rate
        return self.output.tick or self.time_base

    def add_stream(self, container: av.container.OutputContainer) -> av.VideoStream:
        """The video stream of an output, its encoder not open yet."""
        tags = self.tags
        options = encoder_options(self.encoder, tags, self.wanted, rate=self.rate)
        if self.output.muxer in ("avi", "mxf"):
            options = {"bf": "0"} | options  # a picture has the place of its packet, and no other time
        if self.surface is not None and self.wanted.gpu is not None:
            with ffmpeg_device(self.wanted.gpu) as device:  # the context that CuPy and NVDEC work in, too
                accelerator = HWAccel("cuda", device=str(self.wanted.gpu), options=device, is_hw_owned=True)
                stream = container.add_stream(self.encoder, rate=self.rate, options=options, hwaccel=accelerator)
                separate_stream(stream.codec_context)
        else:
            stream = container.add_stream(self.encoder, rate=self.rate, options=options)
        assert isinstance(stream, av.VideoStream)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = tags.width, tags.height, self.surface or tags.pix_fmt
        context.sample_aspect_ratio = tags.sar
        shape = stream_of(stream).sample_aspect_ratio  # Matroska writes the stream's own, not the encoder's
        shape.num, shape.den = tags.sar.numerator, tags.sar.denominator
        context.colorspace, context.color_primaries, context.color_trc = tags.matrix, tags.primaries, tags.transfer
        context.color_range = tags.range
        context.time_base = stream.time_base = self.tick
        if self.output.pts:
            context.flags |= Flags.frame_duration
        context.thread_count = self.wanted.threads
        if self.output.muxer in ("mp4", "mov") and self.encoder in ("libx265", "hevc_nvenc"):
            context.codec_tag = "hvc1"  # Apple's players take no hev1
        if self.output.tags:
            declare_side_data(context, dict(tags.stream_data))
        if tags.display_matrix is not None and self.output.rotation:
            stream.set_display_matrix(tags.display_matrix)
        return stream

    def open_codec(self, stream: av.VideoStream) -> Attached:
        """Open the encoder now, so that what it refuses is known before any work. Raises SinkError for unknown options.

        Returns what puts into its packets what it omits.
        """
        with keep_priority():
            stream.codec_context.open(strict=False)
        unknown = (self.wanted.options or {}).keys() & stream.codec_context.options.keys()  # what FFmpeg left over
        if unknown:
            raise SinkError(f"{self.encoder} has no option {', '.join(sorted(unknown))}.", hint=f"see `ffmpeg -h encoder={self.encoder}`")
        site = ChromaSite(self.encoder, self.tags.chroma_location)
        headers = stream.codec_context.extradata
        if headers and site.is_needed:
            stream.codec_context.extradata = site.put_into(headers)
        return Attached(self.encoder, self.output, site=None if headers else site)

    def prepare(self, frame: av.VideoFrame) -> av.VideoFrame:
        """`frame` as the encoder takes it."""
        if is_on_device(frame):
            return frame
        if self.tags.pix_fmt == "pal8":
            layout = find_layout(frame.format.name)
            rgb = convert(frame, replace(self.tags, pix_fmt="bgra"), recoloured=False)
            return self.palette(rgb, alpha=layout is not None and layout.alpha)
        if frame.format.name != self.tags.pix_fmt or self.recoloured:
            frame = convert(frame, self.tags, recoloured=self.recoloured)
            # ProRes asks the frame, not the encoder
            frame.color_primaries, frame.color_trc = self.tags.primaries, self.tags.transfer
        return frame

    def explain(self, error: Exception, url: str) -> SinkError:
        """What FFmpeg's error means for the user."""
        known = explain_disk(error, url)
        if known is not None:
            return known
        wanted = self.wanted
        given = {"preset": wanted.preset, "crf": wanted.crf, "pix-fmt": wanted.pix_fmt}
        words = [f"--{key} {value}" for key, value in given.items() if value is not None]
        words += [f"--encoder-option {key}={value}" for key, value in (wanted.options or {}).items()]
        hint = f"check {', '.join(words)}, or try another --encoder" if words else "try another --encoder or another container"
        size = f"{self.tags.width}x{self.tags.height} {self.tags.pix_fmt}"
        return SinkError(f"{url}: {self.encoder} at {size} failed: {reason_of(error)}.", hint=hint)


# what makes an encoder look at the bits it has spent so far, by FFmpeg's names and those of x264, x265 and SVT-AV1
_RATES = {"b", "ab", "bitrate", "maxrate", "minrate", "bufsize", "pass", "passlogfile", "stats", "tbr", "mbr", "rc",
          "vbv-maxrate", "vbv-bufsize", "vbv-init", "undershoot-pct", "overshoot-pct"}  # fmt: skip
_QUALITIES = {"crf", "qp", "cqp", "cq", "q", "qscale", "q:v", "qscale:v", "global_quality"}


def has_constant_quality(encoding: Encoding) -> bool:
    """Whether each frame is encoded at one quality, however many bits that takes, so that a video can be encoded in parts."""
    # a limit of our own holds in each part alone
    options = encoder_options(encoding.encoder, encoding.tags, replace(encoding.wanted, max_bit_rate_bps=None))
    if encoding.encoder not in ENCODERS and not options.keys() & _QUALITIES:
        return False  # FFmpeg's own encoders spread a bit rate where they are told nothing
    if encoding.encoder.endswith("_nvenc") and "cq" in options:
        options = {key: value for key, value in options.items() if (key, value) != ("rc", "vbr")}  # of that quality: _NVENC_QUALITY
    words = dict(pair.partition("=")[::2] for key, text in options.items() if key.endswith("-params") for pair in text.split(":"))
    return not {key for key, value in {**options, **words}.items() if key in _RATES and value != "0"}


def explain_disk(error: Exception, url: str) -> SinkError | None:
    """A full disk, a closed pipe, a folder that has gone, as text; None for an error of another kind."""
    code = getattr(error, "errno", None)
    if code == errno.ENOSPC:
        return SinkError(f"{url}: the disk is full.", hint="free some space or write elsewhere")
    if code == errno.EPIPE:
        return SinkError("The program that reads the output has ended.")
    folder = Path(url).parent
    if code in (errno.ENOENT, errno.ENOTDIR) and not folder.is_dir():
        return SinkError(f"{url}: the folder {folder} no longer exists.", hint=f"mkdir -p {folder}, then run it again")
    if isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError):
        return SinkError(f"{error.filename or url} cannot be written: {error.strerror or error}.")
    return None


def reason_of(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
