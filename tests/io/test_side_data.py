"""Side data of pictures: read without harm, kept where the output holds it, told where it does not."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

import av
import pytest
from media import FFMPEG, STREAMSR, make_clip, program, streamsr, upscale
from PIL import Image, ImageCms

from streamsr.side_data import Kind, find_kinds, read_side_data

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MAKE, ORIENTATION, EXIF_IFD, TAKEN = 0x010F, 0x0112, 0x8769, 0x9003


def picture(path: Path, *, orientation: int = 0, profile: bytes | None = None) -> Path:
    """A small picture with EXIF, written by Pillow."""
    exif = Image.Exif()
    exif[MAKE] = "A maker"
    exif.get_ifd(EXIF_IFD)[TAKEN] = "2020:01:02 03:04:05"
    if orientation:
        exif[ORIENTATION] = orientation
    Image.linear_gradient("L").resize((64, 48)).convert("RGB").save(path, exif=exif, icc_profile=profile)
    return path


def frame_side_data(path: object) -> Counter[str]:
    """How many pictures carry each kind of side data, as Debian's ffprobe says."""
    command = [program("ffprobe"), "-v", "error", "-show_frames", "-select_streams", "v:0", "-of", "json", str(path)]
    frames = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["frames"]
    return Counter(data["side_data_type"] for frame in frames for data in frame.get("side_data_list", []))


def messages(path: object, kind: Kind) -> list[bytes | None]:
    with av.open(str(path)) as container:
        return [read_side_data(frame, kind) for frame in container.decode(video=0)]


@pytest.mark.parametrize("source", ["png", "jpg", "webp"])
@pytest.mark.parametrize("target", ["png", "jpg", "webp", "tif"])
def test_picture_keeps_exif_orientation_and_profile(tmp_path: Path, source: str, target: str) -> None:
    upscale(picture(tmp_path / f"in.{source}", orientation=6, profile=PROFILE), tmp_path / f"out.{target}")
    with Image.open(tmp_path / f"out.{target}") as result:
        assert result.getexif()[ORIENTATION] == 6  # which Pillow applies to a TIFF when it loads that
        assert result.size == ((96, 128) if target == "tif" else (128, 96))
        result.load()
        assert result.getexif()[MAKE] == "A maker"
        assert result.getexif().get_ifd(EXIF_IFD)[TAKEN] == "2020:01:02 03:04:05"
        assert result.info["icc_profile"] == PROFILE


@pytest.mark.parametrize("target", ["tif", "png", "jpg"])
def test_words_of_a_tiff_are_kept_without_those_of_its_structure(tmp_path: Path, target: str) -> None:
    exif = Image.Exif()
    exif[MAKE], exif[ORIENTATION] = "A maker", 6
    picture = Image.linear_gradient("L").resize((64, 48)).convert("RGB")
    picture.save(tmp_path / "in.tif", exif=exif, icc_profile=PROFILE, compression="tiff_lzw")
    upscale(tmp_path / "in.tif", tmp_path / f"out.{target}", "--strict")
    with Image.open(tmp_path / f"out.{target}") as result:
        assert result.getexif()[ORIENTATION] == 6
        result.load()
        assert sorted(result.size) == [96, 128]
        assert result.getexif()[MAKE] == "A maker"
        assert result.info["icc_profile"] == PROFILE


def test_places_and_fractions_of_either_byte_order_get_into_a_tiff(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1], exif.get_ifd(0x8825)[2] = "N", (51.0, 30.0, 12.5)
    exif.get_ifd(EXIF_IFD)[0x829A] = 1 / 125  # exposure time
    picture = Image.linear_gradient("L").resize((64, 48)).convert("RGB")
    picture.save(tmp_path / "in.jpg", exif=b"Exif\0\0" + big_endian(exif))
    upscale(tmp_path / "in.jpg", tmp_path / "out.tif")
    with Image.open(tmp_path / "out.tif") as result:
        found = result.getexif()
        assert tuple(map(float, found.get_ifd(0x8825)[2])) == (51.0, 30.0, 12.5)
        assert float(found.get_ifd(EXIF_IFD)[0x829A]) == pytest.approx(1 / 125)


def big_endian(exif: Image.Exif) -> bytes:
    exif.endian = ">"
    return exif.tobytes().removeprefix(b"Exif\0\0")


