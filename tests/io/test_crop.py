"""Cropping: by hand, and by the black bars that moments of a file show."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from media import STREAMSR, describe, ffmpeg, gray_pictures, packets, rows, shown, streamsr, times, upscale

from streamsr.errors import UsageError
from streamsr.io.source import Source
from streamsr.options import Crop, SourceOptions

# a bright picture that moves, of scenes that differ; 4 s, a key frame every half second
BRIGHT = "testsrc2=size={size}:rate=10:duration=4,format=yuv420p"


def film(path: Path, size: str, *, pad: str, filters: str = "", codec: tuple[str, ...] = ("libx264", "-preset", "ultrafast")) -> Path:
    """A picture of `size` with bars around it: `pad` is W:H:X:Y of FFmpeg's pad filter."""
    graph = f"{BRIGHT.format(size=size)}{filters},format=yuv444p,pad={pad}:black,format=yuv420p"
    ffmpeg("-f", "lavfi", "-i", graph, "-c:v", *codec, "-g", "5", path)
    return path


def found(path: Path, **options: object) -> Crop | None:
    """What `--crop auto` keeps; None for all."""
    with Source(path, SourceOptions(crop="auto", **options)) as source:  # type: ignore[arg-type]
        crop = source.options.crop
        assert crop != "auto"
        first = next(source.frames())
        assert (first.width, first.height) == ((source.tags.width, source.tags.height) if crop is None else crop[:2])
        return crop


@pytest.mark.parametrize(
    ("size", "pad", "crop"),
    [
        ("192x80", "192:144:0:32", Crop(192, 80, 0, 32)),  # letterbox
        ("144x144", "192:144:24:0", Crop(144, 144, 24, 0)),  # pillarbox
        ("144x96", "192:144:24:24", Crop(144, 96, 24, 24)),  # both
        ("192x81", "192:144:0:31", Crop(192, 82, 0, 30)),  # on odd rows: outward, to whole chroma samples
        ("188x144", "192:144:4:0", Crop(188, 144, 4, 0)),  # a few columns on one side, as discs have them
        ("192x144", "192:144:0:0", None),
    ],
)  # fmt: skip
def test_bars_are_found(tmp_path: Path, size: str, pad: str, crop: Crop | None) -> None:
    assert found(film(tmp_path / "in.mkv", size, pad=pad)) == crop


def test_noise_in_the_bars_is_no_picture(tmp_path: Path) -> None:
    graph = f"{BRIGHT.format(size='192x80')},pad=192:144:0:32:black,noise=alls=6:allf=t"
    ffmpeg("-f", "lavfi", "-i", graph, "-c:v", "mpeg2video", "-q:v", "4", "-g", "5", tmp_path / "in.mpg")
    assert found(tmp_path / "in.mpg") == Crop(192, 80, 0, 32)


def test_one_moment_with_more_picture_keeps_it_for_all(tmp_path: Path) -> None:
    """A programme in two shapes, and subtitles in the bar."""
    wide = film(tmp_path / "wide.mkv", "192x80", pad="192:144:0:32")
    tall = film(tmp_path / "tall.mkv", "192x108", pad="192:144:0:18")
    ffmpeg("-i", wide, "-i", tall, "-i", wide, "-lavfi", "concat=n=3", "-c:v", "libx264", "-g", "5", tmp_path / "in.mkv")
    assert found(tmp_path / "in.mkv") == Crop(192, 108, 0, 18)
    words = "drawbox=x=60:y=124:w=70:h=6:color=white:t=fill:enable='between(t,2,3)'"
    ffmpeg("-i", wide, "-vf", words, "-c:v", "libx264", "-g", "5", tmp_path / "words.mkv")
    crop = found(tmp_path / "words.mkv")
    assert crop is None or crop.top + crop.height >= 130


