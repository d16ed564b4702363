"""NVDEC: the decoder of an NVIDIA GPU, through FFmpeg. Its pictures stay in the GPU's memory.

Streams that NVDEC cannot decode or pass on are decoded on the CPU, and a note says why. That is known before the first picture, or
when it comes: until then the packets are kept, and the CPU decodes them again. After it, a GPU that fails is an error with the
time of the picture; damaged packets are counted as on the CPU.
"""

from __future__ import annotations

from functools import cache

import av
import av.error
from av.codec.context import ThreadType
from av.codec.hwaccel import HWAccel, HWDeviceType

from ..errors import SourceError, UsageError
from ..frame import SURFACES, find_layout, is_on_device
from ..gpu_context import ffmpeg_device
from ..options import SourceOptions
from .decoding import Decoder, SourceCount, describe_time, open_context

_PLANAR = {*SURFACES.values(), "yuvj420p"}
_MOST_SILENT = 256  # packets without a picture: no codec holds back so many
# what FFmpeg says where the GPU or its driver fails; damaged packets give other errors
_BROKEN = (av.error.ExternalError, av.error.UnknownError, av.error.MemoryError, av.error.PermissionError, av.error.BugError,
           av.error.NotImplementedError)  # fmt: skip


def open_decoder(stream: av.VideoStream, count: SourceCount, *, url: str, options: SourceOptions) -> Decoder:
    """The decoder that `options` ask for. Raises UsageError and SourceError for one that cannot be."""
    is_asked = options.decoder == "nvdec"
    if options.decoder == "dali":
        from .dali_decoder import DaliDecoder

        return DaliDecoder(stream, count, url=url, options=options)
    if options.decoder == "cpu" or (options.gpu is None and not is_asked):
        return Decoder(stream, count, url=url, max_errors=options.max_errors, threads=options.threads)
    if options.gpu is None:
        raise UsageError("--decoder nvdec gives pictures on a GPU, and the network runs on the CPU.", hint="give --device cuda:0 as well")
    why = find_refusal(stream, options)
    if why is None:
        try:
            return NvdecDecoder(stream, count, url=url, options=options)
        except (av.error.FFmpegError, NotImplementedError, RuntimeError) as error:
            # that is what FFmpeg says where it cannot load them
            missing = isinstance(error, av.error.PermissionError)
            why = "the driver's libraries are not here" if missing else f"it does not start: {error}"
    if is_asked:
        raise SourceError(f"{url}: NVDEC cannot decode it: {why}.", hint="--decoder auto decodes on the CPU then")
    count.notes.append(f"decoded on the CPU, not by NVDEC: {why}")
    return Decoder(stream, count, url=url, max_errors=options.max_errors, threads=options.threads)


def find_refusal(stream: av.VideoStream, options: SourceOptions) -> str | None:
    """Why not to try NVDEC for this stream, by the container's parameters; None where there is no reason."""
    context = stream.codec_context
    codec = context.codec.canonical_name
    if find_codec(codec) is None:
        return f"FFmpeg has no such decoder for {codec}"
    if stream.metadata.get("alpha_mode") == "1":
        return "it has alpha"
    pix_fmt = context.pix_fmt
    if pix_fmt is not None and pix_fmt not in _PLANAR:
        layout = find_layout(pix_fmt)
        what = pix_fmt if layout is None else f"{pix_fmt} ({layout.bits} bits)"
        return f"its pictures are {what}; {', '.join(sorted(_PLANAR))} stay on the GPU"
    if context.width % 2 or context.height % 2:
        return f"{context.width}x{context.height} has an odd side"
    if options.crop is not None:
        return "pictures are cropped in host memory"
    if options.deinterlace in ("on", "bob", "film"):
        return f"--deinterlace {options.deinterlace} works in host memory"
    return None


