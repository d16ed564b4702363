"""NVIDIA DALI's video reader as a decoder, for local files of 8 bits. Its pictures stay in the GPU's memory.

Note [What DALI gives]: YCbCr at full size, (h, w, 3), in presentation order and without times. Luma is the decoder's; chroma has
been made larger and is halved again here, so it is not the decoder's bit for bit. Times come from the packets, which are read
beside it: the n-th picture has the n-th time, and a number of pictures that differs is an error.
"""

from __future__ import annotations

import heapq
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.video.frame import CudaContext

from ..errors import SourceError, UsageError
from ..gpu_context import claim_context, ffmpeg_device
from ..options import SourceOptions
from .decoding import Decoder, SourceCount
from .dlpack import NO_WAIT, Unstreamed

INSTALL = "pip install nvidia-dali-cuda120, or nvidia-dali-cuda130 for CUDA 13"
_HELD_BACK = 64  # packets: no codec reorders by more
_contexts: dict[int, CudaContext] = {}  # of this process, by GPU: one for all frames


class DaliDecoder(Decoder):
    """A Decoder whose frames are surfaces of GPU `options.gpu`. Raises UsageError and SourceError for what it cannot do."""

    def __init__(self, stream: av.VideoStream, count: SourceCount, *, url: str, options: SourceOptions) -> None:
        super().__init__(stream, count, url=url, max_errors=options.max_errors, threads=1)
        context = stream.codec_context
        if options.gpu is None:
            raise UsageError("--decoder dali gives pictures on a GPU, and the network runs on the CPU.", hint="give --device cuda:0 too")
        if options.start_s is not None or options.deinterlace in ("on", "bob", "film") or options.crop is not None:
            raise UsageError("--decoder dali takes neither --start nor --crop nor --deinterlace on.", hint="--decoder nvdec and cpu do")
        if not Path(url).is_file():
            raise UsageError(f"--decoder dali reads local files, and {url} is none.", hint="--decoder nvdec and cpu read it")
        if context.pix_fmt not in (None, "yuv420p", "yuvj420p") or context.width % 2 or context.height % 2:
            what = f"{context.pix_fmt} of {context.width}x{context.height}"
            raise SourceError(f"{url}: DALI gives 8-bit 4:2:0 of even size, not {what}.", hint="--decoder nvdec and cpu take it")
        self._gpu = options.gpu
        self._times: list[int] = []  # a heap: pts of packets whose picture is to come
        self._num_given = 0
        self._pictures = open_reader(url, options.gpu)

    def decode(self, packet: av.Packet) -> list[av.VideoFrame]:
        """Note [What DALI gives]."""
        if packet.pts is not None and not packet.is_discard:
            heapq.heappush(self._times, packet.pts)
        return [self._next()] if len(self._times) > _HELD_BACK else []

    def finish(self) -> list[av.VideoFrame]:
        frames = [self._next() for _ in range(len(self._times))]
        if next(self._pictures, None) is not None:
            raise SourceError(f"{self.url}: DALI gives more pictures than the file has packets.", hint="--decoder nvdec and cpu read it")
        return frames

    def _next(self) -> av.VideoFrame:
        pts = heapq.heappop(self._times)
        picture = next(self._pictures, None)
        if picture is None:
            left = len(self._times) + 1
            seconds = float(pts * (self._stream.time_base or 0))
            words = f"{self.url}: DALI ended after {self._num_given} pictures, at {seconds:.3f} s (pts {pts}); {left} packets are left."
            raise SourceError(words, hint="--decoder nvdec and cpu read it")
        self._num_given += 1
        video = make_surface(picture, self._gpu)
        own = self._stream.codec_context
        video.pts, video.time_base = pts, self._stream.time_base  # type: ignore[assignment]
        video.colorspace, video.color_range = own.colorspace, own.color_range
        video.color_primaries, video.color_trc = own.color_primaries, own.color_trc
        return video


def open_reader(url: str, gpu: int) -> Iterator[Any]:
    """The pictures of a file in their order, as DALI's tensors on the GPU. Raises SourceError where DALI is missing or refuses it."""
    for package in ("nvidia", "nvidia.dali", "cupy"):
        if importlib.util.find_spec(package) is None:
            name, hint = ("CuPy", "see `streamsr doctor`") if package == "cupy" else ("NVIDIA DALI", INSTALL)
            raise SourceError(f"--decoder dali needs {name}, which is not installed.", hint=hint)
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=1, num_threads=1, device_id=gpu, prefetch_queue_depth=2)
    def read() -> Any:
        return fn.experimental.readers.video(
            device="gpu", filenames=[str(Path(url).absolute())], sequence_length=1, image_type=types.YCbCr, name="video"
        )

    claim_context(gpu)  # before DALI opens it
    try:
        pipeline = read()
        pipeline.build()
        num_pictures = pipeline.epoch_size("video")
    except RuntimeError as error:
        raise SourceError(f"{url}: DALI cannot read it: {str(error).splitlines()[0]}", hint="--decoder nvdec and cpu may") from error
    return (pipeline.run()[0][0] for _ in range(num_pictures))


def make_surface(picture: Any, gpu: int) -> av.VideoFrame:
    """(1, h, w, 3) YCbCr on the GPU as an NV12 surface there."""
    import cupy

    with cupy.cuda.Device(gpu):
        y, uv = halve_chroma(cupy.asarray(picture)[0], cupy)
        cupy.cuda.get_current_stream().synchronize()
        given = Unstreamed(y, stream=NO_WAIT), Unstreamed(uv, stream=NO_WAIT)
        if gpu in _contexts:
            return av.VideoFrame.from_dlpack(given, format="nv12", cuda_context=_contexts[gpu])
        with ffmpeg_device(gpu) as options:  # which FFmpeg opens with the first frame
            context = CudaContext(gpu, primary_ctx=options["primary_ctx"] == "1", current_ctx=options.get("current_ctx") == "1")
            video = av.VideoFrame.from_dlpack(given, format="nv12", cuda_context=context)
        _contexts[gpu] = context
        return video


def halve_chroma(ycbcr: Any, xp: Any) -> tuple[Any, Any]:
    """(h, w, 3) -> y (h, w) and uv (h/2, w/2, 2), each chroma sample the mean of four. xp: numpy or cupy."""
    chroma = ycbcr[..., 1:].astype(xp.uint16)
    total = chroma[0::2, 0::2] + chroma[1::2, 0::2] + chroma[0::2, 1::2] + chroma[1::2, 1::2]
    return xp.ascontiguousarray(ycbcr[..., 0]), ((total + 2) >> 2).astype(xp.uint8)