@pytest.mark.parametrize(
    "graph",
    [
        # a face in the light, black around it
        "color=black:s=192x144:r=10:d=4,format=yuv420p,geq=lum='if(lt(hypot(X-96-5*T,Y-72),40),180+20*sin(X),16)':cb=128:cr=128",
        # a lit wall above, a black floor: straight, but on one side alone
        "color=black:s=192x144:r=10:d=4,format=yuv420p,geq=lum='if(lt(Y,80),120+40*sin(X/5+T),16)':cb=128:cr=128",
        # light that fades towards the edges
        "color=black:s=192x144:r=10:d=4,format=yuv420p,geq=lum='16+150*exp(-pow((Y-72)/28,2))*(1+0.2*sin(X/4+T))':cb=128:cr=128",
        # night: hardly anything above black
        "color=black:s=192x144:r=10:d=4,format=yuv420p,geq=lum='16+4*between(Y,40,100)*random(0)':cb=128:cr=128",
        # candles: bright points in a black room, at other places each second
        "color=black:s=192x144:r=10:d=4,format=yuv420p,geq=lum='if(lt(hypot(X-50-20*floor(T),Y-40-10*floor(T)),9),230,16)':cb=128:cr=128",
        "color=black:s=192x144:r=10:d=4,format=yuv420p",
    ],
    ids=["face", "floor", "vignette", "night", "candles", "black"],
)  # fmt: skip
def test_dark_pictures_are_not_cut(tmp_path: Path, graph: str) -> None:
    ffmpeg("-f", "lavfi", "-i", graph, "-c:v", "libx264", "-crf", "12", "-g", "5", tmp_path / "in.mkv")
    assert found(tmp_path / "in.mkv") is None


def test_a_film_that_is_mostly_night_has_its_bars_found_by_day(tmp_path: Path) -> None:
    night = ",eq=brightness=-0.45:enable='lt(mod(t,4),2.6)'"
    assert found(film(tmp_path / "in.mkv", "192x80", pad="192:144:0:32", filters=night)) == Crop(192, 80, 0, 32)


def test_few_key_frames_are_enough(tmp_path: Path) -> None:
    graph = f"{BRIGHT.format(size='192x80')},pad=192:144:0:32:black"
    ffmpeg("-f", "lavfi", "-i", graph, "-c:v", "libx264", "-g", "999", tmp_path / "in.mp4")
    assert found(tmp_path / "in.mp4") == Crop(192, 80, 0, 32)
    ffmpeg("-i", tmp_path / "in.mp4", "-t", "0.6", "-c:v", "libx264", "-g", "999", tmp_path / "short.mp4")
    assert found(tmp_path / "short.mp4") == Crop(192, 80, 0, 32)


@pytest.mark.parametrize(
    ("pix_fmt", "codec"),
    [("yuv420p", "libx264"), ("yuv420p10le", "libx265"), ("yuv422p", "libx264"), ("yuv444p", "libx264"), ("gbrp", "ffv1"), ("gray", "ffv1"),
     ("yuyv422", "rawvideo")],
)  # fmt: skip
def test_samples_are_those_that_ffmpeg_cuts_out(tmp_path: Path, pix_fmt: str, codec: str) -> None:
    """Bit for bit, chroma included."""
    source, crop = tmp_path / "in.nut", "120x88+36+28"
    ffmpeg("-f", "lavfi", "-i", BRIGHT.format(size="192x144") + ",trim=end_frame=3", "-pix_fmt", pix_fmt, "-c:v", codec, source)
    upscale(source, tmp_path / "out.mkv", "--crop", crop, "--scale", "1", "--encoder", "ffv1")
    planar = {"yuyv422": "yuv422p"}.get(pix_fmt, pix_fmt)
    ffmpeg("-i", source, "-vf", f"crop=120:88:36:28:exact=1,format={planar}", "-c:v", "ffv1", tmp_path / "expected.mkv")
    ours, theirs = ([row.md5 for row in rows(tmp_path / name)] for name in ("out.mkv", "expected.mkv"))
    assert ours == theirs


