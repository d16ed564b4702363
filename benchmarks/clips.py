"""Inputs for the benchmarks, made from the clip that ships with the repository."""

from __future__ import annotations

from pathlib import Path

import av

BUNNY = Path(__file__).resolve().parent.parent / "tests/clips/bunny.mp4"  # 854x480, 24 fps, 93 frames


def loop(target: Path, num_frames: int, clip: Path = BUNNY) -> None:
    """Write `clip`'s video over and over, as it is, until there are at least `num_frames` frames."""
    with av.open(str(target), "w") as output:
        written, offset, stream = 0, 0, None
        while written < num_frames:
            with av.open(str(clip)) as source:
                video = source.streams.video[0]
                if stream is None:
                    stream = output.add_stream_from_template(video, opaque=True)
                last = 0
                for packet in source.demux(video):
                    if not packet.size:
                        continue
                    assert packet.pts is not None
                    assert packet.dts is not None
                    last = max(last, packet.pts + (packet.duration or 0))
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = stream
                    output.mux(packet)
                    written += 1
                offset += last
