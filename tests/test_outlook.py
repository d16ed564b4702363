"""What is said of a run before it begins and after it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from media import make_clip, streamsr

from streamsr import outlook
from streamsr.outlook import Outlook, advise, learn, show_bytes, show_seconds


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlook, "cache_folder", lambda: tmp_path / "cache")


def test_one_line_says_what_a_run_will_do(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", size="128x96", num_frames=25)
    outcome = streamsr("run", clip, tmp_path / "out.mp4", "--model", "resize", "--threads", "2")
    assert outcome.code == 0, outcome.err
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("128x96 to 256x192")]
    assert "resize by resize, libx264 veryfast crf 18; about 1 s, about " in line
    (after,) = [line for line in outcome.err.splitlines() if "times the input" in line]
    found = re.match(r"([\d.]+) kB at [\d.]+ Mb/s, ([\d.]+) times the input", after)
    assert found is not None
    sizes = [path.stat().st_size for path in (tmp_path / "out.mp4", clip)]
    assert float(found[1]) == pytest.approx(sizes[0] / 1000, rel=0.1)
    assert float(found[2]) == pytest.approx(sizes[0] / sizes[1], abs=0.1)


def test_quiet_says_nothing(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4")
    assert streamsr("run", clip, tmp_path / "out.mp4", "--model", "resize", "--quiet").err == ""


def test_interlaced_sources_are_said_to_be_deinterlaced(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mpg", "-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-field_order", "tt", size="64x64")
    for option, words in ((["--deinterlace", "auto"], True), (["--deinterlace", "off"], False)):
        outcome = streamsr("run", clip, tmp_path / "out.mp4", "--model", "resize", "--overwrite", *option)
        line = next(line for line in outcome.err.splitlines() if line.startswith("64x64 to 128x128"))
        assert ("deinterlaced" in line) == words


def test_what_was_off_corrects_the_next_run() -> None:
    expected = Outlook("", 10.0, None, None, 0.1, 0.1, "", "lite/libx264/veryfast/2")
    learn(expected, 30.0)
    assert outlook._corrections() == {"lite/libx264/veryfast/2": 2.0}  # half of the way to 3
    for _ in range(8):
        learn(Outlook("", 10.0 * outlook._corrections()[expected.speed_key], None, None, 0.1, 0.1, "", expected.speed_key), 30.0)
    assert outlook._corrections()[expected.speed_key] == pytest.approx(3, rel=0.02)
    (outlook.cache_folder() / "speed.json").write_text('{"a": "x", "b": 1e9, "c": 2}')
    assert outlook._corrections() == {"c": 2.0}


def test_advice_names_the_preset_that_saves_time() -> None:
    assert advise("libx264", "medium", 0.01, 0.06) == "the encoder is the limit: --preset faster would save 30 % of the time"
    assert advise("libx264", "medium", 0.06, 0.01) == ""
    assert advise("libx264", "ultrafast", 0.01, 0.06) == "the encoder is the limit"
    assert advise("ffv1", "", 0.01, 0.06) == ""


def test_numbers_are_for_people() -> None:
    assert [show_seconds(seconds) for seconds in (0.2, 40, 240, 7200, 12_345)] == ["1 s", "40 s", "4 min", "2 h 0 min", "3 h 26 min"]
    assert [show_bytes(size) for size in (1234, 56_789, 3_400_000, 5.6e10)] == ["1.2 kB", "57 kB", "3.4 MB", "56 GB"]
