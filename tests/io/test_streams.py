"""Streams beside the video: copied bit for bit, converted where the container asks for it, or dropped with a word."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media import MILLISECOND, describe, ffmpeg, make_clip, metadata, packets, rows, streams, streamsr, tone, upscale

SRT = "1\n00:00:00,000 --> 00:00:00,200\nfirst line\n\n2\n00:00:00,240 --> 00:00:00,400\n<i>second</i> line\n\n"
CHAPTERS = """;FFMETADATA1
title=A film
artist=Somebody
comment=Ä word ✓
[CHAPTER]
TIMEBASE=1/1000
START=0
END=200
title=Opening
[CHAPTER]
TIMEBASE=1/1000
START=200
END=400
title=The end
"""


def subtitle_texts(path: Path) -> list[str]:
    text = ffmpeg("-i", path, "-map", "0:s:0", "-f", "srt", "-").decode()
    return [line for line in text.splitlines() if "line" in line]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Matroska file with two languages of audio, two of subtitles, chapters, words and a font."""
    folder = tmp_path_factory.mktemp("film")
    (folder / "text.srt").write_text(SRT)
    (folder / "chapters.txt").write_text(CHAPTERS)
    (folder / "font.ttf").write_bytes(np.random.default_rng(1).bytes(5000))
    return make_clip(
        folder / "film.mkv", "-map", "0:v", "-map", "1:a", "-map", "2:a", "-map", "3:s", "-map", "3:s",
        "-map_metadata", "4", "-map_chapters", "4",
        "-c:a:0", "aac", "-c:a:1", "flac", "-c:s:0", "srt", "-c:s:1", "ass", "-metadata:s:v:0", "title=Picture",
        "-metadata:s:a:0", "language=eng",
        "-metadata:s:a:1", "language=fra", "-metadata:s:a:1", "title=Commentaire", "-metadata:s:s:0", "language=deu",
        "-metadata:s:s:1", "language=ita",
        "-disposition:a:0", "default", "-disposition:a:1", "comment", "-disposition:s:0", "forced", "-disposition:s:1", "0",
        "-attach", folder / "font.ttf", "-metadata:s:t", "mimetype=application/x-truetype-font", "-metadata:s:t", "filename=font.ttf",
        inputs=[*tone(), *tone(), "-i", folder / "text.srt", "-f", "ffmetadata", "-i", folder / "chapters.txt"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def film_out(film: Path) -> Path:
    upscale(film, film.with_name("out.mkv"))
    return film.with_name("out.mkv")


@pytest.mark.parametrize("stream", ["a:0", "a:1", "s:0", "s:1"])
def test_stream_is_copied_bit_for_bit(film: Path, film_out: Path, stream: str) -> None:
    assert packets(film, stream)
    assert packets(film, stream) == packets(film_out, stream)


def test_attachment_is_copied(film_out: Path, tmp_path: Path) -> None:
    ffmpeg("-dump_attachment:t:0", tmp_path / "font.ttf", "-i", film_out, "-t", "0", "-f", "null", "-")
    assert (tmp_path / "font.ttf").read_bytes() == (film_out.parent / "font.ttf").read_bytes()
    assert "application/x-truetype-font" in describe(film_out)


def test_languages_and_dispositions_are_kept(film: Path, film_out: Path) -> None:
    def kinds(path: Path) -> list[str]:
        return [line.split("Stream #0:")[1].split(",")[0].split(" (")[0] for line in describe(path).splitlines() if "Stream #" in line]

    assert kinds(film)[1:] == kinds(film_out)[1:]
    for word in ("(comment)", "(forced)", "Commentaire", "Picture"):
        assert describe(film_out).count(word) == describe(film).count(word) == 1


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov", "nut"])
def test_chapters_are_kept(film: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    upscale(film, out, *(["--encoder", "ffv1"] if suffix == "nut" else []))
    words = metadata(out)
    assert words.count("[CHAPTER]") == 2
    assert "title=Opening" in words
    assert "title=The end" in words


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov", "webm"])
def test_global_words_are_kept(film: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    upscale(film, out, *(["--encoder", "libvpx-vp9"] if suffix == "webm" else []))
    words = metadata(out)
    for word in ("title=A film", "Somebody", "Ä word ✓"):
        assert word in words


def test_words_that_mp4_has_no_name_for_are_kept(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-metadata", "MOOD=calm", num_frames=2)
    upscale(clip, tmp_path / "out.mp4")
    assert "MOOD=calm" in metadata(tmp_path / "out.mp4")


def test_chapters_move_with_the_start(film: Path, tmp_path: Path) -> None:
    upscale(film, tmp_path / "out.mkv", "--start", "0.12")
    lines = metadata(tmp_path / "out.mkv").splitlines()
    starts = [int(line.split("=")[1]) for line in lines if line.startswith("START=")]
    base = [Fraction(line.split("=")[1]) for line in lines if line.startswith("TIMEBASE=")]
    assert [start * unit for start, unit in zip(starts, base, strict=True)] == [0, Fraction(8, 100)]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "webm"])
def test_text_subtitles_become_the_containers_own(film: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    outcome = upscale(film, out, *(["--encoder", "libvpx-vp9"] if suffix == "webm" else []))
    found = [line for line in streams(out) if line.startswith("Subtitle")]
    assert len(found) == 2
    assert all(("webvtt" if suffix == "webm" else "mov_text") in line for line in found)
    assert [text.replace("<i>", "").replace("</i>", "") for text in subtitle_texts(out)] == ["first line", "second line"]
    assert "converted to" in outcome.err


def test_converted_subtitles_keep_their_times(film: Path, tmp_path: Path) -> None:
    upscale(film, tmp_path / "out.mp4")
    before = [(row.pts, row.duration) for row in rows(film, "s:0", copy=True)]
    after = [(row.pts, row.duration) for row in rows(tmp_path / "out.mp4", "s:0", copy=True) if row.size > 2]  # 2 bytes: a pause
    for old, new in zip(before, after, strict=True):
        assert abs(old[0] - new[0]) <= MILLISECOND
        assert abs(old[1] - new[1]) <= MILLISECOND


def test_mov_text_becomes_a_subtitle_of_matroska(film: Path, tmp_path: Path) -> None:
    upscale(film, tmp_path / "a.mp4")
    upscale(tmp_path / "a.mp4", tmp_path / "b.mkv", "--scale", "1")
    assert [text.replace("<i>", "").replace("</i>", "") for text in subtitle_texts(tmp_path / "b.mkv")] == ["first line", "second line"]


@pytest.mark.parametrize(
    ("codec", "suffix", "expected"),
    [("aac", "mp4", "aac"), ("aac", "mkv", "aac"), ("aac", "ts", "aac"), ("libmp3lame", "mp4", "mp3"), ("ac3", "ts", "ac3"),
     ("flac", "mkv", "flac"),
     ("libopus", "webm", "opus"), ("libopus", "mp4", "opus"), ("libvorbis", "webm", "vorbis"), ("pcm_s16le", "mkv", "pcm_s16le"),
     ("pcm_s24le", "mov", "pcm_s24le"), ("alac", "mp4", "alac"), ("mp2", "ts", "mp2"), ("aac", "nut", "aac")],
)  # fmt: skip
def test_audio_that_the_container_holds_is_copied(tmp_path: Path, codec: str, suffix: str, expected: str) -> None:
    source = make_clip(tmp_path / "in.mkv", "-c:a", codec, inputs=tone())
    out = tmp_path / f"out.{suffix}"
    upscale(source, out, *(["--encoder", "libvpx-vp9"] if suffix == "webm" else ["--encoder", "ffv1"] if suffix == "nut" else []))
    assert f"Audio: {expected}" in " ".join(streams(out))
    before, after = packets(source, "a:0"), packets(out, "a:0")
    if suffix == "ts" and codec == "aac":  # each packet gets an ADTS header
        assert len(before) == len(after)
    elif codec.startswith("pcm"):  # PCM packets may be cut anew
        assert sum(size for size, _ in before) == sum(size for size, _ in after)
    else:
        assert before == after


@pytest.mark.parametrize(
    ("codec", "suffix", "expected"),
    [("pcm_s16le", "ts", "aac"), ("flac", "ts", "aac"), ("pcm_s16le", "webm", "opus"), ("aac", "webm", "opus"),
     ("libmp3lame", "webm", "opus"),
     ("pcm_s24le", "mp4", "aac"), ("wmav2", "mp4", "aac")],
)  # fmt: skip
@pytest.mark.parametrize("rate", [48000, 44100, 22050])
def test_audio_that_the_container_cannot_hold_is_converted(tmp_path: Path, codec: str, suffix: str, expected: str, rate: int) -> None:
    source = make_clip(tmp_path / "in.mkv", "-c:a", codec, num_frames=25, inputs=tone(1.0, rate))
    out = tmp_path / f"out.{suffix}"
    outcome = upscale(source, out, *(["--encoder", "libvpx-vp9"] if suffix == "webm" else []))
    if "converted" in outcome.err:
        assert f"Audio: {expected}" in " ".join(streams(out))
    else:
        assert f"Audio: {codec}" in " ".join(streams(out))
    shift = float(rows(out)[0].pts - rows(source)[0].pts)
    assert abs(onset(out) - shift - onset(source)) < 0.005
    assert abs((len(samples(out)) - len(samples(source))) / 48000 - shift) < 0.06  # one frame of the audio encoder and its priming


def samples(path: Path) -> np.ndarray:
    """Audio at 48 kHz, on the file's own time line."""
    return np.frombuffer(
        ffmpeg("-copyts", "-i", path, "-map", "0:a:0", "-af", "aresample=48000:async=1:first_pts=0", "-ac", "1", "-f", "s16le", "-"),
        np.int16,
    )


def onset(path: Path) -> float:
    """Seconds to the first loud sample."""
    loud = np.abs(samples(path).astype(int)) > 1500
    return float(np.argmax(loud)) / 48000


@pytest.mark.parametrize("suffix", ["ts", "webm"])
def test_converted_audio_stays_in_step(tmp_path: Path, suffix: str) -> None:
    beep = ["-f", "lavfi", "-i", "sine=frequency=880:sample_rate=44100:duration=2,volume='if(gt(t,1.2),1,0)':eval=frame"]
    source = make_clip(tmp_path / "in.mkv", "-c:a", "pcm_s16le", num_frames=50, inputs=beep)
    out = tmp_path / f"out.{suffix}"
    upscale(source, out, *(["--encoder", "libvpx-vp9"] if suffix == "webm" else []))
    shift = float(rows(out)[0].pts - rows(source)[0].pts) if suffix == "ts" else 0.0
    assert abs(onset(out) - shift - onset(source)) < 0.03  # an audio frame of 1024 samples fades in


def make_pgs(path: Path) -> Path:
    """A PGS stream of empty pictures: presentation composition (0x16) and end (0x80) segments."""
    data = b""
    for number in range(3):
        time = 90_000 * number // 10
        composition = struct.pack(">HHBHBBBB", 64, 48, 0x10, number, 0x80 if number == 0 else 0, 0, 0, 0)
        for kind, body in ((0x16, composition), (0x80, b"")):
            data += b"PG" + struct.pack(">IIBH", time, 0, kind, len(body)) + body
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def pgs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pgs")
    sup = make_pgs(folder / "a.sup")
    return make_clip(
        folder / "in.mkv", "-map", "0:v", "-map", "1:s", "-c:s", "copy", "-metadata:s:s:0", "language=spa", inputs=["-f", "sup", "-i", sup]
    )


def test_picture_subtitles_are_copied_where_they_fit(pgs: Path, tmp_path: Path) -> None:
    upscale(pgs, tmp_path / "out.mkv")
    assert packets(pgs, "s:0") == packets(tmp_path / "out.mkv", "s:0")


def test_picture_subtitles_that_do_not_fit_are_named(pgs: Path, tmp_path: Path) -> None:
    outcome = upscale(pgs, tmp_path / "out.mp4")
    assert "subtitle hdmv_pgs_subtitle (spa) dropped" in outcome.err


def test_strict_refuses_to_drop_a_stream(pgs: Path, tmp_path: Path) -> None:
    outcome = streamsr("run", pgs, tmp_path / "out.mp4", "--model", "resize", "--strict")
    assert outcome.code == 6
    assert "hdmv_pgs_subtitle" in outcome.err
    assert ".mkv" in outcome.err
    assert not list(tmp_path.iterdir())


def test_attachment_that_does_not_fit_is_named(film: Path, tmp_path: Path) -> None:
    assert "attachment" in upscale(film, tmp_path / "out.mp4").err


def test_cover_picture_is_kept_and_is_not_the_video(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=200x200", "-frames:v", "1", tmp_path / "cover.png")
    source = make_clip(tmp_path / "in.mp4", "-map", "1", "-map", "0", "-c:v:0", "copy", "-c:v:1", "libx264",
                       "-disposition:v:0", "attached_pic",
                       inputs=["-i", tmp_path / "cover.png"], num_frames=5)  # fmt: skip
    upscale(source, tmp_path / "out.mp4")
    assert "(attached pic)" in describe(tmp_path / "out.mp4")
    assert any("128x96" in line for line in streams(tmp_path / "out.mp4"))


def test_closed_captions_are_kept(clips: Path, tmp_path: Path) -> None:
    def captions(path: Path) -> bool:
        return "Closed Captions" in describe(path)

    source = clips / "mp4_fragmented_captions.mp4"
    upscale(source, tmp_path / "out.mp4", "--frames", "30")
    assert captions(tmp_path / "out.mp4") == captions(source)
