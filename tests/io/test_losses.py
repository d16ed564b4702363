"""What a container has no place for is named, and fails with --strict; covers and data tracks are kept where there is a place."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from media import ffmpeg, make_clip, metadata, packets, program, streamsr, upscale


def cover(path: object) -> bytes | None:
    """The cover picture that ffprobe sees, as it is stored."""
    command = [program("ffprobe"), "-v", "error", "-show_streams", "-of", "json", str(path)]
    for stream in json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["streams"]:
        if stream["disposition"]["attached_pic"]:
            return ffmpeg("-i", path, "-map", f"0:{stream['index']}", "-c", "copy", "-f", "image2pipe", "-")
    return None


def refused(source: Path, out: Path, words: str) -> None:
    outcome = streamsr("run", source, out, "--model", "resize", "--strict")
    assert outcome.code == 6, outcome.err
    assert words in outcome.err
    assert not out.exists()


@pytest.mark.parametrize("name", ["cover.mp4", "cover_attachment.mkv"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_cover_stays_a_cover(faults: Path, tmp_path: Path, name: str, suffix: str) -> None:
    upscale(faults / name, tmp_path / f"out.{suffix}")
    assert cover(tmp_path / f"out.{suffix}") == cover(faults / name) is not None
    if suffix == "mkv":
        found = json.loads(subprocess.run([program("mkvmerge"), "-J", tmp_path / "out.mkv"], capture_output=True, check=True).stdout)
        assert [(each["file_name"], each["content_type"]) for each in found["attachments"]] == [("cover.jpg", "image/jpeg")]
        assert [track["type"] for track in found["tracks"]].count("video") == 1


def test_cover_of_a_mov_beside_metadata_of_its_own(faults: Path, tmp_path: Path) -> None:
    (tmp_path / "cover.jpg").write_bytes(cover(faults / "cover.mp4") or b"")
    clip = make_clip(tmp_path / "in.mkv", "-metadata", "director=Somebody", "-attach", tmp_path / "cover.jpg", "-metadata:s:t",
                     "mimetype=image/jpeg", "-metadata:s:t", "filename=cover.jpg", num_frames=3)  # fmt: skip
    upscale(clip, tmp_path / "out.mov", "--strict")
    assert cover(tmp_path / "out.mov") == cover(faults / "cover.mp4") is not None
    assert "Somebody" in metadata(tmp_path / "out.mov")
    assert len(packets(tmp_path / "out.mov", "v:0")) == 3


@pytest.mark.parametrize("suffix", ["webm", "ts"])
def test_lost_cover_is_named(faults: Path, tmp_path: Path, suffix: str) -> None:
    assert "cover picture #2 (mjpeg) dropped" in upscale(faults / "cover.mp4", tmp_path / f"out.{suffix}").err
    refused(faults / "cover.mp4", tmp_path / f"strict.{suffix}", "cover picture")


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_data_track_of_a_camera_is_kept(faults: Path, tmp_path: Path, suffix: str) -> None:
    upscale(faults / "gpmd_track.mp4", tmp_path / f"out.{suffix}", "--strict")
    assert packets(tmp_path / f"out.{suffix}", "d:0") == packets(faults / "gpmd_track.mp4", "d:0") != []


def test_lost_data_track_is_named(faults: Path, tmp_path: Path) -> None:
    refused(faults / "gpmd_track.mp4", tmp_path / "out.mkv", "data")


def test_chapters_and_titles_that_a_transport_stream_loses_are_named(faults: Path, tmp_path: Path) -> None:
    outcome = upscale(faults / "chapters_title.mkv", tmp_path / "out.ts")
    assert "2 chapters dropped" in outcome.err
    assert "title=" in outcome.err
    assert metadata(tmp_path / "out.ts").count("[CHAPTER]") == 0
    refused(faults / "chapters_title.mkv", tmp_path / "strict.ts", "chapters")


def test_reel_name_is_named_where_it_is_lost(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mov", "-timecode", "01:00:00:00", "-metadata:s:v:0", "reel_name=A001", num_frames=3)
    refused(clip, tmp_path / "out.mkv", "reel name 'A001'")


def service_names(path: Path) -> dict[str, str]:
    """What ffprobe says of the programme that holds the video."""
    command = [program("ffprobe"), "-v", "error", "-show_programs", "-of", "json", str(path)]
    programs = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["programs"]
    found = next(each for each in programs if any(stream["codec_type"] == "video" for stream in each["streams"]))
    return {key: value for key, value in found["tags"].items() if key.startswith("service_")}


@pytest.mark.parametrize(("name", "provider"), [("ARD HD", "ARD"), ("Größe", "Südwest"), ("Новости", "")])
@pytest.mark.parametrize("suffix", ["ts", "m2ts"])
def test_names_of_a_service_are_kept(tmp_path: Path, name: str, provider: str, suffix: str) -> None:
    words = ["-metadata", f"service_name={name}", *(["-metadata", f"service_provider={provider}"] if provider else [])]
    clip = make_clip(tmp_path / f"in.{suffix}", *words, num_frames=30)
    upscale(clip, tmp_path / "out.ts", "--strict")
    assert service_names(tmp_path / "out.ts") == service_names(clip)
    upscale(clip, tmp_path / "out.mkv", "--strict")
    assert f"SERVICE_NAME={name}".casefold() in metadata(tmp_path / "out.mkv").casefold()
    upscale(tmp_path / "out.mkv", tmp_path / "again.ts")
    assert service_names(tmp_path / "again.ts")["service_name"] == name
    refused(clip, tmp_path / "out.mp4", f"name of the service {name!r}")


def test_names_are_those_of_the_programme_with_the_video(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "one.mkv", num_frames=30)
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "-i", clip, "-map", "0", "-map", "1", "-c:a", "mp2", "-c:v", "copy",
           "-program", "title=Radio:program_num=1:st=0", "-program", "title=Television:program_num=2:st=1", tmp_path / "in.ts")  # fmt: skip
    assert service_names(tmp_path / "in.ts")["service_name"] == "Television"
    upscale(tmp_path / "in.ts", tmp_path / "out.ts")
    assert service_names(tmp_path / "out.ts")["service_name"] == "Television"


def test_made_up_name_of_a_service_is_no_loss(tmp_path: Path) -> None:
    upscale(make_clip(tmp_path / "in.ts", num_frames=3), tmp_path / "out.mp4", "--strict")


def test_reel_name_is_kept_where_there_is_a_place(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mov", "-timecode", "01:00:00:00", "-metadata:s:v:0", "reel_name=A001", num_frames=3)
    upscale(clip, tmp_path / "out.mov", "--strict")
    command = [program("ffprobe"), "-v", "error", "-show_streams", "-show_format", "-of", "json", str(tmp_path / "out.mov")]
    found = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert '"reel_name": "A001"' in found
    assert '"timecode": "01:00:00:00"' in found


@pytest.mark.parametrize("kind", [b"camm", b"mebx"])
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_data_track_that_ffmpeg_does_not_describe_is_named(faults: Path, tmp_path: Path, kind: bytes, suffix: str) -> None:
    data = (faults / "gpmd_track.mp4").read_bytes()
    assert data.count(b"gpmd") == 1
    (tmp_path / "in.mp4").write_bytes(data.replace(b"gpmd", kind))
    outcome = upscale(tmp_path / "in.mp4", tmp_path / f"out.{suffix}")
    assert f"data {kind.decode()} (eng) dropped" in outcome.err
    refused(tmp_path / "in.mp4", tmp_path / f"strict.{suffix}", f"data {kind.decode()}")
