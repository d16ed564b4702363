"""The run that the page of `streamsr preview` starts."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from media import make_clip
from web import until

from streamsr.errors import SinkError
from streamsr.jobs.job import run
from streamsr.pipeline import Progress
from streamsr.trial.runner import Runner, Tell, free_name


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("runner") / "in.mp4", "-g", "10", num_frames=75)


@pytest.mark.parametrize("segment_seconds", [0.0, 1.0])
def test_cancelling_leaves_nothing(clip: Path, tmp_path: Path, segment_seconds: float) -> None:
    output = str(tmp_path / "out.mp4")
    told: list[Progress] = []

    def go(stop: threading.Event, tell: Tell) -> str:
        def tell_and_cancel(progress: Progress) -> None:
            tell(progress)
            told.append(progress)
            if len(told) == 40:
                runner.cancel()

        run(clip, output, model="resize", segment_seconds=segment_seconds, on_progress=tell_and_cancel, stop=stop)
        return "done"

    with Runner(lambda progress: f"{progress.num_frames} frames") as runner:
        assert runner.start(output, go)
        assert not runner.start(output, go)  # one at a time
        until(lambda: runner.standing.state != "running")
        assert runner.standing.state == "cancelled"
        assert (runner.standing.num_frames, runner.standing.expected_frames) >= (40, 75)
        assert list(tmp_path.iterdir()) == []
        assert runner.start(output, lambda stop, tell: "again")  # after the end, another one
        until(lambda: runner.standing.state == "done")


def test_the_end_of_the_page_cancels(tmp_path: Path) -> None:
    def go(stop: threading.Event, tell: Tell) -> str:
        from streamsr.errors import Interrupted

        assert stop.wait(10)
        raise Interrupted("Interrupted.")

    with Runner(str) as runner:
        runner.start(str(tmp_path / "out.mp4"), go)
    assert runner.standing.state == "cancelled"


def test_what_fails_is_said(tmp_path: Path) -> None:
    def go(stop: threading.Event, tell: Tell) -> str:
        raise SinkError("The disk is full.", hint="free some")

    with Runner(str) as runner:
        runner.start(str(tmp_path / "out.mp4"), go)
        until(lambda: runner.standing.state == "failed")
        assert runner.standing.words == "The disk is full. free some"
        runner.start(str(tmp_path / "out.mp4"), lambda stop, tell: str(1 / 0))
        until(lambda: "ZeroDivisionError" in runner.standing.words)


def test_a_free_name_is_of_no_file_and_no_unfinished_run(tmp_path: Path) -> None:
    path = tmp_path / "film-2x.mkv"
    assert free_name(path) == path
    path.touch()
    assert free_name(path).name == "film-2x-2.mkv"
    (tmp_path / "film-2x-2.mkv.streamsr").mkdir()
    (tmp_path / "film-2x-3.partial.mkv").touch()
    (tmp_path / "film-2x-4.mkv").symlink_to(tmp_path / "nowhere")
    assert free_name(path).name == "film-2x-5.mkv"