def test_words_about_the_picture_stay(tmp_path: Path) -> None:
    """Pixel aspect, rotation, siting, colours, times and the audio."""
    source = tmp_path / "in.mp4"
    graph = BRIGHT.format(size="192x80") + ",pad=192:144:0:32:black,setsar=64/45"
    codecs = ["-c:v", "libx264", "-x264-params", "chromaloc=2:colormatrix=smpte170m:range=tv", "-c:a", "aac"]
    ffmpeg("-f", "lavfi", "-i", graph, "-f", "lavfi", "-i", "sine=d=4", *codecs, tmp_path / "flat.mp4")
    ffmpeg("-display_rotation", "90", "-i", tmp_path / "flat.mp4", "-c", "copy", source)
    upscale(source, tmp_path / "out.mp4", "--crop", "auto", "--scale", "2")
    before, after = shown(source), shown(tmp_path / "out.mp4")
    assert after["s"] == "384x160"
    assert (before["sar"], before["cl"], before["side"]) == (after["sar"], after["cl"], after["side"])
    assert before["cl"] == "topleft"
    assert times(source) == times(tmp_path / "out.mp4")
    assert packets(source, "a:0") == packets(tmp_path / "out.mp4", "a:0")


def test_what_is_cut_is_told_before_and_after(tmp_path: Path) -> None:
    clip = film(tmp_path / "in.mkv", "192x80", pad="192:144:0:32")
    outcome = upscale(clip, tmp_path / "out.mkv", "--for", "dvd", "--report", tmp_path / "report.json")
    assert "192x144 without 32 above, 32 below: 192x80 to 1440x600" in outcome.err  # 1080p with its bars
    assert "cropped to 192x80+0+32" in outcome.err
    assert json.loads((tmp_path / "report.json").read_text())["crop"] == "192x80+0+32"
    outcome = upscale(clip, tmp_path / "whole.mkv", "--for", "dvd", "--crop", "off", "--size", "192x144")
    assert "without" not in outcome.err
    assert "192x144" in describe(tmp_path / "whole.mkv")
    assert streamsr("verify", clip, tmp_path / "out.mkv").code == 0


@pytest.mark.parametrize(
    ("crop", "words"),
    [("192x100+0+60", "reaches beyond the pictures"), ("100x80+3+32", "such as 100x80+2+32"), ("100x80+4+33", "multiples of 2 and 2"),
     ("0x0+0+0", "is not auto, off or"), ("bars", "is not auto, off or"), ("9999999999x2+0+0", "is not auto, off or")],
)  # fmt: skip
def test_what_cannot_be_cut_out_is_a_usage_error(tmp_path: Path, crop: str, words: str) -> None:
    clip = film(tmp_path / "in.mkv", "192x80", pad="192:144:0:32")
    outcome = streamsr("run", clip, tmp_path / "out.mkv", "--crop", crop, "--model", "resize")
    assert (outcome.code, words in outcome.err) == (2, True), outcome.err
    assert not (tmp_path / "out.mkv").exists()


def test_fields_keep_their_order(tmp_path: Path) -> None:
    """Interlaced pictures that stay so are cut at whole pairs of rows of both fields."""
    film = "testsrc2=size=192x81:rate=20:duration=4,format=yuv444p,pad=192:144:0:31:black,format=yuv420p"
    graph = f"{film},tinterlace=interleave_top,setfield=tff"
    ffmpeg("-f", "lavfi", "-i", graph, "-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-q:v", "2", "-g", "5", tmp_path / "in.mkv")
    crop = found(tmp_path / "in.mkv", deinterlace="off")
    assert crop is not None
    assert (crop.top % 4, crop.height % 4) == (0, 0)
    assert found(tmp_path / "in.mkv") == Crop(192, 82, 0, 30)  # of progressive ones
    with pytest.raises(UsageError, match="multiples of 2 and 4"):
        Source(tmp_path / "in.mkv", SourceOptions(crop=Crop(192, 80, 0, 30), deinterlace="off"))
    upscale(tmp_path / "in.mkv", tmp_path / "out.mkv", "--crop", "auto", "--scale", "1", "--encoder", "ffv1")
    filters = "bwdif=mode=send_frame:deint=interlaced,crop=192:82:0:30"
    ffmpeg("-i", tmp_path / "in.mkv", "-vf", filters, "-c:v", "ffv1", tmp_path / "expected.mkv")
    ours, theirs = (gray_pictures(tmp_path / name, 192, 82) for name in ("out.mkv", "expected.mkv"))
    assert ours[1:] == theirs[1:]


