"""A short run of 4:2:0 pictures through a real encoder and back, motion compensation, deblocking and all."""

import os
from fractions import Fraction

import av
import numpy as np

from streamsr.priority import keep_priority
from trainer.data.yuv_planes import Plane

DECODERS = {
    "libx264": "h264", "libx265": "hevc", "mpeg2video": "mpeg2video", "mpeg4": "mpeg4", "libvpx-vp9": "vp9", "libsvtav1": "libdav1d",
}  # fmt: skip
Pictures = list[tuple[Plane, Plane]]  # luma (H, W) and chroma (2, H / 2, W / 2)


def draw_encoder(rng: np.random.Generator) -> tuple[str, dict[str, str]]:
    """A random encoder and its options, weak to strong compression."""
    name = str(rng.choice(list(DECODERS), p=[0.5, 0.14, 0.16, 0.08, 0.08, 0.04]))
    if name == "libx264":
        preset = str(rng.choice(["ultrafast", "veryfast", "fast", "medium"]))
        return name, {"crf": f"{rng.uniform(14, 34):.1f}", "preset": preset, "threads": "1"}
    if name == "libx265":
        quiet = "log-level=none:pools=none:frame-threads=1"
        return name, {"crf": f"{rng.uniform(16, 34):.1f}", "preset": "veryfast", "x265-params": quiet}
    if name == "libvpx-vp9":
        return name, {"crf": str(int(rng.integers(15, 45))), "b": "0", "cpu-used": "8", "deadline": "realtime", "threads": "1"}
    if name == "libsvtav1":
        return name, {"crf": str(int(rng.integers(18, 50))), "preset": "12", "svtav1-params": "lp=1"}
    quantiser = str(int(rng.integers(2, 9 if name == "mpeg2video" else 7)))
    return name, {"qmin": quantiser, "qmax": quantiser, "bf": str(int(rng.integers(3))), "g": "12", "threads": "1"}


def round_trip(pictures: Pictures, name: str, options: dict[str, str]) -> Pictures:
    """Encode and decode: as many pictures, in the same order. Raises RuntimeError where the codec loses one."""
    os.environ.setdefault("SVT_LOG", "1")  # errors only: SVT-AV1 prints thirty lines an encode otherwise
    height, width = pictures[0][0].shape
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate, encoder.time_base, encoder.options = Fraction(25), Fraction(1, 25), dict(options)
    packets = []
    with keep_priority():
        for pts, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(_packed(picture), format="yuv420p")
            frame.pts = pts
            packets += encoder.encode(frame)
        packets += encoder.encode(None)
    decoder = av.CodecContext.create(DECODERS[name], "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    decoded = [frame for packet in packets for frame in decoder.decode(packet)]
    decoded += decoder.decode(None)
    if len(decoded) != len(pictures):
        raise RuntimeError(f"{name} gave back {len(decoded)} of {len(pictures)} frames")
    return [_unpacked(frame.to_ndarray(format="yuv420p").astype(np.uint8, copy=False)) for frame in decoded]


def _packed(picture: tuple[Plane, Plane]) -> Plane:
    luma, chroma = picture
    return np.concatenate([luma, chroma.reshape(-1, luma.shape[1])])


def _unpacked(packed: Plane) -> tuple[Plane, Plane]:
    height, width = packed.shape[0] // 3 * 2, packed.shape[1]
    return packed[:height].copy(), packed[height:].reshape(2, height // 2, width // 2).copy()
