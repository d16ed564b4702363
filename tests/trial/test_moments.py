"""Where `streamsr preview` looks, and what it makes of it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from make_recurrent import write_recurrent
from media import ffmpeg, make_clip, streamsr

from streamsr import Upscaler
from streamsr.errors import SourceError, UsageError
from streamsr.io.moments import read_at
from streamsr.jobs.job import run
from streamsr.options import SourceOptions, UpscaleOptions
from streamsr.trial.moments import Moment, find_moments, find_scenes
from streamsr.trial.studio import Setting, Studio


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures that have nothing in common, of two seconds each, after a second of black."""
    path = tmp_path_factory.mktemp("scenes") / "scenes.mp4"
    inputs = ("color=black:s=128x96:d=1", "testsrc=s=128x96:d=2", "mandelbrot=s=128x96,trim=duration=2", "rgbtestsrc=s=128x96:d=2")
    given = [word for source in inputs for word in ("-f", "lavfi", "-i", f"{source},fps=25,format=yuv420p")]
    ffmpeg(*given, "-lavfi", "[0][1][2][3]concat=n=4,fps=25,format=yuv420p", "-c:v", "libx264", "-g", "25", path)
    return path


def test_scenes_are_found_and_black_is_not_shown(scenes: Path) -> None:
    times = find_scenes(str(scenes), 3, SourceOptions())
    assert len(times) == 3
    assert times[0] >= 1  # not the black at the beginning
    assert any(3 <= time_s < 3.5 for time_s in times) or any(5 <= time_s < 5.5 for time_s in times)


def test_given_times_and_pictures_of_a_folder_are_taken(scenes: Path, tmp_path: Path) -> None:
    assert find_moments([str(scenes)], [1.5, 4], SourceOptions()) == [Moment(str(scenes), 1.5), Moment(str(scenes), 4)]
    with pytest.raises(SourceError, match="holds no pictures"):
        find_moments([str(tmp_path)], [], SourceOptions())
    for name in ("b.png", "a.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [Path(moment.url).name for moment in find_moments([str(tmp_path)], [], SourceOptions())] == ["a.jpg", "b.png"]
    with pytest.raises(UsageError, match="pipe"):
        find_moments(["-"], [], SourceOptions())


def test_a_frame_is_read_by_its_time_whatever_the_clock(scenes: Path, tmp_path: Path) -> None:
    ffmpeg("-i", scenes, "-c", "copy", "-copyts", tmp_path / "broadcast.ts")
    for path, origin in ((scenes, Fraction(0)), (tmp_path / "broadcast.ts", Fraction(0))):
        (time, frame), (later, _) = read_at(path, 3.2, origin=origin, rate=Fraction(25), num_frames=2)
        assert time == pytest.approx(Fraction(16, 5), abs=0.001)
        assert later - time == pytest.approx(Fraction(1, 25), abs=0.001)
        expected = ffmpeg("-i", scenes, "-vf", "select=eq(n\\,80)", "-frames:v", 1, "-f", "rawvideo", "-")
        luma = np.frombuffer(bytes(frame.planes[0]), np.uint8).reshape(-1, frame.planes[0].line_size)[:, :128]
        assert luma.tobytes() == expected[: 128 * 96]


def test_a_shot_is_what_a_run_makes(scenes: Path, tmp_path: Path) -> None:
    setting = Setting(UpscaleOptions("lite"))
    with Studio([Moment(str(scenes), 3.2)], SourceOptions()) as studio:
        shot = studio.shoot(0, setting)
        assert studio.shoot(0, setting) is shot
        run(scenes, tmp_path / "whole.mkv", encoder="ffv1")
        (_, frame), *_ = read_at(tmp_path / "whole.mkv", 3.2, origin=Fraction(0), rate=Fraction(25))
        assert np.array_equal(shot.after.to_ndarray(), frame.to_ndarray())
        assert (shot.before.width, shot.before.height) == (shot.after.width, shot.after.height) == (256, 192)
        assert not np.array_equal(shot.before.to_ndarray(), shot.after.to_ndarray())
        box = studio.shoot(0, Setting(UpscaleOptions("resize", size=(0, 144))))
        assert (box.after.width, box.after.height, box.model) == (192, 144, "resize")


def test_a_moment_behind_the_end_is_an_input_error(scenes: Path) -> None:
    outcome = streamsr("preview", scenes, "--at", "99", "--sheet", scenes.with_name("sheet.png"))
    assert outcome.code == 3
    assert not scenes.with_name("sheet.png").exists()


def test_the_sheet_holds_every_moment(scenes: Path, tmp_path: Path) -> None:
    from PIL import Image

    given = ["--at", "1.5", "--at", "3.5", "--model", "resize", "--scale", "3"]
    outcome = streamsr("preview", scenes, *given, "--sheet", tmp_path / "sheet.png")
    assert outcome.code == 0, outcome.err
    assert f"streamsr run {scenes} {scenes.with_name('scenes-3x.mp4')} --scale 3 --model resize" in outcome.out.replace("'", "")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 2500
        assert sheet.height > 900
        assert len(sheet.convert("RGB").getcolors(10**7) or []) > 1000
    for name, words in (("sheet.gif", "must end in"), ("none/sheet.png", "does not exist")):
        outcome = streamsr("preview", scenes, "--sheet", tmp_path / name)
        assert (outcome.code, words in outcome.err) == (2, True)


def test_a_recurrent_network_sees_the_frames_before(tmp_path: Path) -> None:
    clip, model = make_clip(tmp_path / "clip.mp4", size="64x48", num_frames=12), str(write_recurrent(tmp_path))
    with Studio([Moment(str(clip), 0.4)], SourceOptions()) as studio:
        one = studio.shoot(0, Setting(UpscaleOptions(model, precision="f32")))
    with Upscaler(model, precision="f32") as upscaler:
        frames = [frame for _, frame in read_at(clip, 0.28, origin=Fraction(0), rate=Fraction(25), num_frames=4)]
        assert np.array_equal(one.after.to_ndarray(), list(upscaler.stream(iter(frames)))[-1].to_ndarray())