def test_segments_are_cut_as_the_whole_is(tmp_path: Path) -> None:
    clip = film(tmp_path / "in.mkv", "192x80", pad="192:144:0:32")
    for name, seconds, workers in (("one.mkv", "0", "1"), ("parts.mkv", "1", "1"), ("two.mkv", "1", "2")):
        outcome = upscale(clip, tmp_path / name, "--crop", "auto", "--encoder", "ffv1", "--segment-seconds", seconds, "--workers", workers)
        assert (" segments" in outcome.err) == (seconds != "0"), outcome.err
    first, *others = ([row.md5 for row in rows(tmp_path / name)] for name in ("one.mkv", "parts.mkv", "two.mkv"))
    assert len(first) == 40
    assert others == [first, first]


def test_pictures_of_another_size_are_cut_by_their_share(tmp_path: Path) -> None:
    for size, pad, name in (("192x80", "192:144:0:32", "a"), ("96x40", "96:72:0:16", "b")):
        film(tmp_path / f"{name}.ts", size, pad=pad, codec=("mpeg2video", "-q:v", "2"))
    (tmp_path / "in.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    with Source(tmp_path / "in.ts", SourceOptions(crop=Crop(192, 80, 0, 32))) as source:
        assert {(frame.width, frame.height) for frame in source.frames()} == {(192, 80), (96, 40)}


def test_a_pipe_is_left_whole_and_says_so(tmp_path: Path) -> None:
    clip = film(tmp_path / "in.mkv", "192x80", pad="192:144:0:32")
    command = [*STREAMSR, "run", "-", str(tmp_path / "out.mkv"), "--crop", "auto", "--model", "resize"]
    done = subprocess.run(command, input=clip.read_bytes(), capture_output=True, check=True)
    assert b"no black bars were searched for" in done.stderr
    assert "384x288" in describe(tmp_path / "out.mkv")


def test_live_streams_are_cut_by_hand_alone(tmp_path: Path) -> None:
    clip = film(tmp_path / "in.mkv", "192x80", pad="192:144:0:32")
    given = ["--live", "--model", "resize", "--preset", "ultrafast", "--frames", "5"]
    outcome = streamsr("run", clip, tmp_path / "hand.mkv", *given, "--crop", "192x80+0+32")
    assert outcome.code == 0, outcome.err
    assert "384x160" in describe(tmp_path / "hand.mkv")
    outcome = streamsr("run", clip, tmp_path / "auto.mkv", *given, "--for", "tv", "--deinterlace", "auto", "--scale", "2")
    assert "black bars stay" in outcome.err
    assert "384x288" in describe(tmp_path / "auto.mkv")
    outcome = streamsr("run", clip, tmp_path / "wrong.mkv", *given, "--crop", "192x80+0+99")
    assert (outcome.code, "reaches beyond" in outcome.err) == (2, True)


def test_bitmap_subtitles_are_named(clips: Path, tmp_path: Path) -> None:
    clip = film(tmp_path / "in.mkv", "192x80", pad="192:144:0:32")
    ffmpeg("-i", clip, "-i", clips / "mkv_sample_with_vobsub.mkv", "-map", "0:v", "-map", "1:s", "-c", "copy", tmp_path / "subs.mkv")
    assert "bitmap subtitles" in upscale(tmp_path / "subs.mkv", tmp_path / "out.mkv", "--crop", "auto").err


def test_dali_refuses(tmp_path: Path) -> None:
    clip = film(tmp_path / "in.mp4", "192x80", pad="192:144:0:32")
    with pytest.raises(UsageError, match="--crop"):
        Source(clip, SourceOptions(crop=Crop(192, 80, 0, 32), decoder="dali", gpu=0))


@pytest.mark.parametrize(
    ("name", "crop"), [("crystal.mp4", Crop(704, 480, 8, 0)), ("mpeg_mpeg2.mpg", None), ("nasa_13013.mp4", None), ("bikes.mp4", None)]
)
def test_real_clips_are_cut_where_they_have_bars(clips: Path, name: str, crop: Crop | None) -> None:
    """crystal.mp4 has 8 black columns on each side."""
    assert found(clips / name) == crop
