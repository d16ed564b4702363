"""Presets and quality of the encoders: VMAF-NEG against the result as it was before encoding, bits, and processor time.

    python benchmarks/encoder_presets.py CLIP CLIP ... [--frames 24] [--encoders libx264,libx265,libsvtav1] --output results/NAME.json

Each clip is upscaled by two once, and the frames are kept in memory; every encoder sees the same ones. Time is the processor time
(user + system) of a process that does nothing else than encode them, so that other programs on the machine count little.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import av
import machine
import numpy as np

from streamsr import Upscaler
from streamsr.compare.vmaf import Vmaf
from streamsr.io.encoder_choice import encoder_options
from streamsr.io.source import open_source
from streamsr.io.tags import Tags
from streamsr.options import EncoderOptions, SourceOptions

GRID: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "libx264": (("ultrafast", "superfast", "veryfast", "faster", "medium"), (16, 18, 20, 22)),
    "libx265": (("ultrafast", "superfast", "veryfast", "fast"), (18, 20, 22)),
    "libsvtav1": (("12", "10", "8"), (24, 28, 32)),
}


def upscaled(clip: str, num_frames: int, start_s: float) -> tuple[Tags, list[np.ndarray], float]:
    """The tags, the frames as arrays, and the bits a second of the source."""
    with open_source(clip, SourceOptions(start_s=start_s, num_frames=num_frames)) as source, Upscaler("lite") as upscaler:
        rate = source.stream.bit_rate or source.container.bit_rate
        frames = [frame.to_ndarray() for frame in upscaler(source.frames())]
        return source.tags, frames, float(rate)


def encode(encoder: str, preset: str, crf: float, tags: Tags, frames: list[np.ndarray], rate: Fraction) -> tuple[list[bytes], bytes, float]:
    """Packets, extradata and processor seconds. Runs in a process of its own."""
    codec = av.CodecContext.create(encoder, "w")
    assert isinstance(codec, av.VideoCodecContext)
    height, width = frames[0].shape[0] * 2 // 3, frames[0].shape[1]
    codec.width, codec.height, codec.pix_fmt, codec.framerate, codec.time_base = width, height, "yuv420p", rate, 1 / rate
    codec.options = encoder_options(encoder, tags, EncoderOptions(crf=crf, preset=preset), rate=rate)
    pictures = [av.VideoFrame.from_ndarray(frame, format="yuv420p") for frame in frames]
    before = resource.getrusage(resource.RUSAGE_SELF)
    packets = []
    for number, picture in enumerate(pictures):
        picture.pts, picture.time_base = number, codec.time_base
        packets += codec.encode(picture)
    packets += codec.encode(None)
    after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [bytes(packet) for packet in packets], bytes(codec.extradata or b""), seconds


def decode(encoder: str, packets: list[bytes], extradata: bytes) -> list[np.ndarray]:
    """The luma of every frame."""
    names = {"libx264": "h264", "libx265": "hevc", "libsvtav1": "libdav1d"}
    codec = av.CodecContext.create(names[encoder], "r")
    assert isinstance(codec, av.VideoCodecContext)
    if extradata:
        codec.extradata = extradata
    frames = [frame for data in packets for frame in codec.decode(av.Packet(data))] + codec.decode(None)
    return [frame.to_ndarray()[: frame.height] for frame in frames]


def measure(clip: str, num_frames: int, start_s: float, encoders: list[str]) -> list[dict[str, Any]]:
    tags, frames, source_bps = upscaled(clip, num_frames, start_s)
    with open_source(clip) as source:
        rate = Fraction(source.rate)
    height, width = frames[0].shape[0] * 2 // 3, frames[0].shape[1]
    rows = []
    for encoder in encoders:
        presets, qualities = GRID[encoder]
        for preset in presets:
            for crf in qualities:
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                    packets, extradata, seconds = pool.submit(encode, encoder, preset, crf, tags, frames, rate).result()
                decoded = decode(encoder, packets, extradata)
                with Vmaf(width, height) as vmaf:
                    for mine, theirs in zip(decoded, frames, strict=True):
                        vmaf.add(np.ascontiguousarray(mine[:, :width]), np.ascontiguousarray(theirs[:height]))
                    scores = [pair["vmaf_neg"] for pair in vmaf.finish()]
                bps = sum(map(len, packets)) * 8 * float(rate) / len(frames)
                row = {
                    "clip": Path(clip).name, "encoder": encoder, "preset": preset, "crf": crf, "bits_per_s": round(bps),
                    "source_bits_per_s": round(source_bps), "width": width, "height": height, "rate": float(rate),
                    "cpu_s_per_frame": round(seconds / len(frames), 5),
                    "vmaf_neg": round(fmean(scores), 3), "vmaf_neg_worst": round(min(scores), 3),
                }  # fmt: skip
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--start", type=float, default=1.0)
    parser.add_argument("--encoders", default=",".join(GRID))
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    rows = [row for clip in options.clips for row in measure(clip, options.frames, options.start, options.encoders.split(","))]
    options.output.write_text(json.dumps({"machine": machine.describe(), "frames": options.frames, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
