"""Subtitles and containers of any bytes: an exit code of the documented list, words, and never a half file. Bounded and seeded."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import make_clip, tone

from streamsr.errors import SinkError, StreamsrError
from streamsr.io.sink import open_sink
from streamsr.io.source import open_source
from streamsr.jobs.segment_file import read_packets

CUES = st.lists(
    st.tuples(st.text(max_size=40) | st.sampled_from(["<b>", "{\\an8}", "-->", "\x00", "\x1b[31m", "&lt;" * 20, "\r\n\r\n1"]),
              st.integers(-100, 10_000), st.integers(-100, 10_000)),
    min_size=1, max_size=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Small files of each container, with audio and subtitles where it holds them."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "t.srt").write_text("1\n00:00:00,000 --> 00:00:00,100\nline\n")
    for name in ("a.mkv", "a.mp4", "a.ts"):
        text = [] if name == "a.ts" else ["-map", "2:s", "-c:s", "mov_text" if name == "a.mp4" else "subrip"]
        inputs = [*tone(0.2), "-i", folder / "t.srt"]
        make_clip(folder / name, "-map", "0:v", "-map", "1:a", *text, "-c:a", "aac", num_frames=3, inputs=inputs)
    return {path.name: path.read_bytes() for path in folder.glob("a.*")}


def copy(source: Path, target: Path) -> None:
    """Everything but the network: frames as they are, other streams along."""
    with open_source(source) as opened:
        sink = None
        try:
            for frame in opened.frames():
                sink = sink or open_sink(target, opened, frame)
                sink.copy(opened.take_packets())
                sink.write(frame)
            if sink is not None:
                sink.copy(opened.take_packets())
                sink.commit()
        finally:
            if sink is not None:
                sink.abandon(keep=False)


CHANGES = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=12)


@settings(max_examples=200)
@given(name=st.sampled_from(["a.mkv", "a.mp4", "a.ts"]), changes=CHANGES, cut=st.none() | st.integers(1, 1 << 14))
def test_any_container_ends_in_words(
    clips: dict[str, bytes], tmp_path: Path, name: str, changes: list[tuple[int, int]], cut: int | None
) -> None:
    data = bytearray(clips[name])
    for place, value in changes:
        data[place % len(data)] = value
    source = tmp_path / f"in.{name}"
    source.write_bytes(bytes(data[:cut]))
    with suppress(StreamsrError), open_source(source) as opened:
        assert opened.tags.width > 0
        for frame in opened.frames():
            assert frame.pts is not None
        list(opened.packets())


@settings(max_examples=200)
@given(cues=CUES)
def test_any_subtitles_end_in_words(clips: dict[str, bytes], tmp_path: Path, cues: list[tuple[str, int, int]]) -> None:
    source = tmp_path / "in.mkv"
    with av.open(BytesIO(clips["a.mkv"])) as before, av.open(str(source), "w") as after:
        video, text = before.streams.video[0], before.streams.subtitles[0]
        streams = {stream.index: after.add_stream_from_template(stream, opaque=True) for stream in (video, text)}
        for packet in before.demux(video):
            if packet.size:
                packet.stream = streams[video.index]
                after.mux(packet)
        for words, start_ms, length_ms in cues:
            packet = av.Packet(words.encode("utf-8", "surrogatepass") or b" ")
            packet.pts = packet.dts = start_ms
            packet.duration, packet.time_base, packet.stream = length_ms, text.time_base, streams[text.index]
            with suppress(av.FFmpegError, OverflowError):
                after.mux(packet)
    target = tmp_path / "out.mp4"
    target.unlink(missing_ok=True)
    try:
        copy(source, target)
    except StreamsrError:
        assert not target.exists()
    assert not (tmp_path / "out.partial.mp4").exists()


@settings(max_examples=200)
@given(data=st.binary(max_size=200), with_head=st.booleans())
def test_any_segment_file_ends_in_words(data: bytes, with_head: bool) -> None:
    from fractions import Fraction

    with suppress(SinkError):
        list(read_packets(BytesIO((b"streamsr segment 1\n" if with_head else b"") + data), Fraction(1, 25)))