class NvdecDecoder(Decoder):
    """A Decoder whose frames are surfaces of GPU `options.gpu`, or the CPU's where the first one shows that it has to be."""

    def __init__(self, stream: av.VideoStream, count: SourceCount, *, url: str, options: SourceOptions) -> None:
        super().__init__(stream, count, url=url, max_errors=options.max_errors, threads=options.threads)
        self._options = options
        self._software = self._context
        self._probation: list[av.Packet] | None = []  # packets that have given no picture yet; None: NVDEC has shown that it can
        self._num_silent = 0  # packets since the last picture
        assert options.gpu is not None
        self._context = open_hardware(stream, options.gpu)

    @property
    def is_trusted(self) -> bool:  # type: ignore[override]
        return self._context is self._software

    def decode(self, packet: av.Packet) -> list[av.VideoFrame]:
        if self._probation is None:
            frames = super().decode(packet)
            self._num_silent = 0 if frames else self._num_silent + 1
            if self._num_silent > _MOST_SILENT and not self.is_trusted:
                raise self._failure(packet, f"no picture came out of {self._num_silent} packets")
            return frames
        self._probation.append(packet)
        try:
            frames = self._context.decode(packet)
        except av.error.FFmpegError as error:
            return self._fall_back(str(error))
        return self._accept(frames) if frames else []

    def finish(self) -> list[av.VideoFrame]:
        early: list[av.VideoFrame] = []
        if self._probation is not None:
            try:
                frames = self._context.decode(None)
            except av.error.FFmpegError as error:
                early = self._fall_back(str(error))
            else:
                early = self._accept(frames) if frames else self._fall_back("no picture came out of it")
            if self._context is not self._software:
                return early
        return early + super().finish()

    def _accept(self, frames: list[av.VideoFrame]) -> list[av.VideoFrame]:
        """The first pictures: is NVDEC of use?"""
        first, stream = frames[0], self._stream.codec_context
        why = None
        if not is_on_device(first):
            why = "FFmpeg decoded it in host memory"
        elif first.sw_format is None or first.sw_format.name not in SURFACES:
            why = f"its surfaces are {first.sw_format.name if first.sw_format else 'of no known kind'}"
        elif (first.width, first.height) != (stream.width, stream.height):
            why = f"its pictures are {stream.width}x{stream.height}, cut out of surfaces of {first.width}x{first.height}"
        elif first.interlaced_frame and self._options.deinterlace == "auto":
            why = "it is interlaced, and is made progressive in host memory"
        if why is not None:
            return self._fall_back(why)
        assert self._probation is not None
        packets, self._probation = self._probation, None
        for packet in packets:
            self._remember(packet)
        return self._deliver(frames)

    def _fall_back(self, why: str) -> list[av.VideoFrame]:
        """Decode on the CPU from here on, and what came so far again."""
        if self._options.decoder == "nvdec":
            raise SourceError(f"{self.url}: NVDEC cannot decode it: {why}.", hint="--decoder auto decodes on the CPU then")
        self.count.notes.append(f"decoded on the CPU, not by NVDEC: {why}")
        assert self._probation is not None
        packets, self._probation = self._probation, None
        self._context = self._software
        return [frame for packet in packets for frame in super(NvdecDecoder, self).decode(packet)]

    def _send(self, packet: av.Packet) -> list[av.VideoFrame]:
        try:
            return super()._send(packet)
        except _BROKEN as error:
            if self._context is self._software:
                raise
            raise self._failure(packet, str(error)) from error

    def _failure(self, packet: av.Packet, why: str) -> SourceError:
        words = f"{self.url}: the GPU's decoder failed at {describe_time(packet)} (pts {packet.pts}): {why}."
        return SourceError(words, hint="--decoder cpu decodes on the CPU")


@cache
def find_codec(name: str) -> str | None:
    """FFmpeg's decoder that puts the codec of this name on an NVIDIA GPU; None where there is none.

    Not the stream's own decoder: of AV1 that is libdav1d, which knows no GPU.
    """
    try:
        codec = av.Codec(name, "r")
    except ValueError:
        return None
    has_cuda = any(config.device_type == HWDeviceType.cuda for config in codec.hardware_configs or ())
    return codec.name if has_cuda else None


def open_hardware(stream: av.VideoStream, gpu: int) -> av.VideoCodecContext:
    """A decoder on GPU number `gpu` for the packets of `stream`. Raises FFmpeg's errors, and RuntimeError."""
    name = stream.codec_context.codec.canonical_name
    codec = find_codec(name)
    if codec is None:
        raise RuntimeError(f"FFmpeg has no decoder for {name} on a GPU")
    with ffmpeg_device(gpu) as options:
        accelerator = HWAccel("cuda", device=str(gpu), allow_software_fallback=False, options=options, is_hw_owned=True)
        context = open_context(stream, codec, accelerator)
    if not context.is_hwaccel:
        raise RuntimeError(f"FFmpeg has no decoder for {name} on a GPU")
    # PyAV names the GPU's format at once, and FFmpeg's AV1 decoder then takes it for settled: it opens no NVDEC and decodes nothing
    # (tests/device/test_nvdec_driver.py)
    if stream.codec_context.pix_fmt is not None:
        context.pix_fmt = stream.codec_context.pix_fmt
    context.thread_type, context.thread_count = ThreadType.SLICE, 1  # the GPU decodes; threads would only hold frames back
    return context
