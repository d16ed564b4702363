"""Takes the VUI out of an H.264 stream, which older cameras do not write: with it goes the number of frames that are reordered."""

from __future__ import annotations

from pathlib import Path

import av


class Bits:
    """The bits of a NAL unit's payload, read from the front (ITU-T H.264 clause 7.2)."""

    def __init__(self, payload: bytes) -> None:
        self.bits = "".join(f"{byte:08b}" for byte in payload.replace(b"\x00\x00\x03", b"\x00\x00"))
        self.at = 0

    def u(self, count: int = 1) -> int:
        self.at += count
        return int(self.bits[self.at - count : self.at], 2)

    def ue(self) -> int:
        zeros = 0
        while not self.u():
            zeros += 1
        return (1 << zeros) - 1 + (self.u(zeros) if zeros else 0)


def without_vui(sps: bytes) -> bytes:
    """A sequence parameter set of the main profile (clause 7.3.2.1.1) with vui_parameters_present_flag 0."""
    bits = Bits(sps[1:])
    assert bits.u(8) == 77, "not the main profile"
    bits.u(16)
    bits.ue(), bits.ue()  # the set, log2_max_frame_num
    assert bits.ue() == 0, "another order of pictures"
    bits.ue(), bits.ue(), bits.u(), bits.ue(), bits.ue()  # log2_max_pic_order_cnt, references, gaps, width, height
    if not bits.u():
        bits.u()
    bits.u()
    if bits.u():  # cropping
        for _ in range(4):
            bits.ue()
    kept = bits.bits[: bits.at] + "0" + "1"  # no VUI, and the stop bit
    kept += "0" * (-len(kept) % 8)
    raw = bytes(int(kept[place : place + 8], 2) for place in range(0, len(kept), 8))
    assert b"\x00\x00\x00" not in raw
    return sps[:1] + raw


def drop_vui(source: Path, target: Path) -> Path:
    """A copy of an H.264 file in Matroska."""
    with av.open(str(source)) as one, av.open(str(target), "w") as other:
        stream = one.streams.video[0]
        copy = other.add_stream_from_template(stream)
        avcc = stream.codec_context.extradata
        assert avcc is not None
        length = int.from_bytes(avcc[6:8], "big")
        sps = without_vui(avcc[8 : 8 + length])
        copy.codec_context.extradata = avcc[:6] + len(sps).to_bytes(2, "big") + sps + avcc[8 + length :]
        for packet in one.demux(stream):
            if packet.size:
                packet.stream = copy
                other.mux(packet)
    return target
