"""Batches: every video of a folder gets its result, one failure does not stop the others, and nothing is done twice."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from media import STREAMSR, Outcome, ffmpeg, make_clip, streamsr, times, tone

from streamsr.errors import UsageError
from streamsr.jobs.batch_items import find_items, is_video

FAST = ("--model", "resize", "--preset", "ultrafast")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("batch") / "in.mp4", num_frames=25)


@pytest.fixture
def films(clip: Path, tmp_path: Path) -> Path:
    """Two videos, one in a folder inside, one broken, and what lies beside films."""
    folder = tmp_path / "films"
    (folder / "more").mkdir(parents=True)
    shutil.copy(clip, folder / "a.mp4")
    ffmpeg("-i", clip, "-c", "copy", folder / "b.mkv")
    ffmpeg("-i", clip, "-c", "copy", folder / "more" / "c.mov")
    (folder / "broken.mp4").write_bytes(clip.read_bytes()[:1000])
    (folder / "film.nfo").write_text("a film\n" * 20)
    (folder / "film.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    ffmpeg("-i", clip, "-frames:v", "1", folder / "cover.jpg")
    ffmpeg(*tone(1), folder / "song.mp3")
    return folder


def run(*arguments: object) -> Outcome:
    return streamsr("run", *arguments, *FAST)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_folder_becomes_a_folder(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = run(films, out, "--report", tmp_path / "r.json")
    assert outcome.code == 3  # of the broken one
    assert names(out) == ["a.mp4", "b.mkv"]
    assert times(out / "a.mp4") == times(films / "a.mp4")
    assert times(out / "b.mkv") == times(films / "b.mkv")
    assert "batch of 3: 2 done, 0 done before, 1 failed; 4 other files left out" in outcome.err
    assert "1 subfolders skipped; --recursive" in outcome.err
    assert f"failed: {films / 'broken.mp4'}: " in outcome.err.splitlines()[-1]
    facts = json.loads((tmp_path / "r.json").read_text())
    assert [Path(report["output"]).name for report in facts["done"]] == ["a.mp4", "b.mkv"]
    assert all(report["account"]["ok"] for report in facts["done"])
    assert [failure["exit_code"] for failure in facts["failures"]] == [3]


def test_bug_in_one_video_does_not_end_the_batch(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamsr.io.sink import Sink

    write = Sink.write

    def fail(self: Sink, frame: object) -> None:
        if "a.mp4" in self.url:
            raise ValueError("31 is not a valid Type")
        write(self, frame)  # type: ignore[arg-type]

    (films / "broken.mp4").unlink()
    monkeypatch.setattr(Sink, "write", fail)
    outcome = run(films, tmp_path / "out")
    assert outcome.code == 1
    assert "batch of 2: 1 done, 0 done before, 1 failed" in outcome.err
    assert "bug in streamsr: ValueError: 31 is not a valid Type" in outcome.err
    assert names(tmp_path / "out") == ["b.mkv"]


def test_folders_inside_are_kept_and_the_output_is_not_taken_in(films: Path) -> None:
    (films / "broken.mp4").unlink()
    out = films / "out"
    for done, before in ((3, 0), (0, 3)):
        outcome = run(films, out, "--recursive")
        assert outcome.code == 0, outcome.err
        assert f"batch of 3: {done} done, {before} done before" in outcome.err
        assert names(out) == ["a.mp4", "b.mkv", "more/c.mov"]


def test_finished_files_are_left_as_they_are(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(films / "a.mp4", films / "b.mkv", out)
    (out / "b.mkv").unlink()
    before = (out / "a.mp4").stat()
    outcome = run(films / "a.mp4", films / "b.mkv", out)
    assert outcome.code == 0, outcome.err
    assert "batch of 2: 1 done, 1 done before" in outcome.err
    assert (out / "a.mp4").stat().st_mtime_ns == before.st_mtime_ns
    run(films / "a.mp4", films / "b.mkv", out, "--overwrite")
    assert (out / "a.mp4").stat().st_mtime_ns != before.st_mtime_ns


@pytest.mark.parametrize("change", ["other size", "shorter", "no video"])
def test_file_that_is_not_the_result_is_a_failure(tmp_path: Path, change: str) -> None:
    clip, out = make_clip(tmp_path / "a.mp4", num_frames=100), tmp_path / "out"
    out.mkdir()
    if change == "no video":
        (out / "a.mp4").write_bytes(b"nothing")
    else:
        run(clip, out / "a.mp4", *(["--scale", "3"] if change == "other size" else ["--frames", "10"]))
    kept = (out / "a.mp4").read_bytes()
    outcome = run(clip, out)
    assert outcome.code == 6
    assert "is not the result of" in outcome.err
    assert "--overwrite" in outcome.err
    assert (out / "a.mp4").read_bytes() == kept


def test_engine_starts_once(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamsr.engines import openvino_engine

    (films / "broken.mp4").unlink()
    compiled = []
    compile_size = openvino_engine.OpenVinoEngine._build
    monkeypatch.setattr(openvino_engine.OpenVinoEngine, "_build", lambda *a: compiled.append(a[1:]) or compile_size(*a))
    outcome = streamsr("run", films, tmp_path / "out", "--recursive", "--preset", "ultrafast")
    assert outcome.code == 0, outcome.err
    assert len(compiled) == 1
    assert outcome.err.count("25 upscaled") == 3  # each account counts its own frames


def test_batch_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    films, out = tmp_path / "films", tmp_path / "out"
    films.mkdir()
    make_clip(films / "a.mp4")
    make_clip(films / "b.mp4", size="160x120", num_frames=1500)
    make_clip(films / "c.mp4")
    batch = subprocess.Popen([*STREAMSR, "run", str(films), str(out), *FAST], stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    while not ((out / "b.mp4.streamsr").exists() or (out / "b.partial.mp4").exists()):
        assert batch.poll() is None, batch.stderr and batch.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)
    batch.send_signal(signal.SIGINT)
    _, words = batch.communicate(timeout=60)
    assert batch.returncode == 130, words
    assert f"Interrupted at {films / 'b.mp4'}, 2 of 3; 1 are done.".encode() in words
    assert not (out / "c.mp4").exists()
    outcome = run(films, out)
    assert "batch of 3: 2 done, 1 done before, 0 failed" in outcome.err
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        assert times(out / name) == times(films / name)


def test_one_file_goes_into_a_folder_as_cp_does(clip: Path, tmp_path: Path) -> None:
    assert run(clip, f"{tmp_path}/new/").code == 0
    assert names(tmp_path / "new") == ["in.mp4"]


def test_options_may_stand_between_the_inputs(films: Path, tmp_path: Path) -> None:
    outcome = streamsr("run", films / "a.mp4", *FAST, films / "b.mkv", "--quiet", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert names(tmp_path / "out") == ["a.mp4", "b.mkv"]


@pytest.mark.parametrize(
    ("inputs", "output", "words"),
    [
        (["a.avi", "a.mkv"], "out", "would both become out/a.mkv"),
        (["x/a.mp4", "y/A.mp4"], "out", "would both become"),
        (["a.mp4", "b.mp4"], "c.mp4", "looks like a file"),
        (["a.mp4", "-"], "out", "cannot be one of several"),
        (["a.mp4", "rtsp://camera/1"], "out", "cannot be one of several"),
        (["a.mp4", "b.mp4"], "-", "need a folder"),
    ],
)
def test_names_that_clash_are_refused(inputs: list[str], output: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        find_items(inputs, output)


def test_source_is_never_its_own_result(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(films)
    outcome = run("a.mp4", "b.mkv", ".")
    assert outcome.code == 2
    assert "would be its own result" in outcome.err


def test_names_follow_what_can_be_written() -> None:
    items = find_items(["x/a.mp4", "b.AVI", "c.webm"], "out").items
    assert [item.target for item in items] == ["out/a.mp4", "out/b.mkv", "out/c.webm"]
    items = find_items(["a.mp4", "b.mkv"], "out", format_name="matroska").items
    assert [item.target for item in items] == ["out/a.mkv", "out/b.mkv"]


def test_folder_without_videos_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("words")
    outcome = run(tmp_path / "in", tmp_path / "out")
    assert outcome.code == 3
    assert "no video" in outcome.err


def test_video_is_told_by_what_is_in_it(films: Path, clip: Path) -> None:
    shutil.copy(clip, films / "recording")
    found = {path.name for path in films.iterdir() if path.is_file() and is_video(path)}
    assert found == {"a.mp4", "b.mkv", "broken.mp4", "recording"}


def test_recursive_needs_a_folder(clip: Path, tmp_path: Path) -> None:
    assert run(clip, tmp_path / "out.mp4", "--recursive").code == 2