def test_picture_without_words_gets_none(tmp_path: Path) -> None:
    Image.linear_gradient("L").save(tmp_path / "in.png")
    upscale(tmp_path / "in.png", tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as result:
        assert not result.getexif()


@pytest.mark.parametrize(("kind", "target"), [("ICC profile", "bmp"), ("EXIF metadata", "mp4")])
def test_lost_words_of_a_picture_are_told(tmp_path: Path, kind: str, target: str) -> None:
    source = picture(tmp_path / "in.png", profile=PROFILE)
    outcome = upscale(source, tmp_path / f"out.{target}")
    assert f"{kind} dropped" in outcome.err
    refused = streamsr("run", source, tmp_path / f"other.{target}", "--model", "resize", "--strict")
    assert refused.code == 6
    assert kind in refused.err
    assert not (tmp_path / f"other.{target}").exists()


@pytest.mark.parametrize("name", ["exif.jpg", "icc.png"])
def test_pictures_of_other_people_compare(faults: Path, name: str) -> None:
    outcome = subprocess.run(
        [*STREAMSR, "compare", str(faults / name), "--ref", str(faults / name)], capture_output=True, check=False
    )
    assert outcome.returncode == 0, outcome.stderr.decode()


@pytest.mark.parametrize("name", ["mjpeg_exif.avi", "lcevc_sei.mp4"])
def test_kinds_newer_than_pyav_do_not_end_a_run(faults: Path, tmp_path: Path, name: str) -> None:
    upscale(faults / name, tmp_path / "out.mkv")


def test_mjpeg_of_pictures_with_exif(tmp_path: Path) -> None:
    picture(tmp_path / "1.jpg")
    picture(tmp_path / "2.jpg")
    subprocess.run([FFMPEG, "-v", "error", "-i", tmp_path / "%d.jpg", "-c", "copy", tmp_path / "in.avi"], check=True)
    assert "EXIF metadata dropped" in upscale(tmp_path / "in.avi", tmp_path / "out.mp4").err


def test_one_picture_with_a_profile_does_not_end_a_batch(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "b.mp4", num_frames=2)
    outcome = streamsr("run", picture(tmp_path / "a.png", profile=PROFILE), clip, str(tmp_path / "out") + "/", "--model", "resize")
    assert outcome.code == 0, outcome.err
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"b.mp4"}


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libsvtav1"])
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_closed_captions_are_kept(faults: Path, tmp_path: Path, encoder: str, suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    upscale(faults / "cea608.mp4", out, "--encoder", encoder, "--strict")
    assert messages(out, Kind.CAPTIONS) == messages(faults / "cea608.mp4", Kind.CAPTIONS)
    if encoder != "libsvtav1":  # Debian's dav1d forgets those of frames that are shown again
        assert frame_side_data(out)["ATSC A53 Part 4 Closed Captions"] == 60


def test_closed_captions_are_kept_in_segments(faults: Path, tmp_path: Path) -> None:
    upscale(faults / "cea608.mp4", tmp_path / "out.mp4", "--encoder", "libx265", "--segment-seconds", "0.5")
    assert frame_side_data(tmp_path / "out.mp4")["ATSC A53 Part 4 Closed Captions"] == 60


@pytest.mark.parametrize("segments", ["0", "0.5"])
def test_lost_captions_are_told(faults: Path, tmp_path: Path, segments: str) -> None:
    words = ("--encoder", "libvpx-vp9", "--segment-seconds", segments)
    assert "closed captions dropped" in upscale(faults / "cea608.mp4", tmp_path / "out.mkv", *words).err
    outcome = streamsr("run", faults / "cea608.mp4", tmp_path / "strict.mkv", "--model", "resize", "--strict", *words)
    assert outcome.code == 6
    assert "closed captions" in outcome.err


@pytest.mark.parametrize("encoder", ["libx265", "libsvtav1"])
def test_hdr10_plus_is_kept(faults: Path, tmp_path: Path, encoder: str) -> None:
    upscale(faults / "hdr10plus.mp4", tmp_path / "out.mp4", "--encoder", encoder, "--strict")
    assert messages(tmp_path / "out.mp4", Kind.HDR10_PLUS) == messages(faults / "hdr10plus.mp4", Kind.HDR10_PLUS)
    if encoder == "libx265":
        assert frame_side_data(tmp_path / "out.mp4")["HDR Dynamic Metadata SMPTE2094-40 (HDR10+)"] == 23


def test_lost_hdr10_plus_is_told(faults: Path, tmp_path: Path) -> None:
    outcome = streamsr("run", faults / "hdr10plus.mp4", tmp_path / "out.mp4", "--model", "resize", "--encoder", "libx264", "--strict")
    assert outcome.code == 6
    assert "HDR10+" in outcome.err


def test_kinds_are_found_without_reading_them_all(tmp_path: Path) -> None:
    with av.open(str(picture(tmp_path / "a.png", orientation=3, profile=PROFILE))) as container:
        frame = next(container.decode(video=0))
    assert set(find_kinds(frame)) == {Kind.ICC_PROFILE, Kind.EXIF, Kind.DISPLAY_MATRIX}
    assert read_side_data(frame, Kind.ICC_PROFILE) == PROFILE
