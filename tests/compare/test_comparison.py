"""`streamsr compare`: pairing by time, colour by the tags, what cannot be measured, the table, JSON and the plot."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media import ffmpeg, make_clip, streamsr

from streamsr.compare import compare
from streamsr.compare.alignment import Unpaired, pair_frames
from streamsr.compare.comparable_planes import to_pictures
from streamsr.compare.pban import METRIC, PbanScorer, read_card
from streamsr.compare.sampling import Sample, choose_sample
from streamsr.compare.vmaf import find_ffmpeg
from streamsr.errors import EngineError, SourceError, UsageError
from streamsr.io.source import open_source

SIZE = "128x96"
LOSSLESS = ["-c:v", "libx264", "-qp", "0", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(compressed, original) of six frames."""
    folder = tmp_path_factory.mktemp("pair")
    original = make_clip(folder / "original.mkv", *LOSSLESS, size=SIZE, num_frames=6)
    ffmpeg("-i", original, "-c:v", "libx264", "-crf", "38", "-preset", "ultrafast", folder / "result.mp4")
    return folder / "result.mp4", original


def psnr_y(result: Path, original: Path, folder: Path) -> list[float]:
    """What FFmpeg's psnr filter says of each frame."""
    log = folder / "psnr.log"
    graph = f"[0:v]setpts=N/TB/25[a];[1:v]setpts=N/TB/25[b];[a][b]psnr=stats_file={log}"
    ffmpeg("-i", result, "-i", original, "-lavfi", graph, "-f", "null", "-")
    return [float(word.split(":")[1]) for line in log.read_text().splitlines() for word in line.split() if word.startswith("psnr_y:")]


def test_psnr_is_that_of_ffmpegs_filter(pair: tuple[Path, Path], tmp_path: Path) -> None:
    found = [frame.psnr for frame in compare(*pair).frames]
    assert found == pytest.approx(psnr_y(*pair, tmp_path), abs=0.01)
    assert len(found) == 6


def test_every_measure_prefers_the_better_encode(pair: tuple[Path, Path], tmp_path: Path) -> None:
    ffmpeg("-i", pair[1], "-c:v", "libx264", "-crf", "20", "-preset", "ultrafast", tmp_path / "better.mp4")
    worse, better, equal = (compare(path, pair[1]) for path in (pair[0], tmp_path / "better.mp4", pair[1]))
    for measure in ("efficient_pban", "psnr", "ssim") + (("vmaf",) if find_ffmpeg() else ()):
        a, b, c = (comparison.mean(measure) for comparison in (worse, better, equal))
        assert a is not None
        assert b is not None
        assert c is not None
        assert a < b <= c + 1e-6, measure
    assert equal.mean("efficient_pban") == pytest.approx(1, abs=1e-5)
    assert equal.mean("ssim") == pytest.approx(1, abs=1e-6)


def test_frames_are_paired_by_time_and_the_others_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    kept = "select='not(eq(n,2))'"
    ffmpeg("-i", pair[1], "-vf", kept, "-fps_mode", "passthrough", *LOSSLESS, tmp_path / "gap.mkv")
    comparison = compare(tmp_path / "gap.mkv", pair[1])
    assert comparison.num_pairs == 5
    assert comparison.unpaired_original == pytest.approx([0.08], abs=0.001)
    assert comparison.unpaired_result == []
    assert [frame.psnr for frame in comparison.frames] == [100.0] * 5  # each beside its own original
    words = streamsr("compare", tmp_path / "gap.mkv", "--ref", pair[1]).out
    assert "1 frames of" in words
    assert "have no partner, at seconds: 0.080" in words
    assert "5 of 5 pairs" in words


def test_milliseconds_of_matroska_pair_with_exact_times(tmp_path: Path) -> None:
    exact = make_clip(tmp_path / "a.mp4", *LOSSLESS, size=SIZE, rate="30000/1001", num_frames=20)
    ffmpeg("-i", exact, "-c", "copy", tmp_path / "b.mkv")
    with open_source(exact) as one, open_source(tmp_path / "b.mkv") as other:
        unpaired = Unpaired()
        times = [time for time, _, _ in pair_frames(one, other, unpaired)]
    assert len(times) == 20
    assert unpaired == Unpaired()
    assert all(abs(time - i * Fraction(1001, 30000)) <= Fraction(1, 1000) for i, time in enumerate(times))


def test_every_nth_pair_is_measured(pair: tuple[Path, Path]) -> None:
    comparison = compare(*pair, every=4)
    assert comparison.num_pairs == 6
    assert [frame.time_s for frame in comparison.frames] == pytest.approx([0, 0.16])
    with pytest.raises(UsageError, match="every is 0"):
        compare(*pair, every=0)


def test_pictures_are_compared_too(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for name, path in zip(("a.png", "b.png"), pair, strict=True):
        ffmpeg("-i", path, "-frames:v", "1", tmp_path / name)
    comparison = compare(tmp_path / "a.png", tmp_path / "b.png")
    assert len(comparison.frames) == 1
    assert comparison.frames[0].ssim is not None
    assert 0.2 < comparison.frames[0].ssim < 1


@pytest.mark.parametrize(("matrix", "code", "levels"), [("bt709", 1, "tv"), ("smpte170m", 6, "tv"), ("bt709", 1, "pc")])
def test_colour_is_converted_by_the_tags(tmp_path: Path, matrix: str, code: int, levels: str) -> None:
    red, green, blue = 200, 60, 30
    kr, kb = {1: (0.2126, 0.0722), 6: (0.299, 0.114)}[code]  # ITU-T H.273 table 4
    y = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - y) / (2 - 2 * kb), (red - y) / (2 - 2 * kr)
    scale, offset, chroma = (219 / 255, 16, 224 / 255) if levels == "tv" else (1, 0, 1)
    video = av.VideoFrame(32, 32, "yuv444p")
    for plane, value in zip(video.planes, (offset + scale * y, 128 + chroma * cb, 128 + chroma * cr), strict=True):
        plane.update(bytes([round(value)]) * plane.buffer_size)
    video.colorspace, video.color_range = code, {"tv": 1, "pc": 2}[levels]
    rgb = av.VideoFrame.from_ndarray(np.full((32, 32, 3), (red, green, blue), np.uint8), format="rgb24")
    mine, theirs = to_pictures(video, rgb)
    assert np.abs(mine.rgb.astype(int) - (red, green, blue)).max() <= 2
    assert np.abs(theirs.rgb.astype(int) - (red, green, blue)).max() == 0
    # both lumas are that of the one matrix that is named, in studio codes
    assert mine.luma.mean() == pytest.approx(16 + 219 / 255 * y, abs=1.2)
    assert theirs.luma.mean() == pytest.approx(16 + 219 / 255 * y, abs=0.2)


def test_ten_bits_and_full_range_are_in_the_same_codes(tmp_path: Path) -> None:
    levels = np.tile(np.linspace(16, 235, 32).round(), (32, 1))
    eight, ten, full = (av.VideoFrame(32, 32, name) for name in ("yuv420p", "yuv420p10le", "yuv420p"))
    stretched = ((levels - 16) * 255 / 219).round()
    for frame, values, dtype in ((eight, levels, np.uint8), (ten, levels * 4, np.uint16), (full, stretched, np.uint8)):
        for plane, content in zip(frame.planes, (values, None, None), strict=True):
            rows = np.full((plane.height, plane.line_size // np.dtype(dtype).itemsize), 512 if dtype is np.uint16 else 128, dtype)
            if content is not None:
                rows[:, :32] = content
            plane.update(rows.tobytes())
    full.color_range = 2
    assert np.abs(to_pictures(ten, eight)[0].luma - levels).max() == 0
    assert np.abs(to_pictures(full, eight)[0].luma - levels).max() <= 0.5
    assert np.abs(to_pictures(full, eight)[0].rgb.astype(int) - to_pictures(full, eight)[1].rgb).max() <= 2


def test_different_sizes_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    small = make_clip(tmp_path / "small.mp4", size="64x48")
    outcome = streamsr("compare", small, "--ref", pair[1])
    assert outcome.code == 2
    assert "is 64x48" in outcome.err
    assert "is 128x96" in outcome.err
    assert "--size 128x96" in outcome.err


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    small = make_clip(tmp_path / "small.mp4", *LOSSLESS, size="64x48", num_frames=2)
    outcome = streamsr("compare", small, "--ref", small, "--json")
    assert outcome.code == 0, outcome.err
    facts = json.loads(outcome.out)
    assert facts["mean"]["efficient_pban"] is None
    assert facts["mean"]["psnr"] == 100
    assert any("Efficient-PBAN needs 96 pixels" in note for note in facts["notes"])


def test_times_that_never_meet_are_an_input_error(pair: tuple[Path, Path], tmp_path: Path) -> None:
    moved = ["-vf", "settb=1/1000,setpts=PTS+20", "-fps_mode", "passthrough", "-enc_time_base", "1/1000"]
    ffmpeg("-i", pair[1], *moved, *LOSSLESS, tmp_path / "late.mkv")
    with pytest.raises(SourceError, match=r"No frame of .*late"):
        compare(tmp_path / "late.mkv", pair[1])


def test_json_holds_frames_and_means(pair: tuple[Path, Path]) -> None:
    facts = json.loads(streamsr("compare", pair[0], "--ref", pair[1], "--json").out)
    assert len(facts["frames"]) == facts["num_measured"] == 6
    assert facts["mean"]["ssim"] == pytest.approx(np.mean([frame["ssim"] for frame in facts["frames"]]))
    assert (facts["width"], facts["height"]) == (128, 96)


def test_the_table_has_a_line_a_frame_and_the_mean(pair: tuple[Path, Path]) -> None:
    lines = streamsr("compare", *pair, "--table").out.splitlines()
    assert lines[0].split() == ["time", "Efficient-PBAN", "PSNR-Y", "SSIM-Y", "VMAF", "VMAF-NEG"]
    assert len([line for line in lines if " s  " in line]) == 6
    assert any(line.strip().startswith("mean") for line in lines)


def test_the_summary_has_about_ten_lines_and_the_worst_frame(pair: tuple[Path, Path]) -> None:
    lines = streamsr("compare", *pair).out.splitlines()
    assert len(lines) <= 10
    worst = min(compare(*pair).frames, key=lambda frame: frame.psnr or 0)
    (row,) = [line.split() for line in lines if line.startswith("PSNR-Y")]
    assert float(row[3]) == pytest.approx(worst.psnr, abs=0.001)
    assert "6 of 6 pairs of frames measured" in lines[0]


def test_two_results_stand_side_by_side(pair: tuple[Path, Path]) -> None:
    lines = streamsr("compare", pair[0], pair[1], "--ref", pair[1]).out.splitlines()
    (row,) = [line.split() for line in lines if line.startswith("SSIM-Y")]
    assert float(row[1]) < 0.99
    assert float(row[4]) == 1
    facts = json.loads(streamsr("compare", pair[0], pair[1], "--ref", pair[1], "--json", "--every", 3).out)
    assert [entry["num_measured"] for entry in facts] == [2, 2]


@pytest.mark.parametrize("given", [["a.mp4"], ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]])
def test_one_or_two_results_and_an_original_are_wanted(given: list[str]) -> None:
    outcome = streamsr("compare", *given)
    assert outcome.code == 2
    assert "--ref REF" in outcome.err


def test_sizes_are_compared_before_anything_is_loaded(pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = make_clip(tmp_path / "small.mp4", size="64x48", num_frames=2)

    def load(**_: object) -> None:
        raise AssertionError("the metric was loaded")

    monkeypatch.setattr("streamsr.compare.comparison.PbanScorer", load)
    with pytest.raises(UsageError, match="is 64x48"):
        compare(small, pair[1])


def test_pairs_that_are_looked_up_have_the_scores_of_a_whole_pass(tmp_path: Path) -> None:
    original = make_clip(tmp_path / "original.mkv", *LOSSLESS, "-g", "10", size=SIZE, rate="30000/1001", num_frames=60)
    ffmpeg("-i", original, "-c:v", "libx264", "-crf", "38", "-preset", "ultrafast", "-g", "7", tmp_path / "result.ts")
    ffmpeg("-i", tmp_path / "result.ts", "-c", "copy", tmp_path / "result.mp4")
    whole = {round(frame.time_s, 3): frame.psnr for frame in compare(tmp_path / "result.mp4", original).frames}
    some = compare(tmp_path / "result.mp4", original, times=[Fraction(1, 3), Fraction(1), Fraction(3, 2)])
    assert [frame.time_s for frame in some.frames] == pytest.approx([1 / 3, 1, 1.5], abs=0.04)
    assert [frame.psnr for frame in some.frames] == [whole[round(frame.time_s, 3)] for frame in some.frames]
    assert (some.unpaired_result, some.unpaired_original) == ([], [])


def test_the_sample_follows_the_time_that_there_is() -> None:
    def sample(num_frames: int | None, measure_s: float, read_s: float) -> Sample:
        return choose_sample(num_frames=num_frames, measure_s=measure_s, read_s=read_s, within_s=40, begin=Fraction(2), duration_s=100)

    assert sample(100, 0.1, 0.01) == Sample()
    assert sample(None, 9, 9) == Sample()
    assert sample(1000, 1, 0.01) == Sample(every=34)  # 1000 are read in 10 s, 30 measured in 30
    looked_up = sample(100_000, 1, 0.01)
    assert looked_up.every == 1
    assert 5 <= len(looked_up.times) <= 40
    assert 2 < looked_up.times[0] < looked_up.times[-1] < 102


def test_auto_measures_few_frames_of_a_slow_metric(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamsr.compare.sampling.VMAF_S_PER_PIXEL", 0)
    comparison = compare(*pair, every=None, within_s=0.0)
    assert len(comparison.frames) < 6 or comparison.times
    assert compare(*pair, every=None, within_s=1000).every == 1


def test_the_plot_is_a_picture(pair: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    outcome = streamsr("compare", pair[0], "--ref", pair[1], "--quiet", "--plot", tmp_path / "scores.png")
    assert outcome.code == 0, outcome.err
    with av.open(str(tmp_path / "scores.png")) as picture:
        assert picture.streams.video[0].width >= 800
    assert [path.name for path in tmp_path.iterdir()] == ["scores.png"]
    for name, words in (("scores.gif", "must end in"), ("none/scores.png", "does not exist")):
        outcome = streamsr("compare", pair[0], "--ref", pair[1], "--plot", tmp_path / name)
        assert (outcome.code, words in outcome.err) == (2, True)


def test_a_plot_without_matplotlib_names_the_extra(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.backends", None)
    outcome = streamsr("compare", pair[0], "--ref", pair[1], "--plot", "scores.png")
    assert outcome.code == 2
    assert "pip install 'streamsr[compare]'" in outcome.err


def test_the_shipped_metric_is_what_its_description_says() -> None:
    card = read_card()
    assert card["min_side"] == 96
    assert "without a stated licence" in card["trained_on"]
    assert (METRIC.parent / card["file"]).stat().st_size < 30e6
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:120, 0:128]
    hr = np.clip(128 + 80 * np.sin(x / 5) * np.cos(y / 7) + rng.normal(0, 4, (120, 128)), 0, 255)[..., None].repeat(3, 2).astype(np.uint8)
    judges = [PbanScorer(engine=engine) for engine in ("openvino", "onnxruntime")]
    scores = []
    for sigma in (0, 6, 40):
        sr = np.clip(hr + rng.normal(0, sigma, hr.shape), 0, 255).astype(np.uint8)
        one, other = (judge(sr, hr) for judge in judges)
        assert one == pytest.approx(other, abs=1e-4)
        scores.append(one)
    assert scores[0] == pytest.approx(1, abs=1e-5)
    assert 1 > scores[1] > scores[2] > 0


def test_a_damaged_metric_is_refused(tmp_path: Path) -> None:
    card = read_card()
    (tmp_path / "m.json").write_text(json.dumps(card))
    with pytest.raises(EngineError, match="Cannot read the metric"):
        PbanScorer(tmp_path / "m.json")
    (tmp_path / card["file"]).write_bytes(b"noise")
    with pytest.raises(EngineError, match="damaged or was changed"):
        PbanScorer(tmp_path / "m.json")
    (tmp_path / "m.json").write_text("{}")
    with pytest.raises(EngineError, match="name, file, sha256, min_side missing"):
        PbanScorer(tmp_path / "m.json")
